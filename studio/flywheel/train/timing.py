"""Predicts how long pictures and trainings take, from what the same model took on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from engines.api.params import EditParams, GenerateParams, TrainParams
from studio.flywheel.train import runs
from studio.records.job import Job, JobState
from studio.records.payload import DrawPayload, EnrichPayload, ModelPayload, TrainPayload
from studio.workplace.desk import Workplace

TRAINING, DRAWING = "training", "drawing"
_TRAININGS = ("train", "refine")
_DRAWINGS = ("generate", "card", "enrich")
_ENOUGH = 10  # the least steps of an unfinished training that are used as a measurement


@dataclass(frozen=True)
class Pace:
    """Holds a predicted time per training step, in `seconds`.

    `by` is the kind of job in which the model's speed was measured: training or drawing. Where nothing was measured,
    `seconds` is 0 and `by` is empty.
    """

    seconds: float
    by: str


def expected(workplace: Workplace, model: str, params: TrainParams) -> Pace:
    """Returns the predicted time per step of a training with `params`.

    It is taken from the latest training of the model named `model`, if possible from one with the same work per step.
    Work is pixels × examples × forward passes per example; a time that was measured with other work is scaled in
    proportion. Without such a training, it is computed from the latest job that generated or edited pictures with the
    model.
    """
    if rate := _trained(workplace, _measured(workplace, model), params):
        return Pace(rate, TRAINING)
    if rate := drawn(workplace, model):
        # One forward pass, one more with gradient checkpointing, and one backward pass, which costs no more than a
        # forward pass because frozen weights have no gradients of their own.
        walks = 3 if params.gradient_checkpointing else 2
        return Pace(rate * _work(params) * walks, DRAWING)
    return Pace(0.0, "")


def _trained(workplace: Workplace, jobs: list[Job], params: TrainParams) -> float:
    wanted = _work(params)
    trainings = [job for job in jobs if job.kind in _TRAININGS]
    known = [(job, _work(TrainParams.kept(TrainPayload.of(job).params))) for job in trainings]
    for job, work in sorted(known, key=lambda each: (each[1] == wanted, each[0].ended), reverse=True):
        points = runs.progress(workplace, job.id).points
        # The seconds are averaged over the curve: a job's own rate is that of its last phase, and a training of the
        # editor ends with redoing the held-out edits.
        if len(points) >= _ENOUGH or (points and job.state is JobState.DONE):
            return sum(point.seconds for point in points) / len(points) * wanted / work
    return 0.0


def drawn(workplace: Workplace, model: str) -> float:
    """Returns the seconds that one forward pass takes per pixel, from the model's latest finished drawing job.

    A drawing job is one that generates or edits pictures. Returns 0 without such a job.
    """
    done = [job for job in _measured(workplace, model) if job.kind in _DRAWINGS and job.state is JobState.DONE]
    if not done:
        return 0.0
    last = max(done, key=lambda job: job.ended)
    walked = [
        *(generated(GenerateParams.kept(item)) for item in DrawPayload.of(last).items),
        *(edited(workplace, model, EditParams.kept(row.params)) for row in EnrichPayload.of(last).rows),
    ]
    return last.rate * len(walked) / sum(walked)


def generated(item: GenerateParams) -> int:
    """Returns the work of generating one picture, in pixels × forward passes, of which there is one for each step."""
    return item.steps * item.width * item.height


def edited(workplace: Workplace, model: str, params: EditParams) -> int:
    """Returns the work of one edit, in pixels × forward passes.

    The pixels are those of the size at which `model`, the editor's name, works; the passes follow from `params`.
    """
    width, height = workplace.registry.spec(model).size
    return params.passes() * width * height


def _measured(workplace: Workplace, model: str) -> list[Job]:
    return [job for job in workplace.jobs.list() if job.rate and ModelPayload.of(job).model == model]


def _work(params: TrainParams) -> int:
    sizes = (params.resolution, *params.resolutions)
    pixels = sum(size**2 for size in sizes) // len(sizes)  # every picture is learned as often at each size
    passes = 1 + (params.prior_weight > 0) + (params.dop_weight > 0)
    return pixels * params.batch_size * params.gradient_accumulation * passes
