"""Flywheel 1, step 4: draws new scenes with a version; the identity filter sets aside those of somebody else."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final

from engines.api.errors import BadInput, UserError
from engines.api.params import GenerateParams, LoraUse
from engines.api.protocols import Generator, ModelSpec, Plan
from engines.api.values import Many, Words, later_seed, taken
from engines.wording.reading import read_tags
from engines.wording.registry import vocabulary
from studio.flywheel import stacks
from studio.flywheel.curate.captions import RECIPE, demand_trigger
from studio.flywheel.train import timing
from studio.gpu.budget import Fit
from studio.jobs.progress import Work
from studio.judging.gallery import Gallery, gallery_if_any, score_of
from studio.judging.judge import Judge
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.payload import DrawPayload
from studio.records.settings import FLOOR_SETTING
from studio.records.version import Version
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

SHAPES: Final = (  # name, and the parts of width to height
    ("square", 1, 1),
    ("portrait 3:4", 3, 4),
    ("portrait 2:3", 2, 3),
    ("portrait 9:16", 9, 16),
    ("landscape 4:3", 4, 3),
    ("landscape 3:2", 3, 2),
    ("landscape 16:9", 16, 9),
)
SEEDS: Final = 1 << 32  # random seeds are below it, so that every program can read them


@dataclass(frozen=True)
class Drawing:
    """Holds pictures to draw in one job, each as its parameters; `version` is the id of a LoRA version, "" for none."""

    items: Sequence[GenerateParams]
    version: str = ""


def submit(desk: Desk, items: Sequence[GenerateParams], version: str = "", key: str = "") -> Job:
    """Queues a job that draws pictures with a LoRA version, and returns the job.

    `items` are the parameters, one for each picture. `version` is the version's id, "" for the base model without it. A
    second call with the same `key` returns the first job. Raises: BadInput without items or prompts, for parameters
    that no picture can have or a version of the editor; NotFound for an unknown version or a missing LoRA file;
    ModelMissing; LoraMismatch for a LoRA that does not fit.
    """
    return submit_all(desk, [Drawing(items, version)], key)[0]


def submit_all(desk: Desk, drawings: Sequence[Drawing], key: str = "") -> list[Job]:
    """Queues one job for each drawing, after all drawings have been checked, and returns the jobs.

    A second call with the same `key` returns the first call's jobs; "" is no key. Raises: as `submit`.
    """
    payloads = [checked(desk, each) for each in drawings]
    jobs = []
    for at, payload in enumerate(payloads):
        drawn_by, count = character_version(desk.store, payload.version or ""), len(payload.items)
        title = f"Draw {count} picture{'s' * (count != 1)} with {drawn_by.name if drawn_by else 'the base model'}"
        jobs.append(
            desk.workplace.jobs.submit(
                "generate", desk.id, payload, title=title, total=count, key=f"{key}-{at}" if at and key else key
            )
        )
    return jobs


def checked(desk: Desk, drawing: Drawing) -> DrawPayload:
    """Returns the payload (the stored parameters) of the job that would draw `drawing`; queues nothing.

    Checks the drawing's model, version, parameters and LoRAs. Raises: as `submit`.
    """
    items, version = drawing.items, drawing.version
    if not items:
        raise BadInput("There is nothing to draw.", "Give at least one prompt.")
    spec = model_spec(desk, version)
    demand_drawable(desk, version)
    taken("the number of pictures", len(items), Many)
    for item in items:
        item.checked().demand_words()
        demand_fitting(spec, item)
    plan_of(desk, items, version)
    notes = stacks.check(desk.workplace, spec.name, [item.loras for item in items])
    listed = tuple(item.to_json() for item in items)
    return DrawPayload(items=listed, version=version, model=spec.name, notes=tuple(notes))


def demand_fitting(spec: ModelSpec, item: GenerateParams) -> None:
    """Raises BadInput for a size that the model cannot draw, and for a negative prompt that would have no effect."""
    width, height = nearest_size(spec, item.width, item.height)
    if (width, height) != (item.width, item.height):
        raise BadInput(
            f"{spec.label} cannot draw {item.width} × {item.height}.",
            f"Both sides are multiples of {spec.multiple}: the nearest is {width} × {height}.",
        )
    if item.avoided and not spec.true_guidance:
        raise BadInput(f"{spec.label} takes no negative prompt.", "Say in the prompt what the picture should show.")
    if item.avoided and item.guidance <= 1:
        raise BadInput("A negative prompt needs a guidance above 1.", "Raise the guidance, or empty that field.")


def nearest_size(spec: ModelSpec, width: int, height: int) -> tuple[int, int]:
    """Returns the (width, height) in pixels nearest to the given ones that the model draws.

    Both sides are multiples of `spec.multiple`, and neither below the smallest nor above the largest allowed side.
    """
    least, most = GenerateParams.bounds("width")
    unit = spec.multiple
    fit = [min(max(round(side / unit), -(-least // unit)), most // unit) * unit for side in (width, height)]
    return fit[0], fit[1]


def sizes(spec: ModelSpec) -> list[tuple[str, int, int]]:
    """Returns (name, width, height) of each usual shape, such as square, in pixels.

    All sizes have about the area that the model draws best.
    """
    own = spec.params(GenerateParams)
    area = own.width * own.height
    return [(name, *nearest_size(spec, round(sqrt(area * a / b)), round(sqrt(area * b / a)))) for name, a, b in SHAPES]


def preflight(desk: Desk, items: Sequence[GenerateParams], version: str = "") -> tuple[Fit, float | None]:
    """Returns (memory check, predicted seconds) for drawing the items; draws nothing.

    The seconds follow from the model's newest finished drawing job; they are None without such a job or without items.
    `version` "" is the base model. Raises: NotFound, BadInput for a version of the editor.
    """
    spec = model_spec(desk, version)
    try:
        for item in items:
            demand_fitting(spec, item)
        stacks.check(desk.workplace, spec.name, [item.loras for item in items])
        fit = desk.workplace.gpu.check(plan_of(desk, items, version), key=_peak_key(spec.name, items))
    except UserError as error:
        fit = Fit.refused(error, desk.workplace.gpu.budget)
    seconds = timing.drawn(desk.workplace, spec.name) * sum(map(timing.generated, items))
    return fit, seconds or None


def plan_of(desk: Desk, items: Sequence[GenerateParams], version: str) -> Plan:
    """Returns the memory plan of drawing the items: the stages of the job and what each needs.

    `version` is the id of a LoRA version, "" for the base model. Raises: ModelMissing, NotFound, BadInput for invalid
    parameters.
    """
    engine: Generator = desk.workplace.engine(model_spec(desk, version).name)
    return engine.plan([with_adapter(desk.store, item, version) for item in items])


def _peak_key(model: str, items: Sequence[GenerateParams]) -> str:
    """Returns the key of the measured memory peak: one for each model and each size of the largest picture."""
    largest = max(items, key=lambda item: item.width * item.height, default=GenerateParams())
    return f"generate|{model}|{largest.width}x{largest.height}"


def run(ctx: Context) -> None:
    """Runs a drawing job: draws the missing pictures, scores each one's likeness to the originals, and saves it.

    A picture whose score is below the threshold of the identity filter is saved as set aside, and is not reviewed.
    """
    judge, asked = Judge(ctx), DrawPayload.of(ctx.job)
    floor = threshold(ctx.desk, judge.gallery)

    def keep(_index: int, image: Image, item: GenerateParams) -> ImageRecord:
        asked_for = read_tags(item.headline())
        likeness = judge.likeness(image, asked_for)
        scores = likeness.scores if likeness else {}
        return ctx.save(
            image,
            kind=Kind.SYNTHETIC,
            item=item,
            version=asked.version,
            asked=asked_for,
            tags=asked_for,
            caption=item.headline(),
            caption_by=RECIPE,
            likeness=likeness,
            advice=judge.advice(scores),
            filtered=judge.below(scores, floor),
        )

    images = draw(ctx, keep)
    aside = sum(ctx.store.images.get(image).filtered for image in images)
    ctx.keep(filtered=aside, threshold=floor)


def draw(ctx: Context, keep: Callable[[int, Image, GenerateParams], ImageRecord]) -> list[str]:
    """Draws those pictures of a job that it has not drawn yet, and returns the ids of all its pictures in their order.

    `keep` is called with (index, picture, parameters) for each new picture; it has to save the picture and return its
    record.
    """
    asked = DrawPayload.of(ctx.job)
    items = [GenerateParams.from_json(item) for item in asked.items]
    images = list(ctx.job.artifacts.images or ())
    stacks.tell(ctx)
    left = items[len(images) :]
    if left:
        engine = ctx.workplace.engine(asked.model)
        stacked = [with_adapter(ctx.store, item, asked.version or "") for item in left]

        def on_step(step: int, of: int, message: str = "") -> None:
            ctx.step(len(images), len(items), message or f"step {step} of {of}", work=Work(step, of))

        with ctx.lease(engine.plan(stacked), _peak_key(asked.model, left)) as lease:
            drawn: Iterator[Image] = engine.generate(stacked, lease, on_step)
            # The record keeps the item as requested, without the adapter's file: the version's id identifies it.
            for image, item in zip(drawn, left, strict=True):
                images.append(keep(len(images), image, item).id)
                ctx.keep(images=tuple(images))
                ctx.step(len(images), len(items))
    return images


def with_adapter(store: Store, item: GenerateParams, version: str) -> GenerateParams:
    """Returns a picture's parameters with the LoRA of a version added after the picture's own LoRAs.

    For `version` "", the base model, the parameters are returned unchanged. Raises: NotFound for a missing LoRA file.
    """
    if not version:
        return item
    adapter = LoraUse(file=str(store.adapter_path(version)), weight=item.strength)
    return item.replace(loras=(*item.loras, adapter))


def character_version(store: Store, version: str) -> Version | None:
    """Returns a character version by its id; None for "", the base model.

    Raises: NotFound, BadInput for a version of the editor.
    """
    if not version:
        return None
    found = store.versions.get(version)
    if found.role is not Role.CHARACTER:
        raise BadInput(f"{found.name} is a LoRA of the editor.", "Choose a version of the character.")
    return found


def threshold(desk: Desk, reference: Gallery | None = None) -> float:
    """Returns the lowest likeness to the originals with which the identity filter lets a picture through to the review.

    It is the user's value for this character, else the user's value for all characters, else one that is computed from
    the similarity of the originals to each other. `reference` is the character's gallery, the embeddings of the
    originals; None loads it.
    """
    chosen = chosen_threshold(desk)
    return (reference or gallery_if_any(desk)).floor if chosen is None else chosen


def chosen_threshold(desk: Desk) -> float | None:
    """Returns the identity filter's threshold that the user set for this character, or else for all characters.

    Returns None where none is set; `threshold` then computes one from the originals.
    """
    chosen = desk.workplace.library.setting(_setting(desk.id), float)
    return desk.workplace.library.setting(FLOOR_SETTING, float) or None if chosen is None else chosen


def set_threshold(desk: Desk, value: float | None) -> list[str]:
    """Sets the identity filter's threshold for this character, and returns the ids of the drawn pictures below it.

    Pictures without a verdict are filtered again, also those in the trash: those below the threshold are set aside, the
    others can be reviewed. `value` None removes the threshold that the user set for this character.
    """
    store = desk.store
    scorer = desk.workplace.scorer(store.character.scorer).version
    desk.workplace.library.set_setting(_setting(desk.id), value)
    floor = threshold(desk)
    changes: dict[str, dict[str, bool]] = {}
    aside: list[str] = []
    for image in (*store.select(Kind.SYNTHETIC), *store.select(Kind.SYNTHETIC, trashed=True)):
        score = score_of(image, scorer)
        faceless = scorer in image.scores and score is None  # the floor is not of its scale: what was decided stays
        filtered = image.filtered if faceless else score is not None and score < floor
        if filtered and not image.trashed:
            aside.append(image.id)
        if filtered != image.filtered and not image.decided:
            changes[image.id] = {"filtered": filtered}
    store.update_images(changes)
    return aside


def demand_drawable(desk: Desk, version: str) -> None:
    """Raises ModelMissing where a version's model is not on this machine, and NotFound where its LoRA file is not.

    Raises BadInput for a version in the trash or a version of the editor. `version` is its id, "" for the base model.
    """
    desk.workplace.demand_model(model_spec(desk, version).name, "generator")
    if version:
        if (chosen := desk.store.versions.get(version)).trashed:
            raise BadInput(f"{chosen.name} is in the trash.", "Restore it, or draw with another version.")
        desk.store.adapter_path(version)


def prompt_items(
    desk: Desk,
    prompts: Sequence[str],
    n: int,
    version: str = "",
    seed: int = 0,
    **knobs: object,
) -> list[GenerateParams]:
    """Returns the parameters of `n` pictures for each prompt, with the defaults of the version's model.

    The seeds count up from `seed`, and start there again for each prompt. `version` is the id of a LoRA version, "" for
    the base model. `knobs` are GenerateParams by name that replace the defaults. Raises: BadInput for invalid
    parameters, no pictures or too many.
    """
    taken("count", n, Many)
    taken("the number of pictures", n * len(prompts), Many)
    first = model_spec(desk, version).params(GenerateParams, seed=seed, **knobs)
    return [
        first.replace(prompt=taken("prompt", words, Words), seed=later_seed(first.seed, at))
        for words in prompts
        for at in range(n)
    ]


def scene_items(
    desk: Desk,
    n: int,
    version: str = "",
    seed: int = 0,
    aims: Sequence[Mapping[str, str]] = (),
    **knobs: object,
) -> list[GenerateParams]:
    """Returns the parameters of `n` pictures of the character in different scenes, with the studio's own prompts.

    The seeds count up from `seed`. `aims` holds the tags that the scenes should show, one mapping for each scene in
    turn, such as the tags of a model card's failed cells; () leaves the scenes free. `version` is the id of a LoRA
    version, "" for the base model. `knobs` are GenerateParams by name that replace the model's defaults. Raises:
    BadInput for invalid parameters or a character without a trigger word.
    """
    taken("count", n, Many)
    store = desk.store
    demand_trigger(store.character)
    character, spec = store.character, model_spec(desk, version)
    first = spec.params(GenerateParams, seed=seed, **knobs)
    wording = vocabulary(spec.wording).of_medium(character.medium)
    scenes = wording.scene_prompts(character.trigger, character.subject, n, seed, aims)
    return [first.replace(prompt=words, seed=later_seed(first.seed, at)) for at, (words, _) in enumerate(scenes)]


def model_spec(desk: Desk, version: str) -> ModelSpec:
    """Returns the registry's description of the model of a LoRA version; for "" that of the character's generator.

    Raises: NotFound, BadInput for a version of the editor.
    """
    found = character_version(desk.store, version)
    return desk.workplace.registry.spec(found.model if found else desk.store.character.generator)


def random_seed() -> int:
    """Returns a random seed from 0 to 2³²-1."""
    return secrets.randbelow(SEEDS)


def fields(desk: Desk) -> str:
    """Returns the text that `keep_fields` stored for this character, the contents of the Generate tab's fields.

    Returns "" where none was stored.
    """
    return desk.workplace.library.setting(f"generate:{desk.id}", str) or ""


def keep_fields(desk: Desk, text: str) -> None:
    """Stores the contents of the Generate tab's fields for this character, as one text.

    `fields` returns the text again after a reload of the page or a restart.
    """
    desk.workplace.library.set_setting(f"generate:{desk.id}", text)


def _setting(character_id: str) -> str:
    return f"threshold:{character_id}"
