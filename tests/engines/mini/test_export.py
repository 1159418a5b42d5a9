"""Tests how the files of the embedded models are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.mini.export import save_tensors, whole

pytestmark = pytest.mark.slow


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """Broken off, writing leaves the file as it was and nothing beside it."""
    path = tmp_path / "new" / "tensors.pt"
    with pytest.raises(KeyboardInterrupt), whole(path) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []

    save_tensors({"x": torch.ones(3)}, path)

    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.ones(3))
    assert list(path.parent.iterdir()) == [path]


def test_two_commands_write_one_file_at_once(tmp_path: Path) -> None:
    """Each writes a file of its own; the last to end wins."""
    path = tmp_path / "manifest.json"
    with whole(path) as first:
        first.write_text("the first")
        with whole(path) as second:
            second.write_text("the second")
        assert path.read_text() == "the second"
    assert path.read_text() == "the first"
