"""Stand-ins that ship with the studio: tests and development use them instead of mocks."""

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
