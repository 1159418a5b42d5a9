"""A tournament of the fake editor, and somebody who judges it."""

from __future__ import annotations

from collections.abc import Callable

from studio.flywheel import review
from studio.flywheel.enrich import contest
from studio.flywheel.tournament import asking
from studio.records.image import Verdict
from studio.records.job import Job
from studio.records.payload import TournamentPayload
from studio.records.plan import StackedLora
from studio.records.tournament import Contestant, Contested, Tournament
from studio.store.lora_library import LoraLibrary
from tests.studio.conftest import World
from tests.studio.flywheel.enrich.test_own_words import kept_lora

TASKS = (Contested(task="expression", values=("smiling",)), Contested(task="background"))


def glow(world: World) -> Contestant:
    """The fake editor with a LoRA of the library."""
    if not LoraLibrary(world.studio.library).folder("own-glow").exists():
        kept_lora(world, "own-glow")
    return Contestant(loras=(StackedLora(lora="own-glow", weight=0.5),))


def submitted(world: World, seeds: int = 3, originals: int = 3) -> Job:
    """A queued tournament of the editor in use, one with a LoRA, and one of few steps."""
    chosen = world.sources[:originals]
    return asking.submit(world.desk, TASKS, (glow(world), Contestant(few_steps=True)), chosen, seeds)


def of(world: World, job: Job) -> Tournament:
    """The tournament that a job draws."""
    return world.store.tournaments.get(TournamentPayload.of(job).tournament)


def judged(world: World, made: Tournament, passes: Callable[[str, str], bool], most: int = 10_000) -> int:
    """Somebody judges what review shows until there is nothing left; `passes` takes a task and a contestant's key."""
    looks = 0
    while looks < most and (shown := review.next(world.desk, count=1)):
        trial = shown[0].trial
        assert trial is not None
        good = passes(made.asks[trial.ask].task, trial.contestant)
        review.decide(world.desk, shown[0].id, Verdict.GOOD if good else Verdict.REJECT)
        looks += 1
    return looks


def stands(world: World, made: Tournament, task: str) -> contest.Standing:
    """How a task of the tournament is."""
    return contest.standing(made, task, contest.cells(world.store, made))
