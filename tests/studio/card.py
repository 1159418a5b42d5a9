"""A manager over a card of any size, and plans to try on it; sizes in MiB."""

from __future__ import annotations

from engines.api.protocols import Component, Plan, Stage
from engines.fake import FakeDevice, FakeWeights
from studio.gpu.manager import GpuManager

MIB = 1 << 20


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def part(key: str, mib: int, clock: Clock | None = None, seconds: float = 0.0) -> Component:
    """A component whose load takes `seconds` of the clock."""

    def load() -> FakeWeights:
        if clock is not None:
            clock.now += seconds
        return FakeWeights(key)

    return Component(key, mib * MIB, load)


def plan(*stages: tuple[str, tuple[Component, ...], int], what: str = "draw") -> Plan:
    """A plan from (name, components, working MiB)."""
    return Plan(what, tuple(Stage(name, parts, working * MIB) for name, parts, working in stages))


def one(component: Component, working: int = 0, what: str = "draw") -> Plan:
    """A plan of one stage named `go`."""
    return plan(("go", (component,), working), what=what)


def manager(
    device: FakeDevice, budget: int = 100, reserve: int = 0, host: int | None = None, clock: Clock | None = None
) -> GpuManager:
    """A manager with sizes in MiB."""
    host_bytes = None if host is None else host * MIB
    return GpuManager(
        device, budget * MIB, {}, reserve_bytes=reserve * MIB, host_bytes=host_bytes, clock=clock or Clock()
    )


def run(gpu: GpuManager, wanted: Plan) -> None:
    """Go through every stage of a plan."""
    with gpu.lease(wanted) as lease:
        for stage in wanted.stages:
            with lease.stage(stage.name):
                pass


def keys(gpu: GpuManager) -> list[str]:
    """Who is on the card."""
    return [key for key, _ in gpu.status().residents]
