"""Whether a tournament names the right editor with few looks, and whether its routes help on edits never asked before.

Each drawn character, whom no model has seen, holds a tournament of the editor alone against the LoRAs that ship with
it. The stand-in reviewer passes a picture that shows the character, what was asked for, and all else as it was.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from engines.api.errors import BadInput, UserError
from engines.catalogue.embedded_loras import EMBEDDED_LORAS
from engines.catalogue.registry import load_class
from frontdoor.bench.rows import Row
from frontdoor.bench.turn import difference
from frontdoor.demo import drawn_character
from frontdoor.machine import cores
from frontdoor.standin import READ, Original, StandIn
from frontdoor.studio import open_studio
from studio.flywheel import review
from studio.flywheel.curate import importing
from studio.flywheel.enrich import contest, routes
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.tournament import asking
from studio.judging.statistics import mean
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.job import Job, JobState
from studio.records.payload import PlanRow
from studio.records.plan import StackedLora
from studio.records.tournament import Contestant, Contested, Tournament
from studio.workplace.desk import Desk

FIRST_SEED = 700_000  # by none of these people were weights or ways of training chosen
TASKS = ("angle", "expression", "outfit", "pose")
LOSER = "mini-stranger"
NAMED, LOOKED = 0.9, 0.6
FRESH = 6  # edits of each task that are asked after the tournament


@dataclass(frozen=True)
class Held:
    """Holds what became of one character's tournament.

    `named` tells for each task whether the tournament's best passed as many asks as the best of the full design, in
    which every contestant answers every ask. `looks` is the number of verdicts that it took, `most` that of the full
    design. `won` maps each task with a winner to its LoRA. `accepted` are the shares of new edits that were accepted,
    made by the editor alone and by the routed plan.
    """

    named: Mapping[str, bool]
    looks: int
    most: int
    won: Mapping[str, str]
    accepted: tuple[float, float]


def measure(options: argparse.Namespace) -> list[Row]:
    """Holds a tournament for each of `options.characters` characters, as many at a time as there are CPU cores.

    Returns the report's rows. Raises: BadInput for no character, UserError where a job fails.
    """
    if options.characters < 1:
        raise BadInput("No character is none to measure.", "Give --characters a number from 1 on.")
    seeds = range(FIRST_SEED, FIRST_SEED + options.characters)
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        return list(figures(list(pool.map(held, seeds))))


def figures(found: Sequence[Held]) -> Iterator[Row]:
    """Yields the report's rows for the tournaments of several characters."""
    named = [each for one in found for each in one.named.values()]
    looks, most = sum(one.looks for one in found), sum(one.most for one in found)
    among = f"{len(found)} characters × {len(TASKS)} tasks"
    share = mean([float(each) for each in named])
    yield Row(name=f"names the full design's best, {among}", value=share, unit="", goal=f"≥ {NAMED}", ok=share >= NAMED)
    taken = looks / most
    yield Row(
        name="looks, as a share of the full design's", value=taken, unit="", goal=f"≤ {LOOKED}", ok=taken <= LOOKED
    )
    for task in TASKS:
        won = [one.won[task] for one in found if task in one.won]
        yield Row(name=f"{task}: characters with a winner", value=len(won), unit="", peer=", ".join(sorted({*won})))
    lost = sum(lora == LOSER for one in found for lora in one.won.values())
    yield Row(name="won by the one that loses the person", value=lost, unit="", goal="= 0", ok=lost == 0)
    alone, routed = ([one.accepted[at] for one in found] for at in (0, 1))
    yield Row(name="new edits accepted, the editor alone", value=mean(alone), unit="")
    yield Row(name="new edits accepted, the routed plan", value=mean(routed), unit="")
    yield from difference("new edits accepted, routed − alone", alone, routed)


def held(seed: int) -> Held:
    """Holds the tournament of the character with this number on one CPU thread, and returns what became of it."""
    load_class("torch:set_num_threads")(1)
    with tempfile.TemporaryDirectory() as folder, closing(open_studio(Path(folder) / "home")) as workplace:
        desk = workplace.desk(workplace.library.create(f"Character {seed}").id)
        workplace.jobs.start()
        reviewer = reviewer_of(desk, Path(folder), seed)
        loras = [row.name for row in EMBEDDED_LORAS if row.task in TASKS and not row.unfit]
        contestants = [Contestant(loras=(StackedLora(lora=name),)) for name in loras]
        ended(desk, asking.submit(desk, [Contested(task=task) for task in TASKS], contestants))
        [made] = desk.store.tournaments.all()
        looks = judged_blind(desk, reviewer)
        return Held(
            named=best_named(desk, reviewer, made),
            looks=looks,
            most=len(made.asks) * len(made.contestants),
            won={
                task: route.contestant.loras[0].lora
                for task, route in routes.usable(desk).items()
                if route.contestant and route.contestant.loras
            },
            accepted=accepted(desk, reviewer),
        )


def reviewer_of(desk: Desk, folder: Path, seed: int) -> StandIn:
    """Imports the twelve pictures of a drawn character, with their truths as tags, and returns who judges it."""
    pictures, truths = drawn_character(desk.workplace.settings.assets, folder, seed)
    importing.submit_import(desk, [pictures / name for name in truths])
    records = desk.store.select(Kind.SOURCE)
    tags = {image.id: {axis: str(truths[image.name][axis]) for axis in READ} for image in records}
    desk.store.update_images({image: {"tags": found} for image, found in tags.items()})
    originals = {each.id: Original(truths[each.name], desk.store.open_image(each.id)) for each in records}
    return StandIn.for_originals(desk.workplace.settings.assets, originals)


def judged_blind(desk: Desk, reviewer: StandIn) -> int:
    """Gives the pictures of the review queue verdicts until none is left, and returns their number."""
    looks = 0
    while shown := review.next(desk):
        [good] = right(desk, reviewer, shown)
        review.decide(desk, shown[0].id, Verdict.GOOD if good else Verdict.REJECT, reviewer="stand-in")
        looks += 1
    return looks


def right(desk: Desk, reviewer: StandIn, records: Sequence[ImageRecord]) -> list[bool]:
    """Returns for each edit whether it shows the character, what was asked for, and all else as the original does."""
    wanted = [{**{axis: str(reviewer.truths[each.parent][axis]) for axis in READ}, **each.asked} for each in records]
    opinions = reviewer.judge([desk.store.open_image(each.id) for each in records], wanted)
    return [each.verdict is Verdict.GOOD for each in opinions]


def best_named(desk: Desk, reviewer: StandIn, made: Tournament) -> dict[str, bool]:
    """Returns for each task whether the tournament's best passed as many asks as anyone if all answers are judged."""
    known = contest.cells(desk.store, made)
    good = dict(zip(known, right(desk, reviewer, list(known.values())), strict=True))
    named = {}
    for task in TASKS:
        passed = {
            each.key: sum(good.get((each.key, place), False) for place in made.places(task))
            for each in made.contestants
        }
        named[task] = passed[contest.standing(made, task, known).best] == max(passed.values())
    return named


def accepted(desk: Desk, reviewer: StandIn) -> tuple[float, float]:
    """Returns the shares of new edits that are right: made by the editor alone, and the same as their routes say."""
    rows = [row for task in TASKS for row in enrich.plan(desk, tasks=[task], limit=FRESH, fill_gaps=False).rows]
    plain = [row.replace(model="", version="", params={**row.params, "loras": []}) for row in rows]
    made = [drawn(desk, each) for each in (plain, rows)]
    first, second = (mean([float(each) for each in right(desk, reviewer, records)]) for records in made)
    return first, second


def drawn(desk: Desk, rows: Sequence[PlanRow]) -> list[ImageRecord]:
    """Makes the edits of a plan's rows and returns their records."""
    job = ended(desk, enrich.submit(desk, rows))
    return [desk.store.images.get(image) for image in job.artifacts.images or ()]


def ended(desk: Desk, job: Job) -> Job:
    """Waits until a job ends, and returns it. Raises: UserError where it was not done."""
    while (job := desk.workplace.jobs.get(job.id)).state.is_under_way:
        time.sleep(0.2)
    if job.state is not JobState.DONE:
        raise UserError(f"{job.title} was not done: {job.error.message}", job.error.hint)
    return job
