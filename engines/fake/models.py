"""Provides deterministic engines, which tests use instead of models; they need no torch and no weights.

A fake picture is 4×4 colours from a hash of its parameters, enlarged. A fake LoRA is the mean of its training pictures;
drawing with it blends that mean in, so a trained fake resembles its training pictures.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.api.crops import cut
from engines.api.errors import BadInput, Cancelled, LoraMismatch
from engines.api.params import CaptionParams, GenerateParams, LoraUse, Params
from engines.api.protocols import (
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
from engines.api.seeing import Caption
from engines.catalogue.registry import Registry
from engines.fake.device import FakeWeights
from engines.pictures import open_picture, to_rgb

_MIB = 1 << 20
_GRID = (4, 4)
_TOLD = "previews.told"
_WORDS_READ = 77
_SIZES = {"text_encoder": 60 * _MIB, "transformer": 100 * _MIB, "vae": 2 * _MIB}


def _plan(spec: ModelSpec, what: str, *stages: tuple[str, tuple[str, ...]], pictures: int = 1) -> Plan:
    """Returns a plan of stages, each given by its name and the names of its components."""
    sizes = {**_SIZES, **spec.component_bytes}

    def part(name: str) -> Component:
        key = f"{spec.name}/{name}"
        return Component(key, sizes[name], lambda: FakeWeights(key))

    return Plan(what, tuple(Stage(name, tuple(map(part, parts)), 8 * _MIB * pictures) for name, parts in stages))


def _grid(*seeds: object) -> Image.Image:
    """Returns a picture of 4×4 colours from a hash of the seeds."""
    return Image.frombytes("RGB", _GRID, hashlib.sha512(repr(seeds).encode()).digest()[:48])


def _look(params: Params, beside: Sequence[Image.Image] = ()) -> Image.Image:
    """Returns a fake picture's 4×4 colours: a hash of its prompt and seed, blended with the means of its LoRAs.

    `beside`: further pictures that an edit is given, whose colours are blended in, too.
    """
    seed = params.to_json().get("seed", 0)
    grid = Image.blend(_grid(params.headline()), _grid(params.headline(), seed, "noise"), 0.2)
    uses: tuple[LoraUse, ...] = getattr(params, "loras", ())
    for use in uses:
        grid = Image.blend(grid, _read_lora(Path(use.file)), max(0.0, min(0.8 * use.weight, 1.0)))
    for picture in beside:
        grid = Image.blend(grid, to_rgb(picture).resize(_GRID, Image.Resampling.BOX), 0.3)
    return grid


def _read_lora(path: Path) -> Image.Image:
    try:
        with safe_open(path, framework="numpy") as file:
            if "fake.mean" not in file.keys():  # noqa: SIM118  safe_open is no mapping
                raise LoraMismatch(f"{path.name} has no key of the fake family.", "Choose one made by FakeTrainer.")
            mean = file.get_tensor("fake.mean")
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} cannot be read as an adapter: {error}", "Choose a .safetensors file.") from None
    return Image.fromarray(np.asarray(mean, dtype=np.uint8))


def _enlarge(grid: Image.Image, size: tuple[int, int]) -> Image.Image:
    return grid.resize(size, Image.Resampling.BILINEAR)


class _Fake:
    """Base class of the fake engines."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder

    def check_loras(self, uses: Sequence[LoraUse]) -> list[str]:
        """Checks that FakeTrainer wrote each LoRA file; returns an empty list, because no tensor is ever left out.

        Raises: LoraMismatch, BadInput.
        """
        for use in uses:
            use.demand_usable()
            _read_lora(Path(use.file))
        return []


class FakeGenerator(_Fake):
    """Generates fake pictures for tests: 4×4 colours from a hash of prompt and seed, enlarged.

    The colours of the LoRAs are blended in. Equal parameters give equal pixels.
    """

    def plan(self, items: Sequence[GenerateParams]) -> Plan:
        """Returns the job's plan: the stages encode (text encoder), denoise (transformer) and decode (VAE)."""
        return _plan(
            self.spec,
            f"{self.spec.name}: {len(items)} pictures",
            ("encode", ("text_encoder",)),
            ("denoise", ("transformer",)),
            ("decode", ("vae",)),
        )

    def generate(self, items: Sequence[GenerateParams], lease: Lease, on_step: OnStep) -> Iterator[Image.Image]:
        """Generates the pictures in order and yields each as soon as it is decoded.

        `lease`: gives access to the components of a stage. `on_step`: called with the number of denoising steps done
        and their total over all pictures. Raises: BadInput for a LoRA file that cannot be read, LoraMismatch for one
        that FakeTrainer did not write.
        """
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
    """Edits pictures for tests: blends each picture with colours from a hash of its instruction and seed."""

    def plan(self, items: Sequence[EditItem]) -> Plan:
        """Returns the job's plan: the stages encode (text encoder and VAE), denoise (transformer) and decode (VAE)."""
        return _plan(
            self.spec,
            f"{self.spec.name}: {len(items)} edits",
            ("encode", ("text_encoder", "vae")),
            ("denoise", ("transformer",)),
            ("decode", ("vae",)),
        )

    def scaled(self, item: EditItem) -> EditItem:
        """Returns the edit as it is: this editor reads pictures of any size."""
        return item

    def edit(self, items: Sequence[EditItem], lease: Lease, on_step: OnStep) -> Iterator[Image.Image]:
        """Tints the pictures in order and yields each result, which has its source's size, as soon as it is decoded.

        `lease`: gives access to the components of a stage. `on_step`: called with the number of denoising steps done
        and their total over all edits. Raises: BadInput for a LoRA file that cannot be read, LoraMismatch for one that
        FakeTrainer did not write.
        """
        total = sum(item.params.steps for item in items)
        with lease.stage("encode"):
            grids = [_look(item.params, item.references) for item in items]
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
    """Captions pictures for tests, with an angle and an expression that a hash of the pixels chooses."""

    def plan(self, count: int, params: CaptionParams) -> Plan:
        """Returns the plan for captioning `count` pictures: one stage, with the text encoder; ignores `params`."""
        del params
        return _plan(self.spec, f"{self.spec.name}: {count} captions", ("caption", ("text_encoder",)))

    def caption(
        self, images: Sequence[Image.Image], params: CaptionParams, lease: Lease, on_step: OnStep
    ) -> Iterator[Caption]:
        """Yields a caption for each picture, in order: the trigger word of `params`, an angle and an expression.

        `lease`: gives access to the text encoder. `on_step`: called with the number of pictures done and their total.
        """
        with lease.stage("caption"):
            for index, image in enumerate(images):
                byte = hashlib.sha256(to_rgb(image).tobytes()).digest()
                tags = {"angle": ANGLES[byte[0] % 5], "expression": EXPRESSIONS[byte[1] % 4]}
                on_step(index + 1, len(images))
                yield Caption(f"{params.trigger} person, {tags['angle']}, {tags['expression']}", tags)


class FakeScorer(_Fake):
    """Embeds the 4×4 mean colours of a picture as a unit vector; similar pictures have vectors close to each other."""

    version = "fake-identity-1"
    threshold: float | None = None

    def embed(self, images: Sequence[Image.Image]) -> list[Embedding | NoFace]:
        """Returns a vector for each picture, or NoFace where the picture is entirely black."""
        found: list[Embedding | NoFace] = []
        for image in map(to_rgb, images):
            pixels = np.asarray(image.resize(_GRID, Image.Resampling.BOX), dtype=np.float64).ravel()
            vector = np.append((pixels - 127.5) / 127.5, 0.05)
            unit = Embedding(tuple(float(value) for value in vector / np.linalg.norm(vector)))
            found.append(NoFace() if image.getbbox() is None else unit)
        return found


class FakeTrainer(_Fake):
    """Trains a fake LoRA for tests: its only tensor is the mean of the training pictures, scaled down to 4×4 pixels.

    Checkpoints, resuming and cancelling work as in the real training loop.
    """

    def plan(self, run: TrainRun) -> Plan:
        """Returns the training's plan: the stages cache (text encoder, VAE) and train (transformer).

        The working memory of the stages grows with the largest number of reference pictures that an item has.
        """
        what = f"{self.spec.name}: train {run.params.steps} steps"
        pictures = max([1, *(len(item.references) for item in run.items)])
        return _plan(
            self.spec, what, ("cache", ("text_encoder", "vae")), ("train", ("transformer",)), pictures=pictures
        )

    def disk(self, params: Params) -> DiskUse:
        """Returns the bytes on disk of one fake checkpoint, and 0 for an encoded picture; ignores `params`."""
        return DiskUse(checkpoint=1 << 10, item=0)

    def cut(self, captions: Sequence[str]) -> Sequence[int]:
        """Returns the indices of the captions that have more words than CLIP's token limit."""
        return [at for at, caption in enumerate(captions) if len(caption.split()) > _WORDS_READ]

    def train(self, run: TrainRun, lease: Lease, on_step: OnStep) -> Iterator[TrainEvent]:
        """Trains from the run's last checkpoint, or from the start; yields events: steps, checkpoints, previews.

        A run that is already finished yields only its last checkpoint; that checkpoint's previews follow if they were
        not made before. When the user cancels, a checkpoint is saved before Cancelled is raised. `lease`: gives access
        to the components of a stage. `on_step`: called with the number of the next step and the total. Raises: BadInput
        where the run has no pictures, Cancelled.
        """
        if not run.items:
            raise BadInput("There is no picture to train on.", "Approve some pictures first.")
        with lease.stage("cache"):
            grids = []
            for item in run.items:
                learned = cut(open_picture(item.image), item.crop)
                grids.append(np.asarray(learned.resize(_GRID, Image.Resampling.BOX), dtype=np.float64))
            mean: NDArray[np.float64] = np.mean(grids, axis=0)
        with lease.stage("train"):
            step = max((int(path.name) for path in (run.folder / "checkpoints").glob("[0-9]*")), default=0)
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
                noise = hashlib.sha256(repr((run.params.seed, step)).encode()).digest()[0] / 255
                loss = 0.1 + math.exp(-3 * step / run.params.steps) + 0.02 * noise
                yield StepDone(step, run.params.steps, loss, noise, run.params.learning_rate, loss / 2, 0.001)
                if self._due(step, run.params.save_every, run):
                    adapter = self._save(run, step, mean)
                    yield CheckpointSaved(step, adapter)
                    if self._due(step, run.params.sample_every, run):
                        yield from self._samples(run, step, adapter)

    def _due(self, step: int, every: int, run: TrainRun) -> bool:
        return step == run.params.steps or (every > 0 and step % every == 0)

    def _save(self, run: TrainRun, step: int, mean: NDArray[np.float64]) -> Path:
        """Writes a checkpoint and returns its LoRA file: a mean that moves from that of `run.start` to `mean`."""
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
                metadata={"family": self.spec.family},  # one key only: the order of keys in the file is random
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
        asker="engines.fake:FakeAsker",
        defaults=_KNOBS,
    )


FAKE_MODELS = (
    _row("fake-flux", "generator", "FakeGenerator"),
    _row("fake-edit", "editor", "FakeEditor"),
    _row("fake-identity", "scorer", "FakeScorer"),
)


def fake_registry(assets: Path, models_dir: Path) -> Registry:
    """Returns a model registry of three fake models: `fake-flux`, `fake-edit` and `fake-identity`.

    `assets`: the folder of the models that ship with the studio; `models_dir`: the folder of downloaded models.
    """
    return Registry(assets, models_dir, FAKE_MODELS)
