"""Creates characters: the page and scripts share these checks."""

from __future__ import annotations

from dataclasses import dataclass

from engines.api.axes import Medium
from engines.api.params import Word, kinds
from engines.api.values import Line, Words, taken
from studio.records.character import Character
from studio.records.words import demand_text
from studio.workplace.desk import Workplace

ROLES = ("generator", "editor", "scorer")


@dataclass(frozen=True, kw_only=True)
class NewCharacter:
    """Holds the values of a character to create; a model "" is the first of its role in the registry of models."""

    name: Line
    """The name, for people."""
    trigger: Line = "ohwx"
    """The word that stands for the character in prompts."""
    subject: Line = "person"
    """The word for its kind."""
    medium: Medium = "photo"
    """What its pictures are: photo, drawing or 3D render; prompts and captions say it."""
    generator: Word = ""
    """The name of the model that draws it, such as FLUX.1-dev."""
    editor: Word = ""
    """The name of the model that edits its pictures and writes captions, such as Qwen-Image-Edit-2511."""
    scorer: Word = ""
    """The name of the model that recognises it, such as arcface."""
    notes: Words = ""
    """Notes of your own on the character."""


def create(workplace: Workplace, asked: NewCharacter) -> Character:
    """Creates a character and returns its record.

    Raises: BadInput for a value of the wrong type, an empty name or trigger word, or a model of another role; NotFound
    for a model that is not in the registry.
    """
    for field, kind in kinds(NewCharacter).items():
        demand_text(field, getattr(asked, field))
        taken(field, getattr(asked, field), kind)
    first = workplace.registry.first()
    models = {role: workplace.spec(getattr(asked, role) or first[role], role).name for role in ROLES}
    return workplace.library.create(
        asked.name, asked.trigger, asked.subject, **models, medium=asked.medium, notes=asked.notes
    )
