"""Is it the character? Asked of every picture that a job makes, before a human sees it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from engines.api import Json, Scorer
from engines.errors import ModelMissing
from studio.context import NOT_COMPARED
from studio.scoring import gallery, make_gallery, score_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.jobs import Context


class Judge:
    """The character's scorer with the gallery of originals, made once for many pictures.

    Without the scorer's weights nothing is scored and nothing set aside: a human sees all, and the job says so.
    """

    def __init__(self, ctx: Context) -> None:
        self._scorer: Scorer | None = None
        self.gallery = make_gallery("", {})
        try:
            self._scorer = ctx.studio.scorer(ctx.store.character.scorer)
            self.gallery = gallery(ctx.studio, ctx.store, partial(ctx.leave_out, what=NOT_COMPARED))
        except ModelMissing as error:
            ctx.event(warning=f"Pictures are not scored: {error}")

    def likeness(self, image: Image) -> Json:
        """A record's fields that say who this is: its `scores`, None where nothing could be compared, and `nearest`."""
        return score_pictures(self._scorer, self.gallery, [image])[0] if self._scorer else {}

    def identity(self, scores: Json) -> float | None:
        """This scorer's value; None when it could not tell."""
        value = scores.get(self.gallery.version)
        return None if value is None else float(value)

    def advice(self, scores: Json) -> dict[str, str]:
        """Words for a reviewer where a score alone would mislead."""
        value = self.identity(scores)
        if scores and value is None:
            return {"no_face": "nothing to compare with the originals was found"}
        if value is not None and value > self.gallery.ceiling:
            return {"near_copy": "closer to an original than the originals are to each other"}
        return {}

    def below(self, scores: Json, floor: float) -> bool:
        """Whether the filter sets it aside; what cannot be told goes to a human."""
        value = self.identity(scores)
        return value is not None and value < floor
