"""The record of a LoRA in the editors' library, which all characters share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.catalogue.lora_bases import UNKNOWN, LoraFacts
from studio.records.base import UNLESS_DEFAULT, Part, Record


@dataclass(frozen=True, kw_only=True)
class MergedPart(Part):
    """Holds what a merged LoRA file took from one LoRA."""

    lora: str
    """The LoRA's id in the library."""
    name: str
    """Its name when it was merged."""
    weight: float
    """Its strength, which is multiplied in."""
    licence: str
    """Its licence."""


@dataclass(frozen=True, kw_only=True)
class BegunWith(Part):
    """Holds the LoRA of the library that an editor's training began with, as it was then."""

    lora: str
    """Its id in the library."""
    name: str
    """Its name."""
    sha256: str
    """The hash of its file."""
    licence: str
    """Its licence, which holds for what is trained from it."""
    rank: int
    """Its highest rank, which the training has."""


@dataclass(frozen=True, kw_only=True)
class LibraryLora(Record):
    """Holds a LoRA of the editors' library: where it came from, what its file is, and what a person noted on it.

    The id is the name of the catalogue's row; that of a file of one's own begins with `own-`.
    """

    name: str = ""
    """Its name, for people."""
    repo: str = ""
    """The hub's repository that it comes from; "" for a file of this machine."""
    file: str = ""
    """The name of the LoRA's file in its folder; "" where it is not on this machine."""
    sha256: str = ""
    """The hash of that file."""
    facts: LoraFacts | None = None
    """What the file says of itself; null where it is not here."""
    task: str = ""
    """What it is for, such as lighting."""
    words: str = ""
    """The instruction that calls it, with placeholders."""
    strength: float = 1.0
    """The strength to start from."""
    licence: str = UNKNOWN
    """Its licence; unknown where nobody has read it."""
    notes: str = field(default="", metadata=UNLESS_DEFAULT)
    """A person's notes on it."""
    star: bool = field(default=False, metadata=UNLESS_DEFAULT)
    """Whether it is starred."""
    parts: tuple[MergedPart, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The LoRAs that it was merged from; none for any other."""
    merge_error: float = field(default=0.0, metadata=UNLESS_DEFAULT)
    """The relative error of a merged file's updates: 0 where its ranks are the sums of its parts'."""


NOTHING: Mapping[str, object] = {"file": "", "sha256": "", "facts": None}
"""The values of the fields that tell of a file, where the file is not on this machine."""
