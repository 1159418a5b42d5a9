"""The identity judge, which scores every picture that a job makes before a human sees it.

With fewer than three originals, without a face or without a scorer, identity is unknown: neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from engines.api.errors import ModelMissing
from engines.api.protocols import Scorer
from studio.judging.gallery import ENOUGH, gallery, make_gallery, originals, score_pictures
from studio.judging.outcomes import IDENTITY
from studio.records.image import Likeness
from studio.records.job import Without
from studio.records.outcome import Axes, Outcome
from studio.store import Store
from studio.workplace.context import Context

if TYPE_CHECKING:
    from PIL.Image import Image

Scores = Mapping[str, float | None]  # scorer version -> similarity


class Judge:
    """Scores pictures of a job against the gallery of originals, which is made once.

    Without the scorer's weights no picture is scored or set aside, and the job's events hold a warning.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._scorer: Scorer | None = None
        self.gallery = make_gallery("", {})
        try:
            self._scorer = ctx.workplace.scorer(ctx.store.character.scorer)
            self.gallery = gallery(ctx.desk, partial(ctx.leave_out, what=Without.NOT_COMPARED))
            if not self.gallery.calibrated:
                ctx.warn(too_few(len(self.gallery.ids)))
        except ModelMissing as error:
            self._go_without(error)

    def _go_without(self, error: ModelMissing) -> None:
        self._scorer, self.gallery = None, make_gallery("", {})
        self._ctx.warn(f"Pictures are not scored: {error}")

    def likeness(self, image: Image) -> Likeness | None:
        """Returns a picture's similarity to the originals; None without the scorer's weights."""
        try:
            return score_pictures(self._scorer, self.gallery, [image])[0] if self._scorer else None
        except ModelMissing as error:  # the originals' vectors may come from the cache
            self._go_without(error)
            return None

    @property
    def floor(self) -> float | None:
        """Returns the lowest similarity that passes as the character; None with too few originals."""
        return self.gallery.floor if self.gallery.calibrated else None

    def identity(self, scores: Scores) -> float | None:
        """Returns the similarity in `scores` by the present scorer version; None where there is none."""
        return scores.get(self.gallery.version)

    def advice(self, scores: Scores) -> dict[str, str]:
        """Returns advice for the reviewer, as name -> text: no face was found, or the picture is nearly an original."""
        value = self.identity(scores)
        if scores and value is None and self.gallery.ids:
            return {"no_face": "nothing to compare with the originals was found"}
        if value is not None and value > self.gallery.ceiling:
            return {"near_copy": "closer to an original than the originals are to each other"}
        return {}

    def below(self, scores: Scores, floor: float) -> bool:
        """Returns whether the identity filter sets a picture aside: a score below `floor`; never without a score."""
        value = self.identity(scores)
        return value is not None and value < floor


def too_few(count: int) -> str:
    """Returns the warning that identity is not judged; `count` is the number of originals that can be compared with."""
    return (
        f"Identity is not judged: {count} of the original pictures can be compared with, and it takes {ENOUGH} to know "
        "how alike they are. Import more originals to have what is made from then on judged."
    )


def judged(store: Store, outcomes: Sequence[Axes], made: str) -> list[Axes]:
    """Returns older outcomes, with identity unknown where there were too few originals at the time `made` (ISO 8601).

    Earlier versions did not record the number of originals, and with too few of them identity always passed. So one
    failure shows that there were enough.
    """
    enough = sum(image.created <= made for image in originals(store)) >= ENOUGH
    if enough or any(each.get(IDENTITY) is Outcome.FAIL for each in outcomes):
        return list(outcomes)
    return [{**each, IDENTITY: Outcome.UNKNOWN} if IDENTITY in each else each for each in outcomes]
