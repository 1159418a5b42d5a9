"""The events of a job, each one line of the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, now


@dataclass(frozen=True, kw_only=True)
class Event(Part):
    """The base class of events; `at` is the time, ISO 8601."""

    at: str = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """A warning for the user."""

    warning: str


@dataclass(frozen=True, kw_only=True)
class PictureKept(Event):
    """A stored picture, by its id."""

    image: str


@dataclass(frozen=True, kw_only=True)
class PreviewKept(Event):
    """A stored fixed-seed preview: the step, the index of the prompt, and the id of the picture."""

    step: int
    sample: int
    image: str


@dataclass(frozen=True, kw_only=True)
class StepTrained(Event):
    """One optimiser step, with the fields of engines.api.protocols.StepDone."""

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
    """A run out of GPU memory, after which the job goes on with less."""

    ran_out: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """An event of a kind that this FLENwheel does not know, kept as another version wrote it."""

    at: str = field(default="", metadata=UNLESS_DEFAULT)
    told: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Returns the event as it was written."""
        return dict(self.told)


_BY_FIELD: Final[Mapping[str, type[Event]]] = {  # field that one kind alone has -> that kind
    "loss": StepTrained,
    "sample": PreviewKept,
    "image": PictureKept,
    "warning": Warned,
    "ran_out": RanShort,
}


def read_event(line: Mapping[str, Any]) -> Event:
    """Returns the event that a parsed line of a log holds; an Unknown where no kind fits."""
    kind = next((kind for name, kind in _BY_FIELD.items() if name in line), Unknown)
    if kind is not Unknown:
        try:
            return kind.from_json(line)
        except ValueError:
            pass
    return Unknown(told=dict(line))
