"""A lease that plays each stage of a job alone on the card, and keeps what the stage took."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.card.card import PlayedCard  # before torch

from engines.api.protocols import Lease, Plan, Stage  # isort: skip
from studio.gpu.manager import GpuManager  # isort: skip


@dataclass
class Watched:
    """A lease whose stages find the card empty, but for what the job itself holds; `peaks`: their bytes, by name."""

    gpu: GpuManager
    card: PlayedCard
    lease: Lease
    peaks: dict[str, int] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Returns torch's name of the card."""
        return self.lease.device

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Puts the components of a stage on the card inside a `with` block."""
        self.gpu.unload_all()
        gc.collect()
        self.card.highest = self.card.used
        with self.lease.stage(name) as parts:
            yield parts
        self.peaks[name] = max(self.peaks.get(name, 0), self.card.highest)


def weights(stage: Stage) -> int:
    """Returns the bytes of a stage's components on the card."""
    return sum(map(stage.size, stage.components))


def planned(plan: Plan, names: Mapping[str, int]) -> int:
    """Returns the bytes of the hungriest of the stages with these names, as planned."""
    return max(weights(stage) + stage.working_bytes for stage in plan.stages if stage.name in names)
