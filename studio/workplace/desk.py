"""The objects that every use case needs: settings, models, library, GPU and queue. Imports no use case."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self

from engines.api.errors import BadInput, ModelMissing, UserError
from engines.api.protocols import Captioner, Editor, ModelSpec, Scorer, Trainer
from engines.catalogue.hub import Hub, HuggingFace
from engines.catalogue.registry import Registry
from studio.gpu.manager import GpuManager
from studio.jobs.queue import Jobs
from studio.settings import Settings
from studio.store import Library, Store


class Workplace:
    """Holds what the whole program shares: settings, model registry, data folder, GPU manager and job queue.

    It also keeps the engines, which are the objects that run the models, once they are made. No job runs before
    `jobs.start()`.
    """

    def __init__(
        self, settings: Settings, registry: Registry, library: Library, gpu: GpuManager, jobs: Jobs, ends: ExitStack
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.library = library
        self.gpu = gpu
        self.jobs = jobs
        self.hub: Hub = HuggingFace()  # where models come from
        self._ends = ends  # closes the folder and the log
        self._engines: dict[tuple[str, str], Any] = {}
        self._making = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the job queue after the running job's present step, frees the GPU and closes the data folder.

        Raises: Busy when the running job does not stop in time.
        """
        self.jobs.close()
        self.gpu.unload_all()
        self._ends.close()

    def desk(self, character_id: str) -> Desk:
        """Returns a `Desk`, which gives access to one character; the character's store is opened when first used."""
        return Desk(self, character_id)

    def store(self, character_id: str) -> Store:
        """Returns a character's store, opened when necessary. Raises: NotFound, BadInput for a damaged store."""
        return self.library.open(character_id)

    def engine(self, name: str) -> Any:
        """Returns the object that runs the model with this name; made at the first call, then reused.

        The model's weights are read only when the GPU is leased for it. Raises: NotFound for an unknown name,
        ModelMissing where the weights are not on this machine.
        """
        return self._make("engine", name)

    def editor(self, name: str) -> Editor:
        """Returns the object that edits with the model with this name; made at the first call, then reused.

        An editor's is that of `engine`; a generator that edits has another, which shares the weights. Raises: as
        `engine` does.
        """
        editor: Editor = self._make("editor" if self.registry.spec(name).editor else "engine", name)
        return editor

    def captioner(self, name: str) -> Captioner:
        """Returns the captioner of the editor model with this name, which captions with the editor's own text encoder.

        Raises: NotFound for an unknown name, ModelMissing where the model's weights are not on this machine.
        """
        captioner: Captioner = self._make("captioner", name)
        return captioner

    def trainer(self, name: str) -> Trainer:
        """Returns the LoRA trainer of the model with this name.

        Raises: NotFound for an unknown model and one that cannot be trained, ModelMissing where its weights are not on
        this machine.
        """
        trainer: Trainer = self._make("trainer", name)
        return trainer

    def scorer(self, name: str) -> Scorer:
        """Returns the identity scorer with this name; made at the first call, then reused.

        Raises: NotFound for an unknown name, ModelMissing where its weights are not on this machine.
        """
        scorer: Scorer = self._make("engine", name)
        return scorer

    def spec(self, name: str, role: str) -> ModelSpec:
        """Returns the registry's entry of a model, whether or not its weights are on this machine.

        `role` is what the model has to be, such as generator, editor or scorer. Raises: NotFound for an unknown name,
        BadInput for a model of another role.
        """
        spec = self.registry.spec(name)
        if role not in spec.roles:
            fitting = ", ".join(each.name for each in self.registry.role(role))
            raise BadInput(f"{name} is no {role}: its kind is {spec.role}.", f"Choose one of: {fitting}.")
        return spec

    def demand_model(self, name: str, role: str) -> ModelSpec:
        """Returns the registry's entry of a model whose weights are on this machine.

        `role` is what the model has to be, such as generator, editor or scorer. Raises: NotFound for an unknown name,
        BadInput for a model of another role, ModelMissing with the command that downloads the weights.
        """
        spec = self.spec(name, role)
        self.registry.folder(spec)
        return spec

    def captioner_of(self, editor: str) -> ModelSpec:
        """Returns the registry's entry of the model that describes pictures where the model named `editor` edits.

        It is the editor itself. For an editor whose text encoder reads words alone, it is the first one on this machine
        that describes pictures of the same size. Raises: NotFound, BadInput for a model that is no editor, ModelMissing
        where none is on this machine.
        """
        spec = self.spec(editor, "editor")
        if spec.captioner:
            return self.demand_model(editor, "editor")
        seeing = [each for each in self.registry.role("editor") if each.captioner and each.size == spec.size]
        here = [each for each in seeing if self.registry.here(each.name)]
        if here:
            return here[0]
        cause = f"{spec.name} describes no pictures: its text encoder reads words alone."
        raise ModelMissing(cause, f"python launch.py pull {seeing[0].name}" if seeing else "Write the captions.")

    def warm_up(self) -> None:
        """Makes the engines of all models that characters use, so that no user waits for Python imports later.

        An engine is the object that runs a model. Models whose weights are missing are skipped. It may run in a thread
        of its own.
        """
        characters = self.library.characters()
        for name in dict.fromkeys(name for each in characters for name in (each.scorer, each.editor, each.generator)):
            with suppress(UserError):  # missing weights are reported where they are needed
                self.engine(name)

    def _make(self, what: str, name: str) -> Any:
        with self._making:
            if (what, name) not in self._engines:
                self._engines[what, name] = getattr(self.registry, what)(name)
            return self._engines[what, name]


@dataclass(frozen=True)
class Desk:
    """Gives access to one character: its id, its store, and the workplace (settings, models, GPU and job queue)."""

    workplace: Workplace
    id: str

    @property
    def store(self) -> Store:
        """Returns the character's store. Raises: NotFound, and BadInput for a damaged one."""
        return self.workplace.store(self.id)
