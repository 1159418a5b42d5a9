"""States on disk are whole, or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, LoraMismatch

pytestmark = pytest.mark.slow


def _save(run: Path, step: int, identity: dict[str, Any] | None = None) -> Any:
    import torch

    from engines.training.checkpoint import save

    optimizer = {"state": {0: {"exp_avg": torch.full((2,), float(step))}}}
    return save(run, step, identity or {"rank": 4}, optimizer, lambda path: path.write_text("adapter"))


def test_newest_complete_state_is_found(tmp_path: Path) -> None:
    """The highest step counts; drafts and folders without a state do not."""
    from engines.training.checkpoint import latest

    assert latest(tmp_path) is None
    _save(tmp_path, 100)
    _save(tmp_path, 20)
    (tmp_path / "checkpoints" / ".step-000300.tmp").mkdir()
    (tmp_path / "checkpoints" / "step-000200").mkdir()

    found = latest(tmp_path)
    assert found is not None
    assert (found.step, found.identity, found.adapter.read_text()) == (100, {"rank": 4}, "adapter")
    assert found.optimizer()["state"][0]["exp_avg"].tolist() == [100.0, 100.0]


def test_failed_adapter_leaves_no_checkpoint(tmp_path: Path) -> None:
    """What raises while it is written never gets a name, and the next try starts clean."""
    from engines.training.checkpoint import latest, save

    def broken(path: Path) -> None:
        path.write_text("half")
        raise LoraMismatch("no")

    with pytest.raises(LoraMismatch):
        save(tmp_path, 5, {}, {}, broken)
    assert latest(tmp_path) is None
    assert _save(tmp_path, 5).adapter.read_text() == "adapter"


def test_prune_keeps_the_newest_and_those_asked_for(tmp_path: Path) -> None:
    """Multiples of `save_every` stay, and the last, whatever its step."""
    from engines.training.checkpoint import prune

    for step in (100, 130, 200, 210):
        _save(tmp_path, step)
    prune(tmp_path, 100)

    kept = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000100", "step-000200", "step-000210"]


def test_other_identity_is_refused_by_name(tmp_path: Path) -> None:
    """The refusal says which knob differs, and from what to what."""
    from engines.training.checkpoint import check_same

    saved = _save(tmp_path, 1, {"rank": 4, "learning_rate": 1e-4})
    check_same(saved, {"rank": 4, "learning_rate": 1e-4})
    with pytest.raises(BadInput, match="rank: 4 → 8"):
        check_same(saved, {"rank": 8, "learning_rate": 1e-4})


def test_a_knob_that_is_new_is_no_other_training(tmp_path: Path) -> None:
    """A checkpoint from before the knob goes on with its default, and not with another value."""
    from engines.training.checkpoint import check_same

    saved = _save(tmp_path, 100, {"rank": 4})
    check_same(saved, {"rank": 4, "flip": False, "resolutions": []})
    with pytest.raises(BadInput, match="flip: False → True"):
        check_same(saved, {"rank": 4, "flip": True})
