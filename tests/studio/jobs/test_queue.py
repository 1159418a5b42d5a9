"""The queue: its order, and the list that a user sees."""

from pathlib import Path

import pytest

from engines.api.errors import BadInput
from studio.records.job import Job, JobState
from studio.workplace.context import Context
from tests.studio.drawing import Numbered
from tests.studio.jobs.queueing import Bench, titles

ROOT = Path(__file__).resolve().parents[3]


def test_jobs_run_one_at_a_time_in_order(bench: Bench) -> None:
    """No two jobs of the queue overlap, and the first submitted is the first run."""
    log: list[str] = []

    def does(ctx: Context) -> None:
        log.append(f"in {ctx.job.title}")
        log.append(f"out {ctx.job.title}")

    bench.does = does
    jobs = [bench.submit(name) for name in "abc"]
    bench.jobs.start()
    for job in jobs:
        bench.until(job, JobState.DONE)

    assert log == ["in a", "out a", "in b", "out b", "in c", "out c"]


def test_the_queue_can_be_reordered(bench: Bench) -> None:
    """A job moves before another, or to the end; what has ended cannot move; the order survives a restart."""
    ended = bench.here(lambda ctx: None)
    a, b, c = (bench.submit(name) for name in "abc")

    bench.jobs.move(c.id, a.id)
    assert titles(bench.jobs)[:3] == ["c", "a", "b"]
    bench.jobs.move(c.id)
    bench.jobs.move(b.id, a.id)
    assert titles(bench.jobs)[:3] == ["b", "a", "c"]
    assert titles(bench.open())[:3] == ["b", "a", "c"]
    with pytest.raises(BadInput, match="Only queued"):
        bench.jobs.move(ended.id, a.id)
    with pytest.raises(BadInput, match="another queued"):
        bench.jobs.move(a.id, ended.id)


def test_a_later_job_queues_behind_reordered_ones(bench: Bench) -> None:
    """Reordering never lets a newcomer in between."""
    a, b = bench.submit("a"), bench.submit("b")
    bench.jobs.move(b.id, a.id)
    bench.submit("c")

    assert titles(bench.jobs) == ["b", "a", "c"]


def test_the_list_shows_running_then_queued_then_ended(bench: Bench) -> None:
    """The newest of the ended comes first, and one character's list holds no other's."""
    other = bench.library.create("Noa").id
    for name in ("old", "new"):
        bench.jobs.submit("say", bench.character, Numbered(), title=name, here=True)
    bench.submit("queued")
    listed: list[str] = []

    def does(ctx: Context) -> None:
        listed.extend(titles(bench.jobs))
        running = bench.jobs.running()
        assert running is not None
        assert running.id == ctx.job.id

    bench.does = does
    bench.submit("running", here=True)

    assert listed == ["running", "queued", "new", "old"]
    assert bench.jobs.running() is None
    assert bench.jobs.list(other) == []


def test_jobs_that_ended_in_one_instant_keep_newest_first(bench: Bench) -> None:
    """A tie in the time of ending is broken by which was submitted later, before and after a restart."""
    for name in ("first", "second", "third"):
        job = bench.jobs.submit("say", bench.character, Numbered(), title=name, here=True)
        bench.library.records(Job).put(job.replace(ended="2026-01-01T00:00:00.000+00:00"))
    bench.jobs.close()

    assert titles(bench.open()) == ["third", "second", "first"]
