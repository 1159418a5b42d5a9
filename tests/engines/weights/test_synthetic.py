"""Models of published shapes with random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.catalogue.shapes import Part

pytestmark = pytest.mark.slow


def test_what_the_row_keeps_at_full_width_is_not_quantised(toy_flux, flux_folder: Path, tmp_path: Path) -> None:
    """The built component loads, and has the layers at full width that a pulled one would have."""
    from torch import nn

    from engines.weights import components, synthetic

    config = json.loads((flux_folder / "transformer" / "config.json").read_text())
    layout = {"transformer": Part("diffusers", "FluxTransformer2DModel", config)}
    kept = {"nf4": ("transformer",), "full_width": ("transformer_blocks",)}
    row = replace(toy_flux, options={**toy_flux.options, **kept})

    folder = synthetic.build(row, layout, tmp_path)

    model = components.load(row, folder, "transformer")
    layers = {path: type(each) is nn.Linear for path, each in model.named_modules() if isinstance(each, nn.Linear)}
    assert all(plain for path, plain in layers.items() if path.startswith("transformer_blocks."))
    assert not any(plain for path, plain in layers.items() if path.startswith("single_transformer_blocks."))
