"""The part of the scripted surface that handles characters, source pictures, edits and verdicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from annotated_types import MaxLen

from engines.api.errors import BadInput
from engines.api.values import Line, Number, Whole, Words
from studio.api.answers import (
    Answer,
    Answering,
    Count,
    File,
    Files,
    Id,
    Ids,
    Knobs,
    Lines,
    Rows,
    answers,
    demand_known,
    member,
    picture,
)
from studio.flywheel import card, pictures, review
from studio.flywheel.curate import bulk, captions, changes, characters, importing, inbox
from studio.flywheel.curate import coverage as curate
from studio.flywheel.curate.bulk import Find
from studio.flywheel.curate.characters import NewCharacter
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import practice
from studio.housekeeping import backup
from studio.records.image import Kind, Verdict
from studio.records.payload import PlanRow
from studio.store.pictures import open_upload

_NO_VERSION = "base"  # edits with the editor's own weights, also while a version is adopted


class PictureApi(Answering):
    """Holds the functions of the scripted API for characters and pictures: import, captions, edits and reviews."""

    # ── characters ──────────────────────────────────────────────────────────────────────────────

    @answers
    def character_list(self) -> Answer:
        """Returns every character outside the trash; `trouble` says why one cannot be opened, and is "" otherwise."""
        library = self._studio.library
        return {
            "characters": [
                {**character.to_json(), "trouble": str(library.trouble(character.id) or "")}
                for character in library.characters()
            ]
        }

    @answers
    def character_create(
        self, name: Line, trigger: Line = "ohwx", subject: Line = "person", params: Knobs | None = None
    ) -> Answer:
        """Creates a character; `trigger`: its word, `subject`: its kind; `params`: generator, editor, scorer, notes."""
        demand_known("A character", params or {}, {*characters.ROLES, "notes"})
        asked = NewCharacter(name=name, trigger=trigger, subject=subject, **(params or {}))
        return {"character": characters.create(self._studio, asked).to_json()}

    @answers
    def character_update(
        self,
        character_id: Id,
        name: Line | None = None,
        trigger: Line | None = None,
        subject: Line | None = None,
        generator: Id | None = None,
        editor: Id | None = None,
        scorer: Id | None = None,
        notes: Words | None = None,
        captions: bool = True,
    ) -> Answer:
        """Changes the given fields, None keeps one; `captions`: also replaces trigger and subject in all captions."""
        asked = changes.Asked(
            name=name,
            trigger=trigger,
            subject=subject,
            generator=generator,
            editor=editor,
            scorer=scorer,
            notes=notes,
        )
        changed = changes.update(self._studio.desk(character_id), asked, captions=captions)
        return {"character": changed.character.to_json(), "captions": changed.captions}

    @answers
    def character_delete(self, character_id: Id) -> Answer:
        """Moves a character with all its files to the trash, from which character_restore brings it back."""
        return {"character": changes.delete(self._studio, character_id).to_json()}

    @answers
    def character_trashed(self) -> Answer:
        """Returns the characters in the trash, the newest deletion first."""
        return {"characters": [character.to_json() for character in self._studio.library.trashed()]}

    @answers
    def character_restore(self, character_id: Id) -> Answer:
        """Takes a character with all its files out of the trash and returns its record."""
        return {"character": changes.restore(self._studio, character_id).to_json()}

    @answers
    def character_export(self, character_id: Id) -> Answer:
        """Queues the backup of a whole character to one zip file, and returns the path that the zip will have."""
        desk = self._studio.desk(character_id)
        job = backup.submit_export(desk)
        return {**self._queued(job), "file_path": str(backup.written_file(desk, job))}

    @answers
    def character_import(self, file: File) -> Answer:
        """Queues restoring a character from the backup zip `file`; the job's artifacts will hold the character's id."""
        return self._queued(backup.submit_import(self._studio, file))

    # ── curate ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def image_import(self, character_id: Id, files: Files, key: Id = "") -> Answer:
        """Imports pictures, folders, zips, datasets at paths `files`; returns ids, `paired` edits, refused, reasons."""
        job = importing.submit_import(
            self._studio.desk(character_id), [inbox.typed_path(file) for file in files], key=key
        )
        return {**self._queued(job), **job.artifacts.to_json(), "error": job.error.to_json()}

    @answers
    def image_list(
        self,
        character_id: Id,
        kind: Id = "",
        state: Id = "",
        trashed: bool = False,
        offset: Count = 0,
        limit: Count = 100,
    ) -> Answer:
        """Returns up to `limit` pictures from `offset` on, oldest first, and the total; `state`: verdict; "": any."""
        store = self._studio.store(character_id)
        found = store.select(
            member("kind", Kind, kind) if kind else None,
            state=member("state", Verdict, state) if state else None,
            trashed=trashed,
        )
        page = found[offset : offset + limit]
        return {"images": [image.to_json() for image in page], "total": len(found)}

    @answers
    def image_get(self, character_id: Id, image_id: Id) -> Answer:
        """Returns a picture and ids of its sources, edits, `twins` (same words and seed), versions trained on it."""
        known = pictures.about(self._studio.desk(character_id), image_id)
        lineage = {"parents": known.parents, "children": known.children, "twins": known.twins, "taught": known.taught}
        return {
            "image": picture(self._studio.store(character_id), known.picture),
            **{name: [each.id for each in found] for name, found in lineage.items()},
        }

    @answers
    def image_trash(self, character_id: Id, image_ids: Ids) -> Answer:
        """Moves pictures to the trash, so that they are not trained on or shown; image_restore brings them back."""
        desk = self._studio.desk(character_id)
        bulk.throw(desk, image_ids)
        return {"images": [desk.store.images.get(image).to_json() for image in image_ids]}

    @answers
    def image_restore(self, character_id: Id, image_ids: Ids) -> Answer:
        """Takes pictures out of the trash, with their captions and verdicts, and returns their records."""
        desk = self._studio.desk(character_id)
        bulk.restore(desk, image_ids)
        return {"images": [desk.store.images.get(image).to_json() for image in image_ids]}

    @answers
    def caption_set(self, character_id: Id, image_id: Id, text: str) -> Answer:
        """Sets a caption as written by hand; returns also `leaks`, its words for constant traits such as hair."""
        image = captions.set_caption(self._studio.desk(character_id), image_id, text)
        return {"image": image.to_json(), "leaks": captions.leaks(text, self._character(character_id).trigger)}

    @answers
    def captions_replace(
        self,
        character_id: Id,
        find: Line,
        replacement: Words = "",
        image_ids: Ids | None = None,
        whole_words: bool = False,
        match_case: bool = False,
        preview: bool = False,
    ) -> Answer:
        """Replaces `find` in captions (`image_ids` None: in all); `preview` returns the new captions without saving."""
        desk, asked = self._studio.desk(character_id), Find(find, replacement, whole_words, match_case)
        if preview:
            return {"captions": dict(bulk.replaced(desk, asked, image_ids))}
        return {"captions": {image.id: image.caption for image in bulk.replace(desk, asked, image_ids)}}

    @answers
    def tags_set(self, character_id: Id, image_ids: Ids, tags: dict[Id, Line]) -> Answer:
        """Sets tags (name -> value, "" removes one) of the given pictures; returns the pictures that changed."""
        changed = bulk.tag(self._studio.desk(character_id), image_ids, tags)
        return {"images": [image.to_json() for image in changed]}

    @answers
    def changes_undo(self, character_id: Id) -> Answer:
        """Undoes the last change of many pictures' captions, tags or stars; keeps what was edited again after it."""
        words, count = bulk.undo(self._studio.desk(character_id))
        return {"undone": words, "count": count}

    @answers
    def caption_submit(
        self,
        character_id: Id,
        image_ids: Ids | None = None,
        model: Id = "",
        overwrite_human: bool = False,
        key: Id = "",
    ) -> Answer:
        """Queues captioning and tagging; `image_ids` None: pictures captioned neither by a person nor by a model."""
        return self._queued(
            captions.submit_caption(
                self._studio.desk(character_id), image_ids, model or None, overwrite_human=overwrite_human, key=key
            )
        )

    @answers
    def mask_set(self, character_id: Id, image_id: Id, file: File) -> Answer:
        """Sets a picture's training mask from the image at path `file`, of equal size: white counts, black hardly."""
        mask = open_upload(Path(file))
        return {"image": self._studio.store(character_id).set_mask(image_id, mask).to_json()}

    @answers
    def mask_clear(self, character_id: Id, image_id: Id) -> Answer:
        """Removes a picture's mask, so that the whole picture counts in training again."""
        return {"image": self._studio.store(character_id).set_mask(image_id, None).to_json()}

    @answers
    def crop_set(self, character_id: Id, image_id: Id, box: Annotated[list[Number], MaxLen(4)]) -> Answer:
        """Sets the part of a picture that is trained; `box`: left, top, right, bottom in 0…1; the file stays whole."""
        return {"image": curate.crop(self._studio.desk(character_id), image_id, box).to_json()}

    @answers
    def crop_clear(self, character_id: Id, image_id: Id) -> Answer:
        """Removes a picture's crop, so that the whole picture is trained again."""
        return {"image": curate.crop(self._studio.desk(character_id), image_id, ()).to_json()}

    @answers
    def crop_undo(self, character_id: Id, image_id: Id) -> Answer:
        """Undoes the last change of a picture's crop and returns the picture's record."""
        return {"image": curate.undo_crop(self._studio.desk(character_id), image_id).to_json()}

    @answers
    def coverage(self, character_id: Id) -> Answer:
        """Returns picture counts per (angle, expression), framing and pose, what is missing, and a checklist."""
        seen = curate.coverage(self._studio.desk(character_id))
        return {
            **dataclasses.asdict(dataclasses.replace(seen, cells={})),
            "cells": [{"angle": a, "expression": e, "count": n} for (a, e), n in seen.cells.items()],
        }

    # ── enrich ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def enrich_plan(
        self,
        character_id: Id,
        sources: Ids | None = None,
        tasks: Ids | None = None,
        seeds: Whole = 1,
        model: Id = "",
        limit: Whole = 0,
        fill_gaps: bool = True,
        params: Knobs | None = None,
        missed: bool = False,
    ) -> Answer:
        """Returns planned edits of `sources` (None: originals) for coverage gaps or, if `missed`, failed card cells."""
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
        ).to_json()

    @answers
    def practice_plan(self, character_id: Id, limit: Whole = practice.EDITS) -> Answer:
        """Returns how many edits of each type were accepted, and a plan of new edits of the types that were refused."""
        standings = practice.standings(self._studio.desk(character_id))
        planned = practice.plan(self._studio.desk(character_id), limit)
        return {**planned.to_json(), "standings": [dataclasses.asdict(each) for each in standings]}

    @answers
    def enrich_submit(self, character_id: Id, rows: Rows, model: Id = "", key: Id = "", version: Id = "") -> Answer:
        """Queues the edits in `rows`, from enrich_plan; `version`: editor LoRA, "" the adopted one, "base" for none."""
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
    def review_next(self, character_id: Id, reviewer: Line = "owner", count: Count = 1) -> Answer:
        """Returns `count` pictures to review, mostly those of least predictable verdict, and how many are left."""
        store = self._studio.store(character_id)
        images = review.next(self._studio.desk(character_id), reviewer=reviewer, count=count)
        return {"images": [picture(store, image) for image in images], "left": len(store.pending())}

    @answers
    def review_decide(
        self,
        character_id: Id,
        image_id: Id,
        verdict: Id,
        reviewer: Line = "owner",
        reasons: Lines | None = None,
    ) -> Answer:
        """Sets a picture's verdict: good, needs_correction or reject; returns it and the number left to review."""
        decision = review.decide(
            self._studio.desk(character_id),
            image_id,
            member("verdict", Verdict, verdict),
            reviewer=reviewer,
            reasons=reasons or (),
        )
        return {"decision": decision.to_json(), "left": len(self._studio.store(character_id).pending())}

    @answers
    def review_undo(self, character_id: Id, reviewer: Line = "owner") -> Answer:
        """Undoes the last verdict that `reviewer` gave, and returns the undone verdict."""
        return {"decision": review.undo(self._studio.desk(character_id), reviewer=reviewer).to_json()}

    @answers
    def correction_add(
        self, character_id: Id, image_id: Id, file: File, reason: Line = "", reviewer: Line = "owner"
    ) -> Answer:
        """Stores the picture at path `file` as the correction of the wrong edit `image_id`, to train the editor."""
        mended = open_upload(Path(file))
        triplet = review.correct(self._studio.desk(character_id), image_id, mended, reviewer=reviewer, reason=reason)
        return {"triplet": triplet.to_json(), "image_id": triplet.result}
