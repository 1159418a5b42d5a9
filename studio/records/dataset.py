"""What a version is trained on: a frozen list of entries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from studio.records.base import UNLESS_DEFAULT, Part, Record
from studio.records.image import Kind


class Role(StrEnum):
    """Which flywheel a version or dataset belongs to."""

    CHARACTER = "character"
    EDITOR = "editor"


class Lesson(StrEnum):
    """What an edit teaches the editor: `golden` where a human mended the result."""

    GOLDEN = "golden"
    POSITIVE = "positive"


@dataclass(frozen=True, kw_only=True)
class Entry(Part):
    """One picture to learn, by its id, with its words; of an edit also the pictures that it starts from.

    `repeats` is how often an epoch shows it. `mask` is a file in the character's folder, `crop` the part that counts,
    `source_crop` the part of the first reference that was edited; empty for all.
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
        """Whether there are words to learn it by."""
        return bool(self.caption.strip())


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """A frozen list of what a version is trained on; `hash` is that of its role and entries."""

    role: Role
    entries: tuple[Entry, ...]
    hash: str = ""
    real_share: float = 0.0


def real_share(entries: Sequence[Entry]) -> float:
    """Return which share of what a training sees is the user's own pictures, repeats counted."""
    seen = sum(entry.repeats for entry in entries)
    real = sum(entry.repeats for entry in entries if entry.kind is Kind.SOURCE)
    return real / seen if seen else 0.0


def frozen(role: Role, entries: Sequence[Entry]) -> Dataset:
    """Return a dataset whose id is part of its hash: the same entries give the same dataset."""
    text = json.dumps([role, [entry.to_json() for entry in entries]], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Dataset(id=digest[:32], role=role, entries=tuple(entries), hash=digest, real_share=real_share(entries))
