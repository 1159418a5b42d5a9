"""What the calls on tournaments of editors and on routing take and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MaxLen

from engines.api.values import Whole
from studio.api.arguments import Id, Ids, Of, told
from studio.api.results import Queued
from studio.flywheel.enrich.routes import Route
from studio.flywheel.tournament.asking import SEEDS
from studio.flywheel.tournament.matrix import Challenge, Matrix
from studio.records.base import Part
from studio.records.tournament import MOST_CONTESTANTS, Contestant, Contested, Tournament

Tasks = Annotated[
    list[Annotated[dict[str, Any], Of(Contested)]],
    MaxLen(100),
    told("The tasks: kinds of edits, or words of your own.", example=[{"task": "expression"}]),
]
Contestants = Annotated[
    list[Annotated[dict[str, Any], Of(Contestant)]],
    MaxLen(MOST_CONTESTANTS),
    told("The contestants; the editor in use is added where it is missing.", example=[{"few_steps": True}]),
]
Originals = Annotated[Ids, told("The ids of 3 to 8 originals; null for the first eight good ones.")]
SeedsEach = Annotated[Whole, told(f"The seeds of each original and task; {SEEDS} are usual.")]
TournamentId = Annotated[Id, told('The tournament\'s id; "" for the newest.')]
RouteTask = Annotated[Id, told("The kind of edit, such as expression.")]
ContestantKey = Annotated[
    Id, told('The key of a contestant of that tournament, which makes the edits from now on; "" for the editor in use.')
]
Follow = Annotated[bool, told("Whether to take your own choice back instead, so that tournaments decide again.")]
Format = Annotated[Id, told("The kind of file.", ("csv", "png"))]


@dataclass(frozen=True, kw_only=True)
class PlannedTournament(Part):
    """Holds what a tournament takes, before it is queued."""

    tournament: Tournament
    """The tournament, with its contestants and all asks; it is not stored."""
    edits: int
    """The most edits that are drawn."""
    looks_most: int
    """The most verdicts that a person gives."""
    looks_expected: int
    """The verdicts that it takes on average, since clear losers are dropped early."""
    seconds: float | None
    """The predicted time; null while the speed of an editor is not known."""
    disk_bytes: int
    """The predicted size of the results."""


@dataclass(frozen=True, kw_only=True)
class QueuedTournament(Queued):
    """Holds a submitted tournament."""

    tournament_id: str
    """The tournament's id."""


@dataclass(frozen=True, kw_only=True)
class TournamentState(Matrix):
    """Holds a tournament's results so far, and which others there are."""

    others: tuple[str, ...]
    """The ids of all tournaments of the character, the newest first."""


@dataclass(frozen=True, kw_only=True)
class TournamentFile(Part):
    """Holds where the file of a tournament lies."""

    tournament_id: str
    """The tournament's id."""
    file_path: str
    """The path of the file on the studio's machine."""


@dataclass(frozen=True, kw_only=True)
class Routes(Part):
    """Holds which editor makes the edits of each task."""

    routes: tuple[Route, ...]
    """The tasks that do not go to the editor in use, or that a person chose for."""
    challenge: Challenge | None
    """The newest version of the own editor, where it has not met the present winners; null otherwise."""


@dataclass(frozen=True, kw_only=True)
class OneRoute(Part):
    """Holds the route of one task."""

    route: Route | None
    """The route; null where the editor in use makes the edits."""
