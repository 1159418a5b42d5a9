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
    """Returns a copy of pictures (B, 3, H, W), of which a random half are blurred and a random half have noise added.

    This imitates the defects of generated pictures.
    """
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.rand((len(pixels), 1, 1, 1), generator=generator)
    noise = torch.randn(pixels.shape, generator=generator) * 0.12
    dirty = torch.rand((len(pixels), 1, 1, 1), generator=generator)
    return torch.lerp(pixels, blurred, (amount * 1.6 - 0.8).clamp(0, 1)) + noise * (dirty * 2 - 1).clamp(0, 1)


def train_reader(data: Dataset, folder: Path, schedule: Schedule) -> tuple[Reader, dict[str, float]]:
    """Trains a classifier that reads the attributes of a drawing (such as pose and outfit) on all drawings of `data`.

    `folder`: for the checkpoint, from which an interrupted training resumes. Returns the classifier, and a dict with
    the number of `steps`, the final `loss` and the number of `parameters`.
    """
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
    """Returns the identity vectors of pictures, (B, width), each of length 1.

    `encoder`: either of the two nets that `train_identity` trains; `pixels`: (B, 3, 64, 64) in −1…1.
    """
    if isinstance(encoder, Judge):
        vectors: Tensor = encoder(pixels)
        return vectors
    return F.normalize(encoder(pixel_values=pixels).pooler_output.float(), dim=1)


def faithful_rows(data: Dataset) -> Tensor:
    """Returns the indices, (M,), of the pictures that show the original persons of the data set.

    These are all pictures before an edit, and those edited pictures in which the person keeps every trait.
    """
    kept = [data.count + i for i, pair in enumerate(data.pairs) if pair.after.person == pair.before.person]
    return torch.tensor([*range(data.count), *kept])


def person_of(data: Dataset, rows: Tensor) -> Tensor:
    """Returns for each of the picture indices `rows` the number, from 0, of the person whom that picture shows."""
    return rows % data.count // PICTURES_PER_PERSON


def train_identity(kind: str, data: Dataset, folder: Path, schedule: Schedule) -> tuple[nn.Module, dict[str, float]]:
    """Trains an encoder that distinguishes the persons in `data`.

    `kind`: "identity" for the encoder that the program uses, "judge" for one that only measures the program's results.
    "identity" also learns to name the persons' traits. `folder`: for the checkpoint, from which an interrupted training
    resumes. Returns the encoder, and a dict with the number of `steps`, the final `loss` and the number of
    `parameters`.
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
    """Applies a function to many pictures, `batch` of them at a time, and returns the concatenated results.

    `function`: takes pixels (B, 3, 64, 64) in −1…1 and returns a tensor (B, …).
    """
    parts = [function(to_pixels(pictures[i : i + batch])) for i in range(0, len(pictures), batch)]
    return torch.cat(parts)


def equal_error(same: Scores, different: Scores) -> tuple[float, float]:
    """Returns the cosine threshold of the equal error rate, and the equal error rate (0…1).

    At this threshold the rates of false matches and of false rejections are equal, or nearest to each other.
    `same`, `different`: the cosines of pairs that show one person, and of pairs that show two persons.
    """
    marks = np.unique(np.concatenate([same, different]))
    misses = np.searchsorted(np.sort(same), marks, side="left") / len(same)
    passes = 1 - np.searchsorted(np.sort(different), marks, side="left") / len(different)
    best = int(np.argmin(np.abs(misses - passes)))
    return float(marks[best]), float((misses[best] + passes[best]) / 2)


def auc(same: Scores, different: Scores) -> float:
    """Returns the area under the ROC curve, for telling pairs of one person from pairs of two persons by their cosine.

    `same`, `different`: the cosines of pairs that show one person, and of pairs that show two persons.
    """
    order = np.sort(different)
    below = np.searchsorted(order, same, side="left") + np.searchsorted(order, same, side="right")
    return float(below.mean() / (2 * len(different)))
