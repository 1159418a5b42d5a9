"""What every use case works with: the settings, the models, the library, the card, the queue. It knows no use case."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self

from engines.api.errors import BadInput, UserError
from engines.api.protocols import Captioner, ModelSpec, Scorer, Trainer
from engines.catalogue.registry import Registry
from studio.gpu.manager import GpuManager
from studio.jobs.queue import Jobs
from studio.settings import Settings
from studio.store import Library, Store


class Workplace:
    """One data folder, one card, one queue, and the engines made so far. Nothing runs until `jobs.start()`."""

    def __init__(
        self, settings: Settings, registry: Registry, library: Library, gpu: GpuManager, jobs: Jobs, ends: ExitStack
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.library = library
        self.gpu = gpu
        self.jobs = jobs
        self._ends = ends  # what lets go of the folder and the log
        self._engines: dict[tuple[str, str], Any] = {}
        self._making = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the queue within a step, empty the card, let go of the folder. Raises: Busy."""
        self.jobs.close()
        self.gpu.unload_all()
        self._ends.close()

    def desk(self, character_id: str) -> Desk:
        """Return the place of one character's work; its store is opened when it is first asked for."""
        return Desk(self, character_id)

    def store(self, character_id: str) -> Store:
        """A character's store. Raises: NotFound."""
        return self.library.open(character_id)

    def engine(self, name: str) -> Any:
        """A model's engine, made once; its weights are read when a lease first asks. Raises: ModelMissing."""
        return self._make("engine", name)

    def captioner(self, name: str) -> Captioner:
        """The captioner in an editor's own text encoder. Raises: ModelMissing."""
        captioner: Captioner = self._make("captioner", name)
        return captioner

    def trainer(self, name: str) -> Trainer:
        """A model's LoRA trainer. Raises: ModelMissing, NotFound when it cannot be trained."""
        trainer: Trainer = self._make("trainer", name)
        return trainer

    def scorer(self, name: str) -> Scorer:
        """An identity scorer. Raises: ModelMissing."""
        scorer: Scorer = self._make("engine", name)
        return scorer

    def spec(self, name: str, role: str) -> ModelSpec:
        """Returns the row of a model of a role, whether its weights are on this machine or not.

        Raises: NotFound, and BadInput for a model of another role.
        """
        spec = self.registry.spec(name)
        if spec.role != role:
            fitting = ", ".join(each.name for each in self.registry.role(role))
            raise BadInput(f"{name} is no {role}: its kind is {spec.role}.", f"Choose one of: {fitting}.")
        return spec

    def demand_model(self, name: str, role: str) -> ModelSpec:
        """Returns the row of a model of a role whose weights are on this machine.

        Raises: NotFound, BadInput, ModelMissing with the command that fetches it.
        """
        spec = self.spec(name, role)
        self.registry.folder(spec)
        return spec

    def warm_up(self) -> None:
        """Make every engine that the characters stand on, so that no user waits for an import; safe in a thread."""
        characters = self.library.characters()
        for name in dict.fromkeys(name for each in characters for name in (each.scorer, each.editor, each.generator)):
            with suppress(UserError):  # weights that are missing are told where they are needed
                self.engine(name)

    def _make(self, what: str, name: str) -> Any:
        with self._making:
            if (what, name) not in self._engines:
                self._engines[what, name] = getattr(self.registry, what)(name)
            return self._engines[what, name]


@dataclass(frozen=True)
class Desk:
    """Where one character's work is done: the workplace, and the character's store in it."""

    workplace: Workplace
    id: str

    @property
    def store(self) -> Store:
        """The character's store. Raises: NotFound, and BadInput for a damaged one."""
        return self.workplace.store(self.id)
