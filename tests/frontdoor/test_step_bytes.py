"""The bytes of a training step, counted without computing a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.api.params import TrainParams
from engines.catalogue.models import MODELS
from engines.catalogue.registry import load_class
from engines.catalogue.shapes import LAYOUTS, write_layout

pytestmark = pytest.mark.slow


def test_storages_that_are_alive_are_counted() -> None:
    """A storage counts once however many views it has, and until it is freed; the peak stays until a restart."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from frontdoor.bench.step_bytes import LiveBytes

    live = LiveBytes()
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
def test_declared_bytes_cover_the_counted_ones(name: str, side: int, few: dict[str, int], tmp_path: Path) -> None:
    """At the real width, with few blocks, the declared bytes are 1 to 1.5 times the counted ones."""
    library, kind, config = LAYOUTS[name]["transformer"]
    folder = write_layout({**LAYOUTS[name], "transformer": (library, kind, {**config, **few})}, tmp_path)
    spec = next(spec for spec in MODELS if spec.name == name)
    knobs: dict[str, Any] = {"resolution": side, "optimizer": "adamw8bit", "gradient_checkpointing": True}
    params = spec.params(TrainParams, **knobs)
    found = load_class("frontdoor.bench.step_bytes:count")(spec, folder, params)
    declared = load_class(spec.trainer)(spec, folder).working_bytes(params)
    assert found < declared < 1.5 * found
    whole = params.replace(gradient_checkpointing=False)
    more = load_class("frontdoor.bench.step_bytes:count")(spec, folder, whole)
    assert found < more < load_class(spec.trainer)(spec, folder).working_bytes(whole)
