"""The model card: is the character done? 23 standard cells × fixed seeds, judged axis by axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from engines.api import CaptionParams, Json
from engines.errors import BadInput, ModelMissing, NotFound
from engines.prompts import CARD_CELLS, CardCell, Tags, card_prompt, generate_params
from studio.flywheel import generate, stacks
from studio.flywheel.judging import Judge
from studio.nouns import CardRun, ImageRecord, Job, Kind, Role
from studio.statistics import mcnemar, median, wilson

if TYPE_CHECKING:
    from PIL.Image import Image

    from engines.api import GenerateParams
    from studio.jobs import Context
    from studio.store import Store
    from studio.studio import Studio

TARGET = 0.8
SHOWN = 24
PASS, FAIL, UNKNOWN = "pass", "fail", "unknown"
IDENTITY = "identity"
_IN_MEMORY = 8


def submit(
    studio: Studio,
    character_id: str,
    version: str = "",
    seeds: Sequence[int] = (0, 1, 2),
    key: str = "",
    knobs: Mapping[str, object] | None = None,
) -> Job:
    """Queue a card of a version, "" being the base model; the first seed is the one that counts as first try.

    Raises: BadInput without seeds or for a version of the editor; NotFound; LoraMismatch for a LoRA that does not fit.
    """
    if not seeds:
        raise BadInput("A card needs at least one seed.", "Three are usual: 0, 1, 2.")
    store = studio.store(character_id)
    character, spec = store.character, generate.model_spec(studio, store, version)
    drawn_by = generate.character_version(store, version)
    words = {cell.name: card_prompt(cell, character.trigger, character.subject, spec.toy) for cell in CARD_CELLS}
    items = [
        generate_params(spec, words[cell.name], **{**(knobs or {}), "seed": seed})
        for seed in seeds
        for cell in CARD_CELLS
    ]
    notes = stacks.check(studio, spec.name, [items[0].loras])
    return studio.jobs.submit(
        "card",
        character_id,
        {
            "items": [item.to_json() for item in items],
            "version": version,
            "model": spec.name,
            "seeds": list(seeds),
            "notes": notes,
        },
        title=f"Card of {drawn_by.name if drawn_by else 'the base model'}",
        total=len(items),
        key=key,
    )


def run(ctx: Context) -> None:
    """Draw every cell with every seed, then judge each on all the axes that its cell asks for."""
    seeds: list[int] = ctx.job.payload["seeds"]
    places = [(cell, seed) for seed in seeds for cell in CARD_CELLS]
    judge = Judge(ctx)

    def keep(index: int, image: Image, item: GenerateParams) -> ImageRecord:
        cell, _ = places[index]
        return ctx.save(
            image,
            kind=Kind.CARD,
            item=item,
            version=ctx.job.payload["version"],
            asked=cell.asked,
            **judge.likeness(image),
        )

    images = [ctx.store.images.get(image) for image in generate.draw(ctx, keep)]
    read = _read(ctx, images)
    cells = tuple(
        _cell(cell, seed, image, tags, judge) for (cell, seed), image, tags in zip(places, images, read, strict=True)
    )
    card = CardRun(id=ctx.job.id, version=ctx.job.payload["version"], job=ctx.job.id, seeds=tuple(seeds), cells=cells)
    ctx.store.cards.put(card.replace(summary=summary(card)))
    ctx.artifact("card", card.id)


def set_human(studio: Studio, character_id: str, card_id: str, cell: str, seed: int, passed: bool | None) -> CardRun:
    """A human's word on one cell, kept beside the machine's; None takes it back. Raises: NotFound."""
    cards = studio.store(character_id).cards
    found = cards.get(card_id)
    if not any(each["cell"] == cell and each["seed"] == seed for each in found.cells):
        raise NotFound(f"The card has no cell {cell} with seed {seed}.", "Cells are named as on the card.")
    cells = tuple(
        {**each, "human": passed} if each["cell"] == cell and each["seed"] == seed else each for each in found.cells
    )
    changed = found.replace(cells=cells)
    return cards.put(changed.replace(summary=summary(changed)))


def missed(studio: Studio, character_id: str, version: str = "") -> list[Tags]:
    """What the cells ask for that a version's newest card did not pass, the worst first, the base being "".

    Without a card of this version it is the newest of any; without one, or where nothing was missed, all cells.
    """
    newest = _newest(studio.store(character_id), version)
    return (misses(newest) if newest else []) or [cell.asked for cell in CARD_CELLS]


def to_show(studio: Studio, character_id: str) -> list[Tags]:
    """What the editor can show of what the newest card of the version in use missed, for the next version to learn.

    Raises: BadInput without a card, or where it missed nothing.
    """
    store = studio.store(character_id)
    adopted = store.adopted(Role.CHARACTER)
    newest = _newest(store, adopted.id if adopted else "")
    if newest is None:
        raise BadInput("There is no model card yet, so nothing is known to be missing.", "Run it in Generate first.")
    if not (found := lessons(newest)):
        raise BadInput("The newest model card missed nothing.", "Aim at what coverage lacks, or at variety.")
    return found


def _newest(store: Store, version: str) -> CardRun | None:
    """The newest card of a version, and without one the newest of any."""
    cards = store.cards.all()
    return next(iter([run for run in reversed(cards) if run.version == version] or cards[-1:]), None)


def misses(run: CardRun) -> list[Tags]:
    """What the cells of a card asked for in vain, the worst first."""
    failures = Counter(cell["cell"] for cell in run.cells if verdict_of(cell) != PASS)
    asked = {cell.name: cell.asked for cell in CARD_CELLS}
    return [asked[name] for name, _ in failures.most_common() if name in asked]


def lessons(run: CardRun) -> list[Tags]:
    """What a card missed, then beside each of that a cell that it passed and that differs in what went wrong.

    Shown nothing but T-poses, a version draws them where somebody stands, too: what a word means shows by contrast.
    """
    lost, drawn = misses(run), {cell["cell"] for cell in run.cells}
    passed = [cell.asked for cell in CARD_CELLS if cell.name in drawn and cell.asked not in lost]
    found = [*lost, *(beside for aim in lost for beside in _beside(run, aim, passed))]
    return [tags for at, tags in enumerate(found) if tags not in found[:at]]


def _beside(run: CardRun, aim: Tags, passed: Sequence[Tags]) -> Sequence[Tags]:
    """The first cell that differs from a missed one in nothing but an axis on which that went wrong; none or one."""
    names = {cell.name for cell in CARD_CELLS if cell.asked == aim}
    pictures = [cell["axes"] for cell in run.cells if cell["cell"] in names]
    wrong = {axis for axes in pictures for axis, outcome in axes.items() if outcome != PASS}
    return [had for had in passed if len(apart := _apart(had, aim)) == 1 and apart <= wrong][:1]


def _apart(one: Tags, other: Tags) -> set[str]:
    """The axes on which two cells differ."""
    return {name for name in one | other if one.get(name) != other.get(name)}


def verdict_of(cell: Json) -> str:
    """A cell's headline: the human's word where there is one."""
    if cell.get("human") is None:
        return str(cell["verdict"])
    return PASS if cell["human"] else FAIL


def summary(card: CardRun) -> Json:
    """First-try rate (first seed alone) with its Wilson interval, per axis too, and human against machine."""
    first = [cell for cell in card.cells if cell["seed"] == card.seeds[0]]
    axes = sorted({axis for cell in card.cells for axis in cell["axes"]})
    judged = [cell for cell in card.cells if cell.get("human") is not None]
    agreed = [PASS if verdict_of(cell) == cell["verdict"] else FAIL for cell in judged]
    identities = [cell["identity"] for cell in card.cells if cell.get("identity") is not None]
    headline = _rate([verdict_of(cell) for cell in first])
    return {
        "first_try_rate": headline["rate"],
        "first_try": headline,
        "all_seeds": _rate([verdict_of(cell) for cell in card.cells]),
        "machine": _rate([cell["verdict"] for cell in first]),
        "axes": {axis: _rate([cell["axes"][axis] for cell in first if axis in cell["axes"]]) for axis in axes},
        "target": TARGET,
        "met": headline["rate"] >= TARGET,
        "identity_median": round(median(identities), 4) if identities else None,
        "human": len(agreed),
        "agreement": _rate(agreed)["rate"] if agreed else None,
    }


def compare(card_a: CardRun, card_b: CardRun) -> Json:
    """Two versions on the same cells and seeds: how many each alone passes, and McNemar's p.

    Raises: BadInput when they share no seed.
    """
    before = {(cell["cell"], cell["seed"]): verdict_of(cell) == PASS for cell in card_a.cells}
    after = {(cell["cell"], cell["seed"]): verdict_of(cell) == PASS for cell in card_b.cells}
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise BadInput("These cards share no seed.", "Run both with the same seeds.")
    only_a = sum(before[place] and not after[place] for place in shared)
    only_b = sum(after[place] and not before[place] for place in shared)
    return {
        "pairs": len(shared),
        "rate_a": sum(before[place] for place in shared) / len(shared),
        "rate_b": sum(after[place] for place in shared) / len(shared),
        "only_a": only_a,
        "only_b": only_b,
        "p": mcnemar(only_a, only_b),
    }


def axes_outcomes(asked: Mapping[str, str], tags: Mapping[str, str], identity: float | None, floor: float) -> Json:
    """pass, fail or unknown for identity and for each axis that was asked for."""
    outcomes = {IDENTITY: UNKNOWN if identity is None else PASS if identity >= floor else FAIL}
    for axis, value in asked.items():
        outcomes[axis] = UNKNOWN if axis not in tags else PASS if tags[axis] == value else FAIL
    return outcomes


def overall(outcomes: Iterable[str]) -> str:
    """pass when all pass, fail when one fails, else unknown."""
    said = set(outcomes)
    return FAIL if FAIL in said else UNKNOWN if UNKNOWN in said else PASS


def read_pictures(ctx: Context, images: Sequence[ImageRecord]) -> list[Mapping[str, str]]:
    """What the captioner reads off pictures, one set of tags each; nothing where its weights are not here."""
    character = ctx.store.character
    try:
        captioner = ctx.studio.captioner(character.editor)
    except ModelMissing as error:
        ctx.event(warning=f"Angle, expression and pose are not read: {error}")
        return [{} for _ in images]
    params = ctx.studio.registry.spec(character.editor).params(CaptionParams, trigger=character.trigger)
    read: list[Mapping[str, str]] = []

    def on_step(step: int, total: int, message: str = "") -> None:
        ctx.step(ctx.job.total, ctx.job.total, message or f"reading picture {len(read) + step} of {len(images)}")

    with ctx.lease(captioner.plan(len(images), params), f"caption|{character.editor}") as lease:
        for start in range(0, len(images), _IN_MEMORY):
            pictures = [ctx.store.open_image(image.id) for image in images[start : start + _IN_MEMORY]]
            read += [caption.tags for caption in captioner.caption(pictures, params, lease, on_step)]
    return read


def _read(ctx: Context, images: Sequence[ImageRecord]) -> list[Mapping[str, str]]:
    read = read_pictures(ctx, images)
    ctx.store.update_images({image.id: {"tags": dict(tags)} for image, tags in zip(images, read, strict=True)})
    return read


def _cell(cell: CardCell, seed: int, image: ImageRecord, tags: Mapping[str, str], judge: Judge) -> Json:
    identity = judge.identity(image.scores)
    outcomes = axes_outcomes(cell.axes, tags, identity, judge.gallery.floor)
    return {
        "cell": cell.name,
        "seed": seed,
        "image": image.id,
        "identity": identity,
        "axes": outcomes,
        "verdict": overall(outcomes.values()),
        "human": None,
    }


def _rate(verdicts: Sequence[str]) -> Json:
    passed, n = verdicts.count(PASS), len(verdicts)
    low, high = wilson(passed, n)
    return {
        "k": passed,
        "n": n,
        "fail": verdicts.count(FAIL),
        "unknown": verdicts.count(UNKNOWN),
        "rate": passed / n if n else 0.0,
        "low": low,
        "high": high,
    }
