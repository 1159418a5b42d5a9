"""The record of a character."""

from __future__ import annotations

from dataclasses import dataclass

from studio.records.base import Record

CHARACTER_SETTING = "character"  # the library's setting that holds the id of the character chosen last


@dataclass(frozen=True, kw_only=True)
class Character(Record):
    """A character; `trigger` is the word that stands for it in a prompt, `subject` the word for its kind."""

    name: str
    trigger: str = "ohwx"
    subject: str = "person"
    scorer: str = "mini-identity"
    generator: str = "mini-flux"
    editor: str = "mini-qwen-edit"
    notes: str = ""
