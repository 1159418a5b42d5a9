"""Tests that checkpoints are complete or absent."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, Busy, LoraMismatch

pytestmark = pytest.mark.slow


def _identity(**knobs: Any) -> Any:
    from engines.training.checkpoint import Identity

    return Identity(model="tiny", weights="w", dataset="d", knobs=knobs)


def _save(run: Path, step: int, **knobs: Any) -> Any:
    import torch

    from engines.training.checkpoint import save

    optimizer = {"state": {0: {"exp_avg": torch.full((2,), float(step))}}}
    return save(run, step, _identity(**knobs), optimizer, lambda path: path.write_text("adapter"))


def test_newest_complete_state_is_found(tmp_path: Path) -> None:
    """The checkpoint with the highest step is the newest; drafts and folders without a state are ignored."""
    from engines.training.checkpoint import latest

    assert latest(tmp_path) is None
    _save(tmp_path, 100, rank=4)
    _save(tmp_path, 20, rank=4)
    (tmp_path / "checkpoints" / ".step-000300.tmp").mkdir()
    (tmp_path / "checkpoints" / "step-000200").mkdir()

    found = latest(tmp_path)
    assert found is not None
    assert (found.step, found.identity, found.adapter.read_text()) == (100, _identity(rank=4), "adapter")
    assert found.optimizer()["state"][0]["exp_avg"].tolist() == [100.0, 100.0]


def test_failed_adapter_leaves_no_checkpoint(tmp_path: Path) -> None:
    """An error while the adapter is written leaves no checkpoint, and the next attempt succeeds."""
    from engines.training.checkpoint import latest, save

    def broken(path: Path) -> None:
        path.write_text("half")
        raise LoraMismatch("no")

    with pytest.raises(LoraMismatch):
        save(tmp_path, 5, _identity(), {}, broken)
    assert latest(tmp_path) is None
    assert _save(tmp_path, 5).adapter.read_text() == "adapter"


def test_prune_keeps_the_newest_and_those_asked_for(tmp_path: Path) -> None:
    """Multiples of `save_every` stay, and the newest checkpoint, whatever its step."""
    from engines.training.checkpoint import prune

    for step in (100, 130, 200, 210):
        _save(tmp_path, step)
    prune(tmp_path, 100)

    kept = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000100", "step-000200", "step-000210"]


def test_a_crash_while_pruning_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    """After a crash between two files of a checkpoint every checkpoint is whole; the next time it is swept away."""
    from engines.training.checkpoint import prune

    class Crash(BaseException):
        """Stands for the end of the process."""

    deleted = []

    def crash(_frame: object, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ == "unlink":
            deleted.append(called)
            if len(deleted) == 2:
                raise Crash

    for step in (1, 2):
        _save(tmp_path, step)
    home = tmp_path / "checkpoints"
    sys.setprofile(crash)
    try:
        with pytest.raises(Crash):
            prune(tmp_path, 0)
    finally:
        sys.setprofile(None)

    assert [folder.name for folder in home.glob("step-*")] == ["step-000002"]
    prune(tmp_path, 0)
    assert [folder.name for folder in home.iterdir()] == ["step-000002"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"step": 2, "identity": []}'])
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """The error names the file, and the folder that is to go for the checkpoint before it to be found."""
    from engines.training.checkpoint import latest

    for step in (1, 2):
        _save(tmp_path, step)
    (tmp_path / "checkpoints" / "step-000002" / "state.json").write_text(text)
    with pytest.raises(BadInput, match=r"state\.json cannot be read.*Delete the folder step-000002"):
        latest(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "step-000002")
    found = latest(tmp_path)
    assert found is not None and found.step == 1


def test_a_locked_folder_is_busy_and_nothing_else_is(tmp_path: Path) -> None:
    """A second training of the folder is refused; another lock that times out within the first is told as itself."""
    from filelock import Timeout

    from engines.training.checkpoint import locked

    with locked(tmp_path), pytest.raises(Busy, match="Another process"), locked(tmp_path):
        pass
    with pytest.raises(Timeout, match="other"), locked(tmp_path):
        raise Timeout("other")
    with locked(tmp_path):
        pass


def test_other_identity_is_refused_by_name(tmp_path: Path) -> None:
    """The refusal names the knob that differs and both of its values."""
    from engines.training.checkpoint import check_same

    saved = _save(tmp_path, 1, rank=4, learning_rate=1e-4)
    check_same(saved, _identity(rank=4, learning_rate=1e-4))
    with pytest.raises(BadInput, match="rank: 4 → 8"):
        check_same(saved, _identity(rank=8, learning_rate=1e-4))


def test_a_knob_that_is_new_is_no_other_training(tmp_path: Path) -> None:
    """A checkpoint from before a knob existed resumes with its default value, and with no other."""
    from engines.training.checkpoint import check_same

    saved = _save(tmp_path, 100, rank=4)
    check_same(saved, _identity(rank=4, flip=False, resolutions=[]))
    with pytest.raises(BadInput, match="flip: False → True"):
        check_same(saved, _identity(rank=4, flip=True))


def test_an_identity_keeps_the_form_of_earlier_checkpoints() -> None:
    """Its JSON is one flat object of knobs and hashes, without an empty start or trigger, and comes back equal."""
    import dataclasses

    from engines.training.checkpoint import Identity

    plain = _identity(rank=4, resolutions=[])
    full = dataclasses.replace(plain, start="s", trigger="ohwx")

    assert plain.to_json() == {"rank": 4, "resolutions": [], "model": "tiny", "weights": "w", "dataset": "d"}
    assert full.to_json() == {**plain.to_json(), "start": "s", "trigger": "ohwx"}
    assert [Identity.from_json(each.to_json()) for each in (plain, full)] == [plain, full]
