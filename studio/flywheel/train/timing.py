"""How long pictures and trainings will take, by what the same model has taken on this machine."""

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
_ENOUGH = 10  # steps of a training that did not end


@dataclass(frozen=True)
class Pace:
    """Seconds a step, and what they were measured by: a training, drawing, or (0 seconds) nothing."""

    seconds: float
    by: str


def expected(workplace: Workplace, model: str, params: TrainParams) -> Pace:
    """By the model's latest training, of the same size where there is one; else by its latest pictures.

    Another size counts by its share of the work: pixels × examples × what each is shown for.
    """
    if rate := _trained(workplace, _measured(workplace, model), params):
        return Pace(rate, TRAINING)
    if rate := drawn(workplace, model):
        # Forward, once more where a block is computed again, and back: frozen weights have no gradient of their own.
        walks = 3 if params.gradient_checkpointing else 2
        return Pace(rate * _work(params) * walks, DRAWING)
    return Pace(0.0, "")


def _trained(workplace: Workplace, jobs: list[Job], params: TrainParams) -> float:
    wanted = _work(params)
    trainings = [job for job in jobs if job.kind in _TRAININGS]
    known = [(job, _work(TrainParams.kept(TrainPayload.of(job).params))) for job in trainings]
    for job, work in sorted(known, key=lambda each: (each[1] == wanted, each[0].ended), reverse=True):
        points = runs.progress(workplace, job.id).points
        # By the curve: a job's own rate is that of what it did last, and an editor's ends with the before and after.
        if len(points) >= _ENOUGH or (points and job.state is JobState.DONE):
            return sum(point.seconds for point in points) / len(points) * wanted / work
    return 0.0


def drawn(workplace: Workplace, model: str) -> float:
    """Seconds that a pixel took for one walk through the transformer in the newest pictures; 0 without any."""
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
    """A picture's pixels times its walks through the transformer."""
    return item.steps * item.width * item.height


def edited(workplace: Workplace, model: str, params: EditParams) -> int:
    """The same of an edit, which has its model's size."""
    width, height = workplace.registry.spec(model).size
    return params.passes() * width * height


def _measured(workplace: Workplace, model: str) -> list[Job]:
    return [job for job in workplace.jobs.list() if job.rate and ModelPayload.of(job).model == model]


def _work(params: TrainParams) -> int:
    passes = 1 + (params.prior_weight > 0) + (params.dop_weight > 0)
    return params.resolution**2 * params.batch_size * params.gradient_accumulation * passes
