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
    """Holds a warning of a job for the user."""

    warning: str


@dataclass(frozen=True, kw_only=True)
class PictureKept(Event):
    """Holds the id of a picture that a job has stored."""

    image: str


@dataclass(frozen=True, kw_only=True)
class PreviewKept(Event):
    """Holds a fixed-seed preview that a training has stored: the step, the index of the prompt, the picture's id."""

    step: int
    sample: int
    image: str


@dataclass(frozen=True, kw_only=True)
class StepTrained(Event):
    """Holds one optimiser step of a training, with the fields of engines.api.protocols.StepDone."""

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
    """Holds why a job ran out of GPU memory, and what was done so that it can go on."""

    ran_out: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """Holds an event of a kind that this version of FLENwheel does not know, as another version wrote it."""

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
    """Returns the event that a parsed line of a job's log holds; an Unknown where no kind fits."""
    kind = next((kind for name, kind in _BY_FIELD.items() if name in line), Unknown)
    if kind is not Unknown:
        try:
            return kind.from_json(line)
        except ValueError:
            pass
    return Unknown(told=dict(line))
