"""Writes and reads checkpoints; each is complete or absent, and only its own training can resume from it."""

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
from engines.api.params import Json, TrainParams
from engines.catalogue.durable import flush

ADAPTER = "adapter.safetensors"
_OPTIMIZER = "optimizer.pt"
_STATE = "state.json"
_PREVIEWS_DONE = "previews.told"
_COMPLETE = re.compile(r"step-(\d{6,})")

OptimizerState = Mapping[str, Any]  # as torch's `state_dict` has it


@dataclass(frozen=True)
class Identity:
    """Holds all that must be unchanged for a training to resume from a checkpoint.

    `model`: the base model's name; `weights`: a hash of this model's files; `dataset`: a hash of the pictures
    with their captions; `knobs`: the training parameters, except those that may change on a resume; `start`: a hash of
    the LoRA file that the training began with, "" for a new LoRA; `trigger`: the trigger word, "" if the loss does not
    depend on it.
    """

    model: str
    weights: str  # hash of the files of the transformer and the encoders
    dataset: str  # hash of the pictures, of what is shown of them, and of their captions
    knobs: Json  # TrainParams in its JSON form, without those that a resume may change
    start: str = ""  # hash of the adapter that the training began with
    trigger: str = ""  # where the loss depends on it

    def to_json(self) -> Json:
        """Returns the identity as one flat JSON object.

        The training parameters are entries beside the other fields. An empty `start` or `trigger` is left out.
        """
        optional = {"start": self.start, "trigger": self.trigger}
        return {
            **self.knobs,
            **{name: value for name, value in optional.items() if value},
            "model": self.model,
            "weights": self.weights,
            "dataset": self.dataset,
        }

    @classmethod
    def from_json(cls, data: Json) -> Identity:
        """Creates an identity from the object that `to_json` returned."""
        names = ("model", "weights", "dataset", "start", "trigger")
        knobs = {name: value for name, value in data.items() if name not in names}
        return cls(knobs=knobs, **{name: data.get(name, "") for name in names})


@dataclass(frozen=True)
class Checkpoint:
    """Describes a complete checkpoint on disk: its folder, its step, and the `Identity` of its training."""

    folder: Path
    step: int
    identity: Identity

    @property
    def adapter(self) -> Path:
        """Returns the path of the checkpoint's LoRA file."""
        return self.folder / ADAPTER

    @property
    def previews_done(self) -> bool:
        """Returns whether all preview pictures of the checkpoint's step were generated.

        If not, a resumed training generates them again.
        """
        return (self.folder / _PREVIEWS_DONE).is_file()

    def optimizer(self) -> dict[str, Any]:
        """Loads the optimiser's state dict from the checkpoint to the CPU, and returns it.

        Its additional entry `raw` is a list of the trained weights if the training has an EMA, because the LoRA file
        then holds the averages; otherwise it is an empty list.
        """
        state: dict[str, Any] = torch.load(self.folder / _OPTIMIZER, map_location="cpu", weights_only=True)
        return state


@contextmanager
def locked(run_folder: Path) -> Iterator[None]:
    """Locks a run's folder inside a `with` block, so that no other process trains in it.

    The operating system frees the lock of a killed process. Raises: Busy if another process has the lock.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(run_folder / "run.lock", timeout=0).acquire()
    except Timeout as error:
        raise Busy(
            f"Another process is training in {run_folder}.", "Wait until it has ended, or stop it first."
        ) from error
    with lock:
        yield


def latest(run_folder: Path) -> Checkpoint | None:
    """Returns the newest complete checkpoint of a run; None where there is none. Raises: BadInput if it is damaged."""
    found = _complete(run_folder)
    if not found:
        return None
    folder = found[max(found)]
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        return Checkpoint(folder, state["step"], Identity.from_json(state["identity"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{folder / _STATE} cannot be read ({error}).",
            f"Delete the folder {folder.name} to train on from the checkpoint before it.",
        ) from error


def save(
    run_folder: Path,
    step: int,
    identity: Identity,
    optimizer: OptimizerState,
    write_adapter: Callable[[Path], None],
) -> Checkpoint:
    """Writes a checkpoint to the run's folder, completely or not at all, and returns its description.

    `optimizer`: the optimiser's state dict; `write_adapter`: writes the LoRA file to the path that it is given. An
    error in it leaves no checkpoint. If the run has a checkpoint of this step already, that one is kept and nothing is
    written.
    """
    home = run_folder / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    final, draft = home / f"step-{step:06d}", home / f".step-{step:06d}.tmp"
    if final.exists():  # the same training at the same step is the same state
        return Checkpoint(final, step, identity)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        write_adapter(draft / ADAPTER)
        with (draft / _OPTIMIZER).open("wb") as stream:  # torch's own file hides why the disk refuses
            torch.save(dict(optimizer), stream)
        state = {"step": step, "identity": identity.to_json()}
        (draft / _STATE).write_text(json.dumps(state, indent=1, sort_keys=True), encoding="utf-8")
        for file in draft.iterdir():
            flush(file)
        flush(draft)
        draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # half of one would keep a full disk full
    flush(home)
    return Checkpoint(final, step, identity)


def mark_previews_done(run_folder: Path, step: int) -> None:
    """Records on disk, in the checkpoint of a step, that all previews of this step were generated.

    Does nothing if the step has no checkpoint.
    """
    folder = _complete(run_folder).get(step)
    if folder:
        (folder / _PREVIEWS_DONE).touch()


def prune(run_folder: Path, save_every: int) -> None:
    """Deletes a run's checkpoints from the disk, except the newest and those whose step is a multiple of `save_every`.

    With `save_every` 0 only the newest is kept. It also deletes incomplete checkpoints that a crash left.
    """
    home, found = run_folder / "checkpoints", _complete(run_folder)
    for step in sorted(found)[:-1]:
        if save_every <= 0 or step % save_every:
            draft = home / f".{found[step].name}.tmp"
            shutil.rmtree(draft, ignore_errors=True)
            found[step].rename(draft)  # what a crash leaves of it is no checkpoint
    for draft in home.glob(".step-*.tmp"):
        shutil.rmtree(draft)


def check_same(checkpoint: Checkpoint, identity: Identity) -> None:
    """Checks that a checkpoint belongs to the training with this identity: same data set, base model and parameters.

    A parameter that the checkpoint lacks, because it was introduced later, counts as having its default value. Raises:
    BadInput, with a message that lists all differences.
    """
    defaults, now = json.loads(json.dumps(TrainParams().to_json())), identity.to_json()
    before = {name: value for name, value in defaults.items() if name in now} | checkpoint.identity.to_json()
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if not changed:
        return
    words = "; ".join(f"{name}: {before.get(name)} → {now.get(name)}" for name in changed)
    raise BadInput(
        f"{checkpoint.folder} belongs to another training ({words}).",
        "Start a new training, or put the settings and the pictures back as they were.",
    )


def _complete(run_folder: Path) -> dict[int, Path]:
    """Returns the folders of the complete checkpoints by their steps."""
    folders = (run_folder / "checkpoints").glob("step-*")
    matches = ((_COMPLETE.fullmatch(folder.name), folder) for folder in folders)
    return {int(match[1]): folder for match, folder in matches if match and (folder / _STATE).is_file()}
