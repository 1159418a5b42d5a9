"""A studio with one model that is not here, and the hub that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from engines.api.protocols import ModelSpec
from engines.catalogue.registry import Registry
from engines.fake import FAKE_MODELS, FakeDevice
from engines.fake.hub import FakeHub
from studio.open import open_workplace
from studio.settings import Settings
from studio.workplace.desk import Workplace

WEIGHTS = save({"weight": np.zeros(1, np.float32)})
FAR = ModelSpec(
    name="far", label="far away", role="scorer", family="image-encoder", engine="engines.identity:ImageScorer",
    source="maker/far", licence="Far Licence", component_bytes={"model": len(WEIGHTS)},
)  # fmt: skip
GATED = ModelSpec(
    name="gated", label="gated", role="generator", family="fake", engine="engines.fake:FakeGenerator",
    source="maker/gated", licence="Gated Licence", gated=True, component_bytes={"transformer": 1 << 60},
)  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> FakeHub:
    """A hub with one small model, which breaks off once."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "hub" / "config.json").write_bytes(b"{}")
    return FakeHub(tmp_path / "hub", cut={"model.safetensors": 3})


@pytest.fixture
def place(tmp_path: Path, hub: FakeHub) -> Iterator[Workplace]:
    """A studio without a character, with models that are not here."""
    settings = Settings(data_root=tmp_path / "home", assets=tmp_path / "assets", device="fake")
    registry = Registry(settings.assets, tmp_path / "models", (*FAKE_MODELS, FAR, GATED))
    made = open_workplace(settings, registry=registry, device=FakeDevice(24 << 30))
    made.hub = hub
    yield made
    made.close()
