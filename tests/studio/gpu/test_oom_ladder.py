"""What happens when memory runs out, rung by rung."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from engines.api.errors import BadInput, OutOfMemory, RanOut
from engines.api.protocols import Component, Plan, Stage
from engines.fake import FakeDevice, FakeWeights
from studio.gpu.manager import GpuManager
from tests.studio.card import MIB, keys, manager, one, part, plan, run


def test_a_failed_copy_is_tried_again_after_reclaiming() -> None:
    """The first rung: the allocator's litter is swept, and the load goes through."""
    device = FakeDevice(100 * MIB, fail_at={1})
    gpu = manager(device)

    run(gpu, one(part("a/x", 80)))

    assert (keys(gpu), device.litter, device.puts) == (["a/x"], 0, 2)


def test_the_second_rung_evicts_the_idle() -> None:
    """A load that still fails after a sweep gets the room of all that is not leased."""
    device = FakeDevice(100 * MIB, fail_at={2, 3})
    gpu = manager(device)
    run(gpu, one(part("idle/x", 30)))

    run(gpu, one(part("a/x", 30)))

    assert keys(gpu) == ["a/x"]


def test_a_load_that_cannot_be_saved_leaves_nothing_half_loaded() -> None:
    """After the last rung the error has the numbers, the card is whole, and the next load works."""
    device = FakeDevice(100 * MIB, fail_at={2, 3, 4, 5})
    gpu = manager(device)
    wanted = plan(("go", (part("a/x", 30), part("a/y", 30)), 0))

    with pytest.raises(OutOfMemory, match=r"go needs 60.0 MiB"):
        run(gpu, wanted)

    assert (keys(gpu), device.used, device.litter) == (["a/x"], 30 * MIB, 0)
    run(gpu, wanted)
    assert keys(gpu) == ["a/x", "a/y"]


def test_a_loader_that_breaks_leaves_no_trace() -> None:
    """A file that cannot be read fails the stage with its own error; nothing is resident."""

    def broken() -> FakeWeights:
        raise BadInput("The file is cut short.")

    gpu = manager(FakeDevice(100 * MIB))

    with pytest.raises(BadInput, match="cut short"):
        run(gpu, one(Component("a/x", MIB, broken)))

    assert (keys(gpu), gpu.status().holder, gpu.status().stage) == ([], "", "")


def test_running_out_inside_a_stage_evicts_the_idle_and_says_so() -> None:
    """The error carries the arithmetic; the idle are gone, so that a resume has their room."""
    device = FakeDevice(100 * MIB)
    gpu = manager(device)
    run(gpu, one(part("idle/x", 50)))
    wanted = one(part("a/x", 30), what="edit")

    with pytest.raises(OutOfMemory) as caught, gpu.lease(wanted) as lease, lease.stage("go"):
        device.work(60 * MIB)

    assert caught.value.cause.startswith("edit: go ran out of memory. go needs")
    assert "50.0 MiB were unloaded" in caught.value.hint
    assert keys(gpu) == ["a/x"]
    with gpu.lease(wanted) as lease, lease.stage("go"):
        device.work(60 * MIB)


def test_another_programs_use_is_told_apart() -> None:
    """A card filled by others is refused with what is free, after the idle have been evicted."""
    device = FakeDevice(100 * MIB)
    gpu = manager(device)
    run(gpu, one(part("idle/x", 20)))
    device.used += 60 * MIB

    with pytest.raises(OutOfMemory, match=r"40.0 MiB free") as caught:
        run(gpu, one(part("a/x", 50)))

    assert "other programs" in caught.value.hint
    assert keys(gpu) == []


# ── leaner forms ────────────────────────────────────────────────────────────────────────────────


def thrifty(working: int = 40, entered: list[str] | None = None) -> Plan:
    """Weights of 50 MiB and some work, which tiles bring to 20 MiB; streamed, the weights are 10 MiB."""

    @contextmanager
    def tiles(parts: Mapping[str, Any]) -> Iterator[None]:
        assert entered is not None
        entered.append(f"tiles on {parts['vae'].device}")
        yield
        entered.append("tiles off")

    vae = replace(part("a/vae", 50), streamed_bytes=10 * MIB)
    plain = Stage("go", (vae,), working * MIB)
    around = plain.around if entered is None else tiles
    tiled = replace(plain, working_bytes=20 * MIB, how="the VAE in tiles", around=around)
    streamed = replace(tiled, how="the VAE in tiles, blocks streamed", streams=True)
    return Plan("edit", (replace(plain, leaner=replace(tiled, leaner=streamed)),))


def attempt(gpu: GpuManager, wanted: Plan, nbytes: int) -> Mapping[str, Any]:
    """Use that much memory in a plan's one stage."""
    with gpu.lease(wanted) as lease, lease.stage("go") as parts:
        assert isinstance(gpu.raw_device, FakeDevice)
        gpu.raw_device.work(nbytes)
        return dict(parts)


def test_what_does_not_fit_plainly_is_done_with_less() -> None:
    """The plainest form that the budget has room for is taken from the start; its work is enclosed, and let go."""
    entered: list[str] = []
    gpu = manager(FakeDevice(100 * MIB), budget=75)

    attempt(gpu, thrifty(entered=entered), 0)

    assert entered == ["tiles on fake", "tiles off"]
    assert gpu.status().residents == (("a/vae", 50 * MIB),)


def test_the_last_form_streams_the_blocks() -> None:
    """Where not even the weights fit, their blocks come one by one; a wider card has them whole again."""
    gpu = manager(FakeDevice(100 * MIB), budget=40)

    parts = attempt(gpu, thrifty(), 0)

    assert (parts["vae"].streamed, gpu.status().used) == (True, 10 * MIB)
    with pytest.raises(OutOfMemory, match=r"30\.0 MiB with the VAE in tiles, blocks streamed of 25\.0 MiB"):
        attempt(manager(FakeDevice(100 * MIB), budget=25), thrifty(), 0)


def test_a_part_is_never_there_in_two_forms() -> None:
    """A stage that wants a streamed part whole has it placed anew; under a running stage it is left alone."""
    gpu = manager(FakeDevice(100 * MIB))
    whole = thrifty(working=0)
    streamed = Plan("draw", (replace(whole.stages[0], streams=True, leaner=None),))

    with gpu.lease(whole) as lease, lease.stage("go"):
        assert gpu.status().used == 50 * MIB
        with pytest.raises(OutOfMemory), gpu.lease(streamed) as inner, inner.stage("go"):
            pass
    with gpu.lease(streamed) as lease, lease.stage("go"):
        assert gpu.status().used == 10 * MIB


def test_a_device_in_place_does_not_stream() -> None:
    """In RAM there is nothing to copy in: what does not fit whole does not fit."""
    device = FakeDevice(100 * MIB)
    device.in_place = True

    fit = manager(device, budget=40).check(thrifty())

    assert (fit.ok, "blocks streamed" in fit.words) == (False, False)


def test_running_out_climbs_rung_by_rung() -> None:
    """Again alone, then in tiles, then streamed, each asked for by the error; then the end, and a fresh start."""
    gpu, wanted = manager(FakeDevice(100 * MIB)), thrifty()
    said = []
    for _ in range(4):
        with pytest.raises(OutOfMemory) as caught:
            attempt(gpu, wanted, 95 * MIB)
        said.append((type(caught.value), caught.value.hint))

    assert [kind for kind, _ in said] == [RanOut, RanOut, RanOut, OutOfMemory]
    assert "were unloaded since" in said[0][1]
    assert "with the VAE in tiles:" in said[1][1]
    assert "with the VAE in tiles, blocks streamed:" in said[2][1]
    assert "Choose a smaller picture" in said[3][1]
    assert not attempt(gpu, wanted, 0)["vae"].streamed


def test_a_crowd_once_is_no_reason_for_less() -> None:
    """Where the plain form worked with the card to itself, the next time it runs out it is tried so again."""
    gpu, wanted = manager(FakeDevice(100 * MIB)), thrifty()
    for _ in range(2):
        with pytest.raises(RanOut, match="were unloaded"), gpu.lease(wanted) as lease, lease.stage("go"):
            raise MemoryError
        assert not attempt(gpu, wanted, 0)["vae"].streamed

    assert gpu.status().used == 50 * MIB


def test_the_rung_that_was_reached_is_kept_until_all_is_unloaded() -> None:
    """What ran out once does not run out again the same way; emptying the card forgets that."""
    gpu, wanted, used = manager(FakeDevice(100 * MIB)), thrifty(), 60 * MIB
    for _ in range(2):
        with pytest.raises(RanOut):
            attempt(gpu, wanted, used)
    with pytest.raises(RanOut):
        attempt(gpu, wanted, used)

    assert attempt(gpu, wanted, used)["vae"].streamed
    assert attempt(gpu, wanted, used)["vae"].streamed
    gpu.unload_all()
    assert not attempt(gpu, wanted, 0)["vae"].streamed


def test_a_plan_with_fewer_forms_is_not_past_its_last() -> None:
    """Under one key a stage that cannot be done with less follows one that had to be: it is tried, not refused."""
    gpu, thin = manager(FakeDevice(100 * MIB)), one(part("b/x", 30))
    for _ in range(3):
        with pytest.raises(RanOut), gpu.lease(thrifty(), key="edit") as lease, lease.stage("go"):
            raise MemoryError

    with gpu.lease(thin, key="edit") as lease, lease.stage("go"):
        assert keys(gpu) == ["b/x"]
