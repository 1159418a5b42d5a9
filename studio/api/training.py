"""The part of the scripted surface that trains, draws and judges, and that handles versions and other programs."""

from __future__ import annotations

from engines.api.errors import NotFound
from engines.api.params import GenerateParams, TrainParams
from studio.api import arguments as arg
from studio.api.answers import answers, knobs, member
from studio.api.pictures import PictureApi
from studio.api.results import Nothing, Queued
from studio.api.trained import (
    CardReport,
    Checkpoints,
    Commands,
    DeployedFiles,
    ExportedDataset,
    ExportedLora,
    OneVersion,
    Preflighted,
    ProgramFolder,
    ProgramRow,
    Programs,
    QueuedVersion,
    Versions,
    Withdrawn,
)
from studio.flywheel import card, generate
from studio.flywheel.export import deploy as deploying
from studio.flywheel.export.export import export_dataset, export_version, remarks
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.flywheel.train import checkpoints as choosing
from studio.flywheel.train import keeping, run_folder, runs
from studio.records.dataset import Role
from studio.records.payload import TrainPayload


class TrainingApi(PictureApi):
    """Holds the functions of the scripted API for trainings, generated pictures, model cards, versions and programs."""

    # ── train, generate, card, refine ───────────────────────────────────────────────────────────

    @answers
    def train_preflight(
        self,
        character_id: arg.CharacterId,
        params: arg.TrainKnobs | None = None,
        model: arg.Trained = "",
        phase: arg.Phase = "all",
        start: arg.Start = "",
        scenes: arg.Scenes = "best",
    ) -> Preflighted:
        """Returns what train_submit with these arguments needs in memory, disk and time, and a list of checks."""
        name, settled = self._training(model or self._character(character_id).generator, params)
        found = train.preflight(self._studio.desk(character_id), settled, name, phase=phase, start=start, scenes=scenes)
        return Preflighted(preflight=found)

    @answers
    def train_submit(
        self,
        character_id: arg.CharacterId,
        params: arg.TrainKnobs | None = None,
        model: arg.Trained = "",
        key: arg.Key = "",
        phase: arg.Phase = "all",
        start: arg.Start = "",
        scenes: arg.Scenes = "best",
    ) -> Queued:
        """Queues the training of a LoRA that draws the character; its version is in the artifacts when it is done."""
        name, settled = self._training(model or self._character(character_id).generator, params)
        job = train.submit(
            self._studio.desk(character_id), settled, model=name, key=key, phase=phase, start=start, scenes=scenes
        )
        return self._queued(job)

    @answers
    def train_extend(self, job_id: arg.TrainingId, steps: arg.TotalSteps) -> Queued:
        """Queues an ended training again, from its last checkpoint on, until `steps` steps are done in total."""
        job = runs.training(self._studio, job_id)
        settled = knobs(self._studio.registry.spec(TrainPayload.of(job).model), TrainParams, {"steps": steps})
        return self._queued(runs.extend(self._studio, job_id, settled.steps))

    @answers
    def train_keep(self, job_id: arg.TrainingId) -> QueuedVersion:
        """Makes a LoRA version of a training's last checkpoint; a running training is stopped, and makes it later."""
        made = runs.keep(self._studio, runs.training(self._studio, job_id).id)
        return QueuedVersion(**vars(self._queued(self._studio.jobs.get(job_id))), version=made or Nothing())

    @answers
    def train_command(self, job_id: arg.TrainingId) -> Commands:
        """Returns the shell commands that run a training without the studio: in one process, and on all GPUs."""
        alone, all_cards = run_folder.commands(self._studio, runs.training(self._studio, job_id))
        return Commands(alone=alone, all_cards=all_cards)

    @answers
    def generate_submit(
        self,
        character_id: arg.CharacterId,
        prompts: arg.ScenePrompts | None = None,
        count: arg.PerPrompt = 1,
        version: arg.DrawnBy = "",
        seed: arg.FirstSeed = 0,
        params: arg.GenerateKnobs | None = None,
        key: arg.Key = "",
        gaps: arg.Gaps = False,
    ) -> Queued:
        """Queues a job that draws pictures: `count` of each prompt, or of scenes that the studio thinks up."""
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
        character_id: arg.CharacterId,
        version: arg.DrawnBy = "",
        seeds: arg.CardSeeds | None = None,
        params: arg.CardKnobs | None = None,
        key: arg.Key = "",
    ) -> Queued:
        """Queues a model card: 23 test prompts are drawn with each seed, and judged for likeness and obedience."""
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
    def card_get(
        self, character_id: arg.CharacterId, card_id: arg.CardId = "", against: arg.AgainstId = ""
    ) -> CardReport:
        """Returns a model card with its figures, and its comparison with another one."""
        store = self._studio.store(character_id)
        found = card.get(store, card_id) if card_id else card.newest(store)
        if found is None:
            raise NotFound("This character has no card yet.", "Run card_submit first.")
        compared = card.compare(card.get(store, against), found) if against else Nothing()
        summary = card.summary(found)
        return CardReport(card=found.replace(summary=summary.to_json()), summary=summary, compared=compared)

    @answers
    def refine_preflight(
        self,
        character_id: arg.CharacterId,
        params: arg.TrainKnobs | None = None,
        model: arg.TrainedEditor = "",
        start: arg.BeginWith = "",
    ) -> Preflighted:
        """Returns what refine_submit needs in memory, disk and time to train the editor, and a list of checks."""
        name, settled = self._training(model or self._character(character_id).editor, params)
        return Preflighted(preflight=refine.preflight(self._studio.desk(character_id), settled, name, start))

    @answers
    def refine_submit(
        self,
        character_id: arg.CharacterId,
        params: arg.TrainKnobs | None = None,
        model: arg.TrainedEditor = "",
        key: arg.Key = "",
        start: arg.BeginWith = "",
    ) -> Queued:
        """Queues the training of a LoRA for the editor, on approved and corrected edits."""
        name, settled = self._training(model or self._character(character_id).editor, params)
        return self._queued(refine.submit(self._studio.desk(character_id), settled, model=name, key=key, start=start))

    # ── versions ────────────────────────────────────────────────────────────────────────────────

    @answers
    def version_list(self, character_id: arg.CharacterId, role: arg.RoleOrAll = "") -> Versions:
        """Returns the LoRA versions outside the trash, of the character and of its editor."""
        wanted = member("role", Role, role) if role else None
        store = self._studio.store(character_id)
        versions = [v for v in store.versions.all() if not v.trashed and wanted in (None, v.role)]
        return Versions(versions=tuple(refine.as_judged(store, v) for v in versions))

    @answers
    def version_trashed(self, character_id: arg.CharacterId) -> Versions:
        """Returns the LoRA versions in the trash, of the character and of its editor."""
        return Versions(versions=tuple(v for v in self._studio.store(character_id).versions.all() if v.trashed))

    @answers
    def version_adopt(
        self, character_id: arg.CharacterId, version_id: arg.VersionId, on: arg.Adopted = True
    ) -> OneVersion:
        """Puts a LoRA version in use; `on` false retires it and, if it was in use, puts its parent version in use."""
        return OneVersion(version=self._studio.store(character_id).adopt(version_id, on=on))

    @answers
    def version_note(
        self, character_id: arg.CharacterId, version_id: arg.VersionId, text: arg.VersionNotes
    ) -> OneVersion:
        """Replaces the notes of a LoRA version by `text` and returns the version."""
        return OneVersion(version=keeping.note(self._studio.desk(character_id), version_id, text))

    @answers
    def version_trash(self, character_id: arg.CharacterId, version_id: arg.VersionId) -> OneVersion:
        """Moves a LoRA version that is not in use to the trash; its file stays, and version_restore brings it back."""
        return OneVersion(version=keeping.trash(self._studio.desk(character_id), version_id))

    @answers
    def version_restore(self, character_id: arg.CharacterId, version_id: arg.VersionId) -> OneVersion:
        """Takes a LoRA version out of the trash and returns it."""
        return OneVersion(version=keeping.restore(self._studio.desk(character_id), version_id))

    @answers
    def checkpoint_list(self, job_id: arg.TrainingId) -> Checkpoints:
        """Returns a training's checkpoints with their previews' scores; `proposed` marks the earliest good one."""
        return Checkpoints(checkpoints=tuple(choosing.choices(self._studio, job_id)))

    @answers
    def checkpoint_keep(self, job_id: arg.TrainingId, step: arg.CheckpointStep) -> OneVersion:
        """Makes a LoRA version of an ended training's checkpoint at `step`, and returns the version."""
        return OneVersion(version=choosing.keep_at(self._studio, job_id, step))

    @answers
    def lora_export(
        self, character_id: arg.CharacterId, version_id: arg.VersionId, format: arg.Form = "diffusers"
    ) -> ExportedLora:
        """Writes a version's LoRA in the form that another program reads, and returns its path."""
        path = export_version(self._studio.desk(character_id), version_id, format)
        return ExportedLora(version_id=version_id, format=format, file_path=str(path))

    @answers
    def dataset_export(
        self, character_id: arg.CharacterId, layout: arg.LayoutName, role: arg.RoleName = "character"
    ) -> ExportedDataset:
        """Writes a training set as a zip that another trainer reads, and returns its path."""
        wanted = member("role", Role, role)
        entries = (train if wanted is Role.CHARACTER else refine).dataset(self._studio.desk(character_id))
        path = export_dataset(self._studio.desk(character_id), layout, wanted, entries)
        return ExportedDataset(
            layout=layout, pictures=len(entries), file_path=str(path), remarks=remarks(layout, entries)
        )

    @answers
    def program_list(self) -> Programs:
        """Returns the other programs into which version_deploy can put a LoRA, each with its folder."""
        rows = (
            ProgramRow(program=name, label=each.label, folder=deploying.folder_of(self._studio, name))
            for name, each in deploying.PROGRAMS.items()
        )
        return Programs(programs=tuple(rows))

    @answers
    def program_folder(self, program: arg.Program, folder: arg.ProgramPath) -> ProgramFolder:
        """Sets the folder that another program on the studio's machine is installed in."""
        return ProgramFolder(program=program, folder=deploying.set_folder(self._studio, program, folder))

    @answers
    def version_deploy(
        self, character_id: arg.CharacterId, version_id: arg.VersionId, program: arg.Program
    ) -> DeployedFiles:
        """Puts a version's LoRA with a preview into another program's folder; returns the paths of the files."""
        return DeployedFiles(files=deploying.deploy(self._studio.desk(character_id), version_id, program))

    @answers
    def version_withdraw(
        self, character_id: arg.CharacterId, version_id: arg.VersionId, program: arg.Program
    ) -> Withdrawn:
        """Takes out what version_deploy has put there; returns the paths of files that stay, as they were changed."""
        return Withdrawn(left=deploying.withdraw(self._studio.desk(character_id), version_id, program))

    def _training(self, model: arg.Id, params: arg.Knobs | None) -> tuple[str, TrainParams]:
        """Returns a model's name and its default training parameters with the given ones set on top."""
        return model, knobs(self._studio.registry.spec(model), TrainParams, params)
