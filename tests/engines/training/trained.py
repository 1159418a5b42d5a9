"""Provides the families, and reads a training's adapter and optimiser state."""

from __future__ import annotations

from typing import Any

import pytest

from engines.api.protocols import CheckpointSaved, TrainRun

both = pytest.mark.parametrize("family", ["flux", "qwen-edit"])


def adapter_of(events: list[Any]) -> dict[str, Any]:
    """Returns the tensors of the last checkpoint's adapter."""
    from safetensors.torch import load_file

    return load_file([event for event in events if isinstance(event, CheckpointSaved)][-1].adapter)


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Returns whether two adapters are the same to the bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def optimizer_of(run: TrainRun) -> dict[int, dict[str, Any]]:
    """Returns a run's optimiser state by parameter."""
    from engines.training.checkpoint import latest

    checkpoint = latest(run.folder)
    assert checkpoint is not None
    return checkpoint.optimizer()["state"]
