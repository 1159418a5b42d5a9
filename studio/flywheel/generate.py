"""Flywheel 1, step 4: draws new scenes with a version; the identity filter hides those that show somebody else."""

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
    """Queues pictures to draw with a version's adapter; an empty `version` is the base model.

    Raises: BadInput without items or prompts, for parameters that no picture can have or a version of the editor;
    NotFound; ModelMissing; LoraMismatch for a LoRA that does not fit.
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
    """Returns the memory of each stage and the predicted seconds of drawing the items.

    The seconds follow from the model's newest finished drawing job; they are None without one. Raises: NotFound,
    BadInput for a version of the editor.
    """
    spec = model_spec(desk, version)
    try:
        fit = desk.workplace.gpu.check(plan_of(desk, items, version), key=_peak_key(spec.name, items))
    except UserError as error:
        fit = Fit(False, 0, desk.workplace.gpu.budget, str(error))
    seconds = timing.drawn(desk.workplace, spec.name) * sum(map(timing.generated, items))
    return fit, seconds or None


def plan_of(desk: Desk, items: Sequence[GenerateParams], version: str) -> Plan:
    """Returns the memory plan of drawing the items. Raises: ModelMissing, NotFound, BadInput for invalid parameters."""
    engine: Generator = desk.workplace.engine(model_spec(desk, version).name)
    return engine.plan([with_adapter(desk.store, item, version) for item in items])


def _peak_key(model: str, items: Sequence[GenerateParams]) -> str:
    """Returns the key of the measured memory peak: one for each model and each size of the largest picture."""
    largest = max(items, key=lambda item: item.width * item.height)
    return f"generate|{model}|{largest.width}x{largest.height}"


def run(ctx: Context) -> None:
    """Draws the pictures that are not drawn yet; each is scored, and filtered by its score, before it is saved."""
    judge, asked = Judge(ctx), DrawPayload.of(ctx.job)
    floor = threshold(ctx.desk, judge.gallery)

    def keep(_index: int, image: Image, item: GenerateParams) -> ImageRecord:
        likeness = judge.likeness(image)
        scores = likeness.scores if likeness else {}
        asked_for = read_tags(item.headline())
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
    """Draws the items that have no picture yet, and returns the ids of all pictures in item order.

    `keep` saves a picture, given (index, picture, item), and returns its record.
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
            ctx.step(len(images), len(items), message or f"step {step} of {of}")

        with ctx.lease(engine.plan(stacked), _peak_key(asked.model, left)) as lease:
            drawn: Iterator[Image] = engine.generate(stacked, lease, on_step)
            # The record keeps the item as requested, without the adapter's file: the version's id identifies it.
            for image, item in zip(drawn, left, strict=True):
                images.append(keep(len(images), image, item).id)
                ctx.keep(images=tuple(images))
                ctx.step(len(images), len(items))
    return images


def with_adapter(store: Store, item: GenerateParams, version: str) -> GenerateParams:
    """Returns the item with a version's adapter added after its own LoRAs; unchanged for an empty `version`."""
    if not version:
        return item
    return item.replace(loras=(*item.loras, LoraUse(file=str(store.adapter_path(version)))))


def character_version(store: Store, version: str) -> Version | None:
    """Returns a character version by its id; None for an empty id, the base model.

    Raises: NotFound, BadInput for a version of the editor.
    """
    if not version:
        return None
    found = store.versions.get(version)
    if found.role is not Role.CHARACTER:
        raise BadInput(f"{found.name} is a LoRA of the editor.", "Choose a version of the character.")
    return found


def threshold(desk: Desk, reference: Gallery | None = None) -> float:
    """Returns the score below which the filter hides a picture: the user's setting, else the gallery's floor.

    The floor comes from each original's similarity to the other originals.
    """
    chosen = desk.workplace.library.setting(_setting(desk.id), float)
    if chosen is not None:
        return chosen
    return (reference or gallery_if_any(desk)).floor


def set_threshold(desk: Desk, value: float | None) -> list[str]:
    """Sets the filter's threshold, None for the gallery's floor, and filters the undecided pictures anew.

    Returns the ids of all synthetic pictures whose score is below the threshold, decided ones included.
    """
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
    """Refuses to draw where the weights of the model or the version's adapter are missing.

    Raises: ModelMissing, NotFound, BadInput.
    """
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
    """Returns the parameters of `n` pictures of each prompt, with consecutive seeds and the model's defaults.

    The seeds of each prompt begin with the same one. Raises: BadInput.
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
    """Returns the parameters of `n` different scenes of the character, with consecutive seeds and the model's defaults.

    With `aims`, tags such as those of a card's missed cells, each scene shows one of the aims, all of them in turn.
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
    """Returns the registry row of the model that a version belongs to, or of the character's generator for the base.

    Raises: NotFound, BadInput for a version of the editor.
    """
    found = character_version(desk.store, version)
    return desk.workplace.registry.spec(found.model if found else desk.store.character.generator)


def _setting(character_id: str) -> str:
    return f"threshold:{character_id}"
