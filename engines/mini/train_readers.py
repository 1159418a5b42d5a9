"""Trains the nets that classify drawings: the attribute reader, the shipped identity encoder, and the judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.mini import configs
from engines.mini.attention import spelled_out_attention
from engines.mini.dataset import PICTURES_PER_PERSON, Dataset, Pictures
from engines.mini.loop import Schedule, autocast, train
from engines.mini.nets import Judge, Reader
from engines.mini.people import PERSON_VALUES
from engines.mini.train_vae import to_pixels
from engines.wording import drawn as vocab

Scores = npt.NDArray[np.floating]  # (N,) cosines of pairs of pictures

_SCALE, _MARGIN = 20.0, 0.15


def roughen(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Returns pictures of which half are blurred a little and half have noise added, as generated pictures are."""
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.rand((len(pixels), 1, 1, 1), generator=generator)
    noise = torch.randn(pixels.shape, generator=generator) * 0.12
    dirty = torch.rand((len(pixels), 1, 1, 1), generator=generator)
    return torch.lerp(pixels, blurred, (amount * 1.6 - 0.8).clamp(0, 1)) + noise * (dirty * 2 - 1).clamp(0, 1)


def train_reader(data: Dataset, folder: Path, schedule: Schedule) -> tuple[Reader, dict[str, float]]:
    """Trains the attribute reader on every drawing; returns it, and the figures of `loop.train`."""
    torch.manual_seed(schedule.seed)
    reader = Reader()
    reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out of its overloads
    labels = {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in data.all_scenes])
        for name, values in vocab.SCENE_VALUES.items()
    }

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(data.pictures), (schedule.batch,), generator=generator).sort().values
        pixels = roughen(to_pixels(data.pictures[rows.numpy()]), generator)
        with autocast(schedule.device):
            logits = reader(pixels.to(schedule.device))
        wanted = {name: labels[name][rows].to(schedule.device) for name in logits}
        return torch.stack([F.cross_entropy(logits[name].float(), wanted[name]) for name in logits]).sum()

    return reader, train("reader", folder, {"reader": reader}, loss_of, schedule)


def embed_identity(encoder: nn.Module, pixels: Tensor) -> Tensor:
    """Returns unit vectors (B, width) of pictures (B, 3, 64, 64) in −1…1, by the judge or the identity encoder."""
    if isinstance(encoder, Judge):
        vectors: Tensor = encoder(pixels)
        return vectors
    return F.normalize(encoder(pixel_values=pixels).pooler_output.float(), dim=1)


def faithful_rows(data: Dataset) -> Tensor:
    """Returns the indices of pictures that show the labelled person: all scenes, and edits that keep every trait."""
    kept = [data.count + i for i, pair in enumerate(data.pairs) if pair.after.person == pair.before.person]
    return torch.tensor([*range(data.count), *kept])


def person_of(data: Dataset, rows: Tensor) -> Tensor:
    """Returns the number of the person in each of the pictures `rows`; eight scenes in a row show one person."""
    return rows % data.count // PICTURES_PER_PERSON


def train_identity(kind: str, data: Dataset, folder: Path, schedule: Schedule) -> tuple[nn.Module, dict[str, float]]:
    """Trains the "identity" or the "judge" encoder (`kind`) to distinguish the training people.

    Only "identity" also learns the people's named traits. Returns the encoder, and the figures of `loop.train`.
    """
    torch.manual_seed(schedule.seed)
    judge = kind == "judge"
    encoder: nn.Module = Judge() if judge else configs.identity_encoder()
    if judge:
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out, as above
    width = 96 if judge else configs.IDENTITY_WIDTH
    people = data.count // PICTURES_PER_PERSON
    faithful = faithful_rows(data)
    centres = nn.Linear(width, people, bias=False)
    taught = {} if judge else PERSON_VALUES
    traits = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in taught.items()})
    marks = {
        name: torch.tensor([values.index(getattr(scene.person, name)) for scene in data.all_scenes])
        for name, values in taught.items()
    }

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = faithful[torch.randint(len(faithful), (schedule.batch,), generator=generator).sort().values]
        pixels = roughen(to_pixels(data.pictures[rows.numpy()]), generator)
        with autocast(schedule.device):
            vectors = embed_identity(encoder, pixels.to(schedule.device))
        wanted = person_of(data, rows).to(schedule.device)
        cosine = vectors @ F.normalize(centres.weight, dim=1).T - _MARGIN * F.one_hot(wanted, people)
        loss = F.cross_entropy(_SCALE * cosine, wanted)
        told = {name: marks[name][rows].to(schedule.device) for name in traits}
        return loss + sum(F.cross_entropy(head(_SCALE * vectors), told[name]) for name, head in traits.items())

    modules = {"encoder": encoder, "centres": centres} | ({} if judge else {"traits": traits})
    with spelled_out_attention():
        return encoder, train(kind, folder, modules, loss_of, schedule)


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], pictures: Pictures, batch: int = 128) -> Tensor:
    """Applies `function`, which takes pixels (B, 3, 64, 64), to many pictures; returns the concatenated results."""
    parts = [function(to_pixels(pictures[i : i + batch])) for i in range(0, len(pictures), batch)]
    return torch.cat(parts)


def equal_error(same: Scores, different: Scores) -> tuple[float, float]:
    """Returns the cosine threshold at which equal shares of same and different pairs are misjudged, and that share.

    `same`, `different`: the cosines of pairs that show one person, and of pairs that show two.
    """
    marks = np.unique(np.concatenate([same, different]))
    misses = np.searchsorted(np.sort(same), marks, side="left") / len(same)
    passes = 1 - np.searchsorted(np.sort(different), marks, side="left") / len(different)
    best = int(np.argmin(np.abs(misses - passes)))
    return float(marks[best]), float((misses[best] + passes[best]) / 2)


def auc(same: Scores, different: Scores) -> float:
    """Returns the share of cases in which a pair of one person has a higher cosine than a pair of two people."""
    order = np.sort(different)
    below = np.searchsorted(order, same, side="left") + np.searchsorted(order, same, side="right")
    return float(below.mean() / (2 * len(different)))
