"""What interrupts a job, and how it goes on: the card, the studio closing, memory, a kill."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engines.api.errors import Busy
from engines.api.protocols import Plan, Stage
from engines.fake import FakeDevice
from studio.records.event import RanShort
from studio.records.job import Artifacts, Job, JobError, JobState
from studio.store import Library
from studio.workplace.context import Context
from tests.studio import drawing
from tests.studio.card import MIB, manager, one, part, run
from tests.studio.jobs.queueing import Bench

ROOT = Path(__file__).resolve().parents[3]


def test_a_cancel_ends_the_wait_for_the_card(bench: Bench) -> None:
    """A job that waits for another's lease says so, and is cancelled without getting it."""
    plan = Plan("train v2", (Stage("go", ()),))

    def does(ctx: Context) -> None:
        with ctx.lease(plan):
            raise AssertionError("it never gets the card")

    bench.does = does
    job = bench.submit()
    with bench.house.gpu.lease(plan):
        bench.jobs.start()
        waited = threading.Event()
        while not bench.jobs.get(job.id).waits_for:
            waited.wait(0.005)
        assert bench.jobs.get(job.id).waits_for == "the GPU: train v2"
        bench.jobs.cancel(job.id)
        ended = bench.until(job, JobState.CANCELLED)

    assert ended.waits_for == ""


def test_closing_interrupts_and_does_not_cancel(bench: Bench) -> None:
    """A studio that closes leaves its running job to be resumed, its queue to be run next time."""
    running = threading.Event()

    def does(ctx: Context) -> None:
        while True:
            ctx.step(1, 2)
            running.set()

    bench.does = does
    first, second = bench.submit(), bench.submit()
    bench.jobs.start()
    running.wait()
    bench.jobs.close()

    assert (bench.stored(first).state, bench.stored(second).state) == (JobState.INTERRUPTED, JobState.QUEUED)


def test_a_job_that_will_not_stop_keeps_the_studio_open(bench: Bench) -> None:
    """Closing says so instead of pulling the store away from a running job."""
    running, go_on = threading.Event(), threading.Event()

    def does(ctx: Context) -> None:
        running.set()
        go_on.wait()

    bench.does = does
    bench.submit()
    bench.jobs.start()
    running.wait()
    with pytest.raises(Busy):
        bench.jobs.close(patience_s=0.01)
    go_on.set()


def test_an_interrupt_from_the_keyboard_leaves_no_job_running(bench: Bench) -> None:
    """What goes through the worker's hands ends as interrupted in the books."""

    def does(ctx: Context) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.here(does)

    assert [job.state for job in bench.jobs.list()] == [JobState.INTERRUPTED]


def test_a_job_that_ran_out_goes_on_with_what_is_left(bench: Bench) -> None:
    """The queue runs it again at once in the room that was made; what was finished stays, and the log says why."""
    card = FakeDevice(100 * MIB)
    bench.house.gpu = manager(card)
    run(bench.house.gpu, one(part("idle/x", 40)))
    runs: list[int] = []

    def does(ctx: Context) -> None:
        drawn = list(ctx.job.artifacts.images or ())
        runs.append(len(drawn))
        with ctx.lease(one(part("a/x", 30), what="draw")) as lease:
            for item in range(len(drawn), 4):
                with lease.stage("go"):
                    card.work((70 if item == 2 else 10) * MIB)
                drawn.append(str(item))
                ctx.keep(images=tuple(drawn))

    job = bench.here(does)

    assert (job.state, job.error, job.artifacts) == (JobState.DONE, JobError(), Artifacts(images=("0", "1", "2", "3")))
    assert runs == [0, 2]
    (event,) = bench.jobs.events(job.id)[0]
    assert isinstance(event, RanShort)
    assert event.ran_out.startswith("draw: go ran out of memory.")
    assert "40.0 MiB were unloaded" in event.remedy


def test_a_job_that_cannot_fit_ends_with_the_numbers(bench: Bench) -> None:
    """Where nothing is left to try the job fails, once, in the arithmetic's own words."""
    card = FakeDevice(100 * MIB)
    bench.house.gpu = manager(card)
    runs: list[int] = []

    def does(ctx: Context) -> None:
        runs.append(1)
        with ctx.lease(one(part("a/x", 30))) as lease, lease.stage("go"):
            card.work(90 * MIB)

    job = bench.here(does)

    assert (job.state, job.error.code, len(runs)) == (JobState.FAILED, "out_of_memory", 2)
    assert "go needs 30.0 MiB" in job.error.message


def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After SIGKILL the job is interrupted, every picture told is there, and a resume draws only the rest."""
    script = [sys.executable, str(ROOT / "tests/studio/drawing.py"), str(tmp_path)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        told += [line.strip() for line in process.stdout.readlines() if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL

    with Library(tmp_path) as library:
        jobs = drawing.open_jobs(library)
        (job,) = jobs.list()
        store = library.open(job.character)
        kept = {record.id for record in drawing.drawn(store, job)}
        assert job.state is JobState.INTERRUPTED
        assert set(told) <= kept
        assert all(store.open_image(image).size == (16, 16) for image in kept)
        assert jobs.events(job.id)[1] >= len(told)

        asked = drawing.DrawSlowly.of(job)
        short = asked.replace(slow=False, items=asked.items[: len(kept) + 3])
        library.records(Job).put(job.replace(payload=short.to_json()))
        jobs = drawing.open_jobs(library)
        jobs.resume(job.id)
        jobs.start()
        while jobs.get(job.id).state in (JobState.QUEUED, JobState.RUNNING):
            threading.Event().wait(0.01)
        ended = jobs.get(job.id)
        jobs.close()

        rest = tuple(record.id for record in drawing.drawn(store, job) if record.id not in kept)
        assert (ended.state, ended.error, ended.artifacts) == (JobState.DONE, JobError(), Artifacts(images=rest))
        assert len(rest) == 3
        assert len(drawing.drawn(store, job)) == len(kept) + 3
        assert all(record.id in kept or record.seed >= len(kept) for record in drawing.drawn(store, job))
