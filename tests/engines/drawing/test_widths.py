"""The embedded models with their transformer in 4 and in 8 bits, against the same at full width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assets
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import EditItem
from engines.catalogue.registry import Registry, load_class

pytestmark = pytest.mark.slow

GREY_LEVELS = {
    "nf4": 12.0,
    "int8": 1.0,
    "fp8": 4.0,
}  # mean difference that is allowed; measured over more pictures: 6 and 0.5


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The shipped rows and weights."""
    return Registry(Path(assets.__file__).parent, tmp_path_factory.mktemp("models"))


def _items(registry: Registry, model: str) -> list[Any]:
    from engines.mini import world

    spec = registry.spec(model)
    if spec.role == "generator":
        words = "person, front view, smiling, red shirt, forest"
        return [spec.params(GenerateParams, prompt=words, steps=2, seed=seed) for seed in (0,)]
    sources = [world.draw(scene) for scene in world.sample_scenes(3)[:1]]
    words = "put the person in the forest"
    return [EditItem(picture, spec.params(EditParams, instruction=words, steps=2)) for picture in sources]


def _pictures(registry: Registry, model: str, host_lease: Any, steps: Any, **options: Any) -> Any:
    spec, items = registry.spec(model), _items(registry, model)
    spec = replace(spec, options={**spec.options, **options})
    engine = load_class(spec.engine)(spec, registry.folder(spec))
    draw = engine.generate if spec.role == "generator" else engine.edit
    return np.stack([np.asarray(picture).astype(int) for picture in draw(items, host_lease(engine.plan(items)), steps)])


@pytest.mark.parametrize("model", ["mini-flux", "mini-qwen-edit"])
def test_quantised_pictures_stay_close(registry, host_lease, steps, model) -> None:
    """In 8 bits a picture is the plain one to a grey level on average, in 4 bits to twelve."""
    plain = _pictures(registry, model, host_lease, steps)
    for width, allowed in GREY_LEVELS.items():
        narrow = _pictures(registry, model, host_lease, steps, **{width: ("transformer",)})
        assert 0 < np.abs(narrow - plain).mean() < allowed


@pytest.mark.parametrize("width", ["", "int8"])
def test_a_table_changes_no_picture(registry, host_lease, steps, width) -> None:
    """At each width an edit with the modulation table is the edit without it, to the bit."""
    narrow = {width: ("transformer",)} if width else {}
    plain = _pictures(registry, "mini-qwen-edit", host_lease, steps, **narrow)
    table = _pictures(registry, "mini-qwen-edit", host_lease, steps, modulation="table", **narrow)
    assert np.array_equal(table, plain)
