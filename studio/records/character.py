"""The record of a character."""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.api.axes import Medium
from studio.records.base import UNLESS_DEFAULT, Record

CHARACTER_SETTING = "character"  # the library's setting that holds the id of the character chosen last


@dataclass(frozen=True, kw_only=True)
class Character(Record):
    """Holds a character that LoRAs are trained for."""

    name: str
    """Its name, for people."""
    trigger: str = "ohwx"
    """The word that stands for it in captions and prompts."""
    subject: str = "person"
    """The word for its kind, such as person."""
    scorer: str = "mini-identity"
    """The name of the model that recognises it."""
    generator: str = "mini-flux"
    """The name of the model that draws it."""
    editor: str = "mini-qwen-edit"
    """The name of the model that edits its pictures and writes captions."""
    medium: Medium = field(default="photo", metadata=UNLESS_DEFAULT)
    """What its pictures are: photo, drawing or 3D render."""
    notes: str = ""
    """The user's notes."""
    trashed: str = field(default="", metadata=UNLESS_DEFAULT)
    """When it was moved into the trash; "" or absent where it was not."""
