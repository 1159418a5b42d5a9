"""Review: the order in which pictures are shown, the verdicts, and the reason why a picture is shown."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any

from engines.api.axes import shows_face
from studio.flywheel.enrich import contest
from studio.judging.gallery import Gallery, faceless, gallery_if_any, score_of
from studio.judging.statistics import Logistic, fit_logistic
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Decision, Triplet
from studio.workplace.desk import Desk

if TYPE_CHECKING:
    from PIL.Image import Image

ENOUGH_LABELS = 60
AUDIT_EVERY = 10
_LABELS_USED = 500
OWNER = "owner"
BLIND = "a tournament of editors: judge the picture alone; who drew it is told after your verdict"
BEHIND = "seen from behind: no face is expected, so identity is neither passed nor failed"
_FACELESS = "no face; the whole picture"
_REVIEWED = (Kind.ENRICHED, Kind.SYNTHETIC, Kind.CORRECTION)


@dataclass(frozen=True)
class Reason:
    """Holds the reason why review shows a picture now: figures, and in `words` one sentence for the page.

    `score` is the picture's similarity to the originals, None where it was not scored or has no face. `whole` is the
    similarity of a picture without a face, compared as a whole; None where it was not. `floor` is the lowest similarity
    that passes as the character; above `ceiling` a picture is nearly a copy of an original; both are None with too few
    originals, and for a picture compared as a whole they are those of whole pictures. `p_good` is the predicted
    probability that a human approves the picture, None without a score or with too few verdicts to predict from.
    `audit` is true for a picture that was drawn at random.
    """

    score: float | None
    floor: float | None
    ceiling: float | None
    p_good: float | None
    audit: bool
    words: str
    whole: float | None = None

    @property
    def compared(self) -> float | None:
        """Returns the similarity that `floor` and `ceiling` belong to: that of the face, or of the whole picture."""
        return self.score if self.whole is None else self.whole


@dataclass(frozen=True)
class Tally:
    """Holds the number of pictures left to review, and the number of pictures with each verdict."""

    left: int
    good: int
    needs_correction: int
    reject: int

    @property
    def decided(self) -> int:
        """Returns how many pictures have a verdict."""
        return self.good + self.needs_correction + self.reject


def next(desk: Desk, reviewer: str = OWNER, count: int = 1) -> list[ImageRecord]:
    """Returns the next `count` pictures to review, mostly those whose verdict is hardest to predict.

    Every tenth picture is drawn at random instead, so that a part of the verdicts is an unbiased sample. Pictures of
    tournaments come first, ask by ask, those of one ask in random order. `reviewer` is a person's name, which seeds the
    random order: the same pictures, verdicts and name give the same result.
    """
    queue = _Queue(desk)
    wanted = min(max(0, count), len(queue.waiting))
    lots = {image.id: (queue.turn(image), _lot(image, reviewer)) for image in queue.waiting}
    # Each stream holds twice as many as wanted, because it skips the pictures that the other one has shown.
    uncertain = nsmallest(
        2 * wanted, queue.waiting, key=lambda image: (queue.turn(image), queue.certainty(image), lots[image.id])
    )
    drawn = nsmallest(2 * wanted, queue.waiting, key=lambda image: lots[image.id])
    return _interleaved(uncertain, drawn, len(queue.decided), wanted)


def explain(desk: Desk, image_id: str, reviewer: str = OWNER) -> Reason:
    """Returns the reason, in figures and words, why review shows a picture now.

    `reviewer` is the name of the person who reviews. Raises: NotFound for an unknown picture.
    """
    image, queue = desk.store.images.get(image_id), _Queue(desk)
    if image.is_blind:
        return Reason(None, None, None, None, False, BLIND)
    score, p_good = queue.score(image), queue.p_good(image)
    drawn = min(queue.waiting, key=lambda other: (queue.turn(other), _lot(other, reviewer)), default=None)
    audit = _is_audit(len(queue.decided)) and drawn is not None and drawn.id == image_id
    without = faceless(desk) if score is None and len(image.scores) > 1 else ""
    measure = gallery_if_any(desk, without) if without else queue.gallery
    whole = score_of(image, measure.version) if without else None
    known = measure.calibrated
    seen = _words(score, queue.gallery, p_good, audit) if shows_face(image.tags) else BEHIND
    return Reason(
        score,
        measure.floor if known else None,
        measure.ceiling if known else None,
        p_good,
        audit,
        seen if whole is None else _words(whole, measure, None, audit, _FACELESS),
        whole,
    )


def tally(desk: Desk, reviewer: str | None = None) -> Tally:
    """Returns how many pictures are left to review, and how many have each verdict.

    `reviewer` is the name of the person whose verdicts are counted; None counts those of all. The number of pictures
    left is the same for everyone.
    """
    store = desk.store
    states = [
        image.state
        for image in store.select(_REVIEWED)
        if image.state is not Verdict.PENDING and reviewer in (None, image.reviewer)
    ]
    return Tally(
        left=len(store.pending()),
        good=states.count(Verdict.GOOD),
        needs_correction=states.count(Verdict.NEEDS_CORRECTION),
        reject=states.count(Verdict.REJECT),
    )


def decide(
    desk: Desk,
    image_id: str,
    verdict: Verdict,
    reviewer: str = OWNER,
    reasons: Sequence[str] = (),
) -> Decision:
    """Stores a human's verdict on a picture and returns the stored decision.

    Together with the verdict, an approved edit is stored as a triplet (source, instruction, result), an example that an
    editor model can be trained on. `reviewer` is the person's name; `reasons` are texts on what is wrong with the
    picture. Raises: NotFound for an unknown picture; BadInput for the verdict PENDING, and for a picture in the trash.
    """
    decision = desk.store.decide(image_id, verdict, reviewer=reviewer, reasons=tuple(reasons))
    contest.settle(desk.store, image_id)
    return decision


def undo(desk: Desk, reviewer: str | None = None) -> Decision:
    """Takes back the latest verdict that was not taken back yet, and returns its decision, now marked as undone.

    `reviewer` is the name of the person whose latest verdict is taken back, None stands for the latest one of anybody.
    The picture gets its earlier verdict back, unless another person has given it a newer verdict since; then that one
    stays. A correction stored with the verdict goes into the trash. Raises: NotFound where there is nothing to undo.
    """
    decision = desk.store.undo(reviewer)
    contest.settle(desk.store, decision.image)
    return decision


def correct(
    desk: Desk,
    image_id: str,
    corrected: Image,
    reviewer: str = OWNER,
    params: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Triplet:
    """Stores a human's correction of a wrong edit, and returns the training example that it makes.

    `image_id` is the wrong result, `corrected` the picture as it should have been, `reviewer` the person's name. The
    example is a triplet: the edit's source picture, its instruction, and `corrected` as the result. `params` are edit
    parameters to store in it in place of the edit's own, None for the edit's own. `reason` says what was wrong, ""
    gives no reason. Raises: NotFound for an unknown picture; BadInput for a picture that no edit made, for a correction
    of another size, and for one that changes neither pixels nor parameters.
    """
    triplet = desk.store.correct(image_id, corrected, reviewer=reviewer, params=params, reason=reason)
    contest.settle(desk.store, image_id)
    return triplet


def to_mend(desk: Desk) -> list[ImageRecord]:
    """Returns the wrong edits that wait for a correction: one picture for each open case.

    A case is a wrong edit together with all new tries at it; a correction or an approved try closes it. Of each open
    case the latest picture with the verdict “needs correction” is returned. The list is in the order of these verdicts,
    oldest first.
    """
    store = desk.store
    lessons = [store.images.peek(each.wrong) for each in store.triplets.all() if each.wrong]
    closed = {store.case_of(each) for each in lessons if each is not None}
    wrong = [each for each in store.select(state=Verdict.NEEDS_CORRECTION) if each.parent]
    cases = {store.case_of(each): each for each in sorted(wrong, key=lambda each: each.decided)}
    return sorted((each for case, each in cases.items() if case not in closed), key=lambda each: each.decided)


def new_tries(desk: Desk, image_id: str) -> list[ImageRecord]:
    """Returns the new tries at a wrong edit that have no verdict yet, oldest first.

    A new try is a result of the same edit made once more, for example with other words. `image_id` is the wrong result,
    or a try at it. Raises: NotFound for an unknown picture.
    """
    store = desk.store
    case = store.case_of(store.images.get(image_id))
    return [each for each in store.pending((Kind.ENRICHED,)) if each.mends and store.case_of(each) == case]


# ── the order of review ───────────────────────────────────────────────────────────────────────────


class _Queue:
    """The pictures to review, those that have a verdict, and what a picture's score predicts about its verdict."""

    def __init__(self, desk: Desk) -> None:
        pictures = desk.store.select(_REVIEWED)
        self.waiting = [image for image in pictures if image.state is Verdict.PENDING and not image.filtered]
        self.decided = [image for image in pictures if image.state is not Verdict.PENDING]
        self.gallery: Gallery = gallery_if_any(desk)
        self._tournaments, self._turns = desk.store.tournaments, dict[str, dict[int, int]]()
        self._fit = _calibrated(self.decided, self.gallery.version)

    def score(self, image: ImageRecord) -> float | None:
        """Returns a picture's similarity to the originals; None where it has no face or was never scored."""
        return score_of(image, self.gallery.version)

    def p_good(self, image: ImageRecord) -> float | None:
        """Returns the probability that a human approves a picture; None without a score or enough labels."""
        score = self.score(image)
        return None if score is None or self._fit is None else self._fit(score)

    def turn(self, image: ImageRecord) -> float:
        """Returns the order of a picture of a tournament, that of its ask; all others come after them."""
        if image.trial is None:
            return math.inf
        if image.trial.tournament not in self._turns:
            held = self._tournaments.peek(image.trial.tournament)
            places = [held.places(task) for task in contest.in_tasks(held)] if held else []
            self._turns[image.trial.tournament] = {place: at for each in places for at, place in enumerate(each)}
        return self._turns[image.trial.tournament].get(image.trial.ask, math.inf)

    def certainty(self, image: ImageRecord) -> float:
        """Returns how certain the verdict on a picture is; 0 is the least, also for one in a tournament.

        It is the distance of `p_good` from 0.5, or of the score from the floor before there are enough labels; 0
        without a score, and with neither labels nor a calibrated gallery.
        """
        score = self.score(image)
        if score is None or image.is_blind:
            return 0.0
        if self._fit is not None:
            return abs(self._fit(score) - 0.5)
        return abs(score - self.gallery.floor) if self.gallery.calibrated else 0.0


def _calibrated(judged: list[ImageRecord], version: str) -> Logistic | None:
    """Returns a function from score to the probability of approval, fitted to at most 500 of the latest verdicts.

    Returns None with fewer than 60 of them.
    """
    latest = sorted(judged, key=lambda image: image.decided)
    scored = ((score_of(image, version), image.state is Verdict.GOOD) for image in latest)
    labels = [(score, good) for score, good in scored if score is not None][-_LABELS_USED:]
    if len(labels) < ENOUGH_LABELS:
        return None
    return fit_logistic([score for score, _ in labels], [good for _, good in labels])


def _interleaved(
    uncertain: list[ImageRecord], drawn: list[ImageRecord], decided: int, wanted: int
) -> list[ImageRecord]:
    """Returns the wanted number of pictures: at every tenth place a drawn one, at all others an uncertain one."""
    order: dict[str, ImageRecord] = {}
    by_certainty, by_lot = iter(uncertain), iter(drawn)
    while len(order) < wanted:
        stream = by_lot if _is_audit(decided + len(order)) else by_certainty
        first = list(islice((each for each in stream if each.id not in order), 1))
        if not first:
            break
        order[first[0].id] = first[0]
    return list(order.values())


def _is_audit(place: int) -> bool:
    return place % AUDIT_EVERY == AUDIT_EVERY - 1


def _lot(image: ImageRecord, reviewer: str) -> int:
    """Returns a picture's place in a random order that is the same in every call for one reviewer."""
    return zlib.crc32(f"{reviewer} {image.id}".encode())


def _words(score: float | None, reference: Gallery, p_good: float | None, audit: bool, what: str = "identity") -> str:
    """Returns why a picture is shown, in a few words; `what` names the figure that `score` is."""
    if audit:
        return "picked at random, as every tenth is, so that the estimate can be checked"
    if score is None:
        return "no score: nothing to compare was found"
    if p_good is not None:
        return f"{'uncertain' if abs(p_good - 0.5) < 0.25 else 'fairly sure'} (p good {p_good:.2f})"
    if not reference.calibrated:
        return f"{what} {score:.2f}; too few originals to say what is usual"
    place = "below" if score < reference.floor else "above"
    copy = ", above the copy ceiling" if score > reference.ceiling else ""
    return f"{what} {score:.2f}, {place} the floor {reference.floor:.2f}{copy}"
