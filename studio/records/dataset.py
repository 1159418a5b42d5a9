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
    """Names what a LoRA or its dataset is for: drawing the character, or editing pictures."""

    CHARACTER = "character"
    EDITOR = "editor"


class Lesson(StrEnum):
    """Names the kind of a training example for an editor model; each example is an approved edit.

    An example is golden where a human corrected a wrong result, marked the area to edit, or tried again with other
    words; all other examples are positive.
    """

    GOLDEN = "golden"
    POSITIVE = "positive"


@dataclass(frozen=True, kw_only=True)
class Entry(Part):
    """Holds one picture to train on, by its id, with its caption."""

    image: str
    """The id of the picture."""
    caption: str
    """The caption that it is learned with."""
    kind: Kind | Lesson
    """The origin of the picture, or golden or positive for an edit."""
    references: tuple[str, ...] = ()
    """The ids of the pictures that an edit starts from."""
    repeats: int = 1
    """How often an epoch has it."""
    mask: str = field(default="", metadata=UNLESS_DEFAULT)
    """The file of its mask, relative to the character's folder."""
    crop: tuple[float, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The part that is trained: left, top, right, bottom in 0…1; empty for all."""
    source_crop: tuple[float, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The same of the picture that an edit starts from."""

    @property
    def worded(self) -> bool:
        """Returns whether the entry has a caption that is not blank."""
        return bool(self.caption.strip())


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """Holds the entries that one training uses, in a form that never changes.

    `hash` is the SHA-256 of the role and the entries. `real_share` is the share of originals among the entries, 0…1,
    counted with their repeats.
    """

    role: Role
    entries: tuple[Entry, ...]
    hash: str = ""
    real_share: float = 0.0


def real_share(entries: Sequence[Entry]) -> float:
    """Returns the share of originals, which are imported pictures, among the entries, 0…1, counted with repeats."""
    seen = sum(entry.repeats for entry in entries)
    real = sum(entry.repeats for entry in entries if entry.kind is Kind.SOURCE)
    return real / seen if seen else 0.0


def frozen(role: Role, entries: Sequence[Entry]) -> Dataset:
    """Returns a dataset of the entries, without storing it.

    Its id is taken from the hash of its content, so that the same role and entries always give the same id.
    """
    text = json.dumps([role, [entry.to_json() for entry in entries]], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Dataset(id=digest[:32], role=role, entries=tuple(entries), hash=digest, real_share=real_share(entries))
