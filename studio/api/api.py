"""The scripted surface: functions that take ids and return JSON, which tabs/scripted.py registers with gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from engines.api.errors import NotFound
from studio.api import arguments as arg
from studio.api.answers import answers, queue_position, row
from studio.api.loras import LoraApi
from studio.api.results import ApiNames, Jobs, JobStatus, Queued
from studio.api.tournaments import TournamentApi
from studio.api.trained import CardStatus, ClosedLink, Held, SharedLink
from studio.api.training import TrainingApi
from studio.flywheel import next_step as flywheels
from studio.flywheel.next_step import NextStep
from studio.records.event import Told
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
    "lora_merge",
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
    "tournament_plan",
    "tournament_submit",
    "tournament_get",
    "tournament_export",
    "route_get",
    "route_set",
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

    def start(self, character_id: str, hours: float) -> Mapping[str, object]:
        """Opens the review page of one character for `hours`, and returns its address, password and expiry."""
        ...

    def stop(self) -> Mapping[str, object]:
        """Closes the review page and returns whether one was open."""
        ...


class Api(TrainingApi, LoraApi, TournamentApi):
    """Holds all functions of the scripted API as methods that take ids and return JSON; `API_NAMES` lists them."""

    def __init__(self, workplace: Workplace, sharing: Sharing | None = None) -> None:
        super().__init__(workplace)
        self._sharing = sharing

    @answers
    def api_version(self) -> ApiNames:
        """Returns the version number of this scripted API and the names of its functions."""
        return ApiNames(version=API_VERSION, names=API_NAMES)

    @answers
    def next_step(self, character_id: arg.CharacterId) -> NextStep:
        """Returns what to do next with a character, the reason in words, and all stages with their progress."""
        return flywheels.next_step(self._studio.desk(character_id))

    # ── jobs, card, sharing ─────────────────────────────────────────────────────────────────────

    @answers
    def job_list(self, character_id: arg.OwnJobs = "") -> Jobs:
        """Returns the jobs of one character or of all: the running one, those that wait, and those that ended."""
        if character_id:
            self._character(character_id)
        return Jobs(jobs=tuple(map(row, self._studio.jobs.list(character_id or None))))

    @answers
    def job_status(self, job_id: arg.JobId, since: arg.Since = 0) -> JobStatus:
        """Returns a job's state, progress and results, and what has happened in it since the last question."""
        job = self._studio.jobs.get(job_id)
        events, after = self._studio.jobs.events(job_id, since)
        position = queue_position(self._studio.jobs.list(), job_id)
        return JobStatus(
            **{**vars(row(job)), "position": position}, events=tuple(cast(Told, each) for each in events), next=after
        )

    @answers
    def job_cancel(self, job_id: arg.JobId) -> Queued:
        """Cancels a job; a running one stops within a step, finished items stay, and a second call changes nothing."""
        return self._queued(self._studio.jobs.cancel(job_id))

    @answers
    def job_resume(self, job_id: arg.JobId) -> Queued:
        """Queues a cancelled, interrupted or failed job again, unchanged; its finished items are not done again."""
        return self._queued(self._studio.jobs.resume(job_id))

    @answers
    def gpu_status(self) -> CardStatus:
        """Returns the models on the GPU, in RAM and on disk, the GPU bytes used and allowed, and the job that runs."""
        status = vars(self._studio.gpu.status())
        held = {
            name: tuple(Held(key=key, bytes=size) for key, size in status[name])
            for name in ("residents", "masters", "on_disk")
        }
        return CardStatus(**{**status, **held})

    @answers
    def share_start(self, character_id: arg.CharacterId, hours: arg.Hours = 24.0) -> SharedLink:
        """Opens a page for `hours` on which others review one character; returns its address, password and expiry."""
        self._character(character_id)
        return SharedLink.from_json(self._link().start(character_id, hours))

    @answers
    def share_stop(self) -> ClosedLink:
        """Closes the page that share_start opened, and returns whether one was open."""
        return ClosedLink.from_json(self._link().stop())

    def _link(self) -> Sharing:
        if self._sharing is None:
            raise NotFound("This studio cannot share a review link.", "Start it with `python launch.py studio`.")
        return self._sharing
