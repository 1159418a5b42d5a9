"""The half of the scripted surface that is about pictures: characters, sources, edits, verdicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from engines.errors import BadInput
from studio.answers import Answering, answers, demand_known, member, picture, read_upload
from studio.flywheel import card, curate, enrich, practice, review
from studio.flywheel.enrich import PlanRow
from studio.nouns import Json, Kind, Verdict
from studio.pictures import decode, to_rgb

_MODEL_ROLES = ("scorer", "generator", "editor")


class PictureApi(Answering):
    """From an upload to a verdict."""

    # ── characters ──────────────────────────────────────────────────────────────────────────────

    @answers
    def character_list(self) -> Json:
        """Every character with its id, trigger and models."""
        return {"characters": [character.to_json() for character in self._studio.library.characters()]}

    @answers
    def character_create(
        self, name: str, trigger: str = "ohwx", subject: str = "person", params: dict[str, Any] | None = None
    ) -> Json:
        """Make a character; `params` may name its scorer, generator, editor and notes."""
        demand_known("A character", params or {}, {*_MODEL_ROLES, "notes"})
        for role in _MODEL_ROLES:
            if params and role in params and self._studio.registry.spec(params[role]).role != role:
                raise BadInput(f"{params[role]} is no {role}.", "Choose another model of the registry.")
        chosen = {**self._studio.registry.first(), **(params or {})}
        return {"character": self._studio.library.create(name, trigger, subject, **chosen).to_json()}

    # ── curate ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def image_import(self, character_id: str, files: list[str], key: str = "") -> Json:
        """Import uploaded pictures and zips now; answers what came in, what was refused and why."""
        job = curate.submit_import(self._studio, character_id, [curate.typed_path(file) for file in files], key=key)
        return {**self._queued(job), **job.artifacts, "error": job.error}

    @answers
    def image_list(
        self,
        character_id: str,
        kind: str = "",
        state: str = "",
        trashed: bool = False,
        offset: int = 0,
        limit: int = 100,
    ) -> Json:
        """Pictures of a kind and state, in the order they came in."""
        store = self._studio.store(character_id)
        found = store.select(
            member(Kind, kind) if kind else None,
            state=member(Verdict, state) if state else None,
            trashed=trashed,
        )
        page = found[max(0, offset) : max(0, offset) + max(0, limit)]
        return {"images": [image.to_json() for image in page], "total": len(found)}

    @answers
    def image_get(self, character_id: str, image_id: str) -> Json:
        """One picture's record, with the paths of its file and thumbnail on the studio's machine."""
        store = self._studio.store(character_id)
        return {"image": picture(store, store.images.get(image_id))}

    @answers
    def caption_set(self, character_id: str, image_id: str, text: str) -> Json:
        """Write a caption by hand; answers the words in it that name what should stay unnamed."""
        image = curate.set_caption(self._studio, character_id, image_id, text)
        return {"image": image.to_json(), "leaks": curate.leaks(text)}

    @answers
    def caption_submit(
        self,
        character_id: str,
        image_ids: list[str] | None = None,
        model: str = "",
        overwrite_human: bool = False,
        key: str = "",
    ) -> Json:
        """Queue captions and tags for these pictures, or for all that have none."""
        return self._queued(
            curate.submit_caption(
                self._studio, character_id, image_ids, model or None, overwrite_human=overwrite_human, key=key
            )
        )

    @answers
    def mask_set(self, character_id: str, image_id: str, file: str) -> Json:
        """Give a picture a mask of its own size: white counts in training, black hardly; the picture is not changed."""
        mask = decode(read_upload(Path(file)), Path(file).name)
        return {"image": self._studio.store(character_id).set_mask(image_id, mask).to_json()}

    @answers
    def mask_clear(self, character_id: str, image_id: str) -> Json:
        """Take a picture's mask away, so that all of it counts again."""
        return {"image": self._studio.store(character_id).set_mask(image_id, None).to_json()}

    @answers
    def crop_set(self, character_id: str, image_id: str, box: list[float]) -> Json:
        """Let a part of a picture be trained: left, top, right, bottom in shares of it; the picture is not changed."""
        return {"image": self._studio.store(character_id).set_crop(image_id, box).to_json()}

    @answers
    def crop_clear(self, character_id: str, image_id: str) -> Json:
        """Let the whole picture be trained again."""
        return {"image": self._studio.store(character_id).set_crop(image_id, ()).to_json()}

    @answers
    def crop_undo(self, character_id: str, image_id: str) -> Json:
        """Take the last change of a picture's crop back."""
        return {"image": self._studio.store(character_id).undo_crop(image_id).to_json()}

    @answers
    def coverage(self, character_id: str) -> Json:
        """Angle × expression counts, what is missing, and the checklist of a good start."""
        seen = curate.coverage(self._studio, character_id)
        return {
            **dataclasses.asdict(dataclasses.replace(seen, cells={})),
            "cells": [{"angle": a, "expression": e, "count": n} for (a, e), n in seen.cells.items()],
        }

    # ── enrich ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def enrich_plan(
        self,
        character_id: str,
        sources: list[str] | None = None,
        tasks: list[str] | None = None,
        seeds: int = 1,
        model: str = "",
        limit: int = 0,
        fill_gaps: bool = True,
        params: dict[str, Any] | None = None,
        missed: bool = False,
    ) -> Json:
        """Edits (`params`: EditParams) that fill coverage gaps or show what the card `missed`, their cost and fit."""
        return dataclasses.asdict(
            enrich.plan(
                self._studio,
                character_id,
                sources=sources,
                tasks=tasks,
                seeds=seeds,
                model=model or None,
                limit=limit or None,
                fill_gaps=fill_gaps,
                knobs=params,
                aims=card.to_show(self._studio, character_id) if missed else (),
            )
        )

    @answers
    def practice_plan(self, character_id: str, limit: int = practice.EDITS) -> Json:
        """How often each task's edits were accepted, and new edits of those that were refused. Starts nothing."""
        standings = practice.standings(self._studio, character_id)
        planned = practice.plan(self._studio, character_id, limit)
        return {**dataclasses.asdict(planned), "standings": [dataclasses.asdict(each) for each in standings]}

    @answers
    def enrich_submit(self, character_id: str, rows: list[dict[str, Any]], model: str = "", key: str = "") -> Json:
        """Queue the rows of a plan, as they came or changed."""
        for given in rows:
            demand_known("A plan's row", given, {field.name for field in dataclasses.fields(PlanRow)})
            if missing := sorted({"source", "params"} - set(given)):
                raise BadInput(f"A plan's row lacks {', '.join(missing)}.", "Take the rows of enrich_plan.")
        planned = [PlanRow(**given) for given in rows]
        return self._queued(enrich.submit(self._studio, character_id, planned, model=model or None, key=key))

    # ── review ──────────────────────────────────────────────────────────────────────────────────

    @answers
    def review_next(self, character_id: str, reviewer: str = "owner", count: int = 1) -> Json:
        """The pictures to decide next, the least certain first, and how many are left."""
        store = self._studio.store(character_id)
        images = review.next(self._studio, character_id, reviewer=reviewer, count=count)
        return {"images": [picture(store, image) for image in images], "left": len(store.pending())}

    @answers
    def review_decide(
        self,
        character_id: str,
        image_id: str,
        verdict: str,
        reviewer: str = "owner",
        reasons: list[str] | None = None,
    ) -> Json:
        """Give a verdict: good, needs_correction or reject."""
        decision = review.decide(
            self._studio,
            character_id,
            image_id,
            member(Verdict, verdict),
            reviewer=reviewer,
            reasons=reasons or (),
        )
        return {"decision": decision.to_json(), "left": len(self._studio.store(character_id).pending())}

    @answers
    def review_undo(self, character_id: str, reviewer: str = "owner") -> Json:
        """Take the reviewer's last verdict back."""
        return {"decision": review.undo(self._studio, character_id, reviewer=reviewer).to_json()}

    @answers
    def correction_add(
        self, character_id: str, image_id: str, file: str, reason: str = "", reviewer: str = "owner"
    ) -> Json:
        """Give the mended picture of a wrong edit; both become a golden triplet for the editor."""
        mended = to_rgb(decode(read_upload(Path(file)), Path(file).name))
        triplet = review.correct(self._studio, character_id, image_id, mended, reviewer=reviewer, reason=reason)
        return {"triplet": triplet.to_json(), "image_id": triplet.result}
