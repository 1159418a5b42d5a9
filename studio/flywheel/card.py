"""The model card: is the character done? 23 standard cells × fixed seeds, judged axis by axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from annotated_types import MaxLen

from engines.api.axes import Tags
from engines.api.errors import BadInput, NotFound
from engines.api.params import GenerateParams, Json
from engines.api.values import Seed, taken
from engines.wording.cells import CARD_CELLS, CardCell
from engines.wording.registry import vocabulary
from studio.flywheel import generate, stacks
from studio.flywheel.curate.captions import demand_trigger
from studio.judging.gallery import ENOUGH
from studio.judging.judge import Judge, judged
from studio.judging.outcomes import FAIL, IDENTITY, MET, OPEN, PASS, UNKNOWN, axes_outcomes, goal, overall, paired, rate
from studio.judging.reader import read_pictures
from studio.judging.statistics import median
from studio.records.nouns import CardRun, ImageRecord, Job, Kind, Role
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

TARGET = 0.8
SHOWN = 24
_SEEDS = Annotated[list[Seed], MaxLen(100)]


def submit(
    desk: Desk,
    version: str = "",
    seeds: Sequence[int] = (0, 1, 2),
    key: str = "",
    knobs: Mapping[str, object] | None = None,
) -> Job:
    """Queue a card of a version, "" being the base model; the first seed is the one that counts as first try.

    Raises: BadInput without seeds, for knobs that no picture can have or a version of the editor; NotFound;
    ModelMissing; LoraMismatch for a LoRA that does not fit.
    """
    if not seeds:
        raise BadInput("A card needs at least one seed.", "Three are usual: 0, 1, 2.")
    taken("seeds", list(seeds), _SEEDS)
    store = desk.store
    character, spec = store.character, generate.model_spec(desk, version)
    drawn_by = generate.character_version(store, version)
    generate.demand_drawable(desk, version)
    demand_trigger(character)
    GenerateParams.demand_no_words(knobs or {}, "each cell of a card")
    wording = vocabulary(spec.wording)
    words = {cell.name: wording.card_prompt(cell, character.trigger, character.subject) for cell in CARD_CELLS}
    items = [
        spec.worded(GenerateParams, words[cell.name], **{**(knobs or {}), "seed": seed})
        for seed in seeds
        for cell in CARD_CELLS
    ]
    generate.plan_of(desk, items, version)
    notes = stacks.check(desk.workplace, spec.name, [items[0].loras])
    return desk.workplace.jobs.submit(
        "card",
        desk.id,
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
    card = CardRun(
        id=ctx.job.id,
        version=ctx.job.payload["version"],
        job=ctx.job.id,
        seeds=tuple(seeds),
        cells=cells,
        originals=len(judge.gallery.ids),
    )
    ctx.store.cards.put(card.replace(summary=summary(card)))
    ctx.artifact("card", card.id)


def set_human(desk: Desk, card_id: str, cell: str, seed: int, passed: bool | None) -> CardRun:
    """A human's word on one cell, kept beside the machine's; None takes it back. Raises: NotFound."""
    store = desk.store
    found = store.cards.get(card_id)
    if not any(each["cell"] == cell and each["seed"] == seed for each in found.cells):
        raise NotFound(f"The card has no cell {cell} with seed {seed}.", "Cells are named as on the card.")
    cells = tuple(
        {**each, "human": passed} if each["cell"] == cell and each["seed"] == seed else each for each in found.cells
    )
    changed = found.replace(cells=cells)
    return _as_judged(store, store.cards.put(changed.replace(summary=summary(_as_judged(store, changed)))))


def get(store: Store, card_id: str) -> CardRun:
    """A card by its id. Raises: NotFound."""
    return _as_judged(store, store.cards.get(card_id))


def newest(store: Store, version: str | None = None) -> CardRun | None:
    """Return the newest card of a version, "" being the base model, or of all."""
    found = [run for run in store.cards.all() if version in (None, run.version)]
    return _as_judged(store, found[-1]) if found else None


def _as_judged(store: Store, run: CardRun) -> CardRun:
    """A card by the rule of today: an older one may have passed everybody, for want of originals."""
    if run.originals is not None:
        return run
    axes = judged(store, [cell["axes"] for cell in run.cells], run.created)
    cells = [
        cell if cell["axes"] == found else {**cell, "axes": found, "verdict": overall(found.values())}
        for cell, found in zip(run.cells, axes, strict=True)
    ]
    return run.replace(cells=tuple(cells))


def missed(desk: Desk, version: str = "") -> list[Tags]:
    """What the cells ask for that failed on a version's newest card, the worst first, the base being "".

    Without a card of this version it is the newest of any; without one, or where nothing was missed, all cells.
    """
    newest = _newest(desk.store, version)
    return (misses(newest) if newest else []) or [cell.asked for cell in CARD_CELLS]


def to_show(desk: Desk) -> list[Tags]:
    """What the editor can show of what the newest card of the version in use missed, for the next version to learn.

    Raises: BadInput without a card, or where it missed nothing.
    """
    store = desk.store
    adopted = store.adopted(Role.CHARACTER)
    newest = _newest(store, adopted.id if adopted else "")
    if newest is None:
        raise BadInput("There is no model card yet, so nothing is known to be missing.", "Run it in Generate first.")
    if not (found := lessons(newest)):
        raise BadInput(
            "The newest model card missed nothing that could be judged.", "Aim at what coverage lacks, or at variety."
        )
    return found


def _newest(store: Store, version: str) -> CardRun | None:
    """The newest card of a version, and without one the newest of any."""
    cards = store.cards.all()
    found = [run for run in reversed(cards) if run.version == version] or cards[-1:]
    return _as_judged(store, found[0]) if found else None


def misses(run: CardRun) -> list[Tags]:
    """What the cells of a card asked for in vain, the worst first; of equals, the one that could be judged least.

    What nobody could judge was not missed.
    """
    verdicts = Counter((cell["cell"], verdict_of(cell)) for cell in run.cells)
    asked = {cell.name: cell.asked for cell in CARD_CELLS}
    failed = [name for name, verdict in verdicts if verdict == FAIL and name in asked]
    worst = sorted(failed, key=lambda name: (-verdicts[name, FAIL], -verdicts[name, UNKNOWN]))
    return [asked[name] for name in worst]


def lessons(run: CardRun) -> list[Tags]:
    """What a card missed, then beside each of that a cell that it passed and that differs in what went wrong.

    Shown nothing but T-poses, a version draws them where somebody stands, too: what a word means shows by contrast.
    """
    lost, right = misses(run), {cell["cell"] for cell in run.cells if verdict_of(cell) == PASS}
    passed = [cell.asked for cell in CARD_CELLS if cell.name in right and cell.asked not in lost]
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
    """First-try rate (first seed alone) with its Wilson interval, per axis too, and human against machine.

    Rates are over what could be judged (`outcomes.rate`), None where nothing could; `goal` is met, missed or open, and
    `agreement` is over the cells on which both gave a verdict.
    """
    first = [cell for cell in card.cells if cell["seed"] == card.seeds[0]]
    axes = sorted({axis for cell in card.cells for axis in cell["axes"]})
    told = [cell for cell in card.cells if cell.get("human") is not None]
    agreed = [PASS if verdict_of(cell) == cell["verdict"] else FAIL for cell in told if cell["verdict"] != UNKNOWN]
    identities = [cell["identity"] for cell in card.cells if cell.get("identity") is not None]
    headline = rate([verdict_of(cell) for cell in first])
    reached = goal(headline, TARGET)
    return {
        "first_try_rate": headline["rate"],
        "first_try": headline,
        "all_seeds": rate([verdict_of(cell) for cell in card.cells]),
        "machine": rate([cell["verdict"] for cell in first]),
        "axes": {axis: rate([cell["axes"][axis] for cell in first if axis in cell["axes"]]) for axis in axes},
        "target": TARGET,
        "goal": reached,
        "met": reached == MET,
        "notes": _notes(card, headline, reached),
        "identity_median": round(median(identities), 4) if identities else None,
        "human": len(told),
        "agreement": rate(agreed)["rate"],
    }


def _notes(card: CardRun, headline: Json, reached: str) -> list[str]:
    """What to know of a card's figures, and what to do about it."""
    notes = []
    likened = [cell["axes"].get(IDENTITY) for cell in card.cells if cell.get("identity") is not None]
    if UNKNOWN in likened or (card.originals is not None and card.originals < ENOUGH):
        notes.append(
            f"Identity was not judged: it takes {ENOUGH} originals that the scorer can compare with to know how alike "
            "they are. Import more originals (or get the scorer's files, where they were missing), then run the card "
            "again."
        )
    if reached == OPEN and headline["unknown"]:
        notes.append(
            f"The goal of {TARGET:.0%} is neither met nor missed: {headline['unknown']} of {headline['n']} cells could "
            "not be judged, and they decide it. Look at those marked “?” and say right or wrong under each."
        )
    return notes


def compare(card_a: CardRun, card_b: CardRun) -> Json:
    """Two versions on the same cells and seeds, compared where both could be judged (`outcomes.paired`).

    Raises: BadInput when they share no seed.
    """
    before = {(cell["cell"], cell["seed"]): verdict_of(cell) for cell in card_a.cells}
    after = {(cell["cell"], cell["seed"]): verdict_of(cell) for cell in card_b.cells}
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise BadInput("These cards share no seed.", "Run both with the same seeds.")
    return paired([before[place] for place in shared], [after[place] for place in shared])


def _read(ctx: Context, images: Sequence[ImageRecord]) -> list[Mapping[str, str]]:
    read = read_pictures(ctx, images)
    ctx.store.update_images({image.id: {"tags": dict(tags)} for image, tags in zip(images, read, strict=True)})
    return read


def _cell(cell: CardCell, seed: int, image: ImageRecord, tags: Mapping[str, str], judge: Judge) -> Json:
    identity = judge.identity(image.scores)
    outcomes = axes_outcomes(cell.axes, tags, identity, judge.floor)
    return {
        "cell": cell.name,
        "seed": seed,
        "image": image.id,
        "identity": identity,
        "axes": outcomes,
        "verdict": overall(outcomes.values()),
        "human": None,
    }
