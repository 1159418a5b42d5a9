"""The dataset that a version is trained on: a frozen list of entries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Part, Record
from studio.records.image import Kind


class Role(StrEnum):
    """What a LoRA version or dataset is for: drawing the character, or editing pictures."""

    CHARACTER = "character"
    EDITOR = "editor"


class Lesson(StrEnum):
    """The kind of a training example of the editor: golden where a human corrected the result, else positive."""

    GOLDEN = "golden"
    POSITIVE = "positive"


@dataclass(frozen=True, kw_only=True)
class Entry(Part):
    """Holds one picture to train on, by its id, with its caption; for an edit also the ids of its source pictures.

    `repeats` is how often an epoch shows it. `mask` is a file in the character's folder. `crop` is the part that is
    trained, `source_crop` the part of the first source picture that was edited; an empty crop is the whole picture.
    """

    image: str
    caption: str
    kind: Kind | Lesson
    references: tuple[str, ...] = ()
    repeats: int = 1
    mask: str = field(default="", metadata=UNLESS_DEFAULT)
    crop: tuple[float, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    source_crop: tuple[float, ...] = field(default=(), metadata=UNLESS_DEFAULT)

    @property
    def worded(self) -> bool:
        """Returns whether the entry has a caption."""
        return bool(self.caption.strip())


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """Holds a frozen list of training entries; `hash` is the SHA-256 of its role and entries.

    `real_share` is the share of originals among its entries, counted with their repeats.
    """

    role: Role
    entries: tuple[Entry, ...]
    hash: str = ""
    real_share: float = 0.0


def real_share(entries: Sequence[Entry]) -> float:
    """Returns the share of originals among a training's entries, 0…1, counted with their repeats."""
    seen = sum(entry.repeats for entry in entries)
    real = sum(entry.repeats for entry in entries if entry.kind is Kind.SOURCE)
    return real / seen if seen else 0.0


def frozen(role: Role, entries: Sequence[Entry]) -> Dataset:
    """Returns a dataset of the entries; its id is part of its hash, so that the same entries give the same id."""
    text = json.dumps([role, [entry.to_json() for entry in entries]], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Dataset(id=digest[:32], role=role, entries=tuple(entries), hash=digest, real_share=real_share(entries))
