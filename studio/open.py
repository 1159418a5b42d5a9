"""The composition root: builds one workplace from the settings, with a runner for every kind of job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from logging.handlers import RotatingFileHandler
from typing import Final

from engines.api.errors import UserError
from engines.api.protocols import Device
from engines.catalogue.registry import Registry
from engines.device.devices import open_device
from engines.device.host import host_bytes
from studio.flywheel import card, generate
from studio.flywheel.curate import captions, coverage, importing
from studio.flywheel.enrich import edits
from studio.flywheel.refine import editor
from studio.flywheel.tournament import drawing as tournament
from studio.flywheel.tournament.asking import KIND as TOURNAMENT
from studio.flywheel.train import character
from studio.gpu.manager import GpuManager
from studio.housekeeping import backup, loras, merging, pulling
from studio.jobs.queue import Jobs
from studio.records.job import Job
from studio.records.settings import BUDGET_SETTING
from studio.settings import Settings
from studio.store import Library
from studio.store.durable import make_folder
from studio.workplace.context import Context, Runner
from studio.workplace.desk import Workplace

RUNNERS: Final[Mapping[str, Runner]] = {
    "import": importing.run_import,
    "caption": captions.run_caption,
    "enrich": edits.run,
    "train": character.run,
    "generate": generate.run,
    "card": card.run,
    "refine": editor.run,
    TOURNAMENT: tournament.run,
    "pull": pulling.run,
    loras.LORA: loras.run,
    loras.MERGE: merging.run,
    "backup": backup.run_export,
    "restore": backup.run_import,
}
_LOG = logging.getLogger(__name__)
_LOG_BYTES = 2 << 20
_HOST_SHARE = 0.5
_GIB = 1 << 30


def open_workplace(
    settings: Settings,
    registry: Registry | None = None,
    device: Device | None = None,
    runners: Mapping[str, Runner] = RUNNERS,
) -> Workplace:
    """Opens the data folder in the settings and returns the workplace: everything that jobs and pages work with.

    A new folder gets the sample character. `registry` (of models) and `device` are made from the settings when None;
    `runners` maps each kind of job to its function. The job queue is not started yet. Raises: Busy when another process
    has the folder open, NotFound when the device in the settings does not exist.
    """
    card_device = device or open_device(settings.device, settings.fake_bytes)
    ends = ExitStack()
    with ExitStack() as undo:
        undo.callback(ends.close)
        library = Library(settings.data_root)
        ends.callback(library.close)
        library.sweep_imports()
        ends.callback(_log_to(settings))
        budget = library.setting(BUDGET_SETTING, float) or settings.budget_gib
        gpu = GpuManager(
            card_device,
            card_device.total_bytes() if card_device.name == "cpu" else int(budget * _GIB),
            LibraryPeaks(library),
            host_bytes=int(_HOST_SHARE * host_bytes()),
        )

        def run(runner: Runner, job: Job) -> None:
            runner(Context(job, workplace))

        jobs = Jobs(
            library,
            {kind: partial(run, runner) for kind, runner in runners.items()},
            log=str(settings.log_file),
        )
        models = registry or Registry(settings.assets, settings.models_dir, compile_with=settings.compile)
        workplace = Workplace(settings, models, library, gpu, jobs, ends)
        coverage.ensure_sample(workplace)
        undo.pop_all()
    return workplace


class LibraryPeaks:
    """Stores the GPU manager's measured memory peaks in the data folder's database, as key -> bytes."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def get(self, key: str, default: int, /) -> int:
        """Returns the measured peak in bytes that is stored under a key; `default` when there is none."""
        return self._library.peaks().get(key, default)

    def __setitem__(self, key: str, nbytes: int, /) -> None:
        try:
            self._library.set_peak(key, nbytes)
        except UserError as error:  # the peak is measured again next time; the job that measured it continues
            _LOG.warning("the peak of %s could not be stored: %s", key, error)


class _Log(RotatingFileHandler):
    """The log's file handler; a record that the disk refuses is written to stderr instead."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Writes the record to stderr as one line instead of raising."""
        with suppress(OSError):  # stderr may lie on the same full disk
            sys.stderr.write(f"{self.format(record)}\n")


def _log_to(settings: Settings) -> Callable[[], None]:
    """Writes the log of studio, engines and tabs to rotating files of 2 MiB; returns a function that ends this."""
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
