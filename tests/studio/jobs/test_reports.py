"""What a running job tells: steps, events, artifacts, pictures."""

from pathlib import Path

from PIL import Image

from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import Component, EditItem, Plan, Stage
from engines.fake import FakeWeights
from studio.records.event import Event, PictureKept, StepTrained
from studio.records.image import Kind, Verdict
from studio.records.job import Artifacts
from studio.records.payload import ModelPayload
from studio.store import Store
from studio.workplace.context import Context
from tests.studio.jobs.queueing import Bench

ROOT = Path(__file__).resolve().parents[3]


def test_rate_and_time_left_follow_the_steps(bench: Bench) -> None:
    """Seconds a step are averaged over the steps taken; a resumed job's first step counts for nothing."""
    seen: list[tuple[float, float]] = []

    def does(ctx: Context) -> None:
        for step, seconds in ((10, 100.0), (11, 2.0), (12, 2.0), (14, 8.0)):
            bench.clock.now += seconds
            ctx.step(step, 20, "drawing")
            seen.append((ctx.job.rate, ctx.job.eta_s))

    job = bench.here(does)

    assert seen == [(0.0, 0.0), (2.0, 18.0), (2.0, 16.0), (3.0, 18.0)]
    assert (job.step, job.total, job.message, job.eta_s) == (14, 20, "drawing", 0.0)


def test_what_is_done_between_steps_is_no_part_of_a_trainings_rate(bench: Bench) -> None:
    """Encoding before the first step, and previews after one, report the step they stand at; it takes no longer."""
    seen: list[tuple[float, float]] = []

    def does(ctx: Context) -> None:
        for step, seconds in ((0, 0.0), (0, 300.0), (1, 2.0), (1, 90.0), (1, 90.0), (2, 2.0), (3, 2.0)):
            bench.clock.now += seconds
            ctx.step(step, 10, repeats_count=False)
            seen.append((ctx.job.rate, ctx.job.eta_s))

    bench.here(does)

    assert seen == [(0, 0), (0, 0), (2, 0), (2, 0), (2, 0), (2, 16), (2, 14)]


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
        ctx.keep(images=("a", "b"))
        assert bench.stored(ctx.job).artifacts == Artifacts(images=("a", "b"))

    assert bench.here(does).artifacts == Artifacts(images=("a", "b"))


def losses(events: list[Event]) -> list[float]:
    """The losses of events that are all steps of a training."""
    steps = [event for event in events if isinstance(event, StepTrained)]
    assert len(steps) == len(events)
    return [event.loss for event in steps]


def test_events_are_read_from_where_one_left_off(bench: Bench) -> None:
    """Each call answers what is new and where to go on; a restart loses none, a torn line spoils none."""
    at = {"step": 1, "sigma": 0.5, "learning_rate": 1e-4, "grad_norm": 1.0, "seconds": 1.0}

    def does(ctx: Context) -> None:
        for loss in (3.0, 2.0):
            ctx.tell(StepTrained.from_json({**at, "loss": loss}))

    job = bench.here(does)

    events, after = bench.jobs.events(job.id, 0)
    assert (losses(events), after) == ([3, 2], 2)
    assert bench.jobs.events(job.id, after) == ([], 2)

    log = bench.library.open(bench.character).run_dir(job.id) / "events.jsonl"
    with log.open("a") as file:
        file.write('\n{"loss": 1, "at')
    reopened = bench.open()
    assert losses(reopened.events(job.id, 1)[0]) == [2]


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
    job = bench.jobs.submit("do", bench.character, ModelPayload(model="fake-edit"), title="", here=True)

    assert not job.error
    edited, drawn = store.images.find(job=job.id)
    assert EditParams.from_json(edited.params) == params
    assert (edited.params_kind, edited.seed, edited.model, edited.parent) == ("EditParams", 7, "fake-edit", source.id)
    assert (edited.state, edited.asked) == (Verdict.PENDING, {"angle": "front"})
    assert (drawn.version, drawn.params_kind, drawn.seed) == ("v2", "GenerateParams", 3)
    told = bench.jobs.events(job.id)[0]
    assert [each.image for each in told if isinstance(each, PictureKept)] == [edited.id, drawn.id]
    assert len(told) == 2
