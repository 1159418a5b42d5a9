"""What the planner says of the real models, counted again."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from engines.api.forms import ROWS
from engines.catalogue.models import MODELS
from engines.catalogue.shapes import LAYOUTS, write_layout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_meta(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How a part's model is built without weights; parts that are described alike are built once."""
    from engines.weights import components

    built: dict[str, Any] = {}

    def build(row: str, name: str) -> Any:
        key = json.dumps(LAYOUTS[row][name])
        if key not in built:
            folder = write_layout(LAYOUTS[row], tmp_path_factory.mktemp("layout"))
            built[key] = components.bare(folder, name, folder / name)
        return built[key]

    return build


@pytest.mark.parametrize("row", [spec.name for spec in MODELS if spec.name in LAYOUTS])
def test_planned_bytes_are_those_of_the_shapes(row: str, on_meta: Any, tmp_path: Path) -> None:
    """Component.bytes of every part, in every form, is what the published shapes count on the meta device."""
    import torch

    from engines.weights import components
    from engines.weights.quantise import model_bytes, skeleton

    spec = next(spec for spec in MODELS if spec.name == row)
    for name in LAYOUTS[row]:
        model = on_meta(row, name)
        weights = sum(weight.numel() for weight in model.parameters())
        assert components.component(components.in_form(spec, "bf16"), tmp_path, name).bytes == 2 * weights
        for form in ROWS:
            planned = components.component(components.in_form(spec, form), tmp_path, name).bytes
            held = components.form_of(components.in_form(spec, form), tmp_path, name)
            assert planned == model_bytes(skeleton(deepcopy(model), held, torch.bfloat16), held, torch.bfloat16)


def test_the_large_parts_are_quantised_by_default() -> None:
    """A real row holds its transformer and its large text encoder in 4 bits unless told otherwise."""
    for spec in (spec for spec in MODELS if spec.name in LAYOUTS):
        large = {name for name, size in spec.component_bytes.items() if "." not in name and size > 4 << 30}
        assert set(spec.options["nf4"]) == large
