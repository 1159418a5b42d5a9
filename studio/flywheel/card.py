"""The model card: draws standard cells with fixed seeds, and judges each picture axis by axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from annotated_types import MaxLen

from engines.api.axes import Tags
from engines.api.errors import BadInput, NotFound
from engines.api.params import GenerateParams
from engines.api.values import Seed, taken
from engines.wording.cells import CARD_CELLS, CardCell
from engines.wording.registry import vocabulary
from studio.flywheel import generate, stacks
from studio.flywheel.curate.captions import demand_trigger
from studio.judging.gallery import ENOUGH
from studio.judging.judge import Judge, judged
from studio.judging.outcomes import IDENTITY, axes_outcomes, goal, overall, paired, rate
from studio.judging.reader import read_pictures
from studio.judging.statistics import median
from studio.records.card import CardRun, Cell, Summary
from studio.records.dataset import Role
from studio.records.image import ImageRecord, Kind
from studio.records.job import Job
from studio.records.outcome import Goal, Outcome, Paired, Rate
from studio.records.payload import DrawPayload
from studio.store import Store
from studio.workplace.context import Context
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

TARGET = 0.8
SEEDS = (0, 1, 2)
SHOWN = 24
_SEEDS = Annotated[list[Seed], MaxLen(100)]


def submit(
    desk: Desk,
    version: str = "",
    seeds: Sequence[int] = SEEDS,
    key: str = "",
    knobs: Mapping[str, object] | None = None,
) -> Job:
    """Queues the job that draws and judges a model card of a version, and returns the job.

    A model card is a grid of cells, each a standard test prompt. Every cell is drawn once with every seed in `seeds`;
    the pictures of the first seed count as the first try. `version` is a LoRA version's id, "" the base model. `knobs`
    are GenerateParams by name, used for every picture. A second call with the same `key` returns the first job.

    Raises: BadInput without seeds, for invalid parameters or a version of the editor; NotFound for an unknown version
    or a missing LoRA file; ModelMissing; LoraMismatch for a LoRA that does not fit.
    """
    spec, drawn_by = generate.model_spec(desk, version), generate.character_version(desk.store, version)
    items = card_items(desk, version, seeds, knobs)
    generate.demand_drawable(desk, version)
    demand_trigger(desk.store.character)
    generate.demand_fitting(spec, items[0])
    generate.plan_of(desk, items, version)
    notes = stacks.check(desk.workplace, spec.name, [items[0].loras])
    return desk.workplace.jobs.submit(
        "card",
        desk.id,
        DrawPayload(
            items=tuple(item.to_json() for item in items),
            version=version,
            model=spec.name,
            seeds=tuple(seeds),
            notes=tuple(notes),
        ),
        title=f"Card of {drawn_by.name if drawn_by else 'the base model'}",
        total=len(items),
        key=key,
    )


def card_items(
    desk: Desk, version: str = "", seeds: Sequence[int] = SEEDS, knobs: Mapping[str, object] | None = None
) -> list[GenerateParams]:
    """Returns the parameters of all pictures of a model card: every cell with the first seed, then with the next one.

    A cell is a standard test prompt. `version` is a LoRA version's id, "" the base model. `knobs` are GenerateParams by
    name, used for every picture. Raises: BadInput without seeds or for invalid parameters, NotFound for an unknown
    version.
    """
    if not seeds:
        raise BadInput("A card needs at least one seed.", "Three are usual: 0, 1, 2.")
    taken("seeds", list(seeds), _SEEDS)
    GenerateParams.demand_no_words(knobs or {}, "each cell of a card")
    character, spec = desk.store.character, generate.model_spec(desk, version)
    wording = vocabulary(spec.wording).of_medium(character.medium)
    words = {cell.name: wording.card_prompt(cell, character.trigger, character.subject) for cell in CARD_CELLS}
    return [
        spec.worded(GenerateParams, words[cell.name], **{**(knobs or {}), "seed": seed})
        for seed in seeds
        for cell in CARD_CELLS
    ]


def run(ctx: Context) -> None:
    """Runs the job of a model card: draws every cell with every seed, judges the pictures, and saves the model card.

    A picture is judged on each axis of its cell, such as identity, angle and expression.
    """
    asked = DrawPayload.of(ctx.job)
    seeds = asked.seeds or ()
    places = [(cell, seed) for seed in seeds for cell in CARD_CELLS]
    judge = Judge(ctx)

    def keep(index: int, image: Image, item: GenerateParams) -> ImageRecord:
        cell, _ = places[index]
        return ctx.save(
            image,
            kind=Kind.CARD,
            item=item,
            version=asked.version,
            asked=cell.asked,
            likeness=judge.likeness(image),
        )

    images = [ctx.store.images.get(image) for image in generate.draw(ctx, keep)]
    read = read_pictures(ctx, images)
    ctx.store.update_images({image.id: {"tags": dict(tags)} for image, tags in zip(images, read, strict=True)})
    cells = tuple(
        _cell(cell, seed, image, tags, judge) for (cell, seed), image, tags in zip(places, images, read, strict=True)
    )
    card = CardRun(
        id=ctx.job.id,
        version=asked.version or "",
        job=ctx.job.id,
        seeds=seeds,
        cells=cells,
        originals=len(judge.gallery.ids),
    )
    ctx.store.cards.put(card.replace(summary=summary(card).to_json()))
    ctx.keep(card=card.id)


def set_human(desk: Desk, card_id: str, cell: str, seed: int, passed: bool | None) -> CardRun:
    """Sets a human's verdict on one picture of a model card, and returns the changed model card.

    The picture is that of the cell named `cell` with `seed`. The machine's verdict stays beside the human's, which
    counts. `passed` None removes the human's verdict. Raises: NotFound where there is no such card, cell or seed.
    """
    store = desk.store
    found = store.cards.get(card_id)
    if not any((each.cell, each.seed) == (cell, seed) for each in found.cells):
        raise NotFound(f"The model card has no cell {cell} with seed {seed}.", "Cells are named as on the model card.")
    cells = tuple(
        each.replace(human=passed) if (each.cell, each.seed) == (cell, seed) else each for each in found.cells
    )
    changed = found.replace(cells=cells)
    return _as_judged(store, store.cards.put(changed.replace(summary=summary(_as_judged(store, changed)).to_json())))


def get(store: Store, card_id: str) -> CardRun:
    """Returns a model card by its id. Raises: NotFound.

    On old model cards, an identity verdict that rests on too few originals is returned as unknown; the stored model
    card does not change.
    """
    return _as_judged(store, store.cards.get(card_id))


def newest(store: Store, version: str | None = None) -> CardRun | None:
    """Returns the newest model card of a version, or None where there is no model card.

    `version` is a LoRA version's id, "" the base model; None takes the model cards of all versions. A model card of the
    base model counts only if the character's present generator drew it.
    """
    for run in reversed(store.cards.all()):
        drawn = store.images.peek(run.cells[0].image) if run.cells else None
        former = not run.version and drawn is not None and drawn.model not in ("", store.character.generator)
        if version in (None, run.version) and not former:
            return _as_judged(store, run)
    return None


def _as_judged(store: Store, run: CardRun) -> CardRun:
    """Returns a model card judged by the current rule.

    A model card made before the number of originals was recorded may have passed every identity for want of originals.
    """
    if run.originals is not None:
        return run
    axes = judged(store, [cell.axes for cell in run.cells], run.created)
    cells = [
        cell if cell.axes == found else cell.replace(axes=found, verdict=overall(found.values()))
        for cell, found in zip(run.cells, axes, strict=True)
    ]
    return run.replace(cells=tuple(cells))


def missed(desk: Desk, version: str = "") -> list[Tags]:
    """Returns one set of tags for each failed cell of a version's newest model card, the worst cell first.

    A cell is a standard test prompt; its tags are what it asks for, such as an angle. `version` is a LoRA version's id,
    "" the base model. Where the version has no model card, the newest one of any version is used. Where there is none
    at all, or no cell failed, the tags of all cells are returned.
    """
    found = newest(desk.store, version) or newest(desk.store)
    return (misses(found) if found else []) or [cell.asked for cell in CARD_CELLS]


def to_show(desk: Desk) -> list[Tags]:
    """Returns the sets of tags that new edits should show, so that the next version learns what the present one lacks.

    They are the sets that `lessons` returns for a model card: the newest one of the version in use, which is the base
    model where no version is adopted, or else the newest one of any version. Raises: BadInput without a model card, or
    where no cell failed.
    """
    store = desk.store
    adopted = store.adopted(Role.CHARACTER)
    shown = newest(store, adopted.id if adopted else "") or newest(store)
    if shown is None:
        raise BadInput("There is no model card yet, so nothing is known to be missing.", "Run it in Generate first.")
    if not (found := lessons(shown)):
        raise BadInput(
            "The newest model card missed nothing that could be judged.", "Aim at what coverage lacks, or at variety."
        )
    return found


def misses(run: CardRun) -> list[Tags]:
    """Returns one set of tags for each failed cell of a model card: what the cell asked for; the worst cell first.

    A cell, a standard test prompt, has failed if it failed with at least one seed. Cells that failed with more seeds
    come first; among equals, those with more seeds that could not be judged.
    """
    verdicts = Counter((cell.cell, cell.headline) for cell in run.cells)
    asked = {cell.name: cell.asked for cell in CARD_CELLS}
    failed = [name for name, verdict in verdicts if verdict is Outcome.FAIL and name in asked]
    worst = sorted(failed, key=lambda name: (-verdicts[name, Outcome.FAIL], -verdicts[name, Outcome.UNKNOWN]))
    return [asked[name] for name in worst]


def lessons(run: CardRun) -> list[Tags]:
    """Returns the sets of tags that failed cells of a model card asked for, then those of similar cells that passed.

    A cell is a standard test prompt. For each failed cell at most one passed cell is added. The two differ in a single
    axis, such as the pose, and the failed cell did not pass on this axis. Without this contrast, a version trained on
    T-poses alone would draw T-poses even where the prompt says standing.
    """
    lost, right = misses(run), {cell.cell for cell in run.cells if cell.headline is Outcome.PASS}
    passed = [cell.asked for cell in CARD_CELLS if cell.name in right and cell.asked not in lost]
    found = list(lost)
    for aim in lost:  # adds the first passed cell that differs from it in one axis, an axis that did not pass
        names = {cell.name for cell in CARD_CELLS if cell.asked == aim}
        pictures = [cell.axes for cell in run.cells if cell.cell in names]
        wrong = {axis for axes in pictures for axis, outcome in axes.items() if outcome is not Outcome.PASS}
        apart = [{name for name in had | aim if had.get(name) != aim.get(name)} for had in passed]
        found += [had for had, axes in zip(passed, apart, strict=True) if len(axes) == 1 and axes <= wrong][:1]
    return [tags for at, tags in enumerate(found) if tags not in found[:at]]


def summary(card: CardRun) -> Summary:
    """Computes the figures of a model card: pass rates, whether they meet the goal, the median identity, and remarks.

    The pass rates are of the first seed (in all, for each axis, and by the machine's verdicts alone) and of all seeds.
    Pictures that could not be judged do not count. `agreement` is the share of human verdicts that equal the machine's.
    """
    first = [cell for cell in card.cells if cell.seed == card.seeds[0]]
    axes = sorted({axis for cell in card.cells for axis in cell.axes})
    told = [cell for cell in card.cells if cell.human is not None]
    compared = [cell for cell in told if cell.verdict is not Outcome.UNKNOWN]
    agreed = [Outcome.PASS if cell.headline is cell.verdict else Outcome.FAIL for cell in compared]
    identities = [cell.identity for cell in card.cells if cell.identity is not None]
    first_try = rate([cell.headline for cell in first])
    reached = goal(first_try, TARGET)
    return Summary(
        first_try_rate=first_try.rate,
        first_try=first_try,
        all_seeds=rate([cell.headline for cell in card.cells]),
        machine=rate([cell.verdict for cell in first]),
        axes={axis: rate([cell.axes[axis] for cell in first if axis in cell.axes]) for axis in axes},
        target=TARGET,
        goal=reached,
        met=reached is Goal.MET,
        notes=tuple(_notes(card, first_try, reached)),
        identity_median=round(median(identities), 4) if identities else None,
        human=len(told),
        agreement=rate(agreed).rate,
    )


def _notes(card: CardRun, first_try: Rate, reached: Goal) -> Iterator[str]:
    """Yields remarks on a model card's figures, each with what to do about it."""
    likened = [cell.axes.get(IDENTITY) for cell in card.cells if cell.identity is not None]
    if Outcome.UNKNOWN in likened or (card.originals is not None and card.originals < ENOUGH):
        yield (
            f"Identity was not judged: it takes {ENOUGH} originals that the scorer can compare with to know how alike "
            "they are. Import more originals (or get the scorer's files, where they were missing), then run the card "
            "again."
        )
    if reached is Goal.OPEN and first_try.unknown:
        yield (
            f"The goal of {TARGET:.0%} is neither met nor missed: {first_try.unknown} of {first_try.n} cells could "
            "not be judged, and they decide it. Open those marked “?” and say right or wrong (keys 1 and 2)."
        )


def compare(card_a: CardRun, card_b: CardRun) -> Paired:
    """Compares two model cards on the cells and seeds that both have and that could be judged on both.

    Returns the pass rate of each card, how many pictures passed on the first card only and how many on the second only,
    and McNemar's p-value. Raises: BadInput where the model cards share no seed.
    """
    before = {(cell.cell, cell.seed): cell.headline for cell in card_a.cells}
    after = {(cell.cell, cell.seed): cell.headline for cell in card_b.cells}
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise BadInput("These cards share no seed.", "Run both with the same seeds.")
    return paired([before[place] for place in shared], [after[place] for place in shared])


def _cell(cell: CardCell, seed: int, image: ImageRecord, tags: Mapping[str, str], judge: Judge) -> Cell:
    outcomes = axes_outcomes(cell.axes, tags, judge.outcome(image.scores))
    return Cell(
        cell=cell.name,
        seed=seed,
        image=image.id,
        identity=judge.identity(image.scores),
        axes=outcomes,
        verdict=overall(outcomes.values()),
    )
