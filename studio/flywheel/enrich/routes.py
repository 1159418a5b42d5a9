"""Routing: which editor makes the edits of a task for a character, by its tournaments or by a person's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.api.errors import BadInput, NotFound, UserError
from engines.api.params import LoraUse
from engines.api.protocols import ModelSpec
from studio.flywheel.enrich import contest, own_words
from studio.flywheel.enrich.plan import Ask
from studio.flywheel.enrich.repeats import new_row
from studio.judging import races
from studio.records.base import Part, now
from studio.records.dataset import Role
from studio.records.payload import PlanRow
from studio.records.tournament import Contestant, RouteChoice, Tournament
from studio.workplace.desk import Desk


@dataclass(frozen=True, kw_only=True)
class Route(Part):
    """Holds which editor makes the edits of one task for a character, and why."""

    task: str
    """The kind of edit, such as expression."""
    contestant: Contestant | None
    """The editor that makes them; null for the editor in use."""
    name: str
    """The name of that editor."""
    why: str
    """Why it makes them."""
    winner: Contestant | None
    """The editor that won the task in the latest tournament that had a winner; null without one."""
    tournament: str
    """The id of that tournament; "" without one."""
    overruled: bool
    """Whether a person chose `contestant`, against what the tournament says."""
    trouble: str
    """Why `contestant` cannot be used now, so that the editor in use makes the edits; "" where it can."""


def in_use(desk: Desk) -> Contestant:
    """Returns the editor in use as a contestant: the character's editor, with its adopted LoRA version if there is one.

    It makes the edits of all tasks without a route.
    """
    model = desk.store.character.editor
    own = desk.store.adopted(Role.EDITOR)
    return Contestant(model=model, version=own.id if own is not None and own.model == model else "")


def routes(desk: Desk) -> dict[str, Route]:
    """Returns the routes of a character by task: for each task that a tournament decided, or that a person chose for.

    The latest of both counts: a choice stands until a tournament that began after it has a winner.
    """
    store, won = desk.store, dict[str, tuple[Tournament, Contestant, str]]()
    for tournament in store.tournaments.all():
        known = contest.cells(store, tournament)
        for task in (each.task for each in tournament.tasks if not each.words):  # own words are no kind of edit
            stands = contest.standing(tournament, task, known)
            winner = tournament.contestant(stands.winner)
            if winner is not None:
                won[task] = (tournament, winner, told(tournament, task, known, stands))
    found = {}
    for task in dict.fromkeys([*won, *(each.id for each in store.route_choices.all())]):
        choice, decided = store.route_choices.peek(task), won.get(task)
        if choice is not None and decided is not None and choice.created < decided[0].created:
            choice = None
        taken = choice.contestant if choice else decided[1] if decided else None
        found[task] = Route(
            task=task,
            contestant=taken,
            name=contest.label(desk, taken or in_use(desk)),
            why="You chose it for this task." if choice else decided[2] if decided else "",
            winner=decided[1] if decided else None,
            tournament=decided[0].id if decided else "",
            overruled=choice is not None,
            trouble=_trouble(desk, taken),
        )
    return found


def usable(desk: Desk) -> dict[str, Route]:
    """Returns the routes whose editor can be used now and is another one than the editor in use, by task."""
    present = in_use(desk)
    return {
        task: route
        for task, route in routes(desk).items()
        if route.contestant is not None and not route.trouble and route.contestant.draws != present
    }


def row(
    desk: Desk,
    route: Route | None,
    spec: ModelSpec,
    ask: Ask,
    number: int,
    knobs: Mapping[str, Any],
    taken: set[tuple[str, str]],
) -> PlanRow:
    """Returns a row of the plan for an edit, made by the editor of its route, or by `spec` without one.

    The other arguments are those of `repeats.new_row`. Raises: NotFound, BadInput where the route's LoRAs have gone.
    """
    if route is None or route.contestant is None:
        return new_row(spec, ask, number, knobs, taken)
    made = drawn_by(desk, route.contestant, knobs)
    found = new_row(desk.workplace.registry.spec(route.contestant.model), ask, number, made, taken)
    return found.replace(
        model=route.contestant.model, version=route.contestant.version, why=f"{route.name}: {route.why}"
    )


def drawn_by(desk: Desk, contestant: Contestant, knobs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the EditParams by name that a contestant draws with, on top of `knobs`: its LoRAs and few steps.

    Raises: NotFound for a LoRA that is not here, BadInput for one that does not fit.
    """
    spec = desk.workplace.spec(contestant.model, "editor")
    loras = (*LoraUse.stack(knobs.get("loras")), *own_words.stack(desk, contestant.loras, spec))
    return {**knobs, **({"few_steps": True} if contestant.few_steps else {}), "loras": loras}


def choose(desk: Desk, task: str, contestant: Contestant | None) -> Route:
    """Lets a contestant make the edits of a task from now on, whatever tournaments say, and returns the route.

    `contestant` None is the editor in use. Raises: BadInput, NotFound for a contestant that cannot be used, BadInput
    for a task without name.
    """
    if not task.strip():
        raise BadInput("The route has no task.", "Name a kind of edit, such as expression.")
    if contestant is not None:
        demand_usable(desk, contestant)
    desk.store.route_choices.put(RouteChoice(id=task, created=now(), contestant=contestant))
    return routes(desk)[task]


def follow(desk: Desk, task: str) -> Route | None:
    """Takes a person's choice for a task back, so that tournaments decide again; returns the route, None without one.

    Raises: NotFound where there is no choice for the task.
    """
    desk.store.route_choices.remove(desk.store.route_choices.get(task).id)
    return routes(desk).get(task)


def demand_usable(desk: Desk, contestant: Contestant) -> None:
    """Raises NotFound, ModelMissing or BadInput where a contestant's model, version or LoRAs cannot be used here."""
    desk.workplace.demand_model(contestant.model, "editor")
    drawn_by(desk, contestant, {})
    version = desk.store.versions.get(contestant.version) if contestant.version else None
    if version is not None and (version.trashed or version.model != contestant.model or version.role != Role.EDITOR):
        raise BadInput(f"{version.name} cannot be used with {contestant.model}.", "Restore it, or choose another.")
    if version is not None and not (desk.store.folder / version.adapter).is_file():
        raise NotFound(f"The file of {version.name} is gone.", "Put it back from a backup, or choose another editor.")


def _trouble(desk: Desk, contestant: Contestant | None) -> str:
    try:
        if contestant is not None:
            demand_usable(desk, contestant)
    except UserError as error:
        return error.cause
    return ""


def told(tournament: Tournament, task: str, known: contest.Cells, stands: races.Standing) -> str:
    """Returns as text how the winner of a task won it: what was passed of it and of the defender, and the p-value."""
    defender, winner = tournament.defenders[task], stands.winner
    both = [each for each in contest.answers(tournament, task, known) if each and {winner, defender} <= each.keys()]
    ours, theirs = (sum(each[key] for each in both) for key in (winner, defender))
    return (
        f"It won the task “{task}” on {tournament.created[:10]}: you passed {ours} of its {len(both)} edits, and "
        f"{theirs} of the same by the editor in use (p = {max(races.chance(stands.evidence[winner]), 0.001):.3f})."
    )
