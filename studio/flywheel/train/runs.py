"""The runs of both kinds of training: turns the events of a run into a curve, previews, checkpoints and a version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from safetensors import safe_open

from engines.api.errors import BadInput, Busy, Cancelled
from engines.api.params import GenerateParams, TrainParams
from engines.api.protocols import CheckpointSaved, EditItem, SampleDrawn, StepDone, TrainItem, TrainRun
from engines.training import runfile
from engines.wording.reading import read_tags
from studio.flywheel.train import run_folder
from studio.jobs.progress import Breaks
from studio.judging.judge import Judge
from studio.records.base import Part
from studio.records.dataset import Role, real_share
from studio.records.event import PreviewKept, StepTrained
from studio.records.image import Kind
from studio.records.job import Job, JobState
from studio.records.payload import TrainPayload
from studio.records.version import Checkpoint, Metrics, Version
from studio.store import Store, durable
from studio.store.lora_names import version_lora_name
from studio.workplace.context import Context
from studio.workplace.desk import Desk, Workplace

OUR_FORM = "diffusers"
_KEEP = "keep"
_SMOOTHING = 0.9
_CHECKPOINT = re.compile(r"(?:step-)?(\d+)")


@dataclass(frozen=True)
class Point:
    """Holds one step of the training curve: its loss, noise level `sigma`, learning rate and gradient norm.

    `smooth` is the exponential running mean of the loss, without bias at the start. `bands` are running means of the
    loss at low, middle and high noise levels, each None while no example had such a level. `seconds` is the time of
    this step, `memory` the bytes in use, 0 where they were not measured.
    """

    step: int
    loss: float
    smooth: float
    sigma: float
    learning_rate: float
    grad_norm: float
    seconds: float
    bands: tuple[float | None, ...] = ()
    memory: int = 0


@dataclass(frozen=True)
class Sample:
    """Holds a fixed-seed preview of a training: its step, the index of its prompt, and the id of its picture."""

    step: int
    index: int
    image: str


@dataclass(frozen=True)
class Progress(Part):
    """Holds the progress of a training so far: its number of steps in total, curve, previews and checkpoints."""

    total: int
    points: tuple[Point, ...]
    samples: tuple[Sample, ...]
    checkpoints: tuple[Checkpoint, ...]  # oldest first


_OF_MEMORY = ("targets", "optimizer", "ema_decay", "prior_weight", "dop_weight")


def peak_key(model: str, params: TrainParams, items: Sequence[TrainItem] = ()) -> str:
    """Returns the key under which a training's measured memory peak is stored.

    It is made of the model and of the settings that the memory depends on, so that similar trainings share a key.
    `items` are the training examples; the largest number of reference pictures of an example is part of the key.
    """
    checkpointing = "checkpointing" if params.gradient_checkpointing else "plain"
    references = max((len(item.references) for item in items), default=0)
    further = f"|{references} references" if references > 1 else ""
    usual = TrainParams()
    values = ((name, getattr(params, name)) for name in _OF_MEMORY)
    further += "".join(f"|{name} {value}" for name, value in values if value != getattr(usual, name))
    return f"train|{model}|{params.resolution}|{params.batch_size}|{params.rank}|{checkpointing}|{params.base}{further}"


def follow(ctx: Context, previews: Sequence[GenerateParams | EditItem]) -> Version:
    """Runs a training job to its last step, from its latest checkpoint if there is one; returns its LoRA version.

    `previews` are drawn at intervals. Steps that were trained outside the studio, in the job's folder, are taken over.
    Where the last step is reached already, nothing is trained: its version is returned if it was kept, else missing
    previews are drawn first. A cancelled training saves a checkpoint from which the job can resume; where the user
    called `keep`, it also becomes a version.

    Raises: Cancelled, OutOfMemory, NotFound for a missing file, BadInput where the training left no checkpoint.
    """
    asked = TrainPayload.of(ctx.job)
    params = TrainParams.from_json(asked.params)
    checkpoints = _checkpoints(ctx.store, ctx.job.id, ctx.job.artifacts.checkpoints)
    finished = bool(checkpoints) and checkpoints[-1].step >= params.steps
    if finished and (made := _made(ctx.store, ctx.job.id, checkpoints)):
        return made
    run = run_folder.prepare(ctx.workplace, ctx.job, previews)
    judge = Judge(ctx) if previews else None
    _collect(ctx, run, judge)
    samples = progress(ctx.workplace, ctx.job.id).samples
    last = {sample.index for sample in samples if finished and sample.step == checkpoints[-1].step}
    if finished and len(last) >= len(run.previews):
        ctx.step(params.steps, params.steps, "trained already")
        ctx.keep(checkpoints=tuple(checkpoints))
        return make_version(ctx.workplace, ctx.job.id, checkpoints)
    trainer = ctx.workplace.trainer(asked.model)
    passes = sum((each.params if isinstance(each, EditItem) else each).steps for each in run.previews)
    ctx.expect(Breaks(params.sample_every, passes))
    try:
        with ctx.lease(trainer.plan(run), peak_key(asked.model, params, run.items)) as lease:
            # Only the trainer's on_step may raise Cancelled, because the trainer then saves a checkpoint first.
            for event in trainer.train(run, lease, partial(ctx.step, repeats_count=False)):
                _take(ctx, run, event, checkpoints, judge)
    except Cancelled as stop:
        saved = _checkpoints(ctx.store, ctx.job.id, checkpoints)
        ctx.keep(checkpoints=tuple(saved))
        mark = _keep_file(ctx.store, ctx.job.id)
        if saved and mark.is_file() and mark.read_text() == ctx.job.started:
            make_version(ctx.workplace, ctx.job.id, saved)
        told = f"stopped at step {ctx.job.step} of {params.steps}; “{resume_words(ctx.job)}” takes it up there"
        raise Cancelled(told) from stop
    saved = _checkpoints(ctx.store, ctx.job.id, checkpoints)
    ctx.keep(checkpoints=tuple(saved))
    return make_version(ctx.workplace, ctx.job.id, saved)


def resume_words(job: Job) -> str:
    """Returns the label of the button that resumes an ended job; for a training it says from which step."""
    if not TrainPayload.of(job).dataset:
        return "Resume"
    saved = job.artifacts.checkpoints
    return f"Resume from step {saved[-1].step}" if saved else "Resume from the start"


def keep(workplace: Workplace, job_id: str) -> Version | None:
    """Makes a LoRA version of the latest checkpoint of a training that has ended, and returns the version.

    A training that runs is stopped instead: then the call returns None at once, and the version is made when the job
    has stopped. Raises: NotFound, BadInput without a checkpoint, Busy while the job is queued.
    """
    job = workplace.jobs.get(job_id)
    store = workplace.store(job.character)
    if job.state is JobState.RUNNING:
        durable.write_file(_keep_file(store, job_id), job.started.encode())  # an earlier start's mark counts no more
        workplace.jobs.cancel(job_id)
        return None
    if job.state is JobState.QUEUED:
        raise Busy(f"{job.title} has not started.", "Cancel it, or wait until it has a checkpoint.")
    return make_version(workplace, job_id, _checkpoints(store, job_id, job.artifacts.checkpoints))


def extend(workplace: Workplace, job_id: str, steps: int) -> Job:
    """Queues an ended training again, to continue from its latest checkpoint, and returns the job.

    `steps` is the new number of steps in total. Raises: NotFound, Busy while the job has not ended, BadInput for a job
    that is no training or has no checkpoint, and for a number of steps that is reached already.
    """
    job = training(workplace, job_id)
    checkpoints = ended_checkpoints(workplace, job)
    if not checkpoints:
        raise BadInput("This training has no checkpoint to go on from.", "Resume it, or start a new one.")
    done = checkpoints[-1].step
    if steps <= done:
        raise BadInput(
            f"{done} steps are done; {steps} are no more.",
            f"Ask for more than {done} in all, or make a version of an earlier checkpoint.",
        )
    store, asked = workplace.store(job.character), TrainPayload.of(job)
    params = TrainParams.kept(asked.params).replace(steps=steps).checked()
    run_folder.train_items(store, store.datasets.get(asked.dataset), params)  # raises for missing files
    longer = workplace.jobs.extend(job_id, asked.replace(params=params.to_json()), steps)
    run_folder.ask_for(store.run_dir(job_id), params)
    return longer


def training(workplace: Workplace, job_id: str) -> Job:
    """Returns the training job with the id `job_id`. Raises: NotFound, BadInput for a job of another kind."""
    job = workplace.jobs.get(job_id)
    if not TrainPayload.of(job).dataset:
        raise BadInput(f"{job.title or job.kind} is no training.", "Name a job of train_submit or refine_submit.")
    return job


def progress(workplace: Workplace, job_id: str) -> Progress:
    """Returns the progress of a training so far: its curve, previews and checkpoints.

    Of a step that was trained twice, because the job was stopped in between, only the later result is included.
    """
    job = workplace.jobs.get(job_id)
    steps: dict[int, StepTrained] = {}
    samples: dict[tuple[int, int], Sample] = {}
    for event in workplace.jobs.events(job_id, 0)[0]:
        if isinstance(event, StepTrained):
            steps[event.step] = event
        elif isinstance(event, PreviewKept):
            samples[event.step, event.sample] = Sample(event.step, event.sample, event.image)
    return Progress(
        total=asked_steps(job),
        points=tuple(_smooth(steps[step] for step in sorted(steps))),
        samples=tuple(samples[key] for key in sorted(samples)),
        checkpoints=job.artifacts.checkpoints or (),
    )


def asked_steps(job: Job) -> int:
    """Returns the number of steps that a training was asked to train.

    The job's own `total` can differ, because it also counts work after the training, such as making test edits.
    """
    params = TrainPayload.of(job).params
    return TrainParams.kept(params).steps if "steps" in params else job.total


def losses(workplace: Workplace, job_id: str) -> list[tuple[int, float]]:
    """Returns a training's curve as (step, running mean of the loss) pairs."""
    return [(point.step, point.smooth) for point in progress(workplace, job_id).points]


def export(desk: Desk, version_id: str, form: str = OUR_FORM) -> Path:
    """Writes a version's LoRA to the character's exports folder in a file format, and returns the file's path.

    `form` is the name of the format, by default the diffusers format. Raises: NotFound; BadInput for an unknown format;
    LoraMismatch for a LoRA that the format cannot express.
    """
    store = desk.store
    version = store.versions.get(version_id)
    adapter = store.adapter_path(version_id)
    target = store.run_dir("exports") / f"{version_lora_name(store.character.trigger, version)}-{form}.safetensors"
    if form == OUR_FORM and _alpha_is_rank(adapter):
        durable.copy_file(adapter, target)  # not read back, because the trainer read it back when it wrote it
    else:
        desk.workplace.registry.export(adapter, target, form)
    return target


def _alpha_is_rank(adapter: Path) -> bool:
    """Returns whether an adapter's alpha equals its rank or is absent, so that tools that ignore alpha agree."""
    with safe_open(adapter, framework="numpy") as file:
        told = file.metadata() or {}
    return "alpha" not in told or float(told["alpha"]) == float(told.get("rank", 0))


def _collect(ctx: Context, run: TrainRun, judge: Judge | None) -> None:
    """Adds the events that the run's folder holds and the job does not, from training outside the studio."""
    seen = progress(ctx.workplace, ctx.job.id)
    steps = {point.step for point in seen.points}
    samples = {(sample.step, sample.index) for sample in seen.samples}
    for event in runfile.events(run.folder):
        known = event.step in steps if isinstance(event, StepDone) else (event.step, event.index) in samples
        if not known:
            _take(ctx, run, event, [], judge)


def _take(ctx: Context, run: TrainRun, event: object, checkpoints: list[Checkpoint], judge: Judge | None) -> None:
    if isinstance(event, StepDone):
        ctx.tell(StepTrained(**asdict(event)))
    elif isinstance(event, SampleDrawn):
        preview = run.previews[event.index]
        item = preview.params if isinstance(preview, EditItem) else preview
        asked = read_tags(item.headline()) if isinstance(item, GenerateParams) else {}
        likeness = judge.likeness(event.image, asked) if judge else None
        saved = ctx.save(event.image, kind=Kind.PREVIEW, item=item, asked=asked, likeness=likeness)
        ctx.tell(PreviewKept(step=event.step, sample=event.index, image=saved.id))
    elif isinstance(event, CheckpointSaved):
        checkpoints[:] = [each for each in checkpoints if each.step < event.step]
        checkpoints.append(Checkpoint(step=event.step, adapter=_inside(ctx.store, event.adapter)))
        ctx.keep(checkpoints=tuple(checkpoints))


def _checkpoints(store: Store, job_id: str, listed: Sequence[Checkpoint] | None) -> list[Checkpoint]:
    """Returns the run's adapters on the disk, oldest first.

    These are the listed ones whose file exists, and those that a cancel or a crash left in the run's folder.
    """
    told = {each.step: each.adapter for each in listed or () if (store.folder / each.adapter).is_file()}
    for adapter in store.run_dir(job_id).glob("checkpoints/*/*.safetensors"):
        step = _CHECKPOINT.fullmatch(adapter.parent.name)
        if step and int(step[1]):  # the adapter of step 0 has learned nothing
            told[int(step[1])] = _inside(store, adapter)
    return [Checkpoint(step=step, adapter=told[step]) for step in sorted(told)]


def _inside(store: Store, file: Path) -> str:
    return file.resolve().relative_to(store.folder.resolve()).as_posix()


def _made(store: Store, job_id: str, checkpoints: Sequence[Checkpoint]) -> Version | None:
    """Returns the version of the last of the checkpoints; None where it has not been made."""
    last = checkpoints[-1].step if checkpoints else -1
    return next((v for v in store.versions.find(job=job_id) if v.checkpoints[-1].step == last), None)


def ended_checkpoints(workplace: Workplace, job: Job) -> list[Checkpoint]:
    """Returns the checkpoints of an ended training that are on the disk, oldest first. Raises: Busy before its end."""
    if job.state.is_under_way:
        raise Busy(f"{job.title} has not ended.", "Stop it, or wait; then choose.")
    return _checkpoints(workplace.store(job.character), job.id, job.artifacts.checkpoints)


def make_version(workplace: Workplace, job_id: str, checkpoints: Sequence[Checkpoint]) -> Version:
    """Stores the last of the given checkpoints of a training as a version and returns it.

    The other checkpoints are listed in the version's record. Where that version exists already, it is returned, and
    taken out of the trash if it is there. The character's first version is adopted (taken into use) at once.
    Raises: NotFound for an unknown job or a missing file, BadInput without a checkpoint.
    """
    job = workplace.jobs.get(job_id)
    store = workplace.store(job.character)
    if not checkpoints:
        raise BadInput("This training has no checkpoint yet.", "Let it run longer, or save checkpoints more often.")
    made = _made(store, job_id, checkpoints)
    if made:
        return store.restore_version(made.id)
    asked = TrainPayload.of(job)
    frozen = store.datasets.get(asked.dataset)
    adopted = store.adopted(frozen.role)
    last = checkpoints[-1]
    curve = [point for point in progress(workplace, job_id).points if point.step <= last.step]
    names = [version.name for version in store.versions.find(role=frozen.role)]
    numbers = [int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit()]
    version = store.add_version(
        store.folder / last.adapter,
        role=frozen.role,
        name=f"v{max(numbers, default=0) + 1}",
        model=asked.model,
        parent=adopted.id if adopted else "",
        dataset=frozen.id,
        job=job_id,
        params=asked.params,
        begun=asked.begun,
        checkpoints=tuple(checkpoints),
        metrics=Metrics(
            steps=last.step,
            loss=round(curve[-1].smooth, 5) if curve else None,
            seconds=round(sum(point.seconds for point in curve), 1),
            real_share=round(real_share(frozen.entries), 4),
            pictures=len(frozen.entries),
        ),
    )
    first = frozen.role is Role.CHARACTER and store.kept_versions(Role.CHARACTER) == [version]
    return store.adopt(version.id) if first else version


def _keep_file(store: Store, job_id: str) -> Path:
    return store.run_dir(job_id) / _KEEP


def _smooth(steps: Iterator[StepTrained]) -> Iterator[Point]:
    overall = _Mean()
    bands: list[_Mean] = []
    for step in steps:
        bands.extend(_Mean() for _ in step.bands[len(bands) :])
        for band, loss in zip(bands, step.bands, strict=False):
            band.add(loss)
        overall.add(step.loss)
        yield Point(
            step=step.step,
            loss=step.loss,
            smooth=overall.value or 0.0,
            sigma=step.sigma,
            learning_rate=step.learning_rate,
            grad_norm=step.grad_norm,
            seconds=step.seconds,
            bands=tuple(band.value for band in bands),
            memory=step.memory,
        )


@dataclass
class _Mean:
    """An exponential running mean, corrected for its start at zero."""

    sum: float = 0.0
    weight: float = 0.0

    def add(self, value: float | None) -> None:
        """Adds a value to the mean; ignores None."""
        if value is not None:
            self.sum = _SMOOTHING * self.sum + (1 - _SMOOTHING) * value
            self.weight = _SMOOTHING * self.weight + (1 - _SMOOTHING)

    @property
    def value(self) -> float | None:
        """Returns the mean; None before the first value."""
        return self.sum / self.weight if self.weight else None
