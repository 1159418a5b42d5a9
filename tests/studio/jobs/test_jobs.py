"""Jobs: what becomes of them, and how they end."""

import logging
from pathlib import Path

import pytest

from engines.api.errors import BadInput, Cancelled, NotFound, UserError
from studio.records.job import CANCELLING, Artifacts, JobError, JobState
from studio.records.payload import DrawPayload
from studio.workplace.context import Context
from tests.studio.drawing import Numbered
from tests.studio.jobs.queueing import Bench

ROOT = Path(__file__).resolve().parents[3]


def test_a_job_runs_and_is_kept(bench: Bench) -> None:
    """The worker takes a queued job to done, with its payload verbatim and its times."""
    seen: list[dict[str, object]] = []
    bench.does = lambda ctx: seen.append(ctx.job.payload)

    job = bench.submit(total=3)
    assert bench.stored(job).state is JobState.QUEUED
    bench.jobs.start()
    ended = bench.until(job, JobState.DONE)

    assert seen == [{"n": 1}]
    assert (ended.total, ended.character) == (3, bench.character)
    assert ended.started
    assert ended.ended >= ended.started
    assert bench.stored(job).state is JobState.DONE


def test_the_same_key_answers_the_same_job(bench: Bench) -> None:
    """A script that submits twice with one idempotency key has one job; another character's key is another."""
    other = bench.library.create("Noa").id

    first, second = bench.submit(key="k"), bench.submit(key="k")
    third = bench.jobs.submit("do", other, Numbered(), title="", key="k")

    assert first.id == second.id != third.id
    assert bench.submit().id != bench.submit().id


def test_an_unknown_kind_is_refused(bench: Bench) -> None:
    """A kind without a runner never gets into the queue."""
    with pytest.raises(NotFound, match="no job of kind sing"):
        bench.jobs.submit("sing", bench.character, Numbered(), title="")
    with pytest.raises(NotFound):
        bench.jobs.get("job-x")


def test_a_payload_looks_the_same_before_and_after_a_restart(bench: Bench) -> None:
    """Tuples become lists at once, not only when the job is read back."""
    asked = DrawPayload(items=({"loras": ({"file": "x"},)},))
    job = bench.jobs.submit("do", bench.character, asked, title="")

    assert job.payload == {"items": [{"loras": [{"file": "x"}]}]} == bench.stored(job).payload


def test_an_expected_failure_is_told_in_its_own_words(bench: Bench) -> None:
    """A UserError ends the job as failed, with code, message and hint."""

    def does(ctx: Context) -> None:
        raise BadInput("mira.png is cut short.", "Export it again.")

    job = bench.here(does)

    assert job.state is JobState.FAILED
    assert job.error == JobError(code="bad_input", message="mira.png is cut short.", hint="Export it again.")


def test_a_bug_ends_the_job_and_not_the_worker(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Any other exception is a bug: the traceback is in the log, the hint says where, the next job runs."""
    bench.does = lambda ctx: [][1] if ctx.job.title == "bad" else None
    bad, good = bench.submit("bad"), bench.submit("good")

    with caplog.at_level(logging.ERROR):
        bench.jobs.start()
        bench.until(good, JobState.DONE)

    error = bench.jobs.get(bad.id).error
    assert (error.code, error.message) == ("bug", "IndexError: list index out of range")
    assert error.hint == "The traceback is in the-log."
    assert "Traceback" in caplog.text


def test_a_cancel_takes_effect_within_a_step(bench: Bench) -> None:
    """The step after the cancel raises, and until then the job says so; what was finished stays."""
    steps: list[int] = []

    def does(ctx: Context) -> None:
        for step in range(1, 100):
            ctx.step(step, 100)
            steps.append(step)
            ctx.keep(filtered=step)
            if step == 3:
                assert bench.jobs.cancel(ctx.job.id).stopping
                bench.jobs.progress(ctx.job.id, message="another step")
                assert bench.jobs.get(ctx.job.id).message == CANCELLING

    job = bench.here(does)

    assert (job.state, steps, job.artifacts) == (JobState.CANCELLED, [1, 2, 3], Artifacts(filtered=3))
    assert not job.message


def test_the_words_of_a_stop_are_the_last_ones(bench: Bench) -> None:
    """What a runner says by its Cancelled stays when the job has ended, though a cancel hides its other messages."""

    def does(ctx: Context) -> None:
        bench.jobs.cancel(ctx.job.id)
        ctx.say("lost")
        raise Cancelled("stopped at 2")

    job = bench.here(does)

    assert (job.state, job.message, bench.stored(job).message) == (JobState.CANCELLED, "stopped at 2", "stopped at 2")


def test_a_queued_job_is_cancelled_at_once(bench: Bench) -> None:
    """It never runs; cancelling what has ended changes nothing."""
    done = bench.here(lambda ctx: None)
    job = bench.submit()

    assert bench.jobs.cancel(job.id).state is JobState.CANCELLED
    assert bench.stored(job).state is JobState.CANCELLED
    assert bench.jobs.cancel(done.id).state is JobState.DONE


def test_a_cancelled_or_failed_job_can_be_resumed(bench: Bench) -> None:
    """The same job is queued again with its payload and artifacts, its error gone; a done one is not."""

    def fails(ctx: Context) -> None:
        ctx.keep(images=("x",))
        raise UserError("No.")

    job = bench.here(fails)
    bench.does = lambda ctx: None

    again = bench.jobs.resume(job.id)
    assert (again.state, again.error, again.artifacts) == (JobState.QUEUED, JobError(), Artifacts(images=("x",)))
    assert bench.jobs.resume(job.id) == again
    bench.jobs.start()
    bench.until(job, JobState.DONE)
    with pytest.raises(BadInput, match="is done"):
        bench.jobs.resume(job.id)


def test_a_runner_may_stop_itself(bench: Bench) -> None:
    """Cancelled without a request is still a cancel."""

    def does(ctx: Context) -> None:
        raise Cancelled

    assert bench.here(does).state is JobState.CANCELLED
