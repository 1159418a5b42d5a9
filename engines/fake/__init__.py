"""Provides fakes that ship with the studio, for tests and development instead of mocks."""

from engines.fake.asking import FakeAsker
from engines.fake.device import FakeCard, FakeDevice, FakeWeights
from engines.fake.models import (
    FAKE_MODELS,
    FakeCaptioner,
    FakeEditor,
    FakeGenerator,
    FakeScorer,
    FakeTrainer,
    fake_registry,
)

__all__ = [
    "FAKE_MODELS",
    "FakeAsker",
    "FakeCaptioner",
    "FakeCard",
    "FakeDevice",
    "FakeEditor",
    "FakeGenerator",
    "FakeScorer",
    "FakeTrainer",
    "FakeWeights",
    "fake_registry",
]
