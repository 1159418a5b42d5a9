"""The events of a job, each one line of the job's log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from studio.records.base import UNLESS_DEFAULT, Json, Part, now


@dataclass(frozen=True, kw_only=True)
class Event(Part):
    """Holds what every entry of a job's log has: `at`, its time in UTC as ISO 8601.

    The subclasses are the kinds of entries.
    """

    at: str = field(default_factory=now)
    """When it happened, in UTC."""


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Holds a warning in a job's log."""

    warning: str
    """What to know, in words."""


@dataclass(frozen=True, kw_only=True)
class PictureKept(Event):
    """Holds the event that a job has stored a picture."""

    image: str
    """The id of the picture that was made."""


@dataclass(frozen=True, kw_only=True)
class PreviewKept(Event):
    """Holds the event that a training has stored a preview, which is a picture drawn with a fixed seed."""

    step: int
    """The training step."""
    sample: int
    """The index of the preview among those of the training."""
    image: str
    """The id of the picture."""


@dataclass(frozen=True, kw_only=True)
class StepTrained(Event):
    """Holds the figures of one optimiser step of a training."""

    step: int
    """The number of the step."""
    total: int = 0
    """The number of all steps."""
    loss: float
    """The mean loss of the batch."""
    sigma: float
    """The mean noise level of the batch."""
    learning_rate: float
    """The learning rate."""
    grad_norm: float
    """The norm of the gradients before clipping."""
    seconds: float
    """How long it took."""
    bands: tuple[float | None, ...] = ()
    """The mean loss at low, middle and high noise; null without an example."""
    memory: int = 0
    """The bytes in use; 0 where that was not measured."""


@dataclass(frozen=True, kw_only=True)
class RanShort(Event):
    """Holds the event that a job ran out of GPU memory and goes on with another setting."""

    ran_out: str
    """What ran out, in words."""
    remedy: str
    """How it goes on, in words."""


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """Holds an event of a kind that only another version of the program knows; `told` is its log line as JSON."""

    at: str = field(default="", metadata=UNLESS_DEFAULT)
    told: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Returns the event's JSON exactly as it was read from the log."""
        return dict(self.told)


Told = StepTrained | PreviewKept | PictureKept | Warned | RanShort
_BY_FIELD: Final[Mapping[str, type[Event]]] = {  # field that one kind alone has -> that kind
    "loss": StepTrained,
    "sample": PreviewKept,
    "image": PictureKept,
    "warning": Warned,
    "ran_out": RanShort,
}


def read_event(line: Mapping[str, Any]) -> Event:
    """Returns the event in a parsed line of a job's log; an `Unknown` event where the line fits no known kind."""
    kind = next((kind for name, kind in _BY_FIELD.items() if name in line), Unknown)
    if kind is not Unknown:
        try:
            return kind.from_json(line)
        except ValueError:
            pass
    return Unknown(told=dict(line))
