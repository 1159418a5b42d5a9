"""Writes a training run as a folder, from which the studio, or a command on any machine, can train it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import engines
from engines.api.errors import BadInput, ModelMissing, NotFound
from engines.api.params import GenerateParams, TrainParams
from engines.api.protocols import EditItem, TrainItem, TrainRun
from engines.training import runfile
from engines.training.runfile import RunFile
from studio.records.dataset import Dataset, Role
from studio.records.job import Job
from studio.records.payload import TrainPayload
from studio.store import Store
from studio.store.durable import copy_file
from studio.store.lora_library import LoraLibrary
from studio.workplace.desk import Workplace

_BEGUN = "begun.safetensors"  # the LoRA of the library that the run begins with
_MODULE = "engines.training.run"


def usable(store: Store, ids: Iterable[str]) -> list[str]:
    """Returns those of the given picture ids whose files can be read, in the given order."""
    return [image for image in ids if store.trouble(image) is None]


def train_items(store: Store, frozen: Dataset, params: TrainParams) -> tuple[TrainItem, ...]:
    """Returns the entries of a stored dataset as the trainer takes them, with file paths instead of ids.

    `frozen` is the dataset. An entry is included as many times as its `repeats`. The masks are left out where `params`
    let the outside count in full. Raises: BadInput for an entry without a caption, NotFound for a missing picture or
    mask.
    """
    items: list[TrainItem] = []
    for entry in frozen.entries:
        if not entry.worded:
            raise BadInput(f"Picture {entry.image} has no caption.", "Caption it in Curate, then train again.")
        references = tuple(store.path(image) for image in entry.references)
        mask = store.file(entry.mask) if entry.mask and params.mask_outside < 1 else None
        item = TrainItem(store.path(entry.image), entry.caption, references, mask, entry.crop, entry.source_crop)
        items.extend([item] * entry.repeats)
    return tuple(items)


def prepare(workplace: Workplace, job: Job, previews: Sequence[GenerateParams | EditItem]) -> TrainRun:
    """Writes everything that a training job needs to the job's folder, and returns it as a TrainRun.

    `previews` are the pictures to draw at intervals. Once the folder is written, the training can also be run without
    the studio, with the shell commands that `commands` returns. Raises: NotFound for a missing picture, mask or start
    version; BadInput for a missing caption and for invalid parameters.
    """
    store = workplace.store(job.character)
    asked = TrainPayload.of(job)
    frozen = store.datasets.get(asked.dataset)
    params = TrainParams.from_json(asked.params)
    run = TrainRun(
        folder=store.run_dir(job.id),
        items=train_items(store, frozen, params),
        params=params,
        previews=tuple(previews),
        trigger=store.character.trigger if frozen.role is Role.CHARACTER else "",
        start=_begun(workplace, job) or (store.adapter_path(asked.start) if asked.start else None),
        cache=store.cache_dir(),
        origin=asked.begun.name if asked.begun else "",
        origin_licence=asked.begun.licence if asked.begun else "",
    )
    try:
        weights: Path | None = workplace.registry.folder(workplace.registry.spec(asked.model))
    except ModelMissing:
        weights = None
    runfile.write(RunFile(asked.model, weights, run))
    return run


def _begun(workplace: Workplace, job: Job) -> Path | None:
    """Returns the copy, in a job's folder, of the library's LoRA that the training begins with; None without one.

    The copy is made once, so that the run needs no library. Raises: NotFound for a LoRA that is no longer here.
    """
    begun = TrainPayload.of(job).begun
    if begun is None:
        return None
    copy = workplace.store(job.character).run_dir(job.id) / _BEGUN
    if not copy.is_file():
        copy_file(LoraLibrary(workplace.library).path(begun.lora), copy)
    return copy


def ask_for(folder: Path, params: TrainParams) -> None:
    """Replaces the training parameters in the run file that `prepare` wrote to `folder`.

    Does nothing where that file is missing or cannot be read, because the job writes it again when it starts.
    """
    with suppress(NotFound, BadInput):
        file = runfile.read(folder)
        runfile.write(replace(file, run=replace(file.run, folder=folder, params=params)))


def commands(workplace: Workplace, job: Job) -> tuple[str, ...]:
    """Returns two shell commands that train a job's run without the studio: one in a single process, one on all GPUs.

    Returns () where `prepare` has not written the run to the job's folder yet.
    """
    folder = workplace.store(job.character).run_dir(job.id)
    if not (folder / runfile.RUN).is_file():
        return ()
    return tuple(
        _in_our_folder([sys.executable, "-m", *words, str(folder)])
        for words in ([_MODULE], ["accelerate.commands.launch", "-m", _MODULE])
    )


def _in_our_folder(words: Sequence[str]) -> str:
    """Returns a command line for this machine's shell that runs the words in the folder of the engines package."""
    root = str(Path(engines.__file__).resolve().parent.parent)
    if os.name == "nt":
        return f"cd /d {subprocess.list2cmdline([root])} && {subprocess.list2cmdline(words)}"
    return f"cd {shlex.quote(root)} && {shlex.join(words)}"
