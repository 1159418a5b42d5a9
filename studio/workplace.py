"""The composition root: settings in, one studio out. Everything else is handed what it needs from here."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from logging.handlers import RotatingFileHandler
from typing import Any, Final, Self

from engines.api.errors import BadInput, UserError
from engines.api.protocols import Captioner, Device, ModelSpec, Scorer, Trainer
from engines.catalogue.registry import Registry
from engines.device.devices import open_device
from engines.device.host import host_bytes
from studio.flywheel import card, generate
from studio.flywheel.curate import coverage as curate
from studio.flywheel.enrich import edits as enrich
from studio.flywheel.refine import editor as refine
from studio.flywheel.train import character as train
from studio.gpu.manager import GpuManager
from studio.jobs.context import Context
from studio.jobs.queue import Jobs, Runner
from studio.settings import Settings
from studio.store import Library, Store
from studio.store.durable import make_folder

RUNNERS: Final[Mapping[str, Runner]] = {
    "import": curate.run_import,
    "caption": curate.run_caption,
    "enrich": enrich.run,
    "train": train.run,
    "generate": generate.run,
    "card": card.run,
    "refine": refine.run,
}
_LOG = logging.getLogger(__name__)
_LOG_BYTES = 2 << 20
_HOST_SHARE = 0.5


class Studio:
    """One data folder, one card, one queue. Nothing runs until `jobs.start()`.

    Raises: Busy when another process holds the folder, NotFound when the card asked for is not there.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry | None = None,
        device: Device | None = None,
        runners: Mapping[str, Runner] = RUNNERS,
    ) -> None:
        self.settings = settings
        self.registry = registry or Registry(settings.assets, settings.models_dir, compile_with=settings.compile)
        self._engines: dict[tuple[str, str], Any] = {}
        self._making = threading.RLock()
        card_device = device or open_device(settings.device, settings.fake_bytes)
        with ExitStack() as undo:
            self.library = Library(settings.data_root)
            undo.callback(self.library.close)
            undo.callback(_log_to(settings))
            self.gpu = GpuManager(
                card_device,
                card_device.total_bytes() if card_device.name == "cpu" else settings.budget_bytes,
                LibraryPeaks(self.library),
                host_bytes=int(_HOST_SHARE * host_bytes()),
            )
            self.jobs = Jobs(
                self.library,
                dict(runners),
                lambda job, jobs: Context(job, jobs, self),
                log=str(settings.log_file),
            )
            curate.ensure_sample(self)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the queue within a step, empty the card, let go of the folder. Raises: Busy."""
        self.jobs.close()
        self.gpu.unload_all()
        self._undo.close()

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

    def demand_model(self, name: str, role: str) -> ModelSpec:
        """A model's row, where it is of a role and its weights are on this machine.

        Raises: NotFound, BadInput, ModelMissing with the command that fetches it.
        """
        spec = self.registry.spec(name)
        self.registry.folder(spec)
        if spec.role != role:
            fitting = ", ".join(each.name for each in self.registry.role(role))
            raise BadInput(f"{name} is no {role}: its kind is {spec.role}.", f"Choose one of: {fitting}.")
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


class LibraryPeaks:
    """The library's measured peaks, as the GPU manager asks for them."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def get(self, key: str, default: int, /) -> int:
        """The bytes remembered under a key."""
        return self._library.peaks().get(key, default)

    def __setitem__(self, key: str, nbytes: int, /) -> None:
        try:
            self._library.set_peak(key, nbytes)
        except UserError as error:  # it is measured again next time; the job that measured it goes on
            _LOG.warning("the peak of %s could not be stored: %s", key, error)


class _Log(RotatingFileHandler):
    """The log's file; what a full disk refuses of it is said on the console instead."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say one line; the work goes on."""
        sys.stderr.write(f"{self.format(record)}\n")


def _log_to(settings: Settings) -> Any:
    """Send the log of studio and engines to a file that stays small; answers the call that ends it."""
    make_folder(settings.log_file.parent)
    handler = _Log(
        settings.log_file, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8", delay=True, errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("studio", "engines", "tabs")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

    def end() -> None:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()

    return end
