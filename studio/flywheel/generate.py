"""Flywheel 1's fourth step: a version draws new scenes, and the identity filter sets the strangers aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

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
from studio.judging.gallery import Gallery, gallery_if_any, score_of
from studio.judging.judge import Judge
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.payload import DrawPayload
from studio.records.version import Version
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image


def submit(desk: Desk, items: Sequence[GenerateParams], version: str = "", key: str = "") -> Job:
    """Queue pictures, drawn with a version's adapter; an empty `version` is the base model.

    Raises: BadInput without items or words, for knobs that no picture can have or a version of the editor; NotFound;
    ModelMissing; LoraMismatch for a LoRA that does not fit.
    """
    if not items:
        raise BadInput("There is nothing to draw.", "Give at least one prompt.")
    store = desk.store
    drawn_by = character_version(store, version)
    demand_drawable(desk, version)
    taken("the number of pictures", len(items), Many)
    for item in items:
        item.checked().demand_words()
    plan_of(desk, items, version)
    model = drawn_by.model if drawn_by else store.character.generator
    notes = stacks.check(desk.workplace, model, [item.loras for item in items])
    return desk.workplace.jobs.submit(
        "generate",
        desk.id,
        DrawPayload(items=tuple(item.to_json() for item in items), version=version, model=model, notes=tuple(notes)),
        title=f"Draw {len(items)} pictures with {drawn_by.name if drawn_by else 'the base model'}",
        total=len(items),
        key=key,
    )


def preflight(desk: Desk, items: Sequence[GenerateParams], version: str = "") -> tuple[Fit, float | None]:
    """Memory, stage by stage, and seconds by what the newest finished job of the model took; None without one."""
    spec = model_spec(desk, version)
    try:
        fit = desk.workplace.gpu.check(plan_of(desk, items, version), key=_peak_key(spec.name, items))
    except UserError as error:
        fit = Fit(False, 0, desk.workplace.gpu.budget, str(error))
    seconds = timing.drawn(desk.workplace, spec.name) * sum(map(timing.generated, items))
    return fit, seconds or None


def plan_of(desk: Desk, items: Sequence[GenerateParams], version: str) -> Plan:
    """What the pictures will ask of the card. Raises: ModelMissing, NotFound, and BadInput for what cannot be drawn."""
    engine: Generator = desk.workplace.engine(model_spec(desk, version).name)
    return engine.plan([with_adapter(desk.store, item, version) for item in items])


def _peak_key(model: str, items: Sequence[GenerateParams]) -> str:
    """What a measured peak is remembered under: pictures of one size take the same."""
    largest = max(items, key=lambda item: item.width * item.height)
    return f"generate|{model}|{largest.width}x{largest.height}"


def run(ctx: Context) -> None:
    """Draw what is not drawn yet; each picture is scored before it is shown to a reviewer."""
    judge, asked = Judge(ctx), DrawPayload.of(ctx.job)
    floor = threshold(ctx.desk, judge.gallery)

    def keep(_index: int, image: Image, item: GenerateParams) -> ImageRecord:
        likeness = judge.likeness(image)
        scores = likeness.scores if likeness else {}
        return ctx.save(
            image,
            kind=Kind.SYNTHETIC,
            item=item,
            version=asked.version,
            asked=read_tags(item.headline()),
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
    """Draw the items that have no picture yet; answers all ids in item order."""
    asked = DrawPayload.of(ctx.job)
    items = [GenerateParams.from_json(item) for item in asked.items]
    images = list(ctx.job.artifacts.images or ())
    stacks.tell(ctx)
    left = items[len(images) :]
    if left:
        engine = ctx.workplace.engine(asked.model)
        stacked = [with_adapter(ctx.store, item, asked.version or "") for item in left]

        def on_step(step: int, of: int, message: str = "") -> None:
            ctx.step(len(images), len(items), message or f"step {step} of {of}")

        with ctx.lease(engine.plan(stacked), _peak_key(asked.model, left)) as lease:
            drawn: Iterator[Image] = engine.generate(stacked, lease, on_step)
            # The record keeps the item as it was asked: the version's id stands for its file.
            for image, item in zip(drawn, left, strict=True):
                images.append(keep(len(images), image, item).id)
                ctx.keep(images=tuple(images))
                ctx.step(len(images), len(items))
    return images


def with_adapter(store: Store, item: GenerateParams, version: str) -> GenerateParams:
    """The item with a version's adapter on top of its own stack."""
    if not version:
        return item
    return item.replace(loras=(*item.loras, LoraUse(file=str(store.adapter_path(version)))))


def character_version(store: Store, version: str) -> Version | None:
    """A character version by id; None for the base model. Raises: NotFound, BadInput."""
    if not version:
        return None
    found = store.versions.get(version)
    if found.role is not Role.CHARACTER:
        raise BadInput(f"{found.name} is a LoRA of the editor.", "Choose a version of the character.")
    return found


def threshold(desk: Desk, reference: Gallery | None = None) -> float:
    """Below this a picture is set aside: what the user set, else the originals' own leave-one-out floor."""
    chosen = desk.workplace.library.setting(_setting(desk.id), float)
    if chosen is not None:
        return chosen
    return (reference or gallery_if_any(desk)).floor


def set_threshold(desk: Desk, value: float | None) -> list[str]:
    """Move the filter, None for its own choice; undecided pictures follow. Answers those set aside."""
    store = desk.store
    scorer = desk.workplace.scorer(store.character.scorer).version
    desk.workplace.library.set_setting(_setting(desk.id), value)
    floor = threshold(desk)
    changes: dict[str, dict[str, bool]] = {}
    aside: list[str] = []
    for image in store.select(Kind.SYNTHETIC):
        score = score_of(image, scorer)
        filtered = score is not None and score < floor
        if filtered:
            aside.append(image.id)
        if filtered != image.filtered and not image.decided:
            changes[image.id] = {"filtered": filtered}
    store.update_images(changes)
    return aside


def demand_drawable(desk: Desk, version: str) -> None:
    """Refuse to draw where the model or the version's file is not here. Raises: ModelMissing, NotFound, BadInput."""
    desk.workplace.demand_model(model_spec(desk, version).name, "generator")
    if version:
        desk.store.adapter_path(version)


def prompt_items(
    desk: Desk,
    prompts: Sequence[str],
    n: int,
    version: str = "",
    seed: int = 0,
    **knobs: object,
) -> list[GenerateParams]:
    """`n` pictures of each prompt with seeds one after another, from the model's defaults. Raises: BadInput."""
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
    """`n` different scenes for the character, each with a seed of its own, from the model's defaults.

    With `aims`, tags such as a card's missed cells ask for, each scene shows one of them, all in turn.
    Raises: BadInput.
    """
    taken("count", n, Many)
    store = desk.store
    demand_trigger(store.character)
    character, spec = store.character, model_spec(desk, version)
    first = spec.params(GenerateParams, seed=seed, **knobs)
    scenes = vocabulary(spec.wording).scene_prompts(character.trigger, character.subject, n, seed, aims)
    return [first.replace(prompt=words, seed=later_seed(first.seed, at)) for at, (words, _) in enumerate(scenes)]


def model_spec(desk: Desk, version: str) -> ModelSpec:
    """The row of the model that a version belongs to; the character's own generator for the base."""
    found = character_version(desk.store, version)
    return desk.workplace.registry.spec(found.model if found else desk.store.character.generator)


def _setting(character_id: str) -> str:
    return f"threshold:{character_id}"
