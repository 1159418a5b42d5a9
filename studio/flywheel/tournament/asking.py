"""Plans a tournament: what all contestants are asked for, what it costs, and everything that must fail before it."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.api.errors import BadInput
from engines.api.params import EditParams
from engines.api.placeholders import filled
from engines.api.values import Many, later_seed, taken
from engines.wording.vocabulary import EditTask
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import own_words, routes, templates
from studio.flywheel.enrich.edits import EnrichPlan
from studio.flywheel.enrich.plan import seed_of
from studio.judging import races
from studio.records.base import Part
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job
from studio.records.payload import PlanRow, TournamentPayload
from studio.records.plan import OwnEdit
from studio.records.tournament import (
    FEWEST_ORIGINALS,
    MOST_CONTESTANTS,
    MOST_ORIGINALS,
    Asked,
    Contestant,
    Contested,
    SeedsEach,
    Tournament,
)
from studio.workplace.desk import Desk

SEEDS = 3
KIND = "tournament"


@dataclass(frozen=True, kw_only=True)
class TournamentPlan(Part):
    """Holds a tournament that is not queued yet, and what it takes."""

    tournament: Tournament
    """The tournament, with its contestants and all asks."""
    edits: int
    """The most edits that are drawn."""
    looks_most: int
    """The most verdicts that a person gives."""
    looks_expected: int
    """The verdicts that it takes on average, since clear losers are dropped early."""
    cost: EnrichPlan
    """The edits as a plan: time, disk space, and whether they fit in memory."""


def plan(
    desk: Desk,
    tasks: Sequence[Contested],
    contestants: Sequence[Contestant],
    originals: Sequence[str] | None = None,
    seeds: int = SEEDS,
) -> TournamentPlan:
    """Returns a tournament of contestants at tasks, with what it takes; stores and queues nothing.

    The editor in use, or that of a task's route, takes part in any case. `originals` are ids of 3 to 8 original
    pictures; None takes the first eight good ones, starred ones first. Each task is asked once for each original and
    each of `seeds` seeds, of all contestants alike.

    Raises: BadInput for too few or too many originals, tasks, contestants or asks, two alike, an unknown task or value,
    empty words, and edits that do not fit in memory; NotFound, ModelMissing, LoraMismatch for what is not here or does
    not fit.
    """
    taken("seeds", seeds, SeedsEach)
    sources = _originals(desk, originals)
    asks_each = len(sources) * seeds
    if asks_each < races.FEWEST:
        raise BadInput(
            f"{len(sources)} originals with {seeds} seeds are {asks_each} edits of a task: too few for anyone to win.",
            f"It takes {races.FEWEST} at least: choose more originals, or more seeds.",
        )
    if not tasks:
        raise BadInput("The tournament has no task.", "Choose at least one kind of edit.")
    if len({each.task for each in tasks}) < len(tasks):
        raise BadInput("Two tasks have the same name.", "Give each task a name of its own.")
    entered, defenders = _entered(desk, contestants, [each.task for each in tasks])
    edits = (image for image in desk.store.images.all() if image.params_kind == EditParams.__name__)
    drawn = {(image.parent, EditParams.kept(image.params).headline(), image.seed) for image in edits}
    asks = [ask for each in tasks for ask in _asks(desk, each, sources, seeds, drawn)]
    made = Tournament(
        id=f"tournament-{secrets.token_hex(6)}",
        contestants=entered,
        tasks=tuple(tasks),
        asks=tuple(asks),
        defenders=defenders,
    )
    rows = list(rows_of(desk, made).values())
    taken("the number of edits", len(rows), Many)
    enrich.demand_drawable(desk, rows)
    cost = enrich.estimate(desk, rows)
    if not cost.fit.ok:
        raise BadInput(cost.fit.words, "Leave out the contestant that needs most memory, or raise the budget.")
    return TournamentPlan(
        tournament=made,
        edits=len(rows),
        looks_most=len(rows),
        looks_expected=round(races.expected_looks(len(entered), asks_each) * len(tasks)),
        cost=cost,
    )


def submit(
    desk: Desk,
    tasks: Sequence[Contested],
    contestants: Sequence[Contestant],
    originals: Sequence[str] | None = None,
    seeds: int = SEEDS,
    key: str = "",
) -> Job:
    """Queues the job that draws a tournament, and returns the job.

    The arguments and errors are those of `plan`. A second call with the same `key` returns the first job.
    """
    if known := desk.workplace.jobs.known(KIND, desk.id, key):
        return known
    planned = plan(desk, tasks, contestants, originals, seeds)
    made = planned.tournament
    notes = enrich.demand_drawable(desk, planned.cost.rows)
    desk.store.tournaments.put(made)  # before its job, which may start at once; without a job it is not listed
    return desk.workplace.jobs.submit(
        KIND,
        desk.id,
        TournamentPayload(tournament=made.id, model=desk.store.character.editor, notes=notes),
        title=f"Tournament: {len(made.contestants)} editors, {len(made.tasks)} tasks",
        total=planned.edits,
        key=key,
    )


def rows_of(desk: Desk, tournament: Tournament) -> dict[tuple[str, int], PlanRow]:
    """Returns all edits of a tournament, each by its contestant's key and the place of its ask.

    Raises: NotFound, BadInput where a contestant's LoRA has gone.
    """
    found = {}
    for contestant in tournament.contestants:
        spec = desk.workplace.spec(contestant.model, "editor")
        knobs = routes.drawn_by(desk, contestant, {})
        for at, ask in enumerate(tournament.asks):
            params = spec.worded(EditParams, ask.words, **{**knobs, "seed": ask.seed})
            found[contestant.key, at] = PlanRow(
                source=ask.source,
                params=params.to_json(),
                asked=ask.asked,
                task=ask.task,
                model=contestant.model,
                version=contestant.version,
            )
    return found


def usable_originals(desk: Desk) -> list[ImageRecord]:
    """Returns the originals that a tournament can be held with: those not rejected, starred ones first."""
    found = [image for image in desk.store.select(Kind.SOURCE) if image.state is not Verdict.REJECT]
    return sorted(found, key=lambda image: not image.star)


def _originals(desk: Desk, ids: Sequence[str] | None) -> list[ImageRecord]:
    """Returns the originals of a tournament. Raises: BadInput for their number, or one that is none; NotFound."""
    store, usable = desk.store, usable_originals(desk)
    if ids is None:
        chosen = [each for each in usable if store.trouble(each.id) is None][:MOST_ORIGINALS]
    else:
        chosen = [store.images.get(image) for image in dict.fromkeys(ids)]
    for each in chosen:
        if each not in usable:
            raise BadInput(f"{each.name or each.id} is no original that can be edited.", "Choose pictures of Curate.")
        if trouble := store.trouble(each.id):
            raise BadInput(f"{each.name or each.id}: {trouble.cause}", trouble.hint)
    if not FEWEST_ORIGINALS <= len(chosen) <= MOST_ORIGINALS:
        raise BadInput(
            f"A tournament cannot be held with {len(chosen)} originals.",
            f"Choose {FEWEST_ORIGINALS} to {MOST_ORIGINALS} pictures; Curate imports more.",
        )
    return chosen


def _entered(
    desk: Desk, contestants: Sequence[Contestant], tasks: Sequence[str]
) -> tuple[tuple[Contestant, ...], Mapping[str, str]]:
    """Returns the contestants with models and keys, and for each task the key of the one that makes its edits now.

    Those that make the edits now are added where they are missing. Raises: BadInput for too few or too many, or two
    that are alike.
    """
    known, present = routes.usable(desk), routes.in_use(desk)
    now = {task: known[task].contestant or present if task in known else present for task in tasks}
    given = [each.replace(model=each.model or desk.store.character.editor) for each in contestants]
    alike = [each.draws for each in given]
    if len(set(map(repr, alike))) < len(alike):
        raise BadInput("Two contestants are the same.", "Let them differ in editor, LoRAs, strengths or steps.")
    added = [each.draws for each in now.values() if each.draws not in alike]
    both = [*(each for at, each in enumerate(added) if each not in added[:at]), *given]
    if not 2 <= len(both) <= MOST_CONTESTANTS:
        raise BadInput(
            f"A tournament cannot be held with {len(both)} contestants, the editor in use among them.",
            f"Give 1 to {MOST_CONTESTANTS - 1} others.",
        )
    used = {each.key for each in both}
    if len(used - {""}) < sum(bool(each.key) for each in both):
        raise BadInput("Two contestants have the same key.", "Give each a key of its own, or none.")
    free = (letter for letter in string.ascii_lowercase if letter not in used)
    entered = tuple(each if each.key else each.replace(key=next(free)) for each in both)
    return entered, {task: next(e.key for e in entered if e.draws == each.draws) for task, each in now.items()}


def _asks(
    desk: Desk, contested: Contested, originals: Sequence[ImageRecord], seeds: int, drawn: set[tuple[str, str, int]]
) -> list[Asked]:
    """Returns the asks of a task: all originals in turn, once for each seed, and the values of the task in turn.

    A value that an original shows is not asked of it while it lacks another. `drawn` are the source, words and seed of
    edits that have a result; no ask repeats one. Raises: BadInput for an unknown task or value, and words that cannot
    be filled.
    """
    spec = desk.workplace.spec(desk.store.character.editor, "editor")
    known = [edit for edit in templates.wording(desk.workplace, spec).edit_tasks() if edit.task == contested.task]
    offered = [edit for edit in known if not contested.values or edit.value in contested.values]
    if contested.words.strip():
        if known:
            raise BadInput(f"{contested.task} is a kind of edit with words.", "Give your own words another name.")
    elif not known or len(offered) < len(set(contested.values)):
        told = f"{contested.task} to {', '.join(contested.values)}" if known else contested.task
        raise BadInput(
            f"There is no task {told:.120}.", "Choose a kind of edit with its values, or give words of your own."
        )
    asks = []
    for number in range(seeds * len(originals)):
        source = originals[number % len(originals)]
        if offered:
            new = [each for each in offered if any(source.tags.get(at) != want for at, want in each.expects.items())]
            edit = (new or offered)[number // len(originals) % len(new or offered)]
        else:
            own = OwnEdit(key=contested.task, words=contested.words, fills=contested.fills)
            edit = EditTask(contested.task, "", filled(own.words, own_words.values(desk, own, source, spec)).strip())
        seed = seed_of(source.id, edit.words, number)
        while (source.id, edit.words, seed) in drawn:
            seed = later_seed(seed, 1)
        drawn.add((source.id, edit.words, seed))
        asks.append(Asked(task=contested.task, source=source.id, words=edit.words, seed=seed, asked=dict(edit.expects)))
    return asks
