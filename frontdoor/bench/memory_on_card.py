"""What the real models take on a card: full size, random weights, the studio's own manager, capped at 23 GiB."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from PIL import Image

from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams
from engines.api.protocols import Device, EditItem, ModelSpec, StepDone, TrainItem, TrainRun
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, Layout
from engines.device.devices import CudaDevice
from frontdoor.bench import script_on_card
from frontdoor.bench.memory import BUDGET, GIB, GOALS, RANK, SIDE, TRAINING
from frontdoor.bench.rows import Row
from studio.gpu.manager import GpuManager

CAP = 23 * GIB  # a 24 GiB card less what a desktop takes
GENERATOR, EDITOR = "FLUX.1-dev", "Qwen-Image-Edit-2511"
SWITCHES = 50
STEPS = 4  # peaks do not grow with steps
TRAIN_STEPS = 6
FEWEST = 2  # one alone has no schedule where it must end above zero
_DISK = 50 * GIB


@dataclass(frozen=True)
class Bench:
    """Two models in folders, a device and its manager; sizes are those of the pictures asked for."""

    device: Device
    gpu: GpuManager
    specs: Mapping[str, ModelSpec]
    folders: Mapping[str, Path]
    side: int

    def generate(self, steps: int) -> None:
        """One picture."""
        spec = self.specs["generate"]
        self._run(
            load_class(spec.engine)(spec, self.folders["generate"]),
            "generate",
            [spec.params(GenerateParams, prompt="a person", steps=steps, width=self.side, height=self.side)],
        )

    def edit(self, steps: int) -> None:
        """One edit of one picture, guided: the transformer sees target and reference."""
        spec = self.specs["edit"]
        item = EditItem(self._picture, spec.params(EditParams, instruction="smiling", steps=steps))
        self._run(load_class(spec.engine)(spec, self.folders["edit"]), "edit", [item])

    def caption(self) -> None:
        """One caption."""
        spec = self.specs["edit"]
        captioner = load_class(spec.captioner)(spec, self.folders["edit"])
        params = CaptionParams()
        with self.gpu.lease(captioner.plan(1, params)) as lease:
            list(captioner.caption([self._picture], params, lease, _quiet))

    def _run(self, engine: Any, verb: str, items: Sequence[Any]) -> None:
        with self.gpu.lease(engine.plan(items)) as lease:
            list(getattr(engine, verb)(items, lease, _quiet))

    @property
    def _picture(self) -> Image.Image:
        return Image.new("RGB", (self.side, self.side), (90, 120, 150))


def measure(peer: Path | None) -> list[Row]:
    """Build both models on the card, cap the process, measure; about 45 GiB of temporary disk in 8 and 4 bits.

    Then diffusers' own FLUX script, where `peer` says that it lies.
    """
    import torch

    torch.cuda.set_per_process_memory_fraction(min(1.0, CAP / torch.cuda.get_device_properties(0).total_memory))
    rows: list[Row] = []
    for form in ("nf4", "int8"):
        with tempfile.TemporaryDirectory() as home:
            free = shutil.disk_usage(home).free
            if free < _DISK:
                rows.append(Row(name=f"{form}: skipped, too little temporary disk", value=free / GIB, unit="GiB free"))
                continue
            bench = built(CudaDevice(), _rows(form), LAYOUTS, Path(home), BUDGET, SIDE)
            rows += [*peaks(bench, form), *switches(bench, form, SWITCHES, _host_to_card())]
            rows += trainings(bench, form, TRAINING)
    generator = next(spec for spec in MODELS if spec.name == GENERATOR)
    sides = TRAINING[GENERATOR, "nf4"]
    return [*rows, *script_on_card.measure(peer, generator, LAYOUTS[GENERATOR], CudaDevice(), sides)]


def built(
    device: Device, specs: Mapping[str, ModelSpec], layouts: Mapping[str, Layout], home: Path, budget: int, side: int
) -> Bench:
    """Folders with random weights drawn on the device, and a manager over them."""
    build = load_class("engines.weights.synthetic:build")
    folders = {job: build(spec, layouts[spec.name], home / job, device.torch_device) for job, spec in specs.items()}
    device.reclaim()
    return Bench(device, GpuManager(device, budget, {}), specs, folders, side)


def peaks(bench: Bench, form: str) -> Iterator[Row]:
    """The most that each job had in use, and what stayed when all was unloaded."""
    before = bench.device.free_bytes()
    jobs: Mapping[str, Callable[[], None]] = {
        "generate": lambda: bench.generate(STEPS),
        "edit": lambda: bench.edit(STEPS),
        "caption": bench.caption,
    }
    for job, run in jobs.items():
        bench.gpu.unload_all()
        bench.device.peak_bytes(reset=True)
        started = time.perf_counter()
        run()
        name = bench.specs["generate" if job == "generate" else "edit"].name
        peak = bench.device.peak_bytes() / GIB
        goal = next((most for (model, one, _), most in GOALS.items() if (model, one) == (name, job)), None)
        goal = goal if form == "nf4" else None
        yield Row(
            name=f"{name} {form} {job} peak", value=peak, unit="GiB", goal=f"≤ {goal:g}" if goal else "",
            ok=None if goal is None else peak <= goal,
        )  # fmt: skip
        yield Row(name=f"{name} {form} {job}", value=time.perf_counter() - started, unit="s, first load counted")
    bench.gpu.unload_all()
    left = max(0, before - bench.device.free_bytes()) / GIB
    yield Row(name=f"{form} left after unloading", value=left, unit="GiB", goal="≤ 0.1", ok=left <= 0.1)


def trainings(bench: Bench, form: str, goals: Mapping[tuple[str, str], Mapping[int, float]]) -> Iterator[Row]:
    """The most that a training's own stage had in use, and seconds a step, at each size that a goal is set for."""
    for job, spec in bench.specs.items():
        for side, most in goals.get((spec.name, form), {}).items():
            peak, seconds = _train(bench, job, side)
            yield Row(
                name=f"{spec.name} {form} train {side} px peak", value=peak / GIB, unit="GiB", goal=f"≤ {most:g}",
                ok=peak / GIB <= most,
            )  # fmt: skip
            yield Row(name=f"{spec.name} {form} train {side} px", value=seconds, unit="s a step")
    bench.gpu.unload_all()


def _train(bench: Bench, job: str, side: int) -> tuple[int, float]:
    """Peak bytes and the median step, over a cache that another run has filled: no encoder is loaded."""
    spec, folder = bench.specs[job], bench.folders[job]
    trainer = load_class(spec.loop)(spec, folder)
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "picture.png"
        Image.new("RGB", (side, side), (90, 120, 150)).save(file)
        item = TrainItem(file, "ohwx person", (file,) if job == "edit" else ())
        for name, steps in (("fills the cache", 1), ("is measured", TRAIN_STEPS)):
            knobs = {"rank": RANK, "optimizer": "adamw8bit", "save_every": 0, "sample_every": 0}
            params = spec.params(TrainParams, resolution=side, steps=steps, gradient_checkpointing=True, **knobs)
            run = TrainRun(Path(home) / name, (item,), params, cache=Path(home) / "cache")
            bench.gpu.unload_all()
            bench.device.peak_bytes(reset=True)
            with bench.gpu.lease(trainer.plan(run)) as lease:
                told = [event for event in trainer.train(run, lease, _quiet) if isinstance(event, StepDone)]
    return bench.device.peak_bytes(), median(event.seconds for event in told[1:])


def switches(bench: Bench, form: str, count: int, bandwidth: float) -> Iterator[Row]:
    """Generate and edit in turn: seconds a swap against bytes / bandwidth (bytes a second), and growth of memory."""
    bench.generate(FEWEST)
    bench.edit(FEWEST)
    process, before, rss = psutil.Process(), bench.device.free_bytes(), psutil.Process().memory_info().rss
    times = {job: [_swap(bench, job) for _ in range(3)] for job in ("generate", "edit")}
    for turn in range(count):
        (bench.generate if turn % 2 else bench.edit)(FEWEST)
    for job, seconds in times.items():
        part = _transformer(bench, job)
        limit = part.bytes / bandwidth
        ratio = median(seconds) / limit
        yield Row(
            name=f"{part.key} {form} swap in", value=median(seconds), unit="s", peer="bytes / bandwidth", ratio=ratio,
            spread=max(seconds) - min(seconds), goal="≤ 1.5 ×", ok=ratio <= 1.5,
        )  # fmt: skip
    for what, grown in (
        ("device", before - bench.device.free_bytes()),
        ("host", process.memory_info().rss - rss),
    ):
        growth = max(0, grown) / GIB
        yield Row(
            name=f"{form} {what} growth over {count} switches", value=growth, unit="GiB", goal="≤ 0.25",
            ok=growth <= 0.25,
        )  # fmt: skip


def _swap(bench: Bench, job: str) -> float:
    """Seconds until the transformer is on an empty device, its host master being there already."""
    bench.gpu.unload_all()
    spec = bench.specs[job]
    engine = load_class(spec.engine)(spec, bench.folders[job])
    with bench.gpu.lease(engine.plan(_items(bench, job))) as lease:
        started = time.perf_counter()
        with lease.stage("denoise"):
            _wait(bench.device)
            return time.perf_counter() - started


def _transformer(bench: Bench, job: str) -> Any:
    spec = bench.specs[job]
    plan = load_class(spec.engine)(spec, bench.folders[job]).plan(_items(bench, job))
    return next(part for stage in plan.stages for part in stage.components if part.key.endswith("/transformer"))


def _items(bench: Bench, job: str) -> list[Any]:
    spec = bench.specs[job]
    if job == "generate":
        return [spec.params(GenerateParams, prompt="a person", width=bench.side, height=bench.side)]
    return [EditItem(bench._picture, spec.params(EditParams, instruction="smiling"))]


def _wait(device: Device) -> None:
    """Copies to a card return before they are done."""
    if device.torch_device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def _host_to_card() -> float:
    """Bytes a second from pinned memory, the best of three copies of 1 GiB."""
    import torch

    source = torch.empty(GIB, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(GIB, dtype=torch.uint8, device="cuda")
    seconds = []
    for _ in range(4):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return GIB / min(seconds[1:])


def _rows(form: str) -> dict[str, ModelSpec]:
    held = load_class("engines.weights.components:in_form")
    named = {spec.name: spec for spec in MODELS}
    return {"generate": held(named[GENERATOR], form), "edit": held(named[EDITOR], form)}


def _quiet(step: int, total: int, message: str = "") -> None:
    del step, total, message
