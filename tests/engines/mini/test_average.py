"""The mean of two trainings of one model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engines.mini.average import average_file, mean_of

pytestmark = pytest.mark.slow


def test_a_mean_is_of_full_precision_and_stored_as_ours_are() -> None:
    """The weights are mixed in float32 and rounded once; at weight 0 and 1 they are one or the other."""
    ours = {"a": torch.randn(64, generator=torch.Generator().manual_seed(0)).bfloat16()}
    others = {"a": torch.randn(64, generator=torch.Generator().manual_seed(1))}
    mixed = mean_of(ours, others, 0.08)["a"]
    assert mixed.dtype == torch.bfloat16
    exact = 0.92 * ours["a"].double() + 0.08 * others["a"].double()
    assert float(((mixed.double() - exact) / exact).abs().max()) < 2**-8
    assert torch.equal(mean_of(ours, others, 0.0)["a"], ours["a"])
    assert torch.equal(mean_of(ours, others, 1.0)["a"], others["a"].bfloat16())


def test_two_different_models_have_no_mean() -> None:
    """A name or a shape that only one of them has is refused."""
    one = {"a": torch.zeros(2)}
    for other in ({"b": torch.zeros(2)}, {"a": torch.zeros(3)}, one | {"b": torch.zeros(1)}):
        with pytest.raises(ValueError, match="names or shapes differ"):
            mean_of(one, other, 0.5)


def test_a_file_is_averaged_in_its_place(tmp_path: Path) -> None:
    """Ours becomes the mean and keeps what else it says; the other file stays as it was."""
    ours, others = tmp_path / "ours.safetensors", tmp_path / "others.safetensors"
    save_file({"a": torch.zeros(4)}, ours, {"format": "pt"})
    save_file({"a": torch.ones(4)}, others, {"format": "pt"})
    average_file(ours, others, 0.25)
    assert torch.equal(load_file(ours)["a"], torch.full((4,), 0.25))
    assert torch.equal(load_file(others)["a"], torch.ones(4))
    with safe_open(ours, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert set(tmp_path.iterdir()) == {ours, others}
