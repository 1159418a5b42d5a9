"""The part of the scripted surface that handles the editors' LoRA library and plans in own words."""

from __future__ import annotations

from pathlib import Path

from engines.api.params import EditParams
from engines.api.protocols import ModelSpec
from engines.catalogue.lora_bases import TASKS, UNKNOWN
from studio.api import arguments as arg
from studio.api import lora_results as of
from studio.api.answers import Answering, answers, parts
from studio.api.results import Queued
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.enrich import own_words, saved_plans, templates
from studio.housekeeping import loras, merging
from studio.housekeeping.loras import Shown
from studio.records.payload import LoraPayload
from studio.records.plan import StackedLora


class LoraApi(Answering):
    """Holds the functions of the scripted API for LoRAs of the editor, and for plans in a person's own words."""

    @answers
    def lora_library(self, editor: of.Editor = "") -> of.ListedLoras:
        """Returns published LoRAs and files of one's own, what is here, and why the editor cannot use some."""
        name = self._editor(editor).name
        found = tuple(_listed(each) for each in loras.shown(self._studio, name))
        return of.ListedLoras(editor=name, tasks=dict(TASKS), loras=found)

    @answers
    def lora_pull(self, lora_id: of.LoraId, file: of.RepoFile = "") -> Queued:
        """Queues the download of a published LoRA, or resumes it; to download it is to accept its licence."""
        return self._queued(loras.download(self._studio, lora_id, file))

    @answers
    def lora_add(
        self,
        place: of.Place,
        file: of.RepoFile = "",
        name: of.LoraName = "",
        task: of.LoraTask = "general",
        words: of.LoraWords = "",
        strength: of.LoraStrength = 1.0,
        licence: of.Licence = UNKNOWN,
    ) -> of.QueuedLora:
        """Queues adding a LoRA of one's own, which is copied or downloaded, and read."""
        job = loras.add(
            self._studio, place, file, name=name, task=task, words=words, strength=strength, licence=licence
        )
        return of.QueuedLora(**vars(self._queued(job)), lora_id=LoraPayload.of(job).lora)

    @answers
    def lora_merge(
        self,
        stack: of.MergeStack,
        name: of.LoraName = "",
        rank: of.MergeRank = 0,
        task: of.MergeTask = "",
        words: of.LoraWords = "",
    ) -> of.QueuedLora:
        """Queues merging LoRAs of one base with their strengths into one file, which is added to the library."""
        job = merging.merge(self._studio, parts("stack", StackedLora, stack), name, rank, task, words)
        return of.QueuedLora(**vars(self._queued(job)), lora_id=LoraPayload.of(job).lora)

    @answers
    def lora_note(
        self, lora_id: of.LoraId, text: of.LoraNotes | None = None, star: of.Star | None = None
    ) -> of.OneLora:
        """Replaces the notes on a LoRA, sets or removes its star, and returns its record."""
        return of.OneLora(lora=loras.note(self._studio, lora_id, text, star))

    @answers
    def lora_remove(self, lora_id: of.LoraId) -> of.OneLora:
        """Deletes a LoRA's file from the library for good; notes on a published one stay; returns its record."""
        return of.OneLora(lora=loras.remove(self._studio, lora_id))

    @answers
    def template_list(self, model: of.Editor = "") -> of.Templates:
        """Returns the words that each kind of edit is asked with, built-in and changed ones."""
        found = templates.worded(self._studio, self._editor(model))
        return of.Templates(templates=tuple(of.TaskWords(**vars(each)) for each in found))

    @answers
    def template_set(
        self, task: of.EditTask, value: of.EditValue, words: of.EditWords, model: of.Editor = ""
    ) -> of.OneTemplate:
        """Sets the words that ask for a value in edits of a task, or takes your own back."""
        found = templates.say(self._studio, self._editor(model), task, value, words)
        return of.OneTemplate(template=of.TaskWords(**vars(found)))

    @answers
    def template_keep(self, task: of.EditTask, words: of.KeepWords, model: of.Editor = "") -> of.OneTemplate:
        """Sets the sentence on what stays in edits of a task; the answer warns where the person may change."""
        found = templates.keep(self._studio, self._editor(model), task, words)
        return of.OneTemplate(template=of.TaskWords(**vars(found)))

    @answers
    def plan_list(self) -> of.SavedPlans:
        """Returns the saved plans in own words with all their rows."""
        return of.SavedPlans(plans=tuple(saved_plans.plans(self._studio)))

    @answers
    def plan_save(self, name: of.PlanName, rows: of.OwnRows) -> of.OnePlan:
        """Saves rows in own words as a plan for all characters, and returns it."""
        return of.OnePlan(plan=saved_plans.save(self._studio, name, saved_plans.edits(rows)))

    @answers
    def plan_delete(self, plan_id: of.PlanId) -> of.OnePlan:
        """Deletes a saved plan and returns it."""
        return of.OnePlan(plan=saved_plans.forget(self._studio, plan_id))

    @answers
    def plan_share(self, character_id: arg.CharacterId, plan_id: of.PlanId) -> of.PlanLink:
        """Writes a plan to a file for others, with names and hashes of its LoRAs and without pictures."""
        desk = self._studio.desk(character_id)
        plan = saved_plans.get(self._studio, plan_id)
        return of.PlanLink(plan_id=plan.id, file_path=str(saved_plans.share(desk, plan)))

    @answers
    def plan_import(self, file: of.PlanFile) -> of.OnePlan:
        """Saves the plan in a file that plan_share wrote, and returns it."""
        return of.OnePlan(plan=saved_plans.take_in(self._studio, Path(file)))

    @answers
    def plan_rows(
        self,
        character_id: arg.CharacterId,
        plan_id: of.PlanId,
        model: arg.EditorModel = "",
        params: arg.EditKnobs | None = None,
    ) -> of.PlannedRows:
        """Returns a saved plan's rows for enrich_submit, with placeholders filled for this character."""
        desk = self._studio.desk(character_id)
        spec = self._studio.spec(model or desk.store.character.editor, "editor")
        EditParams.demand_no_words(params or {}, "each row of a plan")
        spec.worded(EditParams, "", **(params or {}))  # raises for invalid parameters, even if the plan has no rows
        loaded = saved_plans.load(desk, saved_plans.get(self._studio, plan_id))
        written = own_words.written(desk, [each for each in loaded.rows if each.on], spec, params or {})
        planned = enrich.estimate(desk, [row for each in written for row in each.rows], spec.name)
        hints = dict.fromkeys(hint for each in written for hint in each.hints)
        return of.PlannedRows(
            **vars(planned),
            troubles=tuple(
                of.RowTrouble(row=at, **each.trouble.to_json()) for at, each in enumerate(written) if each.trouble
            ),
            notes=(*loaded.notes, *hints),
        )

    def _editor(self, name: str) -> ModelSpec:
        """Returns the registry's entry of an editor, "" of the first. Raises: NotFound, BadInput for no editor."""
        return self._studio.spec(name or self._studio.registry.first()["editor"], "editor")


def _listed(found: Shown) -> of.ListedLora:
    """Returns a LoRA of the library as scripts see it."""
    row = found.row
    published = (
        None
        if row is None
        else of.Published(
            base=row.base,
            page=row.page,
            slots=dict(row.slots),
            steps=row.steps,
            second=row.second,
            beside=row.beside,
            note=row.note,
            correction=row.correction,
            editors=row.editors,
        )
    )
    return of.ListedLora(
        **vars(found.record),
        here=found.here,
        why_not=found.why_not,
        caution=found.caution,
        job_id=found.job.id if found.job else "",
        published=published,
    )
