"""The part of the scripted surface that handles characters, source pictures, edits and verdicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engines.api.errors import BadInput
from studio.api import arguments as arg
from studio.api.answers import Answering, answers, demand_known, member, picture
from studio.api.results import (
    Captioned,
    Captions,
    ChangedCharacter,
    Corrected,
    CoverageReport,
    Covered,
    Decided,
    ImagePage,
    ListedCharacter,
    ListedCharacters,
    OneCharacter,
    OneDecision,
    OneImage,
    PictureAbout,
    PracticePlan,
    Queued,
    QueuedFile,
    QueuedImport,
    SomeImages,
    ToReview,
    TrashedCharacters,
    Undone,
)
from studio.flywheel import card, pictures, review
from studio.flywheel.curate import bulk, captions, changes, characters, importing, inbox
from studio.flywheel.curate import coverage as curate
from studio.flywheel.curate.bulk import Find
from studio.flywheel.curate.characters import NewCharacter
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice
from studio.flywheel.enrich.edits import EnrichPlan
from studio.housekeeping import backup
from studio.records.image import Kind, Verdict
from studio.records.payload import PlanRow
from studio.store.pictures import open_upload

_NO_VERSION = "base"  # edits with the editor's own weights, also while a version is adopted


class PictureApi(Answering):
    """Holds the functions of the scripted API for characters and pictures: import, captions, edits and reviews."""

    # ── characters ──────────────────────────────────────────────────────────────────────────────

    @answers
    def character_list(self) -> ListedCharacters:
        """Returns every character outside the trash."""
        library = self._studio.library
        return ListedCharacters(
            characters=tuple(
                ListedCharacter(**vars(each), trouble=str(library.trouble(each.id) or ""))
                for each in library.characters()
            )
        )

    @answers
    def character_create(
        self,
        name: arg.Name,
        trigger: arg.Trigger = "ohwx",
        subject: arg.Subject = "person",
        params: arg.CharacterKnobs | None = None,
    ) -> OneCharacter:
        """Creates a character and returns its record, whose id all other calls on it take."""
        demand_known("A character", params or {}, {*characters.ROLES, "medium", "notes"})
        asked = NewCharacter(name=name, trigger=trigger, subject=subject, **(params or {}))
        return OneCharacter(character=characters.create(self._studio, asked))

    @answers
    def character_update(
        self,
        character_id: arg.CharacterId,
        name: arg.NewName | None = None,
        trigger: arg.NewTrigger | None = None,
        subject: arg.NewSubject | None = None,
        generator: arg.NewGenerator | None = None,
        editor: arg.NewEditor | None = None,
        scorer: arg.NewScorer | None = None,
        notes: arg.Notes | None = None,
        captions: arg.InCaptions = True,
        medium: arg.NewMedium | None = None,
    ) -> ChangedCharacter:
        """Changes the given fields of a character, and its trigger word and subject in all captions."""
        asked = changes.Asked(
            name=name,
            trigger=trigger,
            subject=subject,
            generator=generator,
            editor=editor,
            scorer=scorer,
            medium=medium,
            notes=notes,
        )
        changed = changes.update(self._studio.desk(character_id), asked, captions=captions)
        return ChangedCharacter(character=changed.character, captions=changed.captions)

    @answers
    def character_delete(self, character_id: arg.CharacterId) -> OneCharacter:
        """Moves a character with all its files to the trash, from which character_restore brings it back."""
        return OneCharacter(character=changes.delete(self._studio, character_id))

    @answers
    def character_trashed(self) -> TrashedCharacters:
        """Returns the characters in the trash, the newest deletion first."""
        return TrashedCharacters(characters=tuple(self._studio.library.trashed()))

    @answers
    def character_restore(self, character_id: arg.CharacterId) -> OneCharacter:
        """Takes a character with all its files out of the trash and returns its record."""
        return OneCharacter(character=changes.restore(self._studio, character_id))

    @answers
    def character_export(self, character_id: arg.CharacterId) -> QueuedFile:
        """Queues the backup of a whole character to one zip file, and returns the path that the zip will have."""
        desk = self._studio.desk(character_id)
        job = backup.submit_export(desk)
        return QueuedFile(**vars(self._queued(job)), file_path=str(backup.written_file(desk, job)))

    @answers
    def character_import(self, file: arg.Backup) -> Queued:
        """Queues restoring a character from the backup zip `file`; the job's artifacts will hold the character's id."""
        return self._queued(backup.submit_import(self._studio, file))

    # ── curate ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def image_import(self, character_id: arg.CharacterId, files: arg.ImportFiles, key: arg.Key = "") -> QueuedImport:
        """Imports pictures, folders, zips, datasets of other tools; returns new ids, and refused files with reasons."""
        job = importing.submit_import(
            self._studio.desk(character_id), [inbox.typed_path(file) for file in files], key=key
        )
        found = job.artifacts
        return QueuedImport(
            **vars(self._queued(job)),
            imported=found.imported,
            masked=found.masked,
            paired=found.paired,
            duplicates=found.duplicates,
            refused=found.refused,
            advice=found.advice,
            error=job.error,
        )

    @answers
    def image_list(
        self,
        character_id: arg.CharacterId,
        kind: arg.KindOrAll = "",
        state: arg.StateOrAll = "",
        trashed: arg.Trashed = False,
        offset: arg.Offset = 0,
        limit: arg.Limit = 100,
    ) -> ImagePage:
        """Returns a part of the list of a character's pictures, oldest first, and how many there are in all."""
        store = self._studio.store(character_id)
        found = store.select(
            member("kind", Kind, kind) if kind else None,
            state=member("state", Verdict, state) if state else None,
            trashed=trashed,
        )
        return ImagePage(images=tuple(found[offset : offset + limit]), total=len(found))

    @answers
    def image_get(self, character_id: arg.CharacterId, image_id: arg.ImageId) -> PictureAbout:
        """Returns a picture, and the ids of the pictures and versions that it has to do with."""
        known = pictures.about(self._studio.desk(character_id), image_id)
        return PictureAbout(
            image=picture(self._studio.store(character_id), known.picture),
            parents=tuple(each.id for each in known.parents),
            children=tuple(each.id for each in known.children),
            twins=tuple(each.id for each in known.twins),
            taught=tuple(each.id for each in known.taught),
        )

    @answers
    def image_trash(self, character_id: arg.CharacterId, image_ids: arg.ImageIds) -> SomeImages:
        """Moves pictures to the trash, so that they are not trained on or shown; image_restore brings them back."""
        desk = self._studio.desk(character_id)
        bulk.throw(desk, image_ids)
        return SomeImages(images=tuple(map(desk.store.images.get, image_ids)))

    @answers
    def image_restore(self, character_id: arg.CharacterId, image_ids: arg.ImageIds) -> SomeImages:
        """Takes pictures out of the trash, with their captions and verdicts, and returns their records."""
        desk = self._studio.desk(character_id)
        bulk.restore(desk, image_ids)
        return SomeImages(images=tuple(map(desk.store.images.get, image_ids)))

    @answers
    def caption_set(self, character_id: arg.CharacterId, image_id: arg.ImageId, text: arg.CaptionText) -> Captioned:
        """Sets a caption as written by hand; returns also `leaks`, its words for constant traits such as hair."""
        image = captions.set_caption(self._studio.desk(character_id), image_id, text)
        return Captioned(image=image, leaks=captions.leaks(text, self._character(character_id).trigger))

    @answers
    def captions_replace(
        self,
        character_id: arg.CharacterId,
        find: arg.Find,
        replacement: arg.Replacement = "",
        image_ids: arg.SomeImageIds | None = None,
        whole_words: arg.WholeWords = False,
        match_case: arg.MatchCase = False,
        preview: arg.Preview = False,
    ) -> Captions:
        """Replaces words in captions and returns the new captions; with `preview` nothing is changed."""
        desk, asked = self._studio.desk(character_id), Find(find, replacement, whole_words, match_case)
        if preview:
            return Captions(captions=dict(bulk.replaced(desk, asked, image_ids)))
        return Captions(captions={image.id: image.caption for image in bulk.replace(desk, asked, image_ids)})

    @answers
    def tags_set(self, character_id: arg.CharacterId, image_ids: arg.ImageIds, tags: arg.Tags) -> SomeImages:
        """Sets or removes tags of pictures, such as angle or light; returns the pictures that changed."""
        return SomeImages(images=tuple(bulk.tag(self._studio.desk(character_id), image_ids, tags)))

    @answers
    def changes_undo(self, character_id: arg.CharacterId) -> Undone:
        """Undoes the last change of many pictures' captions, tags or stars; keeps what was edited again after it."""
        words, count = bulk.undo(self._studio.desk(character_id))
        return Undone(undone=words, count=count)

    @answers
    def caption_submit(
        self,
        character_id: arg.CharacterId,
        image_ids: arg.Uncaptioned | None = None,
        model: arg.Captioner = "",
        overwrite_human: arg.OverwriteHuman = False,
        key: arg.Key = "",
    ) -> Queued:
        """Queues a job in which a model writes captions and tags for pictures."""
        return self._queued(
            captions.submit_caption(
                self._studio.desk(character_id), image_ids, model or None, overwrite_human=overwrite_human, key=key
            )
        )

    @answers
    def mask_set(self, character_id: arg.CharacterId, image_id: arg.ImageId, file: arg.MaskFile) -> OneImage:
        """Sets a picture's training mask: what is white in it counts in training, what is black hardly."""
        mask = open_upload(Path(file))
        return OneImage(image=self._studio.store(character_id).set_mask(image_id, mask))

    @answers
    def mask_clear(self, character_id: arg.CharacterId, image_id: arg.ImageId) -> OneImage:
        """Removes a picture's mask, so that the whole picture counts in training again."""
        return OneImage(image=self._studio.store(character_id).set_mask(image_id, None))

    @answers
    def crop_set(self, character_id: arg.CharacterId, image_id: arg.ImageId, box: arg.CropBox) -> OneImage:
        """Sets the part of a picture that is trained; its file stays whole."""
        return OneImage(image=curate.crop(self._studio.desk(character_id), image_id, box))

    @answers
    def crop_clear(self, character_id: arg.CharacterId, image_id: arg.ImageId) -> OneImage:
        """Removes a picture's crop, so that the whole picture is trained again."""
        return OneImage(image=curate.crop(self._studio.desk(character_id), image_id, ()))

    @answers
    def crop_undo(self, character_id: arg.CharacterId, image_id: arg.ImageId) -> OneImage:
        """Undoes the last change of a picture's crop and returns the picture's record."""
        return OneImage(image=curate.undo_crop(self._studio.desk(character_id), image_id))

    @answers
    def coverage(self, character_id: arg.CharacterId) -> CoverageReport:
        """Returns how many pictures show which angle, expression, framing and pose, and what is still missing."""
        seen = curate.coverage(self._studio.desk(character_id))
        cells = tuple(Covered(angle=a, expression=e, count=n) for (a, e), n in seen.cells.items())
        return CoverageReport(**{**vars(seen), "cells": cells})

    # ── enrich ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def enrich_plan(
        self,
        character_id: arg.CharacterId,
        sources: arg.Sources | None = None,
        tasks: arg.Tasks | None = None,
        seeds: arg.ResultsEach = 1,
        model: arg.EditorModel = "",
        limit: arg.RowLimit = 0,
        fill_gaps: arg.FillGaps = True,
        params: arg.EditKnobs | None = None,
        missed: arg.Missed = False,
    ) -> EnrichPlan:
        """Returns a plan of edits that show what no picture shows yet, with the time, memory and disk they take."""
        return enrich.plan(
            self._studio.desk(character_id),
            sources=sources,
            tasks=tasks,
            seeds=seeds,
            model=model or None,
            limit=limit or None,
            fill_gaps=fill_gaps,
            knobs=params,
            aims=card.to_show(self._studio.desk(character_id)) if missed else (),
        )

    @answers
    def practice_plan(self, character_id: arg.CharacterId, limit: arg.PracticeLimit = practice.EDITS) -> PracticePlan:
        """Returns a plan of edits of the kinds that were refused most, for the editor to learn from their review."""
        standings = practice.standings(self._studio.desk(character_id))
        planned = practice.plan(self._studio.desk(character_id), limit)
        return PracticePlan(**vars(planned), standings=tuple(standings))

    @answers
    def enrich_submit(
        self,
        character_id: arg.CharacterId,
        rows: arg.PlanRows,
        model: arg.EditorModel = "",
        key: arg.Key = "",
        version: arg.EditorVersion = "",
    ) -> Queued:
        """Queues a job that makes planned edits; the new pictures wait for a verdict."""
        for given in rows:
            demand_known("A plan's row", given, {field.name for field in dataclasses.fields(PlanRow)})
            if missing := sorted({"source", "params"} - set(given)):
                raise BadInput(f"A plan's row lacks {', '.join(missing)}.", "Take the rows of enrich_plan.")
        planned = [PlanRow(**given) for given in rows]
        return self._queued(
            enrich.submit(
                self._studio.desk(character_id),
                planned,
                model=model or None,
                key=key,
                version={"": None, _NO_VERSION: ""}.get(version, version),
            )
        )

    # ── review ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def review_next(
        self, character_id: arg.CharacterId, reviewer: arg.Reviewer = "owner", count: arg.ReviewCount = 1
    ) -> ToReview:
        """Returns pictures that wait for a verdict, mostly those whose verdict is least predictable."""
        store = self._studio.store(character_id)
        images = review.next(self._studio.desk(character_id), reviewer=reviewer, count=count)
        return ToReview(images=tuple(picture(store, image) for image in images), left=len(store.pending()))

    @answers
    def review_decide(
        self,
        character_id: arg.CharacterId,
        image_id: arg.ImageId,
        verdict: arg.VerdictName,
        reviewer: arg.Reviewer = "owner",
        reasons: arg.Reasons | None = None,
    ) -> Decided:
        """Sets a picture's verdict: good, needs_correction or reject; returns it and the number left to review."""
        decision = review.decide(
            self._studio.desk(character_id),
            image_id,
            member("verdict", Verdict, verdict),
            reviewer=reviewer,
            reasons=reasons or (),
        )
        return Decided(decision=decision, left=len(self._studio.store(character_id).pending()))

    @answers
    def review_undo(self, character_id: arg.CharacterId, reviewer: arg.Reviewer = "owner") -> OneDecision:
        """Undoes the last verdict that `reviewer` gave, and returns the undone verdict."""
        return OneDecision(decision=review.undo(self._studio.desk(character_id), reviewer=reviewer))

    @answers
    def correction_add(
        self,
        character_id: arg.CharacterId,
        image_id: arg.EditId,
        file: arg.CorrectedFile,
        reason: arg.Reason = "",
        reviewer: arg.Reviewer = "owner",
    ) -> Corrected:
        """Adds the corrected result of a wrong edit, from which the editor learns."""
        mended = open_upload(Path(file))
        triplet = review.correct(self._studio.desk(character_id), image_id, mended, reviewer=reviewer, reason=reason)
        return Corrected(triplet=triplet, image_id=triplet.result)
