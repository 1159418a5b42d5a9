"""Runs the embedded family's jobs on the played card and on the CPU, in one process, and prints what was seen as JSON.

`python -m tests.card.rehearsal FOLDER`, with the compiled guard's path in PLAYED_GUARD. `FOLDER` takes what it writes.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.card.card import PlayedCard  # before torch

from PIL import Image  # isort: skip

import assets  # isort: skip
from engines.api.params import CaptionParams, EditParams, GenerateParams, LoraUse, TrainParams  # isort: skip
from engines.api.protocols import CheckpointSaved, EditItem, Plan, SampleDrawn, TrainItem, TrainRun  # isort: skip
from engines.api.errors import OutOfMemory, RanOut  # isort: skip
from engines.catalogue.registry import Registry  # isort: skip
from engines.device.devices import CpuDevice, CudaDevice  # isort: skip
from studio.gpu.manager import GpuManager  # isort: skip

MIB, GIB = 1 << 20, 1 << 30
ASSETS = Path(assets.__file__).parent
SAMPLE = ASSETS / "sample" / "robin-01.png"
TRIES = 12  # of a job on a card that is too small: each goes a rung down


@dataclass(frozen=True)
class Seen:
    """What a job did: hashes of its pictures, words or weights, its bytes on the card, and the host's waits by place.

    `planned` and `peak`: bytes of the hungriest stage as planned, and as played; `denied`: the words of a refusal.
    """

    made: Sequence[str]
    planned: int = 0
    peak: int = 0
    waits: Mapping[str, int] = field(default_factory=dict)
    ran_out: int = 0
    denied: str = ""


@dataclass(frozen=True)
class Side:
    """The registry's models on one device."""

    registry: Registry
    gpu: GpuManager
    folder: Path

    def generate(self, steps: int = 3, loras: tuple[str, ...] = (), **knobs: object) -> tuple[Plan, list[str]]:
        """Draws two pictures of two sizes."""
        engine, params = self.registry.engine("mini-flux"), self.registry.spec("mini-flux").params
        used = tuple(LoraUse(file=file, weight=0.8) for file in loras)
        items = [
            params(GenerateParams, prompt="ohwx person, smiling", steps=steps, height=high, loras=used, **knobs)
            for high in (64, 32)
        ]
        plan = engine.plan(items)
        with self.gpu.lease(plan) as lease:
            return plan, [_hash(each.tobytes()) for each in engine.generate(items, lease, _quiet)]

    def edit(self, loras: tuple[str, ...] = (), **knobs: object) -> tuple[Plan, list[str]]:
        """Edits the sample's first picture."""
        engine, params = self.registry.engine("mini-qwen-edit"), self.registry.spec("mini-qwen-edit").params
        used = tuple(LoraUse(file=file) for file in loras)
        with Image.open(SAMPLE) as opened:
            source = opened.convert("RGB")
        items = [EditItem(source, params(EditParams, instruction="make the person smile", loras=used, **knobs))]
        plan = engine.plan(items)
        with self.gpu.lease(plan) as lease:
            return plan, [_hash(each.tobytes()) for each in engine.edit(items, lease, _quiet)]

    def caption(self) -> tuple[Plan, list[str]]:
        """Describes the sample's first picture."""
        captioner = self.registry.captioner("mini-qwen-edit")
        plan = captioner.plan(1, CaptionParams())
        with Image.open(SAMPLE) as opened, self.gpu.lease(plan) as lease:
            found = captioner.caption([opened.convert("RGB")], CaptionParams(), lease, _quiet)
            return plan, [each.text for each in found]

    def train(self, model: str, name: str, steps: int = 3, **knobs: object) -> tuple[Plan, list[str]]:
        """Trains a LoRA of a few steps, with a preview and two checkpoints."""
        trainer, params = self.registry.trainer(model), self.registry.spec(model).params
        editor = self.registry.spec(model).role == "editor"
        usual = {"batch_size": 2, "save_every": 0, "sample_every": 0, "ema_decay": 0.9, "rank": 4}
        with Image.open(SAMPLE) as opened:
            source = opened.convert("RGB")
        preview: GenerateParams | EditItem = params(GenerateParams, prompt="ohwx person", steps=2)
        if editor:
            preview = EditItem(source, params(EditParams, instruction="make the person smile", steps=2))
        item = TrainItem(SAMPLE, "ohwx person", (SAMPLE,) if editor else ())
        folder = self.folder / name
        folder.mkdir(parents=True)
        run = TrainRun(
            folder,
            (item, item),
            params(TrainParams, steps=steps, **usual, **knobs),
            previews=(preview,),
            trigger="ohwx",
        )
        plan, made = trainer.plan(run), []
        with self.gpu.lease(plan) as lease:
            for event in trainer.train(run, lease, _quiet):
                if isinstance(event, SampleDrawn):
                    made.append(_hash(event.image.tobytes()))
                if isinstance(event, CheckpointSaved):
                    made.append(str(event.adapter))
        return plan, made

    def adapter(self, name: str) -> str:
        """Returns the newest LoRA file of a training on the CPU, the same for both sides."""
        files = (self.folder.parent / "cpu" / name).rglob("*.safetensors")
        found = sorted(files, key=lambda file: file.stat().st_mtime)
        return str(next(file for file in reversed(found) if "adapter" in file.name or "lora" in file.name))


def jobs(side: Side) -> Mapping[str, Callable[[], tuple[Plan, list[str]]]]:
    """Returns name -> job, in an order in which the later ones use the LoRAs of the earlier."""
    return {
        "generate": side.generate,
        "generate longer": lambda: side.generate(steps=6),
        "generate, first-block cache": lambda: side.generate(steps=6, first_block_cache=0.1),
        "edit": lambda: side.edit(steps=3),
        "edit longer": lambda: side.edit(steps=6),
        "edit, few steps": lambda: side.edit(few_steps=True),
        "edit, first-block cache": lambda: side.edit(steps=6, first_block_cache=0.1),
        "caption": side.caption,
        "train": lambda: side.train("mini-flux", "gen"),
        "train longer": lambda: side.train("mini-flux", "gen-longer", steps=6),
        "train nf4": lambda: side.train("mini-flux", "gen-nf4", base="nf4", optimizer="adamw8bit"),
        "train int8": lambda: side.train("mini-flux", "gen-int8", base="int8", optimizer="prodigy", learning_rate=1.0),
        "refine": lambda: side.train("mini-qwen-edit", "edit"),
        "refine longer": lambda: side.train("mini-qwen-edit", "edit-longer", steps=6),
        "refine nf4": lambda: side.train("mini-qwen-edit", "edit-nf4", base="nf4"),
        "refine nf4 longer": lambda: side.train("mini-qwen-edit", "edit-nf4-longer", steps=6, base="nf4"),
        "refine int8": lambda: side.train("mini-qwen-edit", "edit-int8", base="int8", optimizer="adamw8bit"),
        "generate with a LoRA": lambda: side.generate(loras=(side.adapter("gen"),)),
        "generate with two LoRAs": lambda: side.generate(loras=(side.adapter("gen"), side.adapter("gen-nf4"))),
        "edit with a LoRA": lambda: side.edit(steps=3, loras=(side.adapter("edit"),)),
        "edit with a LoRA, few steps": lambda: side.edit(few_steps=True, loras=(side.adapter("edit-int8"),)),
    }


def on_cpu(folder: Path, names: Sequence[str]) -> dict[str, Seen]:
    """Runs each job on the CPU."""
    side = Side(Registry(ASSETS, folder / "models"), GpuManager(CpuDevice(), 64 * GIB, {}), folder / "cpu")
    work = jobs(side)
    return {name: Seen(work[name]()[1]) for name in names}


def on_card(card: PlayedCard, folder: Path, names: Sequence[str]) -> dict[str, Seen]:
    """Runs each job on a card with room, alone on it."""
    side = Side(Registry(ASSETS, folder / "models"), GpuManager(CudaDevice(), 24 * GIB, {}), folder / "card")
    work, seen = jobs(side), {}
    with card:
        for name in names:
            side.gpu.unload_all()
            gc.collect()
            card.waits.clear()
            card.peak = before = card.used
            plan, made = work[name]()
            planned = max(
                sum(stage.size(part) for part in stage.components) + stage.working_bytes for stage in plan.stages
            )
            seen[name] = Seen(made, planned, card.peak - before, dict(card.waits))
        side.gpu.unload_all()
    return seen


def in_little_room(card: PlayedCard, folder: Path, caps: Sequence[int]) -> dict[str, Seen]:
    """Edits and draws on ever smaller cards, each job until it is done or refused."""
    side = Side(Registry(ASSETS, folder / "models"), GpuManager(CudaDevice(), 24 * GIB, {}, reserve_bytes=0), folder)
    seen = {}
    with card:
        for cap in caps:
            for name, job in (("generate", side.generate), ("edit", lambda: side.edit(steps=3))):
                card.cap = cap
                side.gpu.unload_all()
                gc.collect()
                seen[f"{name} at {cap // MIB} MiB"] = _until_done(job)
    card.cap = 24 * GIB
    return seen


def _until_done(job: Callable[[], tuple[Plan, list[str]]]) -> Seen:
    for ran_out in range(TRIES):
        try:
            return Seen(job()[1], ran_out=ran_out)
        except RanOut:
            continue
        except OutOfMemory as error:
            return Seen((), ran_out=ran_out, denied=str(error))
    return Seen((), ran_out=TRIES)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _quiet(step: int, total: int, message: str = "") -> None:
    """Does nothing; the jobs report their steps to it."""


def main(folder: Path) -> None:
    """Runs everything and prints it."""
    card = PlayedCard(24 * GIB)
    names = list(jobs(Side(Registry(ASSETS, folder), GpuManager(CpuDevice(), GIB, {}), folder)))
    found = {"cpu": on_cpu(folder, names), "card": on_card(card, folder, names)}
    found["ladder"] = in_little_room(card, folder, [cap * MIB for cap in (70, 55, 45, 30, 20)])
    print(json.dumps({side: {name: asdict(each) for name, each in seen.items()} for side, seen in found.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
