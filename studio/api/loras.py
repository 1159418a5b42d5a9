"""The part of the scripted surface that handles the editors' LoRA library and plans in own words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from engines.api.params import STRONGEST, EditParams
from engines.api.protocols import ModelSpec
from engines.api.values import Line, Number, Words
from engines.catalogue.lora_bases import TASKS, UNKNOWN
from studio.api.answers import Answer, Answering, File, Id, Knobs, Rows, answers
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import own_words, saved_plans, templates
from studio.housekeeping import loras
from studio.housekeeping.loras import Shown
from studio.records.base import plain
from studio.records.payload import LoraPayload

Strength = Annotated[Number, Ge(-STRONGEST), Le(STRONGEST)]


class LoraApi(Answering):
    """Holds the functions of the scripted API for LoRAs of the editor, and for plans in a person's own words."""

    @answers
    def lora_library(self, editor: Id = "") -> Answer:
        """Returns published LoRAs and own files, what is here, and why `editor` ("": the first) cannot use some."""
        name = self._editor(editor).name
        found = [_lora(each) for each in loras.shown(self._studio, name)]
        return {"editor": name, "tasks": dict(TASKS), "loras": found}

    @answers
    def lora_pull(self, lora_id: Id, file: Line = "") -> Answer:
        """Queues the download of a published LoRA, or resumes it; `file`: which one, where its repository has several.

        Its licence is in lora_library: to download it is to accept it.
        """
        return self._queued(loras.download(self._studio, lora_id, file))

    @answers
    def lora_add(
        self,
        place: File,
        file: Line = "",
        name: Line = "",
        task: Id = "general",
        words: Words = "",
        strength: Strength = 1.0,
        licence: Line = UNKNOWN,
    ) -> Answer:
        """Queues adding an own LoRA: `place` is a path, or a hub repository owner/name with its `file`; its id, too."""
        job = loras.add(
            self._studio, place, file, name=name, task=task, words=words, strength=strength, licence=licence
        )
        return {**self._queued(job), "lora_id": LoraPayload.of(job).lora}

    @answers
    def lora_note(self, lora_id: Id, text: Words | None = None, star: bool | None = None) -> Answer:
        """Replaces the notes on a LoRA by `text`, and sets or removes its star; None keeps one; returns its record."""
        return {"lora": loras.note(self._studio, lora_id, text, star).to_json()}

    @answers
    def lora_remove(self, lora_id: Id) -> Answer:
        """Deletes a LoRA's file from the library for good; notes on a published one stay; returns its record."""
        return {"lora": loras.remove(self._studio, lora_id).to_json()}

    @answers
    def template_list(self, model: Id = "") -> Answer:
        """Returns the words of each kind of edit of editor `model` ("": the first), built-in and changed ones."""
        return {"templates": [plain(each) for each in templates.worded(self._studio, self._editor(model))]}

    @answers
    def template_set(self, task: Id, value: Line, words: Words, model: Id = "") -> Answer:
        """Sets the `words` that ask for `value` in edits of `task`, such as outfit; empty words take own ones back."""
        return {"template": plain(templates.say(self._studio, self._editor(model), task, value, words))}

    @answers
    def template_keep(self, task: Id, words: Words, model: Id = "") -> Answer:
        """Sets the sentence on what stays in edits of `task`; `warning` tells where the person may change; "": reset"""
        return {"template": plain(templates.keep(self._studio, self._editor(model), task, words))}

    @answers
    def plan_list(self) -> Answer:
        """Returns the saved plans in own words with all their rows."""
        return {"plans": [plan.to_json() for plan in saved_plans.plans(self._studio)]}

    @answers
    def plan_save(self, name: Line, rows: Rows) -> Answer:
        """Saves rows in own words as a plan, replacing that of the same name; a row: words, sources, loras, seeds …"""
        return {"plan": saved_plans.save(self._studio, name, saved_plans.edits(rows)).to_json()}

    @answers
    def plan_delete(self, plan_id: Id) -> Answer:
        """Deletes a saved plan, by its id or its name, and returns it."""
        return {"plan": saved_plans.forget(self._studio, plan_id).to_json()}

    @answers
    def plan_share(self, character_id: Id, plan_id: Id) -> Answer:
        """Writes a plan to a file for others, with names and hashes of its LoRAs and no pictures; returns the path."""
        desk = self._studio.desk(character_id)
        plan = saved_plans.get(self._studio, plan_id)
        return {"plan_id": plan.id, "file_path": str(saved_plans.share(desk, plan))}

    @answers
    def plan_import(self, file: File) -> Answer:
        """Saves the plan that plan_share wrote to the file at path `file`, and returns it."""
        return {"plan": saved_plans.take_in(self._studio, Path(file)).to_json()}

    @answers
    def plan_rows(self, character_id: Id, plan_id: Id, model: Id = "", params: Knobs | None = None) -> Answer:
        """Returns a saved plan's rows as rows for enrich_submit; `troubles` name those that cannot be drawn, and why.

        Placeholders are filled and LoRAs looked up for this character; `notes` say what a saved plan had to leave out.
        """
        desk = self._studio.desk(character_id)
        spec = self._studio.spec(model or desk.store.character.editor, "editor")
        EditParams.demand_no_words(params or {}, "each row of a plan")
        spec.worded(EditParams, "", **(params or {}))  # raises for invalid parameters, even if the plan has no rows
        loaded = saved_plans.load(desk, saved_plans.get(self._studio, plan_id))
        written = own_words.written(desk, [each for each in loaded.rows if each.on], spec, params or {})
        planned = enrich.estimate(desk, [row for each in written for row in each.rows], spec.name)
        troubles = [{"row": at, **each.trouble.to_json()} for at, each in enumerate(written) if each.trouble]
        hints = list(dict.fromkeys(hint for each in written for hint in each.hints))
        return {**planned.to_json(), "troubles": troubles, "notes": [*loaded.notes, *hints]}

    def _editor(self, name: str) -> ModelSpec:
        """Returns the registry's entry of an editor, "" of the first. Raises: NotFound, BadInput for no editor."""
        return self._studio.spec(name or self._studio.registry.first()["editor"], "editor")


def _lora(found: Shown) -> Answer:
    """Returns a LoRA of the library as JSON: its record, and below `published` what its author says of it."""
    row = found.row
    published = {} if row is None else {**plain(row), "slots": plain(row.slots), "page": row.page}
    return {
        **found.record.to_json(),
        "here": found.here,
        "why_not": found.why_not,
        "caution": found.caution,
        "job_id": found.job.id if found.job else "",
        "published": published,
    }
