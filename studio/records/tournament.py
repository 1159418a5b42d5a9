"""The records of tournaments between editors, and of the editor that a person chose for a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le, MaxLen

from engines.api.values import Words
from studio.records.base import UNLESS_DEFAULT, Part, Record
from studio.records.plan import Name, StackedLora

FEWEST_ORIGINALS, MOST_ORIGINALS = 3, 8
MOST_CONTESTANTS = 8
Originals = Annotated[tuple[Name, ...], MaxLen(MOST_ORIGINALS)]
SeedsEach = Annotated[int, Ge(1), Le(10)]


@dataclass(frozen=True, kw_only=True)
class Contestant(Part):
    """Holds one contestant of a tournament: an editor's model with the LoRAs and the steps that it draws with."""

    key: Annotated[str, MaxLen(40)] = ""
    """Its key, which is unique in its tournament; "" lets the studio give one."""
    model: Name = ""
    """The name of the model that edits; "" for the character's editor."""
    version: Name = ""
    """The id of the editor's own LoRA version; "" for none."""
    loras: Annotated[tuple[StackedLora, ...], MaxLen(16)] = ()
    """The stack of LoRAs of the library, in their order, each with its strength."""
    few_steps: bool = False
    """Whether it draws in few steps."""

    @property
    def draws(self) -> Contestant:
        """Returns the contestant without its key: two that draw alike are equal."""
        return self.replace(key="", loras=tuple(each.replace(name="", sha256="") for each in self.loras))


@dataclass(frozen=True, kw_only=True)
class Contested(Part):
    """Holds one task of a tournament: what all contestants are asked for."""

    task: Annotated[str, MaxLen(60)]
    """A kind of edit, such as expression; or a name of one's own, together with `words`."""
    values: Annotated[tuple[Name, ...], MaxLen(100)] = ()
    """The values that are asked for, such as smiling; none for all of the task."""
    words: Words = ""
    """An instruction of one's own, with placeholders such as {subject}; "" for the words of the kind of edit."""
    fills: Annotated[Mapping[Name, Annotated[str, MaxLen(1000)]], MaxLen(100)] = field(default_factory=dict)
    """The words for placeholders that neither the character nor the original fills."""


@dataclass(frozen=True, kw_only=True)
class Asked(Part):
    """Holds one ask of a tournament: an edit that each contestant makes, with the same seed."""

    task: str
    """The task that it belongs to."""
    source: str
    """The id of the original to edit."""
    words: str
    """The instruction."""
    seed: int
    """The seed."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """The tags that the result shall have, by axis."""


@dataclass(frozen=True, kw_only=True)
class Tournament(Record):
    """Holds a tournament: contestants that make the same edits, which a person judges without knowing whose they are.

    The edits are pictures whose records name the tournament (`ImageRecord.trial`).
    """

    contestants: tuple[Contestant, ...] = ()
    """The contestants."""
    tasks: tuple[Contested, ...] = ()
    """The tasks."""
    asks: tuple[Asked, ...] = ()
    """The asks; those of one task are answered in this order."""
    defenders: Mapping[str, str] = field(default_factory=dict)
    """For each task, the key of the contestant that was in use, which the others have to beat."""
    gone: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    """The places in `asks` of those whose original could not be read."""

    def contestant(self, key: str) -> Contestant | None:
        """Returns a contestant by its key; None where there is none."""
        return next((each for each in self.contestants if each.key == key), None)

    def places(self, task: str) -> list[int]:
        """Returns the places in `asks` of a task's asks, in their order."""
        return [at for at, ask in enumerate(self.asks) if ask.task == task]


@dataclass(frozen=True, kw_only=True)
class Trial(Part):
    """Holds a picture's place in a tournament, and what was measured of it.

    `ask` is a place in the tournament's asks. A measure is null where it is unknown or does not apply.
    """

    tournament: str
    """The id of the tournament."""
    contestant: str
    """The key of the contestant that drew it."""
    ask: int
    """The place of the edit among the tournament's asks."""
    seconds: float | None = None
    """How long it took to draw."""
    peak_bytes: int | None = None
    """The most memory of the card that was in use while it was drawn."""
    read: Mapping[str, str] | None = None
    """The tags that the captioner read from it, by axis; null before it was read."""
    kept: float | None = None
    """The share of the pixels that should not have changed and did not, 0…1."""
    artefacts: tuple[str, ...] = ()
    """What is wrong with its quality and not with its original's, such as blurred."""


@dataclass(frozen=True, kw_only=True)
class RouteChoice(Record):
    """Holds which editor a person chose for a task, against what the tournaments say; the id is the task."""

    contestant: Contestant | None = None
    """The chosen contestant; null for the editor in use."""
