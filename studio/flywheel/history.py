"""Compares a character's versions: what each was trained on, how each draws the same cells, and how they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from engines.api.axes import ANGLES, EXPRESSIONS
from engines.wording.cells import CARD_CELLS
from studio.flywheel import card
from studio.flywheel.refine import editor
from studio.flywheel.train import runs
from studio.flywheel.train.preflight import REAL_SHARE
from studio.judging.gallery import Gallery, gallery_if_any
from studio.judging.outcomes import overall, rate
from studio.judging.statistics import bootstrap, mean
from studio.records.base import Part
from studio.records.card import CardRun, Cell
from studio.records.dataset import Role
from studio.records.image import Kind
from studio.records.outcome import Outcome, Paired, Rate
from studio.records.payload import TrainPayload
from studio.records.version import Comparison, Version
from studio.store import Store
from studio.workplace.desk import Desk

FACES = tuple(f"{angle} {EXPRESSIONS[0]}" for angle in ANGLES)  # the cells that stand for a version
GROUPS = (
    ("yours", Kind.SOURCE),
    ("edits", Kind.ENRICHED),
    ("scenes", Kind.SYNTHETIC),
    ("corrections", Kind.CORRECTION),
)


@dataclass(frozen=True, kw_only=True)
class Spread(Part):
    """Holds the mean `middle` of a figure over `n` pictures, and its 95 % confidence interval from `low` to `high`."""

    middle: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Face(Part):
    """Holds one of the pictures that represent a version: its label for the page, and the picture's id.

    The id is "" where the version has not drawn this picture.
    """

    label: str
    image: str


@dataclass(frozen=True, kw_only=True)
class Group(Part):
    """Holds the pictures of one origin, such as originals or edits, that a version was trained on.

    `name` is the origin as the page calls it; `images` are the ids, in the order of the version's dataset.
    """

    name: str
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Chapter(Part):
    """Holds what is known of one LoRA version of the character, or of the base model where `version` is None.

    `card` is its newest model card. `faces` are the model card's pictures with `seed`, one for each head angle; without
    a model card they are samples of the training. `first_try` is the pass rate of the model card's first seed.

    `likeness` is the similarity of the model card's pictures to the originals, measured by `scorer`. `copies` is the
    share of these pictures that are closer to an original than the originals are to one another.

    `groups` are the pictures that the version was trained on, `real` the share of originals, repeats counted. `parent`
    is the name of the version that was in use when this one was made, `start` the name of the version that its training
    started from; "" is none.
    """

    version: Version | None
    faces: tuple[Face, ...]
    card: CardRun | None = None
    seed: int = 0
    first_try: Rate | None = None
    likeness: Spread | None = None
    scorer: str = ""
    copies: Rate | None = None
    real: float | None = None
    parent: str = ""
    start: str = ""
    groups: tuple[Group, ...] = ()

    @property
    def name(self) -> str:
        """Returns the version's name, or "base model"."""
        return self.version.name if self.version else "base model"

    @property
    def id(self) -> str:
        """Returns the version's id, "" for the base model."""
        return self.version.id if self.version else ""


def story(desk: Desk) -> list[Chapter]:
    """Returns what is known of each character version outside the trash, and of the base model.

    The newest version comes first, the base model last.
    """
    store = desk.store
    versions: list[Version | None] = [None, *store.kept_versions(Role.CHARACTER)]
    cards = [card.newest(store, version.id if version else "") for version in versions]
    seeds = [run.seeds for run in cards if run]
    shared = [seed for seed in seeds[-1] if all(seed in each for each in seeds)] if seeds else []
    gallery = gallery_if_any(desk)
    found = [_chapter(desk, version, run, shared[:1], gallery) for version, run in zip(versions, cards, strict=True)]
    return list(reversed(found))


def _chapter(
    desk: Desk, version: Version | None, run: CardRun | None, shared: Sequence[int], gallery: Gallery
) -> Chapter:
    store = desk.store
    seed = next((each for each in shared if run and each in run.seeds), run.seeds[0] if run else 0)
    scores = likenesses(store, run.cells if run else ())
    values = [value for _, value in scores.values()]
    known = [value for scorer, value in scores.values() if gallery.calibrated and scorer == gallery.version]
    copied = [Outcome.PASS if value > gallery.ceiling else Outcome.FAIL for value in known]
    named = {each.id: each.name for each in store.versions.all()}
    job = next((each for each in desk.workplace.jobs.list(desk.id) if version and each.id == version.job), None)
    drawn = {cell.cell: cell.image for cell in run.cells if cell.seed == seed} if run else {}
    on_card = tuple(Face(label=name, image=drawn.get(name, "")) for name in FACES)
    return Chapter(
        version=version,
        faces=on_card if run else _of_training(desk, version) if version else (),
        card=run,
        seed=seed,
        first_try=card.summary(run).first_try if run else None,
        likeness=spread(tuple(values)) if values else None,
        scorer=next((scorer for scorer, _ in scores.values()), ""),
        copies=rate(copied) if copied else None,
        real=version.metrics.real_share if version else None,
        parent=named.get(version.parent, "") if version else "",
        start=named.get(TrainPayload.of(job).start or "", "") if job else "",
        groups=groups(store, version) if version else (),
    )


def _of_training(desk: Desk, version: Version) -> tuple[Face, ...]:
    """Returns the samples of a version's training at its last step."""
    if version.job not in {job.id for job in desk.workplace.jobs.list(desk.id)}:
        return ()
    samples = runs.progress(desk.workplace, version.job).samples
    upto = [each.step for each in samples if each.step <= (version.metrics.steps or each.step)]
    last = [each for each in samples if each.step == max(upto, default=-1)]
    return tuple(Face(label=f"sample {each.index + 1} of its training", image=each.image) for each in last)


def groups(store: Store, version: Version) -> tuple[Group, ...]:
    """Returns the pictures that a version was trained on, grouped by origin, such as originals or edits.

    Groups without pictures are left out.
    """
    frozen = store.datasets.peek(version.dataset)
    kinds = {entry.image: entry.kind for entry in frozen.entries} if frozen else {}
    found = [Group(name=name, images=tuple(i for i, kind in kinds.items() if kind is of)) for name, of in GROUPS]
    return tuple(group for group in found if group.images)


def likenesses(store: Store, cells: Iterable[Cell]) -> dict[tuple[str, int], tuple[str, float]]:
    """Returns the similarity to the originals of each cell's picture, as (cell, seed) -> (scorer, similarity).

    The cell is given by its name. All are measured by one scorer, because those of two cannot be compared: by the one
    that measured most of the pictures last. Pictures that it has not measured are left out.
    """
    records = {(cell.cell, cell.seed): store.images.peek(cell.image) for cell in cells}
    scores = {place: record.scores for place, record in records.items() if record and record.scores}
    last = Counter(list(each)[-1] for each in scores.values())
    scorer = max(last, key=last.__getitem__, default="")
    return {place: (scorer, value) for place, each in scores.items() if (value := each.get(scorer)) is not None}


@cache
def spread(values: tuple[float, ...]) -> Spread:
    """Returns the mean of values with its 95 % bootstrap interval. Raises: ValueError without a value."""
    middle, low, high = bootstrap(values, mean)
    return Spread(middle=middle, low=low, high=high, n=len(values))


# ── two versions on the same cells and seeds ────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Twin(Part):
    """Holds one model card cell and seed as two versions drew it: `before` by the earlier, `after` by the later one."""

    cell: str
    seed: int
    before: Cell
    after: Cell

    @property
    def turn(self) -> str:
        """Returns how the outcome changed: "gained", "lost", "right" (in both), "wrong" (in both) or "unknown"."""
        pair = (self.before.headline, self.after.headline)
        if Outcome.UNKNOWN in pair:
            return "unknown"
        named = {
            (Outcome.FAIL, Outcome.PASS): "gained",
            (Outcome.PASS, Outcome.FAIL): "lost",
            (Outcome.PASS, Outcome.PASS): "right",
        }
        return named.get(pair, "wrong")


@dataclass(frozen=True, kw_only=True)
class Difference(Part):
    """Holds the comparison of two model cards: `twins`, pairs of pictures of one cell and seed, and the paired test.

    `likeness` is the mean change of likeness over the pairs that the same scorer measured, `was` and `now` are the mean
    likeness of these pairs on either card; all three are None without such a pair. `seeds` are those that both model
    cards have; `first` is the later model card's first seed, its first try.
    """

    twins: tuple[Twin, ...]
    paired: Paired
    first: int
    seeds: tuple[int, ...]
    likeness: Spread | None = None
    was: float | None = None
    now: float | None = None


def difference(store: Store, before: CardRun, after: CardRun) -> Difference:
    """Returns the comparison of two model cards on the cells and seeds that both have.

    Raises: BadInput where they share no seed.
    """
    paired = card.compare(before, after)
    had = {(cell.cell, cell.seed): cell for cell in before.cells}
    has = {(cell.cell, cell.seed): cell for cell in after.cells}
    order = [cell.name for cell in CARD_CELLS]
    places = [(name, seed) for seed in after.seeds for name in order if (name, seed) in had and (name, seed) in has]
    twins = tuple(Twin(cell=cell, seed=seed, before=had[cell, seed], after=has[cell, seed]) for cell, seed in places)
    known = [likenesses(store, run.cells) for run in (before, after)]
    scored = [[each[at] for each in known] for at in places if all(at in each for each in known)]
    alike = [(was, now) for (scorer, was), (other, now) in scored if scorer == other]
    return Difference(
        twins=twins,
        paired=paired,
        first=after.seeds[0],
        seeds=tuple(dict.fromkeys(twin.seed for twin in twins)),
        likeness=spread(tuple(now - was for was, now in alike)) if alike else None,
        was=mean([was for was, _ in alike]) if alike else None,
        now=mean([now for _, now in alike]) if alike else None,
    )


# ── drift ───────────────────────────────────────────────────────────────────────────────────────

SURE = 0.05  # the p-value below which two cards differ


@dataclass(frozen=True, kw_only=True)
class Sign(Part):
    """Holds a sentence, shown on the page, on whether the newer LoRA versions are better or worse than the older ones.

    `alarm` marks a decline that is not mere chance.
    """

    words: str
    alarm: bool = False


def drift(store: Store, chapters: Sequence[Chapter]) -> list[Sign]:
    """Returns sentences for the page on how the model cards' figures changed from version to version, newest first.

    The two newest versions are compared in full; older ones are mentioned only where a figure became significantly
    worse. The last sentence may warn that the newest version was trained on too few originals. `chapters` is the result
    of `story`.
    """
    measured = [each for each in chapters if each.version and each.card]
    found: list[Sign] = []
    for at, (after, before) in enumerate(pairwise(measured)):
        found += [sign for sign in _changes(store, before, after) if sign.alarm or at == 0]
    newest = next((each for each in chapters if each.version), None)
    if newest and newest.real is not None and newest.real < REAL_SHARE - 1e-9:
        words = (
            f"Only {newest.real:.0%} of what {newest.name} saw were originals. Below {REAL_SHARE:.0%} a version learns "
            "from its own mistakes; add originals before the next training."
        )
        found.append(Sign(words=words, alarm=True))
    return found


def _changes(store: Store, before: Chapter, after: Chapter) -> list[Sign]:
    names = f"{after.name} than with {before.name}"
    if before.card is None or after.card is None:
        return []
    if not set(before.card.seeds) & set(after.card.seeds):
        return [Sign(words=f"The cards of {before.name} and {after.name} share no seed, so they cannot be compared.")]
    found = difference(store, before.card, after.card)
    pair, change, signs = found.paired, found.likeness, list[Sign]()
    rates = f"{pair.rate_a or 0:.0%} → {pair.rate_b or 0:.0%} of {pair.judged} pictures"
    worse = pair.only_a > pair.only_b
    if pair.judged and pair.p < SURE:
        signs.append(Sign(words=f"{'Fewer' if worse else 'More'} cells are right with {names} ({rates}).", alarm=worse))
    elif pair.judged:
        signs.append(Sign(words=f"{after.name} and {before.name} are about as good on the card ({rates})."))
    if before.likeness and after.likeness and before.scorer != after.scorer:
        words = f"{before.name} and {after.name} were measured by different scorers: run both cards again."
        signs.append(Sign(words=words))
    elif change:
        from_to = f"{found.was:.2f} → {found.now:.2f}"
        less, more = change.high < 0, change.low > 0
        told = f"is {'less' if less else 'more'} like the originals than {before.name} ({from_to})."
        alike = f"is about as like the originals as {before.name} ({from_to}, which may be chance)."
        signs.append(Sign(words=f"{after.name} {told if less or more else alike}", alarm=less))
    if before.copies and after.copies and after.copies.low > before.copies.high:
        shares = f"{before.copies.rate or 0:.0%} → {after.copies.rate or 0:.0%}"
        signs.append(Sign(words=f"{after.name} draws more near copies of the originals ({shares}).", alarm=True))
    return signs


# ── the editor's versions ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Redone(Part):
    """Holds one held-out edit as it was redone without and with a LoRA version of the editor, to compare the two.

    `triplet` is the id of the held-out edit, `source` the id of its source picture, and `task` the type of edit.
    Without the version the picture has the id `before` and the outcome `was`; with it, `after` and `now`.
    """

    triplet: str
    task: str
    source: str
    before: str
    after: str
    was: Outcome
    now: Outcome

    @property
    def turn(self) -> str:
        """Returns how the version changed the edit's outcome: "improved", "worse", or "" for neither or unknown."""
        return {(Outcome.FAIL, Outcome.PASS): "improved", (Outcome.PASS, Outcome.FAIL): "worse"}.get(
            (self.was, self.now), ""
        )

    @property
    def rank(self) -> int:
        """Returns the key by which edits are sorted: 0 improved, 1 worse, 2 changed from or to unknown, 3 unchanged."""
        return ("improved", "worse").index(self.turn) if self.turn else 2 + (self.was is self.now)


def judged(store: Store, version: Version) -> Comparison | None:
    """Returns the stored comparison of held-out edits redone without and with an editor's version; None if not made.

    In old comparisons, outcomes that were judged by too few originals are returned as unknown.
    """
    return editor.as_judged(store, version).metrics.edits


def redone(store: Store, version: Version) -> list[Redone]:
    """Returns the held-out edits as they were redone without and with an editor's version, the improved ones first.

    Returns [] where none were compared.
    """
    edits = judged(store, version)
    if edits is None or len(edits.before.outcomes) != len(edits.pairs):
        return []
    rows = zip(edits.pairs, edits.before.outcomes, edits.after.outcomes, strict=True)
    found = [
        Redone(
            triplet=pair.triplet,
            task=pair.task,
            source=known.source if (known := store.triplets.peek(pair.triplet)) else "",
            before=pair.before,
            after=pair.after,
            was=overall(was.values()),
            now=overall(now.values()),
        )
        for pair, was, now in rows
    ]
    return sorted(found, key=lambda each: each.rank)
