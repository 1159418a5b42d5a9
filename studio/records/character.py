"""Who is being grown."""

from __future__ import annotations

from dataclasses import dataclass

from studio.records.base import Record

CHARACTER_SETTING = "character"  # the library's setting that names the character a window opens on


@dataclass(frozen=True, kw_only=True)
class Character(Record):
    """A character; `trigger` is the word that calls it in a prompt."""

    name: str
    trigger: str = "ohwx"
    subject: str = "person"
    scorer: str = "mini-identity"
    generator: str = "mini-flux"
    editor: str = "mini-qwen-edit"
    notes: str = ""
