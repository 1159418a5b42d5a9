"""What a training step takes, counted without a number computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.api.params import TrainParams
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, write_layout

pytestmark = pytest.mark.slow


def test_what_lives_is_counted() -> None:
    """A storage counts once however often it is viewed, and no longer than it lives; the peak remembers."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from frontdoor.bench.step_bytes import Live

    live = Live()
    with FakeTensorMode(), live:
        first = torch.empty(1024, dtype=torch.float32)
        second = first.view(32, 32) + 1
        assert (live.now, live.peak) == (8192, 8192)
        del first
        assert (live.now, live.peak) == (4096, 8192)
        assert live.restart() == 4096
        del second
        assert (live.now, live.peak) == (0, 4096)


@pytest.mark.parametrize(
    ("name", "side", "few"),
    [("FLUX.1-dev", 512, {"num_layers": 1, "num_single_layers": 2}), ("Qwen-Image-Edit-2511", 768, {"num_layers": 2})],
)
def test_the_planner_is_told_what_a_step_takes(name: str, side: int, few: dict[str, int], tmp_path: Path) -> None:
    """At the real width, with a few of the blocks: what is declared covers what is counted, and not by half as much."""
    library, kind, config = LAYOUTS[name]["transformer"]
    folder = write_layout({**LAYOUTS[name], "transformer": (library, kind, {**config, **few})}, tmp_path)
    spec = next(spec for spec in MODELS if spec.name == name)
    knobs: dict[str, Any] = {"resolution": side, "optimizer": "adamw8bit", "gradient_checkpointing": True}
    params = spec.params(TrainParams, **knobs)
    found = load_class("frontdoor.bench.step_bytes:count")(spec, folder, params)
    told = load_class(spec.trainer)(spec, folder).working_bytes(params)
    assert found < told < 1.5 * found
    more = load_class("frontdoor.bench.step_bytes:count")(spec, folder, params.replace(gradient_checkpointing=False))
    assert (
        found
        < more
        < load_class(spec.trainer)(spec, folder).working_bytes(params.replace(gradient_checkpointing=False))
    )
