"""The record of a LoRA in the editors' library, which all characters share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.catalogue.lora_bases import UNKNOWN, LoraFacts
from studio.records.base import UNLESS_DEFAULT, Record


@dataclass(frozen=True, kw_only=True)
class LibraryLora(Record):
    """Holds a LoRA of the editors' library: where it came from, what its file is, and what a person noted on it.

    The id is the name of the catalogue's row; that of a file of one's own begins with `own-`. `file` is the name of the
    LoRA's file in its folder, "" where it is not on this machine. `sha256` is the hash of that file, `facts` is what it
    says of itself. `task`, `words`, `strength` and `licence` are those that a person gave a file of their own.
    """

    name: str = ""
    repo: str = ""
    file: str = ""
    sha256: str = ""
    facts: LoraFacts | None = None
    task: str = ""
    words: str = ""
    strength: float = 1.0
    licence: str = UNKNOWN
    notes: str = field(default="", metadata=UNLESS_DEFAULT)
    star: bool = field(default=False, metadata=UNLESS_DEFAULT)


NOTHING: Mapping[str, object] = {"file": "", "sha256": "", "facts": None}
"""The values of the fields that tell of a file, where the file is not on this machine."""
