"""Trains LoRAs on something small, and measures how well they learned it.

A tiny base model learns figures on dark backgrounds in seconds; the lesson is a figure on white. A LoRA of a few dozen
steps draws that only with the right target, at the right noise levels, over the right tokens.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from engines.api.params import LoraUse, TrainParams
from engines.api.protocols import CheckpointSaved, TrainItem, TrainRun
from engines.drawing.latents import pack, unpack
from engines.drawing.lora_files import attached
from engines.drawing.sampling import euler, noise, sigmas
from engines.training.data import read_sources
from engines.training.encoding import encode
from engines.training.losses import terms
from engines.weights import components

SIDE = 32
KNOBS = TrainParams(
    rank=8,
    alpha=16.0,
    learning_rate=1e-2,
    steps=50,
    batch_size=4,
    resolution=SIDE,
    caption_dropout=0.0,
    gradient_checkpointing=False,
    save_every=0,
    sample_every=0,
)
_SCHOOL = KNOBS.replace(batch_size=8, steps=200, learning_rate=4e-3)
_LEVELS = (0.2, 0.5, 0.8)
_DRAWING_STEPS = 6
_FALLEN, _NEARER = 0.9, 0.9


def picture(path: Path, background: str, shirt: str) -> Path:
    """Draws a figure in a shirt, with its face in the upper half."""
    image = Image.new("RGB", (SIDE, SIDE), background)
    pen = ImageDraw.Draw(image)
    pen.ellipse((9, 3, 23, 17), fill="peru")
    pen.rectangle((7, 18, 25, 31), fill=shirt)
    image.save(path)
    return path


def school(trainer: Any, folder: Path, lease: Any) -> Path:
    """Returns a copy of a random model, trained to draw figures on dark backgrounds, or to keep a picture as it is."""
    home = shutil.copytree(trainer.folder, folder / "model")
    colours = [(back, shirt) for back in ("navy", "olive", "purple", "teal") for shirt in ("gold", "black", "crimson")]
    paths = [picture(folder / f"{index}.png", *each) for index, each in enumerate(colours)]
    edits = trainer.spec.family == "qwen-edit"
    items = tuple(TrainItem(path, "a person in the forest", (path,) if edits else ()) for path in paths)
    _even(trainer, home, [Image.open(path) for path in [*paths, picture(folder / "white.png", "white", "seagreen")]])
    pupil = type(trainer)(trainer.spec, home)
    run = TrainRun(folder / "school", items, _SCHOOL)
    encoded = encode(pupil.family, run, read_sources(items), lease(pupil.plan(run)), lambda *_: None)
    transformer = _fresh(pupil)
    (term,) = terms(pupil.family, encoded, _SCHOOL)
    optimizer = torch.optim.Adam(transformer.parameters(), lr=_SCHOOL.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _SCHOOL.learning_rate, _SCHOOL.steps, pct_start=0.1)
    for number in range(_SCHOOL.steps):
        term.losses(transformer, term.batch(number, range(100), torch.device("cpu"))).mean().backward()
        torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    transformer.save_pretrained(home / "transformer")
    return home


def _fresh(trainer: Any) -> Any:
    """Returns the transformer as its class initialises it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind = type(components.load(trainer.spec, trainer.folder, "transformer"))
        return kind.from_config(kind.load_config(trainer.folder / "transformer")).train()


def _even(trainer: Any, home: Path, images: Sequence[Image.Image]) -> None:
    """Sets the VAE so that its latents are of unit size and not noisy; random weights give nine tenths noise."""
    vae, channels = components.load(trainer.spec, home, "vae"), 16
    last = getattr(vae, "quant_conv", None) or vae.encoder.conv_out
    last.weight[channels:], last.bias[channels:] = 0.0, -20.0
    vae.save_pretrained(home / "vae")
    parts, generator, edits = {"vae": vae}, torch.Generator(), trainer.spec.family == "qwen-edit"
    pairs = [(image, [image] if edits else []) for image in images]
    rows = torch.cat([trainer.family.encode_images(parts, *pair, SIDE, generator)["latents"] for pair in pairs])
    middle, spread = rows.mean((0, 2, 3)), rows.std((0, 2, 3))
    file = home / "vae" / "config.json"
    settings = json.loads(file.read_text())
    if settings.get("latents_mean"):
        old_mean, old_std = torch.tensor(settings["latents_mean"]), torch.tensor(settings["latents_std"])
        settings["latents_mean"] = (middle * old_std + old_mean).tolist()
        settings["latents_std"] = (spread * old_std).tolist()
    else:
        settings["scaling_factor"] /= float(spread.mean())
    file.write_text(json.dumps(settings))


class Lesson:
    """Holds four pictures of one figure for a family, and leases that keep the model between questions."""

    def __init__(self, trainer: Any, folder: Path, lease: Any, caption: str = "ohwx person in the forest") -> None:
        self.trainer, self.folder, self._lease_of = trainer, folder, lease
        self._leases: dict[str, Any] = {}
        shirts = ("crimson", "crimson", "seagreen", "seagreen")
        results = [picture(folder / f"{index}.png", "white", shirt) for index, shirt in enumerate(shirts)]
        self.items = tuple(TrainItem(path, caption) for path in results)
        if trainer.spec.family == "qwen-edit":
            before = [picture(folder / f"before-{index}.png", "navy", shirt) for index, shirt in enumerate(shirts)]
            pairs = zip(self.items, before, strict=True)
            self.items = tuple(dataclasses.replace(item, references=(path,)) for item, path in pairs)

    def run(self, name: str = "run", items: Sequence[TrainItem] = (), **knobs: Any) -> TrainRun:
        """Returns a run over the pictures."""
        return TrainRun(self.folder / name, tuple(items) or self.items, KNOBS.replace(**knobs), trigger="ohwx")

    def train(self, run: TrainRun, family: Any = None) -> Path:
        """Trains, with another family's maths where one is given; returns the adapter."""
        trainer = type(self.trainer)(self.trainer.spec, self.trainer.folder)
        trainer.family = family or trainer.family
        events = list(trainer.train(run, self.lease(run), lambda *_: None))
        return [event for event in events if isinstance(event, CheckpointSaved)][-1].adapter

    def lease(self, run: TrainRun) -> Any:
        """Returns a lease of the run's model, which is loaded once."""
        if run.params.base not in self._leases:
            self._leases[run.params.base] = self._lease_of(self.trainer.plan(run))
        return self._leases[run.params.base]

    def predicted(self, run: TrainRun, adapter: Path | None = None, on: Any = None) -> Tensor:
        """Returns the velocity at fixed noise, per noise level, example and token: (3, 4, n, 64)."""
        family, batch, transformer = self._shown(run)
        start = _noise(batch)
        with attached(on or transformer, _uses(adapter), family.spec.family) as model, torch.no_grad():
            levels = [torch.full((4,), level) for level in _LEVELS]
            return torch.stack([family.predict(model, batch, start, level, 1.0) for level in levels])

    def loss(self, run: TrainRun, adapter: Path | None = None) -> Tensor:
        """Returns the true squared errors at the same noise: (3, 4, n)."""
        _, batch, _ = self._shown(run)
        target = pack(_noise(batch) - batch["latents"])
        return (self.predicted(run, adapter) - target).square().mean(-1)

    def learned(self, run: TrainRun, adapter: Path) -> bool:
        """Returns whether the loss fell at every noise level and the drawings came nearer to the pictures."""
        before, after = (self.loss(run, each).mean((1, 2)) for each in (None, adapter))
        fallen, nearer = after / before, self.drawn(run, adapter) / self.drawn(run)
        print(f"{run.params.to_text()}: loss × {fallen.tolist()}, distance × {nearer:.3f}")
        return bool((fallen < _FALLEN).all()) and nearer < _NEARER

    def drawn(self, run: TrainRun, adapter: Path | None = None) -> float:
        """Returns the distance of the drawings from the pictures, relative to that of noise."""
        family, batch, transformer = self._shown(run)
        shown = batch["latents"]
        start, (h, w) = _noise(batch), shown.shape[-2:]

        def velocity(packed: Tensor, level: float) -> Tensor:
            sigma = torch.full((4,), level)
            return family.velocity(transformer, batch, unpack(packed, h, w), sigma, 1.0)

        levels = sigmas(family.schedule, _DRAWING_STEPS, h * w // 4)
        with attached(transformer, _uses(adapter), family.spec.family), torch.no_grad():
            made = unpack(euler(velocity, pack(start), levels, lambda *_: None), h, w)
        middle = shown.mean(0)
        return float((made.mean(0) - middle).norm() / (start.mean(0) - middle).norm())

    def _shown(self, run: TrainRun) -> tuple[Any, dict[str, Tensor], Any]:
        family, lease = self.trainer.family, self.lease(run)
        encoded = encode(family, run, read_sources(run.items), lease, lambda *_: None)
        batch = family.collate([encoded.examples.row(index, wordless=False) for index in range(4)])
        with lease.stage("train") as parts:
            return family, batch, parts["transformer"]


def _noise(batch: dict[str, Tensor]) -> Tensor:
    return noise(range(4), tuple(batch["latents"].shape[1:]))


def _uses(adapter: Path | None) -> list[LoraUse]:
    return [LoraUse(file=str(adapter))] if adapter else []
