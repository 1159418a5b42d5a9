"""Ten thousand jobs of any kind on cards of any size: whatever happens, the card stays whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from engines.api.errors import Cancelled, OutOfMemory
from engines.api.protocols import Component, Plan, Stage
from engines.fake import FakeDevice, FakeWeights
from studio.gpu.manager import GpuManager
from tests.studio.card import MIB

pytestmark = pytest.mark.slow
SEQUENCES = 10_000
CARDS = 250
THREADED = 50  # of the cards
FATES = ("done", "done", "done", "break", "run out", "cancel", "abandon", "nest", "unload")


class Broken(Exception):
    """What a bug in an engine raises."""


@dataclass
class Bench:
    """A card, its manager, and the parts that its jobs choose from."""

    device: FakeDevice
    gpu: GpuManager
    parts: list[Component]
    host: int | None
    abandoned: object = None  # a stage that nobody leaves, kept from the garbage collector
    crowded: bool = False  # several threads at once: what lies about may be another's, who still sweeps it

    @classmethod
    def of(cls, dice: random.Random) -> Bench:
        """Any card, with any models; every tenth allocation fails or so."""
        fail_at = {number for number in range(1, 400) if dice.random() < dice.choice((0.0, 0.02, 0.3))}
        device = FakeDevice(dice.randint(40, 130) * MIB, fail_at)
        host = dice.choice((None, 0, 60 * MIB))
        gpu = GpuManager(device, 100 * MIB, {}, reserve_bytes=3 * MIB, host_bytes=host)
        return cls(device, gpu, [any_part(dice, key) for key in range(dice.randint(2, 7))], host)

    def job(self, dice: random.Random) -> None:
        """Lease any plan and go through it; it ends in one of the ways that jobs end in."""
        cancel = threading.Event()
        wanted = any_plan(dice, self.parts)
        fit = self.gpu.check(wanted)
        try:
            with self.gpu.lease(wanted, cancelled=cancel.is_set) as lease:
                assert fit.ok
                for stage in wanted.stages:
                    fate = dice.choice(FATES)
                    if fate == "cancel":
                        cancel.set()
                    if fate == "abandon":
                        self.abandoned = entered = lease.stage(stage.name)
                        entered.__enter__()
                        return
                    with lease.stage(stage.name) as placed:
                        self.inside(stage, placed)
                        self.work(dice, fate)
        except OutOfMemory as error:
            assert " needs " in str(error)
            assert "reserve 3.0 MiB" in str(error)
            assert self.device.litter == 0 or self.crowded

    def inside(self, stage: Stage, placed: Mapping[str, FakeWeights]) -> None:
        """In a stage every part is on the card, whole or streamed, and the sum keeps to the budget."""
        for weights in placed.values():
            assert weights.device == "fake"
        assert len(placed) == len(stage.components)
        assert self.gpu.status().used + 3 * MIB <= self.gpu.budget
        self.whole()

    def work(self, dice: random.Random, fate: str) -> None:
        """Use memory, and what else engines do."""
        with suppress(OutOfMemory):
            if fate == "nest":
                with self.gpu.lease(any_plan(dice, self.parts)) as inner:
                    for stage in inner.plan.stages:
                        with inner.stage(stage.name) as placed:
                            self.inside(stage, placed)
        if fate == "break":
            raise Broken
        if fate == "unload":
            self.gpu.unload_all()
        if fate == "run out":
            self.device.work(self.device.total_bytes())
        self.device.work(dice.randint(0, 2) * MIB)

    def whole(self) -> None:
        """Nothing is on the card that the manager does not know, nor in RAM beyond its budget."""
        status = self.gpu.status()
        assert self.device.used == status.used <= self.gpu.budget
        where = [key for key, _ in (*status.residents, *status.on_disk)]
        assert len(where) == len(set(where))

    def free(self) -> None:
        """Between jobs nobody holds the card, and RAM keeps to its budget."""
        status = self.gpu.status()
        assert status.holder == status.stage == ""
        self.whole()
        streaming = sum(part.bytes for part in self.parts if part.streamed_bytes)
        assert self.host is None or self.device.held <= self.host + streaming

    def end(self) -> None:
        """All can be given back."""
        self.gpu.unload_all()
        assert self.device.used == self.device.litter == self.device.held == 0


def any_part(dice: random.Random, key: int) -> Component:
    """A component; half of them can be streamed, now and then one is broken on disk."""
    name, size = f"model/{key}", dice.randint(1, 70) * MIB
    return Component(name, size, lambda: FakeWeights(name), size // 5 if dice.random() < 0.5 else 0)


def any_plan(dice: random.Random, parts: list[Component]) -> Plan:
    """One to three stages; some know how to do with less."""
    return Plan("any", tuple(any_stage(dice, parts, str(number)) for number in range(dice.randint(1, 3))))


def any_stage(dice: random.Random, parts: list[Component], name: str) -> Stage:
    """A stage that asks for less than it may use, or more."""
    chosen = tuple(dice.sample(parts, dice.randint(1, min(3, len(parts)))))
    stage = Stage(name, chosen, dice.randint(2, 40) * MIB)
    streams = replace(stage, working_bytes=2 * MIB, how="tiles, blocks streamed", streams=True)
    tiles = replace(stage, working_bytes=2 * MIB, how="tiles", leaner=streams)
    return dice.choice((stage, replace(stage, leaner=tiles)))


def play(bench: Bench, seed: int, count: int) -> None:
    """Many jobs, one after another."""
    dice = random.Random(seed)
    for _ in range(count):
        with suppress(Broken, Cancelled):
            bench.job(dice)


def test_no_sequence_breaks_the_card() -> None:
    """Lease, load, run out, stream, evict, break, cancel, abandon, nest, in any order: never beyond the budget,
    nothing half-loaded, refusals with their sum."""
    for seed in range(CARDS - THREADED):
        bench = Bench.of(random.Random(seed))
        for number in range(SEQUENCES // CARDS):
            play(bench, 1000 * seed + number, 1)
            bench.free()
        bench.end()


def test_no_crowd_breaks_the_card() -> None:
    """The same from four threads at once: each job of each ends, and whoever watches sees the budget kept."""
    for seed in range(CARDS - THREADED, CARDS):
        bench, ended = Bench.of(random.Random(seed)), list[int]()
        bench.crowded = True

        def crowd(number: int, bench: Bench = bench, ended: list[int] = ended) -> None:
            play(bench, number, SEQUENCES // CARDS // 4)
            ended.append(number)

        threads = [threading.Thread(target=crowd, args=(4 * seed + n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
            assert bench.gpu.status().used <= bench.gpu.budget
        assert len(ended) == 4, "a job broke, or waits for ever"
        bench.free()
        bench.end()
