"""The identity judge, which scores every picture that a job makes before a human sees it.

With fewer than three originals, without a face, seen from behind or without a scorer, identity is unknown: neither
passed nor failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from engines.api.axes import shows_face
from engines.api.errors import ModelMissing
from engines.api.protocols import Scorer
from studio.judging.gallery import ENOUGH, Gallery, faceless, gallery, make_gallery, originals, score_pictures
from studio.judging.outcomes import IDENTITY
from studio.records.image import Likeness
from studio.records.job import Without
from studio.records.outcome import Axes, Outcome
from studio.store import Store
from studio.workplace.context import Context

if TYPE_CHECKING:
    from PIL.Image import Image

Scores = Mapping[str, float | None]  # scorer version -> similarity


@dataclass(frozen=True)
class _Sight:
    """Holds a scorer and the gallery that it made of the character's originals."""

    scorer: Scorer
    gallery: Gallery


class Judge:
    """Scores the pictures that a job makes by their similarity to the character's originals.

    A scorer that looks for faces finds none in some profiles and drawings. Those pictures are compared as a whole by
    the scorer that its registry row names for them, against a gallery and a floor of that scorer's own. The galleries
    are made once for the job. Where a scorer's weights are missing, it scores nothing, and a warning is added to the
    job's events.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._own, self._other = ctx.store.character.scorer, faceless(ctx.desk)
        self._sights: dict[str, _Sight | None] = {"": None}  # a scorer's name -> None without its weights
        if self._sight(self._own) and not self.gallery.calibrated:
            ctx.warn(too_few(len(self.gallery.ids)))

    @property
    def gallery(self) -> Gallery:
        """Returns the gallery of the character's scorer; an empty one without that scorer's weights."""
        own = self._sights[self._own]
        return own.gallery if own else make_gallery("", {})

    def _sight(self, name: str) -> _Sight | None:
        """Returns a scorer with its gallery, which is made when it is first asked for; None without its weights."""
        if name not in self._sights:
            try:
                made = gallery(self._ctx.desk, partial(self._ctx.leave_out, what=Without.NOT_COMPARED), name)
                self._sights[name] = _Sight(self._ctx.workplace.scorer(name), made)
            except ModelMissing as error:
                self._go_without(name, error)
        return self._sights[name]

    def _go_without(self, name: str, error: ModelMissing) -> None:
        self._sights[name] = None
        self._ctx.warn(f"Pictures {'' if name == self._own else 'without a face '}are not scored: {error}")

    def _scored(self, name: str, image: Image) -> Likeness | None:
        """Returns a picture's likeness by one scorer; None without its weights."""
        sight = self._sight(name)
        try:
            return score_pictures(sight.scorer, sight.gallery, [image])[0] if sight else None
        except ModelMissing as error:  # the originals' vectors may come from the cache
            self._go_without(name, error)
            return None

    def likeness(self, image: Image, asked: Mapping[str, str] = MappingProxyType({})) -> Likeness | None:
        """Returns a picture's similarity to the originals, and the id of the original nearest to it.

        Where no face was found, the similarity is None, and that of the whole picture stands beside it if there is a
        scorer for that. Returns None without the weights of the character's scorer, and for a picture that was `asked`
        to show the person from behind, as its tags say: no face is expected there.
        """
        if not shows_face(asked):
            return None
        found = self._scored(self._own, image)
        if found is None or self.identity(found.scores) is not None or not self.gallery.ids:
            return found
        whole = self._scored(self._other, image)
        return Likeness({**whole.scores, **found.scores}, whole.nearest) if whole else found

    def identity(self, scores: Scores) -> float | None:
        """Returns the similarity to the originals that `scores` holds for the present version of the scorer.

        Returns None where there is none. `scores` is a dict of scorer version -> similarity.
        """
        return scores.get(self.gallery.version)

    def outcome(self, scores: Scores) -> Outcome:
        """Returns whether a picture passes as the character; unknown with too few originals or nothing to compare.

        `scores` is a dict of scorer version -> similarity.
        """
        value, reference = self._compared(scores)
        if value is None or not reference.calibrated:
            return Outcome.UNKNOWN
        return Outcome.PASS if value >= reference.floor else Outcome.FAIL

    def advice(self, scores: Scores) -> dict[str, str]:
        """Returns advice for the reviewer of a picture, as name of the problem -> text; an empty dict for none.

        The problems are that no face was found, and that the picture is nearly a copy of an original. `scores` is a
        dict of scorer version -> similarity, None without a face or without originals; it is empty without a scorer.
        """
        value, reference = self._compared(scores)
        if scores and value is None and self.gallery.ids:
            return {"no_face": "nothing to compare with the originals was found"}
        if value is not None and value > reference.ceiling:
            return {"near_copy": "closer to an original than the originals are to each other"}
        return {}

    def below(self, scores: Scores, floor: float) -> bool:
        """Returns whether a picture's similarity to the originals is below `floor`, so that review leaves it out.

        A picture without a face is left out where it does not pass as a whole. `scores` is a dict of scorer version ->
        similarity. Returns False where the similarity is not known.
        """
        value = self.identity(scores)
        return self.outcome(scores) is Outcome.FAIL if value is None else value < floor

    def _compared(self, scores: Scores) -> tuple[float | None, Gallery]:
        """Returns a picture's similarity and the gallery that it is measured by; None where nothing was compared."""
        value = self.identity(scores)
        other = self._sight(self._other) if value is None and len(scores) > 1 else None
        return (scores.get(other.gallery.version), other.gallery) if other else (value, self.gallery)


def too_few(count: int) -> str:
    """Returns the warning, as text, that identity is not judged for want of originals.

    `count` is the number of originals that pictures can be compared with.
    """
    return (
        f"Identity is not judged: {count} of the original pictures can be compared with, and it takes {ENOUGH} to know "
        "how alike they are. Import more originals to have what is made from then on judged."
    )


def judged(store: Store, outcomes: Sequence[Axes], made: str) -> list[Axes]:
    """Returns stored outcomes of pictures, with identity set to unknown where there were too few originals to judge it.

    Older versions of the studio let identity pass in that case, and did not store the number of originals. So those
    originals are counted that existed at the time `made` (ISO 8601), when the outcomes were stored. If any picture
    failed identity, there were enough, and nothing is changed.
    """
    enough = sum(image.created <= made for image in originals(store)) >= ENOUGH
    if enough or any(each.get(IDENTITY) is Outcome.FAIL for each in outcomes):
        return list(outcomes)
    return [{**each, IDENTITY: Outcome.UNKNOWN} if IDENTITY in each else each for each in outcomes]
