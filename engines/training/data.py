"""Prepares the data of a training: crops its pictures, caches encoded tensors, and puts examples into batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.api.crops import Crop, cut
from engines.api.errors import BadInput, NotFound
from engines.api.protocols import TrainItem
from engines.pictures import open_picture, to_grey

Tensors = Mapping[str, Tensor]  # by name, as a safetensors file has them

_CACHE_VERSION = 2  # to be raised when the same files are encoded differently
_CONTENT_VERSION = 1  # once raised, no training that has begun can be resumed
_HASHED_BYTES = 1 << 20  # at either end of a weights file


@dataclass(frozen=True)
class Source:
    """Holds one training item and the content hashes of its files.

    `image`, `references`: hashes of the pictures with their crops; `mask`: hash of the mask file, "" without a mask;
    `mirrored`: whether the pictures are flipped left to right. The hashes become part of the keys of cached encodings.
    """

    item: TrainItem
    image: str
    references: tuple[str, ...]
    mask: str = ""
    mirrored: bool = False

    def mirror(self) -> Source:
        """Returns a copy of this item that opens its picture, references and mask flipped left to right."""
        image, *references = (key("mirror", name) for name in (self.image, *self.references))
        return replace(self, image=image, references=tuple(references), mirrored=True)

    def open(self) -> SourcePictures:
        """Opens the item's picture, references and mask, cropped and flipped for training but not yet scaled.

        Raises: BadInput for a file that is no picture, an impossible crop, or a mask whose size differs from its
        picture's.
        """
        whole = open_picture(self.item.image)
        mask = self._cropped(open_mask(self.item.mask, whole.size), self.item.mask) if self.item.mask else None
        return SourcePictures(self._cropped(whole, self.item.image), self.open_references(), mask)

    def open_references(self) -> list[Image.Image]:
        """Opens the reference pictures, which an editor gets as input, and returns them cropped and flipped.

        The first reference is the picture from which the training picture was made by an edit. It is cropped to the
        same area as the training picture, so that the LoRA does not learn to zoom. Other references are not cropped.
        Raises: BadInput for a file that is no picture, or an impossible crop.
        """
        opened = [(open_picture(path), path) for path in self.item.references]
        edited = [(cut(image, self.item.source_crop, str(path)), path) for image, path in opened[:1]]
        return [self._cropped(*each) for each in edited] + [self._flipped(image) for image, _ in opened[1:]]

    def _cropped(self, image: Image.Image, file: Path) -> Image.Image:
        return self._flipped(cut(image, self.item.crop, str(file)))

    def _flipped(self, image: Image.Image) -> Image.Image:
        return ImageOps.mirror(image) if self.mirrored else image


@dataclass(frozen=True)
class SourcePictures:
    """Holds the opened pictures of one training item, cropped and flipped but not yet scaled.

    `references`: the pictures that an editor gets as input, empty for a generator; `mask`: a grey picture that weights
    the loss, None without one.
    """

    image: Image.Image
    references: list[Image.Image]
    mask: Image.Image | None


class Cache:
    """Stores encoded tensors in a folder, in one safetensors file for each key.

    A key is a hash of the content that was encoded. A damaged file counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, key: str) -> bool:
        try:
            with safe_open(self._path(key), framework="pt") as file:
                return bool(file.keys())
        except (FileNotFoundError, SafetensorError):
            return False

    def shapes(self, key: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Returns the (name, shape) of each tensor that is stored under a key, sorted by name.

        Reads only the file's header.
        """
        with safe_open(self._path(key), framework="pt") as file:
            return tuple((name, tuple(file.get_slice(name).get_shape())) for name in sorted(file.keys()))

    def __getitem__(self, key: str) -> dict[str, Tensor]:
        return load_file(self._path(key))

    def fill(self, key: str, make: Callable[[], Tensors]) -> None:
        """Calls `make` and stores the tensors that it returns (by name) under `key`.

        If tensors are stored under this key already, it does nothing and does not call `make`. The file is written
        completely or not at all.
        """
        if key in self:
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{uuid4().hex[:8]}.tmp")  # machines that share a folder may fill one key at a time
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}, draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)  # half of one would keep a full disk full

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def key(*parts: object) -> str:
    """Returns a cache key: a hash of the `repr` of all `parts`, and of a version number of the cache."""
    return _hashed(_CACHE_VERSION, *parts)


def _content_hash(*parts: object) -> str:
    """Returns a hash of a training's input that does not depend on how the input is encoded."""
    return _hashed(_CONTENT_VERSION, *parts)


def _hashed(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def read_sources(items: Sequence[TrainItem]) -> tuple[Source, ...]:
    """Returns the items of a data set with the hashes of their files, in the same order.

    Reads every file once. Raises: BadInput for an empty data set, NotFound for a missing file.
    """
    if not items:
        raise BadInput("There is nothing to train on.", "Approve some pictures in Review first.")
    files = [file for item in items for file in (item.image, item.mask, *item.references) if file]
    hashes = {file: file_hash(file) for file in dict.fromkeys(files)}  # each file is read once
    sources = []
    for item in items:
        image = _cropped_hash(hashes[item.image], item.crop)
        references = [hashes[file] for file in item.references]
        edited = [_cropped_hash(_cropped_hash(each, item.source_crop), item.crop) for each in references[:1]]
        mask = hashes[item.mask] if item.mask else ""
        sources.append(Source(item, image, (*edited, *references[1:]), mask))
    return tuple(sources)


def _cropped_hash(picture: str, crop: Crop) -> str:
    """Returns the hash of a picture with a crop; that of the picture itself where nothing is cropped."""
    return _content_hash("crop", picture, *crop) if crop else picture


def dataset_hash(sources: Iterable[Source]) -> str:
    """Returns one hash for a whole data set: its pictures, references, masks, crops and captions, in order."""
    return _content_hash(
        "dataset", [(source.image, source.item.caption, source.references, source.mask) for source in sources]
    )


def weights_hash(folder: Path, names: Iterable[str]) -> str:
    """Returns a hash that tells model weights apart without reading all of their many gigabytes.

    It covers the names and sizes of the files, and the first and last MiB of each. `folder`: the model's folder;
    `names`: the subfolders of the components that count.
    """
    files = (file for name in names for file in sorted((folder / name).glob("*")) if file.is_file())
    return _content_hash("weights", [(str(file.relative_to(folder)), *_size_and_ends(file)) for file in files])


def open_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """Opens a mask file and returns it as a grey picture.

    `size`: the size of the picture that the mask belongs to. Raises: BadInput if the mask has another size.
    """
    mask = to_grey(open_picture(path))
    if mask.size != size:
        raise BadInput(
            f"The mask {path} is {mask.width}×{mask.height}, its picture {size[0]}×{size[1]}.",
            "Draw it at the picture's size, or train without it.",
        )
    return mask


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns a picture scaled to cover `size` (width, height) and cropped around its centre to that size."""
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


class BatchOrder:
    """Decides which examples form each batch, from the seed and the batch's number alone.

    So a resumed training needs no saved state. Each epoch is shuffled anew. All examples of a batch have the same
    shape. If too few of a shape are left for a full batch, examples of that shape from the start of the epoch are
    repeated in it.
    """

    def __init__(self, shapes: Sequence[object], batch_size: int, seed: int) -> None:
        self._shapes = list(shapes)
        self._batch_size = batch_size
        self._seed = seed
        counts = [self._shapes.count(shape) for shape in dict.fromkeys(self._shapes)]
        self._per_epoch = sum(math.ceil(count / batch_size) for count in counts)
        self._epoch = lru_cache(maxsize=1)(self._shuffled)  # a step must not cost more the more pictures there are

    def batch(self, number: int) -> list[int]:
        """Returns the indices of the examples in one batch.

        `number`: counts batches from 0 since the training began, not since it was resumed.
        """
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
    """Creates a CPU random generator that is fully determined by a seed, a purpose (any words) and a number."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def stack(rows: Sequence[Tensors]) -> dict[str, Tensor]:
    """Concatenates the tensors (1, …) of several examples, and returns the batches (B, …) by name."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def file_hash(path: Path, instead: str = "leave it out of the data set") -> str:
    """Returns the SHA-256 of a file, in hex.

    `instead`: what the user may do where the file cannot be restored. Raises: NotFound for a missing file.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there.", f"Restore it from the trash, or {instead}.")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size_and_ends(file: Path) -> tuple[int, str]:
    """Returns a file's size and the hash of its first and last MiB."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_HASHED_BYTES))
        stream.seek(max(0, size - _HASHED_BYTES))
        digest.update(stream.read(_HASHED_BYTES))
    return size, digest.hexdigest()
