"""The consequences of a verdict: the picture's state, the decision's record, the triplet, and their undo.

A triplet exists exactly as long as its result has the verdict good and is not in the trash. It is golden where a human
changed words or pixels for it: a correction, or a new try at a wrong result with other words or a painted area.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4
from zlib import crc32

from PIL import Image

from engines.api.errors import BadInput, NotFound
from engines.api.params import EditParams
from studio.records.base import now
from studio.records.image import ImageRecord, Kind, Verdict
from studio.records.review import Before, Decision, Triplet
from studio.store.collection import Collection
from studio.store.tables import Database

HOLD_OUT_EVERY = 6


class Verdicts:
    """Records reviewers' verdicts on one character's pictures; every method is one transaction.

    It also stores and removes the training examples of the editor, triplets of source, parameters and result: an edit
    has one as long as its verdict is good and it is not in the trash.
    """

    def __init__(
        self,
        database: Database,
        images: Collection[ImageRecord],
        decisions: Collection[Decision],
        triplets: Collection[Triplet],
    ) -> None:
        self._database = database
        self._images = images
        self._decisions = decisions
        self._triplets = triplets

    def decide(
        self, image_id: str, verdict: Verdict, *, reviewer: str, reasons: Iterable[str], correction: str = ""
    ) -> Decision:
        """Records a reviewer's verdict on a picture, updates the picture's record, and returns the decision.

        `reasons` are the reasons given for the verdict. `correction` is the id of the corrected picture that came with
        the verdict, "" for none. The picture's training example (triplet) is updated too. Raises: NotFound; BadInput
        for PENDING as verdict and for a picture in the trash.
        """
        given = [each for each in Verdict if each is not Verdict.PENDING]
        if verdict not in given:
            raise BadInput(f"{str(verdict)!r} is not a verdict.", f"Give one of: {', '.join(given)}.")
        with self._database.transaction():
            image = self._images.get(image_id)
            if image.trashed:
                raise BadInput(f"The picture {image_id} is in the trash.", "Restore it first.")
            decision = Decision(
                id=uuid4().hex,
                image=image_id,
                verdict=Verdict(verdict),
                before=image.state,
                reviewer=reviewer,
                reasons=tuple(reasons),
                was=Before(
                    state=image.state,
                    reasons=image.reasons,
                    reviewer=image.reviewer,
                    decided=image.decided,
                    triplet=self._triplets.peek(image_id),
                    correction=correction,
                ),
            )
            self._decisions.put(decision)
            said = image.replace(
                state=decision.verdict, reasons=decision.reasons, reviewer=reviewer, decided=decision.created
            )
            self.follow(self._images.put(said))
        return decision

    def demand_correction(
        self, wrong: ImageRecord, was: Image.Image, mended: Image.Image, params: Mapping[str, Any] | None
    ) -> None:
        """Raises BadInput when a correction teaches the editor model nothing.

        `wrong` is the record of the wrong edit, `was` its pixels, `mended` the corrected pixels; `params` are the new
        parameters, None keeps those of the edit. The error is raised for a picture that no edit made, for one of an
        imported edit, for pixels of another size, and where neither pixels nor parameters change.
        """
        if self.source_of(wrong) is None:
            raise BadInput(
                f"The picture {wrong.id} was not made by an edit: correcting it teaches nothing.",
                "Reject it and make another one, or import the mended picture as a source.",
            )
        if wrong.kind is Kind.PAIR:
            raise BadInput(
                f"The picture {wrong.id} is of an imported edit, so its correction would count as the character's.",
                "Mend it in its files, trash this edit, and import it anew.",
            )
        if mended.size != was.size:
            raise BadInput(
                f"The mended picture is {mended.width}×{mended.height}, the wrong one {was.width}×{was.height}.",
                "Save it at the wrong picture's own size.",
            )
        if params in (None, wrong.params) and mended.tobytes() == was.tobytes():
            raise BadInput(
                "The mended picture is the same as the wrong one, so it teaches nothing.",
                "Change what is wrong in it, or reject the picture.",
            )

    def undo(self, reviewer: str | None) -> Decision:
        """Undoes a reviewer's last verdict that is not undone yet, and returns the undone decision.

        `reviewer` is a name; None means the last verdict of anyone. Where a corrected picture was stored together with
        the verdict, it goes into the trash. Raises: NotFound where there is no such verdict.
        """
        with self._database.transaction():
            last = self._decisions.last(lambda d: not d.undone and reviewer in (None, d.reviewer))
            if last is None:
                raise NotFound("There is no decision to undo.", "Give a verdict first.")
            standing = [each.id for each in self._decisions.find(image=last.image, undone=False)]
            after = standing[standing.index(last.id) + 1 :]
            later = self._decisions.get(after[0]) if after else None
            undone = self._decisions.put(last.replace(undone=True))
            if later is not None:  # the later verdict stays; it now replaces the values that this one had replaced
                replaced = last.was.replace(correction=later.was.correction)
                self._decisions.put(later.replace(before=last.before, was=replaced))
            else:
                self._restore_said(last)
            correction = self._images.peek(last.was.correction)
            if correction is not None:
                self.follow(self._images.put(correction.replace(trashed=correction.trashed or now())))
        return undone

    def follow(self, image: ImageRecord) -> None:
        """Stores or removes the training example (triplet) of a picture, as the given record `image` requires.

        Only an edit with the verdict good and outside the trash has a triplet; one that is stored already is not
        changed.
        """
        wanted = self._triplet_of(image)
        if wanted is None:
            self._triplets.remove(image.id)
        elif image.id not in self._triplets:
            self._triplets.put(wanted)

    def _restore_said(self, decision: Decision) -> None:
        was = decision.was
        image = self._images.get(decision.image)
        image = self._images.put(
            image.replace(state=was.state, reasons=was.reasons, reviewer=was.reviewer, decided=was.decided)
        )
        self.follow(image)
        if was.triplet is not None and not image.trashed:
            self._triplets.put(was.triplet)

    def _triplet_of(self, image: ImageRecord) -> Triplet | None:
        if image.state != Verdict.GOOD or image.trashed:
            return None
        source = self.source_of(image)
        if source is None:
            return None
        first = self.tried(image)[-1]
        other_words = first.params.get(EditParams.worded) != image.params.get(EditParams.worded)
        golden = image.kind is Kind.CORRECTION or other_words or any(each.area for each in self.tried(image))
        return Triplet(
            id=image.id,
            created=image.decided or image.created,
            source=source,
            result=image.id,
            params=image.params,
            golden=golden,
            wrong=image.parent if image.kind is Kind.CORRECTION else image.mends,
            task=next(iter(image.asked), ""),
            held_out=not golden and image.kind is not Kind.PAIR and crc32(image.id.encode()) % HOLD_OUT_EVERY == 0,
        )

    def tried(self, image: ImageRecord) -> list[ImageRecord]:
        """Returns the records of a picture and of the earlier, wrong results that led to it, newest first.

        After a new try or a correction comes the wrong result that it replaces, and so on. For any other picture the
        list holds this picture alone.
        """
        chain = [image]
        while True:
            last = chain[-1]
            before = self._images.peek(last.parent if last.kind is Kind.CORRECTION else last.mends)
            if before is None or before in chain:
                return chain
            chain.append(before)

    def source_of(self, image: ImageRecord) -> str | None:
        """Returns the id of the source picture of an edit; None for a picture that no edit made.

        For a correction it is the source of the wrong edit that it replaces.
        """
        if image.kind in (Kind.ENRICHED, Kind.PAIR):
            return image.parent or None
        if image.kind is Kind.CORRECTION:
            wrong = self._images.peek(image.parent)
            return self.source_of(wrong) if wrong is not None and wrong.id != image.id else None
        return None
