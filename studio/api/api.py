"""The scripted surface: functions that take ids and return JSON, which tabs/scripted.py registers with gradio."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from engines.api.errors import NotFound
from engines.api.params import GenerateParams, TrainParams
from engines.api.values import Number, Whole, Words
from studio.api.answers import Answer, Count, Id, Knobs, Prompts, Seeds, answers, knobs, member, queue_position, row
from studio.api.loras import LoraApi
from studio.api.pictures import PictureApi
from studio.flywheel import card, generate
from studio.flywheel import next_step as flywheels
from studio.flywheel.export import deploy as deploying
from studio.flywheel.export.export import export_dataset, export_version
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import keeping, run_folder, runs
from studio.records.dataset import Role
from studio.records.payload import TrainPayload
from studio.workplace.desk import Workplace

API_VERSION = 1
API_NAMES: tuple[str, ...] = (
    "api_version",
    "character_list",
    "character_create",
    "character_update",
    "character_delete",
    "character_trashed",
    "character_restore",
    "character_export",
    "character_import",
    "next_step",
    "image_import",
    "image_list",
    "image_get",
    "image_trash",
    "image_restore",
    "caption_set",
    "captions_replace",
    "tags_set",
    "changes_undo",
    "mask_set",
    "mask_clear",
    "crop_set",
    "crop_clear",
    "crop_undo",
    "caption_submit",
    "coverage",
    "enrich_plan",
    "practice_plan",
    "enrich_submit",
    "lora_library",
    "lora_pull",
    "lora_add",
    "lora_note",
    "lora_remove",
    "template_list",
    "template_set",
    "template_keep",
    "plan_list",
    "plan_save",
    "plan_delete",
    "plan_share",
    "plan_import",
    "plan_rows",
    "review_next",
    "review_decide",
    "review_undo",
    "correction_add",
    "train_preflight",
    "train_submit",
    "train_extend",
    "train_keep",
    "train_command",
    "generate_submit",
    "card_submit",
    "card_get",
    "refine_preflight",
    "refine_submit",
    "version_list",
    "version_adopt",
    "version_note",
    "version_trash",
    "version_trashed",
    "version_restore",
    "checkpoint_list",
    "checkpoint_keep",
    "lora_export",
    "dataset_export",
    "program_list",
    "program_folder",
    "version_deploy",
    "version_withdraw",
    "job_list",
    "job_status",
    "job_cancel",
    "job_resume",
    "gpu_status",
    "share_start",
    "share_stop",
)


class Sharing(Protocol):
    """Represents the server of the review page, a temporary page on which others review the pictures of one character.

    This is a protocol: the server itself is passed in from outside the studio package.
    """

    def start(self, character_id: str, hours: float) -> Answer:
        """Opens the review page of one character for `hours`, and returns its address, password and expiry."""
        ...

    def stop(self) -> Answer:
        """Closes the review page and returns whether one was open."""
        ...


class Api(PictureApi, LoraApi):
    """Holds all functions of the scripted API as methods that take ids and return JSON; `API_NAMES` lists them."""

    def __init__(self, workplace: Workplace, sharing: Sharing | None = None) -> None:
        super().__init__(workplace)
        self._sharing = sharing

    @answers
    def api_version(self) -> Answer:
        """Returns the version number of this scripted API and the names of its functions."""
        return {"version": API_VERSION, "names": list(API_NAMES)}

    @answers
    def next_step(self, character_id: Id) -> Answer:
        """Returns what to do next with a character, the reason in words, and all stages with their progress."""
        return flywheels.next_step(self._studio.desk(character_id)).to_json()

    # ── train, generate, card, refine ───────────────────────────────────────────────────────────

    @answers
    def train_preflight(
        self,
        character_id: Id,
        params: Knobs | None = None,
        model: Id = "",
        phase: Id = "all",
        start: Id = "",
        scenes: Id = "best",
    ) -> Answer:
        """Returns what train_submit with these arguments needs in memory, disk and time, and a list of checks."""
        name, settled = self._training(model or self._character(character_id).generator, params)
        found = train.preflight(self._studio.desk(character_id), settled, name, phase=phase, start=start, scenes=scenes)
        return {"preflight": found.to_json()}

    @answers
    def train_submit(
        self,
        character_id: Id,
        params: Knobs | None = None,
        model: Id = "",
        key: Id = "",
        phase: Id = "all",
        start: Id = "",
        scenes: Id = "best",
    ) -> Answer:
        """Queues LoRA training from version `start`; `phase`: all, head, body; generated `scenes`: best, all, none."""
        name, settled = self._training(model or self._character(character_id).generator, params)
        job = train.submit(
            self._studio.desk(character_id), settled, model=name, key=key, phase=phase, start=start, scenes=scenes
        )
        return self._queued(job)

    @answers
    def train_extend(self, job_id: Id, steps: Whole) -> Answer:
        """Queues an ended training again, from its last checkpoint on, until `steps` steps are done in total."""
        job = runs.training(self._studio, job_id)
        settled = knobs(self._studio.registry.spec(TrainPayload.of(job).model), TrainParams, {"steps": steps})
        return self._queued(runs.extend(self._studio, job_id, settled.steps))

    @answers
    def train_keep(self, job_id: Id) -> Answer:
        """Makes a LoRA version of a training's last checkpoint; a running training is stopped, and makes it later."""
        made = runs.keep(self._studio, runs.training(self._studio, job_id).id)
        return {**self._queued(self._studio.jobs.get(job_id)), "version": made.to_json() if made else {}}

    @answers
    def train_command(self, job_id: Id) -> Answer:
        """Returns the shell commands that run a training without the studio: in one process, and on all GPUs."""
        commands = run_folder.commands(self._studio, runs.training(self._studio, job_id))
        return dict(zip(("alone", "all_cards"), commands, strict=False))

    @answers
    def generate_submit(
        self,
        character_id: Id,
        prompts: Prompts | None = None,
        count: Whole = 1,
        version: Id = "",
        seed: Whole = 0,
        params: Knobs | None = None,
        key: Id = "",
        gaps: bool = False,
    ) -> Answer:
        """Queues `count` pictures per prompt; without prompts, of preset scenes, or of failed card cells if `gaps`."""
        spec = generate.model_spec(self._studio.desk(character_id), version)
        GenerateParams.demand_no_words(params or {}, "each picture")
        given = {"seed": seed, **(params or {})}
        knobs(spec, GenerateParams, given)
        if prompts is not None:
            items = generate.prompt_items(self._studio.desk(character_id), prompts, count, version, **given)
        else:
            aims = card.missed(self._studio.desk(character_id), version) if gaps else ()
            items = generate.scene_items(self._studio.desk(character_id), count, version, aims=aims, **given)
        return self._queued(generate.submit(self._studio.desk(character_id), items, version=version, key=key))

    @answers
    def card_submit(
        self,
        character_id: Id,
        version: Id = "",
        seeds: Seeds | None = None,
        params: Knobs | None = None,
        key: Id = "",
    ) -> Answer:
        """Queues a model card: test pictures, drawn with each of `seeds` and judged; `version` "" is the base model."""
        spec = generate.model_spec(self._studio.desk(character_id), version)
        knobs(spec, GenerateParams, params)
        return self._queued(
            card.submit(
                self._studio.desk(character_id),
                version,
                seeds if seeds is not None else (0, 1, 2),
                key=key,
                knobs=params,
            )
        )

    @answers
    def card_get(self, character_id: Id, card_id: Id = "", against: Id = "") -> Answer:
        """Returns the model card `card_id`, "" the newest, and its comparison with the card `against`, "" for none."""
        store = self._studio.store(character_id)
        found = card.get(store, card_id) if card_id else card.newest(store)
        if found is None:
            raise NotFound("This character has no card yet.", "Run card_submit first.")
        compared = card.compare(card.get(store, against), found).to_json() if against else {}
        summary = card.summary(found).to_json()
        return {"card": found.replace(summary=summary).to_json(), "summary": summary, "compared": compared}

    @answers
    def refine_preflight(self, character_id: Id, params: Knobs | None = None, model: Id = "") -> Answer:
        """Returns what refine_submit needs in memory, disk and time to train the editor, and a list of checks."""
        name, settled = self._training(model or self._character(character_id).editor, params)
        return {"preflight": refine.preflight(self._studio.desk(character_id), settled, name).to_json()}

    @answers
    def refine_submit(self, character_id: Id, params: Knobs | None = None, model: Id = "", key: Id = "") -> Answer:
        """Queues a LoRA training of the editor on approved and corrected edits; `params`: TrainParams by name."""
        name, settled = self._training(model or self._character(character_id).editor, params)
        return self._queued(refine.submit(self._studio.desk(character_id), settled, model=name, key=key))

    # ── versions ────────────────────────────────────────────────────────────────────────────────

    @answers
    def version_list(self, character_id: Id, role: Id = "") -> Answer:
        """Returns the LoRA versions outside the trash; `role` is character or editor, "" takes both."""
        wanted = member("role", Role, role) if role else None
        store = self._studio.store(character_id)
        versions = [v for v in store.versions.all() if not v.trashed and wanted in (None, v.role)]
        return {"versions": [refine.as_judged(store, v).to_json() for v in versions]}

    @answers
    def version_trashed(self, character_id: Id) -> Answer:
        """Returns the LoRA versions in the trash, of the character and of its editor."""
        return {"versions": [v.to_json() for v in self._studio.store(character_id).versions.all() if v.trashed]}

    @answers
    def version_adopt(self, character_id: Id, version_id: Id, on: bool = True) -> Answer:
        """Puts a LoRA version in use; `on` false retires it and, if it was in use, puts its parent version in use."""
        return {"version": self._studio.store(character_id).adopt(version_id, on=on).to_json()}

    @answers
    def version_note(self, character_id: Id, version_id: Id, text: Words) -> Answer:
        """Replaces the notes of a LoRA version by `text` and returns the version."""
        return {"version": keeping.note(self._studio.desk(character_id), version_id, text).to_json()}

    @answers
    def version_trash(self, character_id: Id, version_id: Id) -> Answer:
        """Moves a LoRA version that is not in use to the trash; its file stays, and version_restore brings it back."""
        return {"version": keeping.trash(self._studio.desk(character_id), version_id).to_json()}

    @answers
    def version_restore(self, character_id: Id, version_id: Id) -> Answer:
        """Takes a LoRA version out of the trash and returns it."""
        return {"version": keeping.restore(self._studio.desk(character_id), version_id).to_json()}

    @answers
    def checkpoint_list(self, job_id: Id) -> Answer:
        """Returns a training's checkpoints with their previews' scores; `proposed` marks the earliest good one."""
        return {"checkpoints": [choice.to_json() for choice in choosing.choices(self._studio, job_id)]}

    @answers
    def checkpoint_keep(self, job_id: Id, step: Count) -> Answer:
        """Makes a LoRA version of an ended training's checkpoint at `step`, and returns the version."""
        return {"version": choosing.keep_at(self._studio, job_id, step).to_json()}

    @answers
    def lora_export(self, character_id: Id, version_id: Id, format: Id = "diffusers") -> Answer:
        """Writes a version's LoRA and returns the path; `format`: diffusers, kohya, comfyui, hub (a zip to upload)."""
        path = export_version(self._studio.desk(character_id), version_id, format)
        return {"version_id": version_id, "format": format, "file_path": str(path)}

    @answers
    def dataset_export(self, character_id: Id, layout: Id, role: Id = "character") -> Answer:
        """Writes a training set (`role`: character or editor) as a zip in `layout`, such as kohya; returns its path."""
        wanted = member("role", Role, role)
        entries = (train if wanted is Role.CHARACTER else refine).dataset(self._studio.desk(character_id))
        path = export_dataset(self._studio.desk(character_id), layout, wanted, entries)
        return {"layout": layout, "pictures": len(entries), "file_path": str(path)}

    @answers
    def program_list(self) -> Answer:
        """Returns the other programs into which version_deploy can put a LoRA, each with its folder, "" if not set."""
        known = deploying.PROGRAMS.items()
        rows = [
            {"program": name, "label": p.label, "folder": deploying.folder_of(self._studio, name)} for name, p in known
        ]
        return {"programs": rows}

    @answers
    def program_folder(self, program: Id, folder: Words) -> Answer:
        """Sets the folder that another program, such as comfyui, is installed in; "" forgets it."""
        return {"program": program, "folder": deploying.set_folder(self._studio, program, folder)}

    @answers
    def version_deploy(self, character_id: Id, version_id: Id, program: Id) -> Answer:
        """Puts a version's LoRA with a preview into another program's folder; returns the paths of the files."""
        return {"files": deploying.deploy(self._studio.desk(character_id), version_id, program)}

    @answers
    def version_withdraw(self, character_id: Id, version_id: Id, program: Id) -> Answer:
        """Takes out what version_deploy has put there; returns the paths of files that stay, as they were changed."""
        return {"left": deploying.withdraw(self._studio.desk(character_id), version_id, program)}

    # ── jobs, card, sharing ─────────────────────────────────────────────────────────────────────

    @answers
    def job_list(self, character_id: Id = "") -> Answer:
        """Returns the jobs of a character ("": all): the running one, the queued in order, the ended, newest first."""
        if character_id:
            self._character(character_id)
        return {"jobs": [row(job) for job in self._studio.jobs.list(character_id or None)]}

    @answers
    def job_status(self, job_id: Id, since: Count = 0) -> Answer:
        """Returns a job's state and its events from number `since` on; pass the returned `next` as the next `since`."""
        job = self._studio.jobs.get(job_id)
        events, after = self._studio.jobs.events(job_id, since)
        position = queue_position(self._studio.jobs.list(), job_id)
        return {**row(job), "position": position, "events": [event.to_json() for event in events], "next": after}

    @answers
    def job_cancel(self, job_id: Id) -> Answer:
        """Cancels a job; a running one stops within a step, finished items stay, and a second call changes nothing."""
        return self._queued(self._studio.jobs.cancel(job_id))

    @answers
    def job_resume(self, job_id: Id) -> Answer:
        """Queues a cancelled, interrupted or failed job again, unchanged; its finished items are not done again."""
        return self._queued(self._studio.jobs.resume(job_id))

    @answers
    def gpu_status(self) -> Answer:
        """Returns the models on the GPU, in RAM and on disk, the GPU bytes used and allowed, and the job that runs."""
        status = dataclasses.asdict(self._studio.gpu.status())
        where = {name: status[name] for name in ("residents", "masters", "on_disk")}
        return {**status, **{name: [{"key": key, "bytes": size} for key, size in here] for name, here in where.items()}}

    @answers
    def share_start(self, character_id: Id, hours: Number = 24.0) -> Answer:
        """Opens a page for `hours` on which others review one character; returns its address, password and expiry."""
        self._character(character_id)
        return self._link().start(character_id, hours)

    @answers
    def share_stop(self) -> Answer:
        """Closes the page that share_start opened, and returns whether one was open."""
        return self._link().stop()

    def _training(self, model: Id, params: Knobs | None) -> tuple[str, TrainParams]:
        """Returns a model's name and its default training parameters with the given ones set on top."""
        return model, knobs(self._studio.registry.spec(model), TrainParams, params)

    def _link(self) -> Sharing:
        if self._sharing is None:
            raise NotFound("This studio cannot share a review link.", "Start it with `python launch.py studio`.")
        return self._sharing
