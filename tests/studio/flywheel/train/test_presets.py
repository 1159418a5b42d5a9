"""A model's own training knobs are a row's data, and each row says where they come from."""

from __future__ import annotations

import pytest

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from engines.catalogue.models import MODELS

TRAINABLE = [spec for spec in MODELS if spec.trainer]


@pytest.mark.parametrize("spec", TRAINABLE, ids=lambda spec: spec.name)
def test_every_preset_says_why(spec: ModelSpec) -> None:
    """Whoever can be trained has knobs of its own, and tells who uses such values or what they were measured with."""
    assert spec.defaults["TrainParams"]
    assert spec.why["TrainParams"].endswith(".")


@pytest.mark.parametrize("spec", TRAINABLE, ids=lambda spec: spec.name)
def test_every_preset_trains_at_guidance_one_and_full_strength(spec: ModelSpec) -> None:
    """A distilled model learns at guidance 1, and alpha ÷ rank is 1, so that learning rates can be compared."""
    params = spec.params(TrainParams)
    assert (params.guidance, params.alpha) == (1.0, float(params.rank))
