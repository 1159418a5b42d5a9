"""Jobs on a disk that is full, read-only or forbidden: they wait or end in words, and the queue lives."""

import errno
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.api.errors import UserError
from studio.api.answers import answers
from studio.records.base import Part
from studio.records.event import PreviewKept
from studio.records.job import Job, JobState
from studio.workplace.context import Context
from tests.studio.full_disk import full
from tests.studio.jobs.queueing import Bench, titles


def until(true: Callable[[], object]) -> None:
    """Wait for a state."""
    while not true():
        threading.Event().wait(0.005)


def test_a_job_that_a_full_disk_lets_not_begin_waits_for_room(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The worker lives, the job stays queued and says why, others can be cancelled and resumed; then all goes on."""

    def stops(ctx: Context) -> None:
        bench.jobs.cancel(ctx.job.id)
        ctx.step(1, 1)

    ended = bench.here(stops)
    bench.does = lambda ctx: None
    first, second, third = (bench.submit(name) for name in "abc")

    with full(bench.library.root), caplog.at_level(logging.WARNING):
        bench.jobs.start()
        until(lambda: bench.jobs.get(first.id).waits_for)
        assert bench.jobs.get(first.id).state is JobState.QUEUED
        assert "flenwheel.journal could not be written" in bench.jobs.get(first.id).waits_for
        assert bench.jobs.cancel(second.id).state is JobState.CANCELLED
        assert bench.jobs.resume(ended.id).state is JobState.QUEUED
        with pytest.raises(UserError) as refused:
            bench.submit("d")

    assert refused.value.code == "disk_full"
    assert "Free some space" in refused.value.hint
    assert "cannot begin yet" in caplog.text
    for job in (first, third, ended):
        assert bench.until(job, JobState.DONE).waits_for == ""
    assert bench.stored(second).state is JobState.CANCELLED
    until(lambda: bench.stored(third).state is JobState.DONE)


def test_progress_and_events_on_a_full_disk_stop_nothing(bench: Bench) -> None:
    """A job goes on over steps and events that cannot be stored; when there is room they are."""
    asked: list[int] = []

    def does(ctx: Context) -> None:
        ctx.tell(PreviewKept(step=0, sample=0, image=""))
        with full(bench.library.root):
            for step in range(1, 60):
                bench.clock.now += 2.0
                ctx.step(step, 60)
                ctx.tell(PreviewKept(step=step, sample=0, image="x" * 100))
            asked.append(bench.jobs.events(ctx.job.id)[1])
            assert bench.stored(ctx.job).step < 59
        ctx.tell(PreviewKept(step=60, sample=0, image=""))

    job = bench.here(does)

    assert (job.state, job.step, asked) == (JobState.DONE, 59, [60])
    told = bench.open().events(job.id)[0]
    assert [event.step for event in told if isinstance(event, PreviewKept)] == list(range(61)) == list(range(len(told)))
    assert (bench.stored(job).state, bench.stored(job).step) == (JobState.DONE, 59)


def test_the_end_of_a_job_is_stored_when_there_is_room(bench: Bench) -> None:
    """A job that ends on a full disk has ended; its row says so as soon as the disk takes it, with nothing to run."""
    job = bench.submit()
    go_on, running = threading.Event(), threading.Event()

    def does(ctx: Context) -> None:
        running.set()
        go_on.wait()

    bench.does = does
    bench.jobs.start()
    running.wait()
    with full(bench.library.root):
        go_on.set()
        bench.until(job, JobState.DONE)
        assert bench.stored(job).state is JobState.RUNNING
    until(lambda: bench.stored(job).state is JobState.DONE)


def test_a_studio_closes_on_a_full_disk(bench: Bench) -> None:
    """The job ends, the close returns, and the next start finds the job interrupted."""
    running = threading.Event()

    def does(ctx: Context) -> None:
        while True:
            ctx.step(1, 2)
            running.set()

    bench.does = does
    job = bench.submit()
    bench.jobs.start()
    running.wait()
    with full(bench.library.root):
        bench.jobs.close()

    assert bench.open().get(job.id).state is JobState.INTERRUPTED


def raising(error: BaseException, over: BaseException | None = None) -> Callable[[Context], None]:
    """A runner that fails, or a library's error over a disk's."""

    def does(ctx: Context) -> None:
        if over is None:
            raise error
        try:
            raise error
        except OSError as cause:
            raise over from cause

    return does


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, "disk_full", "The disk is full"),
        (errno.EDQUOT, "disk_full", "quota"),
        (errno.EROFS, "not_allowed", "read-only"),
        (errno.EACCES, "not_allowed", "Permission is denied"),
        (errno.EPERM, "not_allowed", "Permission is denied"),
    ],
)
def test_a_disk_that_refuses_is_no_bug(bench: Bench, tmp_path: Path, number: int, code: str, words: str) -> None:
    """The error names the file, its folder and the remedy, also where a library has raised its own over it."""
    file = str(tmp_path / "runs" / "loss.csv")
    for over in (None, RuntimeError("PytorchStreamWriter failed")):
        error = bench.here(raising(OSError(number, "raw words", file), over)).error

        assert error.code == code
        assert words in error.message
        assert file in error.message
        assert str(tmp_path / "runs") in error.hint
        assert "raw words" not in str(error)


def test_a_disk_that_refuses_behind_a_library_is_no_bug(bench: Bench) -> None:
    """What a library in Rust tells in its own words is known by the system's number."""
    error = bench.here(raising(ValueError("I/O error: No space left on device (os error 28)"))).error

    assert (error.code, "The disk is full" in error.message) == ("disk_full", True)


def test_a_job_that_cannot_keep_its_last_step_stops_all_the_same(bench: Bench) -> None:
    """A cancelled job whose last save the disk refuses is cancelled, not failed."""

    def does(ctx: Context) -> None:
        bench.jobs.cancel(ctx.job.id)
        raise OSError(errno.ENOSPC, "full")

    assert bench.here(does).state is JobState.CANCELLED


def test_any_other_failure_of_the_system_stays_a_bug(bench: Bench) -> None:
    """Nobody is sent to free space because a connection broke."""
    assert bench.here(raising(ConnectionResetError(errno.ECONNRESET, "reset"))).error.code == "bug"


def test_a_library_that_ends_the_program_ends_its_job_alone(bench: Bench) -> None:
    """SystemExit from a runner is a bug of this job; the next one runs."""
    bench.does = lambda ctx: raising(SystemExit(2))(ctx) if ctx.job.title == "bad" else None
    bad, good = bench.submit("bad"), bench.submit("good")
    bench.jobs.start()

    bench.until(good, JobState.DONE)
    assert bench.jobs.get(bad.id).error.message == "SystemExit: 2"


def test_what_ended_is_listed_by_its_ending_not_by_the_clock(bench: Bench) -> None:
    """A clock that is set back, or was ahead, changes nothing: what ended last comes first, after a restart too."""
    ahead = bench.submit("old", here=True)
    bench.library.records(Job).put(bench.stored(ahead).replace(ended="2099-01-01T00:00:00.000+00:00"))
    bench.jobs = bench.open()
    first, second = bench.submit("first"), bench.submit("second")
    bench.jobs.cancel(second.id)
    bench.jobs.cancel(first.id)

    assert titles(bench.jobs) == ["first", "second", "old"]
    assert titles(bench.open()) == ["first", "second", "old"]


def test_a_script_is_told_of_a_full_disk_in_words(tmp_path: Path) -> None:
    """What a call of the scripted surface hears from the disk is an answer, not a traceback."""

    @answers
    def export(what: str) -> Part:
        raise OSError(errno.ENOSPC, "full", str(tmp_path / "set.zip"))

    told = export("kohya")

    assert (told["ok"], told["error"]["code"]) == (False, "disk_full")
    assert "set.zip" in told["error"]["message"]
