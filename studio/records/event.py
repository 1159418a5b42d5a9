"""What happened in a job, in order: one event a line of its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, now


@dataclass(frozen=True, kw_only=True)
class Event(Part):
    """Something that happened; `at` is when."""

    at: str = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something that the user should know."""

    warning: str


@dataclass(frozen=True, kw_only=True)
class PictureKept(Event):
    """A picture was kept, by its id."""

    image: str


@dataclass(frozen=True, kw_only=True)
class PreviewKept(Event):
    """A fixed-seed preview was kept: of which step, which of the prompts, which picture."""

    step: int
    sample: int
    image: str


@dataclass(frozen=True, kw_only=True)
class StepTrained(Event):
    """One optimiser step, as engines.api.protocols.StepDone describes it."""

    step: int
    total: int = 0
    loss: float
    sigma: float
    learning_rate: float
    grad_norm: float
    seconds: float
    bands: tuple[float | None, ...] = ()
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class RanShort(Event):
    """The card's memory ran out, and the job goes on with less."""

    ran_out: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """An event that this FLENwheel does not know, as another one wrote it."""

    at: str = field(default="", metadata=UNLESS_DEFAULT)
    told: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return the event as it was written."""
        return dict(self.told)


_BY_FIELD: Final[Mapping[str, type[Event]]] = {  # a field that only events of a kind have, the first that is there
    "loss": StepTrained,
    "sample": PreviewKept,
    "image": PictureKept,
    "warning": Warned,
    "ran_out": RanShort,
}


def read_event(line: Mapping[str, Any]) -> Event:
    """Return the event that a line of a log holds."""
    kind = next((kind for name, kind in _BY_FIELD.items() if name in line), Unknown)
    if kind is not Unknown:
        try:
            return kind.from_json(line)
        except ValueError:
            pass
    return Unknown(told=dict(line))
