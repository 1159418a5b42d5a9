"""The queue: states, order, progress, cancel, recovery."""

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from engines.api import Component, EditItem, EditParams, GenerateParams, Plan, Stage
from engines.errors import BadInput, Busy, Cancelled, NotFound, UserError
from engines.fake import FakeWeights
from studio.jobs import Context, Jobs, Runner
from studio.nouns import Job, JobState, Kind, Verdict
from studio.store import Library, Store
from tests.studio import drawing
from tests.studio.drawing import House

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A queue whose jobs do what a test tells them to."""

    def __init__(self, library: Library, character: str) -> None:
        self.library = library
        self.character = character
        self.clock = Clock()
        self.house = House(library)
        self.does: Callable[[Context], None] = lambda ctx: None
        self.jobs = self.open()

    def open(self) -> Jobs:
        """A queue on the same library."""
        runners: dict[str, Runner] = {"do": lambda ctx: self.does(ctx), "say": lambda ctx: None}
        return Jobs(
            self.library,
            runners,
            lambda job, jobs: Context(job, jobs, self.house),  # type: ignore[arg-type]
            clock=self.clock,
            log="the-log",
        )

    def submit(self, title: str = "a job", **more: object) -> Job:
        """Queue a job of kind `do`."""
        return self.jobs.submit("do", self.character, {"n": 1}, title=title, **more)  # type: ignore[arg-type]

    def here(self, does: Callable[[Context], None]) -> Job:
        """Run one job in this thread."""
        self.does = does
        return self.submit(here=True)

    def stored(self, job: Job) -> Job:
        """What a crash would leave."""
        return self.library.records(Job).get(job.id)

    def until(self, job: Job, *states: JobState) -> Job:
        """Wait for a job to come to a state."""
        done = threading.Event()
        while self.jobs.get(job.id).state not in states:
            done.wait(0.005)
        return self.jobs.get(job.id)


@pytest.fixture
def bench(library: Library, store: Store) -> Iterator[Bench]:
    """A queue with one character, its worker not started."""
    made = Bench(library, store.character.id)
    yield made
    made.jobs.close()


def titles(jobs: Jobs) -> list[str]:
    """The list as a user sees it."""
    return [job.title for job in jobs.list()]


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


def test_the_same_key_answers_the_same_job(bench: Bench) -> None:
    """A script that submits twice with one idempotency key has one job; another character's key is another."""
    other = bench.library.create("Noa").id

    first, second = bench.submit(key="k"), bench.submit(key="k")
    third = bench.jobs.submit("do", other, {}, title="", key="k")

    assert first.id == second.id != third.id
    assert bench.submit().id != bench.submit().id


def test_an_unknown_kind_is_refused(bench: Bench) -> None:
    """A kind without a runner never gets into the queue."""
    with pytest.raises(NotFound, match="no job of kind sing"):
        bench.jobs.submit("sing", bench.character, {}, title="")
    with pytest.raises(NotFound):
        bench.jobs.get("job-x")


def test_a_payload_looks_the_same_before_and_after_a_restart(bench: Bench) -> None:
    """Tuples become lists at once, not only when the job is read back."""
    job = bench.jobs.submit("do", bench.character, {"loras": ({"file": "x"},)}, title="")

    assert job.payload == {"loras": [{"file": "x"}]} == bench.stored(job).payload


def test_an_expected_failure_is_told_in_its_own_words(bench: Bench) -> None:
    """A UserError ends the job as failed, with code, message and hint."""

    def does(ctx: Context) -> None:
        raise BadInput("mira.png is cut short.", "Export it again.")

    job = bench.here(does)

    assert job.state is JobState.FAILED
    assert job.error == {"code": "bad_input", "message": "mira.png is cut short.", "hint": "Export it again."}


def test_a_bug_ends_the_job_and_not_the_worker(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Any other exception is a bug: the traceback is in the log, the hint says where, the next job runs."""
    bench.does = lambda ctx: [][1] if ctx.job.title == "bad" else None
    bad, good = bench.submit("bad"), bench.submit("good")

    with caplog.at_level(logging.ERROR):
        bench.jobs.start()
        bench.until(good, JobState.DONE)

    error = bench.jobs.get(bad.id).error
    assert (error["code"], error["message"]) == ("bug", "IndexError: list index out of range")
    assert error["hint"] == "The traceback is in the-log."
    assert "Traceback" in caplog.text


def test_a_cancel_takes_effect_within_a_step(bench: Bench) -> None:
    """The step after the cancel raises; what was finished stays, and the job is cancelled."""
    steps: list[int] = []

    def does(ctx: Context) -> None:
        for step in range(1, 100):
            ctx.step(step, 100)
            steps.append(step)
            ctx.artifact("last", step)
            if step == 3:
                bench.jobs.cancel(ctx.job.id)

    job = bench.here(does)

    assert (job.state, steps, job.artifacts) == (JobState.CANCELLED, [1, 2, 3], {"last": 3})


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
        ctx.artifact("drawn", ["x"])
        raise UserError("No.")

    job = bench.here(fails)
    bench.does = lambda ctx: None

    again = bench.jobs.resume(job.id)
    assert (again.state, again.error, again.artifacts) == (JobState.QUEUED, {}, {"drawn": ["x"]})
    assert bench.jobs.resume(job.id) == again
    bench.jobs.start()
    bench.until(job, JobState.DONE)
    with pytest.raises(BadInput, match="is done"):
        bench.jobs.resume(job.id)


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
        bench.jobs.submit("say", bench.character, {}, title=name, here=True)
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
        job = bench.jobs.submit("say", bench.character, {}, title=name, here=True)
        bench.library.records(Job).put(job.replace(ended="2026-01-01T00:00:00.000+00:00"))
    bench.jobs.close()

    assert titles(bench.open()) == ["third", "second", "first"]


def test_rate_and_time_left_follow_the_steps(bench: Bench) -> None:
    """Seconds a step are smoothed over the steps taken; a resumed job's first step counts for nothing."""
    seen: list[tuple[float, float]] = []

    def does(ctx: Context) -> None:
        for step, seconds in ((10, 100.0), (11, 2.0), (12, 2.0), (14, 8.0)):
            bench.clock.now += seconds
            ctx.step(step, 20, "drawing")
            seen.append((ctx.job.rate, ctx.job.eta_s))

    job = bench.here(does)

    assert seen == [(0.0, 0.0), (2.0, 18.0), (2.0, 16.0), (pytest.approx(2.6), pytest.approx(15.6))]
    assert (job.step, job.total, job.message, job.eta_s) == (14, 20, "drawing", 0.0)


def test_waiting_is_no_part_of_the_rate(bench: Bench) -> None:
    """Loading a model between two steps does not make the steps look slow, and the job says what it waits for."""
    said: list[str] = []

    def does(ctx: Context) -> None:
        def load() -> FakeWeights:
            said.append(ctx.job.waits_for)
            bench.clock.now += 500.0
            return FakeWeights("flux/vae")

        plan = Plan("draw", (Stage("decode", (Component("flux/vae", 1 << 30, load),)),))
        ctx.step(1, 10)
        bench.clock.now += 1.0
        with ctx.lease(plan) as lease, lease.stage("decode"):
            assert ctx.job.waits_for == ""
            bench.clock.now += 1.0
        ctx.step(2, 10)
        said.append(str(ctx.job.rate))

    bench.here(does)

    assert said == ["loading flux/vae, 1.0 GiB", "2.0"]


def test_progress_is_durable_once_a_second(bench: Bench) -> None:
    """Each step is seen at once in memory; the row on disk follows at most every second."""
    seen: list[tuple[int, int]] = []

    def does(ctx: Context) -> None:
        for step in range(1, 5):
            bench.clock.now += 0.4
            ctx.step(step, 10)
            seen.append((ctx.job.step, bench.stored(ctx.job).step))

    bench.here(does)

    assert seen == [(1, 0), (2, 0), (3, 3), (4, 3)]


def test_artifacts_are_durable_at_once(bench: Bench) -> None:
    """What a runner keeps is on disk before it goes on."""

    def does(ctx: Context) -> None:
        ctx.artifact("ids", ("a", "b"))
        assert bench.stored(ctx.job).artifacts == {"ids": ["a", "b"]}

    assert bench.here(does).artifacts == {"ids": ["a", "b"]}


def test_events_are_read_from_where_one_left_off(bench: Bench) -> None:
    """Each call answers what is new and where to go on; a restart loses none, a torn line spoils none."""
    job = bench.here(lambda ctx: [ctx.event(loss=loss) for loss in (3, 2)])

    events, after = bench.jobs.events(job.id, 0)
    assert ([event["loss"] for event in events], after) == ([3, 2], 2)
    assert bench.jobs.events(job.id, after) == ([], 2)

    log = bench.library.open(bench.character).run_dir(job.id) / "events.jsonl"
    with log.open("a") as file:
        file.write('\n{"loss": 1, "at')
    reopened = bench.open()
    assert [event["loss"] for event in reopened.events(job.id, 1)[0]] == [2]


def test_a_saved_picture_knows_what_made_it(bench: Bench, store: Store) -> None:
    """Job, model, version, parameters verbatim and seed are attached in one place; it awaits review."""
    source = store.add_image(Image.new("RGB", (8, 8), "red"), kind=Kind.SOURCE)
    params = EditParams(instruction="turn the head", seed=7)

    def does(ctx: Context) -> None:
        ctx.save(
            Image.new("RGB", (8, 8), "blue"),
            kind=Kind.ENRICHED,
            parent=source.id,
            item=EditItem(ctx.store.open_image(source.id), params),
            asked={"angle": "front"},
        )
        ctx.save(Image.new("RGB", (8, 8), "green"), kind=Kind.PREVIEW, version="v2", item=GenerateParams(seed=3))

    bench.does = does
    job = bench.jobs.submit("do", bench.character, {"model": "fake-edit"}, title="", here=True)

    assert job.error == {}
    edited, drawn = store.images.find(job=job.id)
    assert EditParams.from_json(edited.params) == params
    assert (edited.params_kind, edited.seed, edited.model, edited.parent) == ("EditParams", 7, "fake-edit", source.id)
    assert (edited.state, edited.asked) == (Verdict.PENDING, {"angle": "front"})
    assert (drawn.version, drawn.params_kind, drawn.seed) == ("v2", "GenerateParams", 3)
    assert [event["image"] for event in bench.jobs.events(job.id)[0]] == [edited.id, drawn.id]


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
        assert bench.jobs.get(job.id).waits_for == "the card: train v2"
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


def test_a_runner_may_stop_itself(bench: Bench) -> None:
    """Cancelled without a request is still a cancel."""

    def does(ctx: Context) -> None:
        raise Cancelled

    assert bench.here(does).state is JobState.CANCELLED


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

        short = {**job.payload, "slow": False, "items": job.payload["items"][: len(kept) + 3]}
        library.records(Job).put(job.replace(payload=short))
        jobs = drawing.open_jobs(library)
        jobs.resume(job.id)
        jobs.start()
        while jobs.get(job.id).state in (JobState.QUEUED, JobState.RUNNING):
            threading.Event().wait(0.01)
        ended = jobs.get(job.id)
        jobs.close()

        assert (ended.state, ended.error, ended.artifacts) == (JobState.DONE, {}, {"drawn": 3})
        assert len(drawing.drawn(store, job)) == len(kept) + 3
        assert all(record.id in kept or record.seed >= len(kept) for record in drawing.drawn(store, job))
