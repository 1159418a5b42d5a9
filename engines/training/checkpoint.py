"""Full training states on disk: whole or not there, and refused where they belong to another training."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from engines.api.errors import BadInput, Busy
from engines.api.params import TrainParams
from engines.training.runfile import flush

ADAPTER = "adapter.safetensors"
_OPTIMIZER = "optimizer.pt"
_STATE = "state.json"
_TOLD = "previews.told"
_COMPLETE = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """One complete state; `identity` tells which training it belongs to."""

    folder: Path
    step: int
    identity: Mapping[str, Any]

    @property
    def adapter(self) -> Path:
        """The LoRA file in it."""
        return self.folder / ADAPTER

    @property
    def told(self) -> bool:
        """Whether its step's previews have been handed on; until then a resume owes them."""
        return (self.folder / _TOLD).is_file()

    def optimizer(self) -> dict[str, Any]:
        """The optimiser's state, on the CPU."""
        state: dict[str, Any] = torch.load(self.folder / _OPTIMIZER, map_location="cpu", weights_only=True)
        return state


@contextmanager
def claimed(run_folder: Path) -> Iterator[None]:
    """Keep other processes from training in the folder; a killed one lets go of it. Raises: Busy."""
    run_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_folder / "run.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise Busy(
            f"Another process is training in {run_folder}.", "Wait until it has ended, or stop it first."
        ) from error


def latest(run_folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint of a run, or none."""
    found = _complete(run_folder)
    if not found:
        return None
    folder = found[max(found)]
    state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    return Checkpoint(folder, state["step"], state["identity"])


def save(
    run_folder: Path,
    step: int,
    identity: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    write_adapter: Callable[[Path], None],
) -> Checkpoint:
    """Write a state beside its final place, push it to the disk, and only then give it its name.

    `write_adapter` gets the path of the LoRA file to write; what it raises leaves no checkpoint behind.
    """
    home = run_folder / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    final, draft = home / f"step-{step:06d}", home / f".step-{step:06d}.tmp"
    if final.exists():  # the same training at the same step is the same state
        return Checkpoint(final, step, dict(identity))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        write_adapter(draft / ADAPTER)
        with (draft / _OPTIMIZER).open("wb") as stream:  # torch's own file hides why the disk refuses
            torch.save(dict(optimizer), stream)
        state = {"step": step, "identity": dict(identity)}
        (draft / _STATE).write_text(json.dumps(state, indent=1, sort_keys=True), encoding="utf-8")
        for file in draft.iterdir():
            flush(file)
        flush(draft)
        draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # a half one would keep a full disk full
    flush(home)
    return Checkpoint(final, step, dict(identity))


def settle(run_folder: Path, step: int) -> None:
    """Note that a step's previews have been handed on, where it has a checkpoint to resume from."""
    folder = _complete(run_folder).get(step)
    if folder:
        (folder / _TOLD).touch()


def prune(run_folder: Path, save_every: int) -> None:
    """Drop what is neither the newest nor one of those asked for; drafts of a crash go too."""
    found = _complete(run_folder)
    for step in sorted(found)[:-1]:
        if save_every <= 0 or step % save_every:
            shutil.rmtree(found[step])
    for draft in (run_folder / "checkpoints").glob(".step-*.tmp"):
        shutil.rmtree(draft)


def check_same(checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
    """Refuse to go on with other data, another base or other knobs. Raises: BadInput.

    A knob that did not exist when the checkpoint was written counts as its default.
    """
    defaults = json.loads(json.dumps(TrainParams().to_json()))
    before = {**{name: value for name, value in defaults.items() if name in identity}, **checkpoint.identity}
    changed = [key for key in sorted({*before, *identity}) if before.get(key) != identity.get(key)]
    if not changed:
        return
    words = "; ".join(f"{key}: {before.get(key)} → {identity.get(key)}" for key in changed)
    raise BadInput(
        f"{checkpoint.folder} belongs to another training ({words}).",
        "Start a new training, or put the settings and the pictures back as they were.",
    )


def _complete(run_folder: Path) -> dict[int, Path]:
    folders = (run_folder / "checkpoints").glob("step-*")
    matches = ((_COMPLETE.fullmatch(folder.name), folder) for folder in folders)
    return {int(match[1]): folder for match, folder in matches if match and (folder / _STATE).is_file()}
