"""The memory of the real models on a GPU: full size, random weights, the studio's manager, capped at 23 GiB."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from PIL import Image

from engines.api.forms import ROWS
from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams
from engines.api.protocols import (
    Device,
    EditItem,
    Editor,
    Generator,
    ModelSpec,
    Plan,
    StepDone,
    Trainer,
    TrainItem,
    TrainRun,
)
from engines.api.seeing import Captioner
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, Layout
from engines.device.devices import CudaDevice
from frontdoor.bench import progress, script_on_card
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
    """Holds a generator and an editor whose weights lie in folders, and the GPU that they are measured on.

    `gpu` loads and unloads the models on `device`. `specs` and `folders` have the keys "generate" and "edit", for the
    two models. `side` is the side of all pictures in pixels.
    """

    device: Device
    gpu: GpuManager
    specs: Mapping[str, ModelSpec]
    folders: Mapping[str, Path]
    side: int

    def generate(self, steps: int) -> None:
        """Generates one picture with `steps` denoising steps and throws it away."""
        engine, params = self.generator(), self.specs["generate"].params
        size = {"width": self.side, "height": self.side}
        items = [params(GenerateParams, prompt="a person", steps=steps, **size)]
        with self.gpu.lease(engine.plan(items)) as lease:
            list(engine.generate(items, lease, progress.ignore))

    def edit(self, steps: int) -> None:
        """Edits one picture with `steps` denoising steps at the model's default guidance and throws the result away."""
        engine, params = self.editor(), self.specs["edit"].params
        items = [EditItem(self._picture, params(EditParams, instruction="smiling", steps=steps))]
        with self.gpu.lease(engine.plan(items)) as lease:
            list(engine.edit(items, lease, progress.ignore))

    def caption(self) -> None:
        """Captions one picture with the editor's text encoder and throws the caption away."""
        spec = self.specs["edit"]
        captioner: Captioner = load_class(spec.captioner)(spec, self.folders["edit"])
        params = CaptionParams()
        with self.gpu.lease(captioner.plan(1, params)) as lease:
            list(captioner.caption([self._picture], params, lease, progress.ignore))

    def plan(self, job: str) -> Plan:
        """Returns the memory plan of a job for one picture, at the model's default parameters.

        `job` is "generate" or "edit".
        """
        params = self.specs[job].params
        if job == "generate":
            drawn = params(GenerateParams, prompt="a person", width=self.side, height=self.side)
            return self.generator().plan([drawn])
        return self.editor().plan([EditItem(self._picture, params(EditParams, instruction="smiling"))])

    def generator(self) -> Generator:
        """Returns a new engine, the object that runs the generator model; no weights are loaded yet."""
        engine: Generator = load_class(self.specs["generate"].engine)(self.specs["generate"], self.folders["generate"])
        return engine

    def editor(self) -> Editor:
        """Returns a new engine, the object that runs the editor model; no weights are loaded yet."""
        engine: Editor = load_class(self.specs["edit"].engine)(self.specs["edit"], self.folders["edit"])
        return engine

    @property
    def _picture(self) -> Image.Image:
        """Returns a plain grey-blue picture of the bench's size."""
        return Image.new("RGB", (self.side, self.side), (90, 120, 150))


def measure(peer: Path | None) -> list[Row]:
    """Measures the GPU memory and the loading times of both full-size models in each form; returns report rows.

    The memory of this process on the GPU is capped at that of a 24 GiB card, and the weights are random. The rows are
    those of `peaks`, `switches` and `trainings`, then those of diffusers' own FLUX training script. `peer` is the
    script's path; where it is None, the last row says so. Needs about 45 GiB of temporary disk.
    """
    import torch

    named = {spec.name: spec for spec in MODELS}
    in_form: Callable[[ModelSpec, str], ModelSpec] = load_class("engines.weights.components:in_form")
    torch.cuda.set_per_process_memory_fraction(min(1.0, CAP / torch.cuda.get_device_properties(0).total_memory))
    rows: list[Row] = []
    for form in ROWS:
        with tempfile.TemporaryDirectory() as home:
            free = shutil.disk_usage(home).free
            if free < _DISK:
                rows.append(Row(name=f"{form}: skipped, too little temporary disk", value=free / GIB, unit="GiB free"))
                continue
            specs = {"generate": in_form(named[GENERATOR], form), "edit": in_form(named[EDITOR], form)}
            bench = built(CudaDevice(), specs, LAYOUTS, Path(home), BUDGET, SIDE)
            rows += [*peaks(bench, form), *switches(bench, form, SWITCHES, _host_to_card())]
            rows += trainings(bench, form, TRAINING)
    sides = TRAINING[GENERATOR, "nf4"]
    return [*rows, *script_on_card.measure(peer, named[GENERATOR], LAYOUTS[GENERATOR], CudaDevice(), sides)]


def built(
    device: Device, specs: Mapping[str, ModelSpec], layouts: Mapping[str, Layout], home: Path, budget: int, side: int
) -> Bench:
    """Writes each model with random weights into a folder of its own in `home`, and returns a bench with these models.

    `specs` maps a job, "generate" or "edit", to its model; `layouts` maps a model's name to the configurations of its
    components. `budget` is the GPU memory in bytes that jobs may use, `side` the side of the pictures in pixels.
    """
    build = load_class("engines.weights.synthetic:build")
    folders = {job: build(spec, layouts[spec.name], home / job, device.torch_device) for job, spec in specs.items()}
    device.reclaim()
    return Bench(device, GpuManager(device, budget, {}), specs, folders, side)


def peaks(bench: Bench, form: str) -> Iterator[Row]:
    """Runs each job once; yields report rows with its peak GPU memory in GiB and its seconds, including the loading.

    The jobs are generate, edit and caption. The last row is the memory still in use after all models were unloaded.
    `form` is the form of the weights: nf4 or int8.
    """
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
    """Trains each model for a few steps; yields report rows with the peak GPU memory in GiB and the seconds a step.

    `form` is the form of the weights, nf4 or int8. `goals` maps (name of the model, form) to the sizes to train at:
    side of the pictures in pixels -> largest allowed peak in GiB.
    """
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
    """Returns a training's peak memory in bytes and its median step in seconds.

    An earlier run has filled its cache, so that no encoder is loaded.
    """
    spec, folder = bench.specs[job], bench.folders[job]
    trainer: Trainer = load_class(spec.loop)(spec, folder)
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
                done = [event for event in trainer.train(run, lease, progress.ignore) if isinstance(event, StepDone)]
    return bench.device.peak_bytes(), median(event.seconds for event in done[1:])


def switches(bench: Bench, form: str, count: int, bandwidth: float) -> Iterator[Row]:
    """Generates and edits by turns, `count` times in all, so that each model replaces the other on the GPU.

    The first report rows are the seconds in which each model's transformer is copied to the GPU, compared with a plain
    copy at `bandwidth` bytes a second. The last rows are the growth of GPU and host memory over all turns, in GiB.
    `form` is the form of the weights: nf4 or int8.
    """
    bench.generate(FEWEST)
    bench.edit(FEWEST)
    process, before, rss = psutil.Process(), bench.device.free_bytes(), psutil.Process().memory_info().rss
    times = {job: [_swap(bench, job) for _ in range(3)] for job in ("generate", "edit")}
    for turn in range(count):
        (bench.generate if turn % 2 else bench.edit)(FEWEST)
    bench.edit(FEWEST)  # the same model is on the GPU as at the beginning
    for job, seconds in times.items():
        parts = [part for stage in bench.plan(job).stages for part in stage.components]
        part = next(part for part in parts if part.key.endswith("/transformer"))
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
    """Returns the seconds until a job's transformer is on the empty GPU, copied from the host's memory."""
    bench.gpu.unload_all()
    with bench.gpu.lease(bench.plan(job)) as lease:
        started = time.perf_counter()
        with lease.stage("denoise"):
            if bench.device.torch_device.startswith("cuda"):
                import torch

                torch.cuda.synchronize()  # copies to a card return before they are done
            return time.perf_counter() - started


def _host_to_card() -> float:
    """Returns how many bytes a second are copied from pinned memory to the GPU, the best of three copies."""
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
