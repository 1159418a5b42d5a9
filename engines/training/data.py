"""From pictures and words to batches: fitted, encoded once, cached by content, drawn in a seeded order."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.api.crops import Crop, cut
from engines.api.crops import bucket as bucket
from engines.api.errors import BadInput, NotFound
from engines.api.protocols import TrainItem
from engines.pictures import open_picture as open_image
from engines.pictures import to_grey

Tensors = Mapping[str, Tensor]

_CACHE_VERSION = 2  # raise it when the same files come to be encoded otherwise
_CONTENT_VERSION = 1  # raise it, and no training that has begun can go on
_ENDS = 1 << 20


@dataclass(frozen=True)
class Source:
    """One item, its pictures named by content and by what is shown of them, so that what is made is found again."""

    item: TrainItem
    image: str
    references: tuple[str, ...]
    mask: str = ""
    mirrored: bool = False

    def mirror(self) -> Source:
        """The same as seen in a mirror, references and mask alike."""
        image, *references = (key("mirror", name) for name in (self.image, *self.references))
        return replace(self, image=image, references=tuple(references), mirrored=True)

    def open(self) -> Shown:
        """What is learned. Raises: BadInput for what is no picture, a crop that cannot be, a mask of another size."""
        whole = open_image(self.item.image)
        mask = self._seen(open_mask(self.item.mask, whole.size)) if self.item.mask else None
        return Shown(self._seen(whole), self.open_references(), mask)

    def open_references(self) -> list[Image.Image]:
        """What it is made from; the first as it was edited, and cut as its result is, so that nothing learns to zoom.

        Raises: BadInput.
        """
        opened = [open_image(path) for path in self.item.references]
        edited = [cut(image, self.item.source_crop, str(self.item.references[0])) for image in opened[:1]]
        return [*map(self._seen, edited), *map(self._turned, opened[1:])]

    def _seen(self, image: Image.Image) -> Image.Image:
        return self._turned(cut(image, self.item.crop, str(self.item.image)))

    def _turned(self, image: Image.Image) -> Image.Image:
        return ImageOps.mirror(image) if self.mirrored else image


@dataclass(frozen=True)
class Shown:
    """A source's pictures as they are encoded, but for their size."""

    image: Image.Image
    references: list[Image.Image]
    mask: Image.Image | None


class Cache:
    """Tensors by content key, one safetensors file each; a file that cannot be read counts as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, key: str) -> bool:
        try:
            with safe_open(self._path(key), framework="pt") as file:
                return bool(file.keys())
        except (FileNotFoundError, SafetensorError):
            return False

    def shapes(self, key: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The tensors' names and shapes in the order of their names, from the file's header alone."""
        with safe_open(self._path(key), framework="pt") as file:
            return tuple((name, tuple(file.get_slice(name).get_shape())) for name in sorted(file.keys()))

    def __getitem__(self, key: str) -> dict[str, Tensor]:
        return load_file(self._path(key))

    def fill(self, key: str, make: Callable[[], Tensors]) -> None:
        """Make what is not there yet, or no longer readable; the file appears whole."""
        if key in self:
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}, draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)  # half of one would keep a full disk full

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def key(*parts: object) -> str:
    """A name for what is encoded: the same parts, the same name."""
    return _name(_CACHE_VERSION, *parts)


def _content(*parts: object) -> str:
    """A name for what is given to a training, however it is encoded."""
    return _name(_CONTENT_VERSION, *parts)


def _name(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def read_sources(items: Sequence[TrainItem]) -> tuple[Source, ...]:
    """Hash every file of a data set. Raises: BadInput for an empty one, NotFound for a missing picture."""
    if not items:
        raise BadInput("There is nothing to train on.", "Approve some pictures in Review first.")
    files = [file for item in items for file in (item.image, item.mask, *item.references) if file]
    hashes = {file: file_hash(file) for file in dict.fromkeys(files)}  # repeats cost nothing
    return tuple(_source(item, hashes) for item in items)


def _source(item: TrainItem, hashes: Mapping[Path, str]) -> Source:
    names = [hashes[file] for file in item.references]
    edited = [_cut_name(_cut_name(name, item.source_crop), item.crop) for name in names[:1]]
    image = _cut_name(hashes[item.image], item.crop)
    return Source(item, image, (*edited, *names[1:]), hashes[item.mask] if item.mask else "")


def _cut_name(name: str, crop: Crop) -> str:
    return _content("crop", name, *crop) if crop else name


def dataset_hash(sources: Iterable[Source]) -> str:
    """What a data set is: its pictures' bytes, what is shown of them, and its captions, in order."""
    return _content(
        "dataset", [(source.image, source.item.caption, source.references, source.mask) for source in sources]
    )


def weights_hash(folder: Path, names: Iterable[str]) -> str:
    """Tell models apart without reading 40 GB: file names, sizes, and the first and last MiB of each."""
    files = (file for name in names for file in sorted((folder / name).glob("*")) if file.is_file())
    return _content("weights", [(str(file.relative_to(folder)), *_ends(file)) for file in files])


def open_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """What counts of a picture of that size, in grey. Raises: BadInput where it is of another size."""
    mask = to_grey(open_image(path))
    if mask.size != size:
        raise BadInput(
            f"The mask {path} is {mask.width}×{mask.height}, its picture {size[0]}×{size[1]}.",
            "Draw it at the picture's size, or train without it.",
        )
    return mask


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at exactly that size: scaled, and cropped around its centre; untouched where it fits."""
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


class BatchOrder:
    """Which examples make up which batch: a function of (seed, batch number) alone, so there is no state.

    Every epoch shuffles anew. Examples of different shapes never share a batch; a shape's last batch is
    filled from its start, so that every batch is full and every example is seen at least once an epoch.
    """

    def __init__(self, shapes: Sequence[object], batch_size: int, seed: int) -> None:
        self._shapes = list(shapes)
        self._batch_size = batch_size
        self._seed = seed
        counts = [self._shapes.count(shape) for shape in dict.fromkeys(self._shapes)]
        self._per_epoch = sum(math.ceil(count / batch_size) for count in counts)
        self._epoch = lru_cache(maxsize=1)(self._shuffled)  # a step must not cost more the more pictures there are

    def batch(self, number: int) -> list[int]:
        """Indices of the examples in a batch, counted from the start of the training."""
        epoch, place = divmod(number, self._per_epoch)
        return self._epoch(epoch)[place]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        generator = seeded(self._seed, "order", epoch)
        by_shape: dict[object, list[int]] = {}
        for index in torch.randperm(len(self._shapes), generator=generator).tolist():
            by_shape.setdefault(self._shapes[index], []).append(index)
        batches = [
            [same[(start + offset) % len(same)] for offset in range(self._batch_size)]
            for same in by_shape.values()
            for start in range(0, len(same), self._batch_size)
        ]
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def seeded(seed: int, purpose: str, number: int) -> torch.Generator:
    """Randomness as a function of what it is for: nothing to save, nothing to restore, nothing shared."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def stack(rows: Sequence[Tensors]) -> dict[str, Tensor]:
    """Rows (1, …) of equal shapes to one batch (B, …)."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises: NotFound."""
    if not path.is_file():
        raise NotFound(f"{path} is not there.", "Restore it from the trash, or leave it out of the data set.")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _ends(file: Path) -> tuple[int, str]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_ENDS))
        stream.seek(max(0, size - _ENDS))
        digest.update(stream.read(_ENDS))
    return size, digest.hexdigest()
