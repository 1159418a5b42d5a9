"""The record of a character."""

from __future__ import annotations

from dataclasses import dataclass, field

from studio.records.base import UNLESS_DEFAULT, Record

CHARACTER_SETTING = "character"  # the library's setting that holds the id of the character chosen last


@dataclass(frozen=True, kw_only=True)
class Character(Record):
    """Holds a character that LoRAs are trained for.

    `trigger` is the word that stands for it in prompts, `subject` the word for its kind, such as person. `scorer`,
    `generator` and `editor` are names of models.
    """

    name: str
    trigger: str = "ohwx"
    subject: str = "person"
    scorer: str = "mini-identity"
    generator: str = "mini-flux"
    editor: str = "mini-qwen-edit"
    notes: str = ""
    trashed: str = field(default="", metadata=UNLESS_DEFAULT)  # the time it was moved into the trash; empty: not there
