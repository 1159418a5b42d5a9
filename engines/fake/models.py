"""Deterministic engines: what tests use instead of models. No torch, no weights.

A fake picture is 4×4 colours drawn from a hash of its parameters, enlarged. A fake LoRA is the mean of its
training pictures; drawing with it leans towards that mean, so a trained fake truly resembles what it was fed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.api.crops import cut
from engines.api.errors import BadInput, Cancelled, LoraMismatch
from engines.api.params import CaptionParams, GenerateParams, LoraUse, Params
from engines.api.protocols import (
    Caption,
    CheckpointSaved,
    Component,
    DiskUse,
    EditItem,
    Embedding,
    Lease,
    ModelSpec,
    NoFace,
    OnStep,
    Plan,
    SampleDrawn,
    Stage,
    StepDone,
    TrainEvent,
    TrainRun,
)
from engines.catalogue.registry import Registry
from engines.fake.device import FakeWeights
from engines.pictures import open_picture, to_rgb

_MIB = 1 << 20
_GRID = (4, 4)
_TOLD = "previews.told"
_WORDS_READ = 77
_SIZES = {"text_encoder": 60 * _MIB, "transformer": 100 * _MIB, "vae": 2 * _MIB}


def _plan(spec: ModelSpec, what: str, *stages: tuple[str, tuple[str, ...]], pictures: int = 1) -> Plan:
    sizes = {**_SIZES, **spec.component_bytes}

    def part(name: str) -> Component:
        key = f"{spec.name}/{name}"
        return Component(key, sizes[name], lambda: FakeWeights(key))

    return Plan(what, tuple(Stage(name, tuple(map(part, parts)), 8 * _MIB * pictures) for name, parts in stages))


def _grid(*seeds: object) -> Image.Image:
    return Image.frombytes("RGB", _GRID, hashlib.sha512(repr(seeds).encode()).digest()[:48])


def _look(params: Params) -> Image.Image:
    """What the words ask for, a little of the seed, and a lean towards each LoRA's mean."""
    seed = params.to_json().get("seed", 0)
    grid = Image.blend(_grid(params.headline()), _grid(params.headline(), seed, "noise"), 0.2)
    uses: tuple[LoraUse, ...] = getattr(params, "loras", ())
    for use in uses:
        grid = Image.blend(grid, _read_lora(Path(use.file)), max(0.0, min(0.8 * use.weight, 1.0)))
    return grid


def _read_lora(path: Path) -> Image.Image:
    try:
        with safe_open(path, framework="numpy") as file:
            if "fake.mean" not in file.keys():  # noqa: SIM118  safe_open has no __contains__
                raise LoraMismatch(f"{path.name} has no key of the fake family.", "Choose one made by FakeTrainer.")
            mean = file.get_tensor("fake.mean")
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is no readable adapter: {error}", "Choose a .safetensors file.") from None
    return Image.fromarray(np.asarray(mean, dtype=np.uint8))


def _enlarge(grid: Image.Image, size: tuple[int, int]) -> Image.Image:
    return grid.resize(size, Image.Resampling.BILINEAR)


class _Fake:
    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Read each; nothing is ever left out. Raises: LoraMismatch, BadInput."""
        for use in uses:
            use.demand_usable()
            _read_lora(Path(use.file))
        return []


class FakeGenerator(_Fake):
    """Text to colour fields: equal parameters, equal pixels."""

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Encode, denoise, decode."""
        return _plan(
            self.spec,
            f"{self.spec.name}: {len(items)} pictures",
            ("encode", ("text_encoder",)),
            ("denoise", ("transformer",)),
            ("decode", ("vae",)),
        )

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image.Image]:
        """Each picture as soon as it is decoded. Raises: LoraMismatch."""
        total = sum(item.steps for item in items)
        with lease.stage("encode"):
            grids = [_look(item) for item in items]
        done = 0
        for item, grid in zip(items, grids, strict=True):
            with lease.stage("denoise"):
                for _ in range(item.steps):
                    done += 1
                    on_step(done, total)
            with lease.stage("decode"):
                picture = _enlarge(grid, (item.width, item.height))
            yield picture


class FakeEditor(_Fake):
    """A picture and words to a tinted picture."""

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """Encode, denoise, decode; the VAE is wanted at both ends."""
        return _plan(
            self.spec,
            f"{self.spec.name}: {len(items)} edits",
            ("encode", ("text_encoder", "vae")),
            ("denoise", ("transformer",)),
            ("decode", ("vae",)),
        )

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image.Image]:
        """Each result as soon as it is decoded, in the source's size. Raises: LoraMismatch."""
        total = sum(item.params.steps for item in items)
        with lease.stage("encode"):
            grids = [_look(item.params) for item in items]
        done = 0
        for item, grid in zip(items, grids, strict=True):
            with lease.stage("denoise"):
                for _ in range(item.params.steps):
                    done += 1
                    on_step(done, total)
            with lease.stage("decode"):
                source = to_rgb(item.source)
                picture = Image.blend(source, _enlarge(grid, source.size), 0.25)
            yield picture


class FakeCaptioner(_Fake):
    """Pictures to words that follow from the pixels."""

    def plan(self, count: int, params: CaptionParams) -> Plan:
        """One stage."""
        del params
        return _plan(self.spec, f"{self.spec.name}: {count} captions", ("caption", ("text_encoder",)))

    def caption(
        self, images: Sequence[Image.Image], params: CaptionParams, lease: Lease, on_step: OnStep
    ) -> Iterator[Caption]:
        """Trigger first, then an angle and an expression."""
        with lease.stage("caption"):
            for index, image in enumerate(images):
                byte = hashlib.sha256(to_rgb(image).tobytes()).digest()
                tags = {"angle": ANGLES[byte[0] % 5], "expression": EXPRESSIONS[byte[1] % 4]}
                on_step(index + 1, len(images))
                yield Caption(f"{params.trigger} person, {tags['angle']}, {tags['expression']}", tags)


class FakeScorer(_Fake):
    """The 4×4 colours of a picture, centred, as a unit vector: alike pictures are close."""

    version = "fake-identity-1"
    threshold: float | None = None

    def embed(self, images: Sequence[Image.Image]) -> list[Embedding | NoFace]:
        """One outcome a picture; an entirely black one has no face."""
        return [self._one(to_rgb(image)) for image in images]

    def _one(self, image: Image.Image) -> Embedding | NoFace:
        if image.getbbox() is None:
            return NoFace()
        pixels = np.asarray(image.resize(_GRID, Image.Resampling.BOX), dtype=np.float64).ravel()
        vector = np.append((pixels - 127.5) / 127.5, 0.05)
        return Embedding(tuple(float(value) for value in vector / np.linalg.norm(vector)))


class FakeTrainer(_Fake):
    """A training loop that learns a mean; checkpoints, resume and cancel keep the real contract."""

    def plan(self, run: TrainRun) -> Plan:
        """Cache, then train; each further picture that an edit starts from takes as much as the first."""
        what = f"{self.spec.name}: train {run.params.steps} steps"
        pictures = max([1, *(len(item.references) for item in run.items)])
        return _plan(
            self.spec, what, ("cache", ("text_encoder", "vae")), ("train", ("transformer",)), pictures=pictures
        )

    def disk(self, params: Params) -> DiskUse:
        """A mean is small."""
        return DiskUse(checkpoint=1 << 10, item=0)

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """As CLIP's 77 tokens would be, were each word one."""
        return [at for at, caption in enumerate(captions) if len(caption.split()) > _WORDS_READ]

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """From the folder's last checkpoint, owed previews first, or anew; a cancel saves a checkpoint first."""
        if not run.items:
            raise BadInput("There is no picture to train on.", "Approve some pictures first.")
        with lease.stage("cache"):
            mean = self._mean(run)
        with lease.stage("train"):
            step = self._last(run.folder)
            if step >= run.params.steps:
                adapter = self._save(run, step, mean)
                yield CheckpointSaved(step, adapter)
                if not (adapter.parent / _TOLD).exists():
                    yield from self._samples(run, step, adapter)
            while step < run.params.steps:
                try:
                    on_step(step + 1, run.params.steps)
                except Cancelled:
                    self._save(run, step, mean)
                    raise
                step += 1
                yield self._step(run, step)
                if self._due(step, run.params.save_every, run):
                    adapter = self._save(run, step, mean)
                    yield CheckpointSaved(step, adapter)
                    if self._due(step, run.params.sample_every, run):
                        yield from self._samples(run, step, adapter)

    def _due(self, step: int, every: int, run: TrainRun) -> bool:
        return step == run.params.steps or (every > 0 and step % every == 0)

    def _mean(self, run: TrainRun) -> Any:
        grids = []
        for item in run.items:
            learned = cut(open_picture(item.image), item.crop)
            grids.append(np.asarray(learned.resize(_GRID, Image.Resampling.BOX), dtype=np.float64))
        return np.mean(grids, axis=0)

    def _step(self, run: TrainRun, step: int) -> StepDone:
        noise = hashlib.sha256(repr((run.params.seed, step)).encode()).digest()[0] / 255
        loss = 0.1 + math.exp(-3 * step / run.params.steps) + 0.02 * noise
        return StepDone(step, run.params.steps, loss, noise, run.params.learning_rate, loss / 2, 0.001)

    def _last(self, folder: Path) -> int:
        return max((int(path.name) for path in (folder / "checkpoints").glob("[0-9]*")), default=0)

    def _save(self, run: TrainRun, step: int, mean: Any) -> Path:
        folder = run.folder / "checkpoints" / f"{step:06d}"
        if not folder.is_dir():
            draft = folder.with_name(f"draft-{step:06d}")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            first = np.asarray(_read_lora(run.start), dtype=float) if run.start else 127.5
            learned = first + (mean - first) * step / run.params.steps
            state = {"step": step, "params": run.params.to_json()}
            (draft / "state.json").write_text(json.dumps(state))
            save_file(
                {"fake.mean": learned.round().astype(np.uint8)},
                draft / "adapter.safetensors",
                metadata={"family": self.spec.family},  # one key: their order in the file is random
            )
            draft.rename(folder)
        return folder / "adapter.safetensors"

    def _samples(self, run: TrainRun, step: int, adapter: Path) -> Iterator[SampleDrawn]:
        loras = (LoraUse(file=str(adapter)),)
        for index, item in enumerate(run.previews):
            if isinstance(item, EditItem):
                tint = _enlarge(_look(item.params.replace(loras=loras)), item.source.size)
                yield SampleDrawn(step, index, Image.blend(to_rgb(item.source), tint, 0.25))
            else:
                grid = _look(item.replace(loras=loras))
                yield SampleDrawn(step, index, _enlarge(grid, (item.width, item.height)))
        (adapter.parent / _TOLD).touch()


_KNOBS = {
    "GenerateParams": {"steps": 2, "guidance": 2.5, "width": 64, "height": 64},
    "EditParams": {"steps": 2, "true_cfg": 1.0},
    "TrainParams": {
        "rank": 4,
        "alpha": 4.0,
        "steps": 20,
        "batch_size": 2,
        "resolution": 64,
        "save_every": 5,
        "sample_every": 10,
    },
}


def _row(name: str, role: str, engine: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        label=f"{name} (colour fields, for tests)",
        role=role,
        family="fake",
        engine=f"engines.fake:{engine}",
        source="assets:fake",
        licence="Apache-2.0",
        toy=True,
        wording="drawn",
        dtype="float32",
        size=(64, 64),
        multiple=8,
        trainer="" if role == "scorer" else "engines.fake:FakeTrainer",
        loop="engines.fake:FakeTrainer",
        captioner="engines.fake:FakeCaptioner",
        defaults=_KNOBS,
    )


FAKE_MODELS = (
    _row("fake-flux", "generator", "FakeGenerator"),
    _row("fake-edit", "editor", "FakeEditor"),
    _row("fake-identity", "scorer", "FakeScorer"),
)


def fake_registry(assets: Path, models_dir: Path) -> Registry:
    """A registry whose rows are `fake-flux`, `fake-edit` and `fake-identity`."""
    return Registry(assets, models_dir, FAKE_MODELS)
