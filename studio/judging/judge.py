"""The identity judge, which scores every picture that a job makes before a human sees it.

With fewer than three originals, without a face, seen from behind or without a scorer, identity is unknown: neither
passed nor failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from engines.api.errors import ModelMissing
from engines.api.protocols import Scorer
from engines.api.views import shows_face
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
    """Scores the pictures that a job makes by their similarity to the character's originals.

    The gallery of originals is made once for the job. Where the scorer's weights are missing, nothing is scored, and a
    warning is added to the job's events.
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

    def likeness(self, image: Image, asked: Mapping[str, str] = MappingProxyType({})) -> Likeness | None:
        """Returns a picture's similarity to the originals, and the id of the original nearest to it.

        `asked` are the tags that the picture was asked for. Returns None without the scorer's weights, and for a person
        who is seen from behind: there no face is expected.
        """
        if not shows_face(asked):
            return None
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
        """Returns the similarity to the originals that `scores` holds for the present version of the scorer.

        Returns None where there is none. `scores` is a dict of scorer version -> similarity.
        """
        return scores.get(self.gallery.version)

    def advice(self, scores: Scores) -> dict[str, str]:
        """Returns advice for the reviewer of a picture, as name of the problem -> text; an empty dict for none.

        The problems are that no face was found, and that the picture is nearly a copy of an original. `scores` is a
        dict of scorer version -> similarity, None without a face or without originals; it is empty without a scorer.
        """
        value = self.identity(scores)
        if scores and value is None and self.gallery.ids:
            return {"no_face": "nothing to compare with the originals was found"}
        if value is not None and value > self.gallery.ceiling:
            return {"near_copy": "closer to an original than the originals are to each other"}
        return {}

    def below(self, scores: Scores, floor: float) -> bool:
        """Returns whether a picture's similarity to the originals is below `floor`, so that review leaves it out.

        `scores` is a dict of scorer version -> similarity. Returns False where the similarity is not known.
        """
        value = self.identity(scores)
        return value is not None and value < floor


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
