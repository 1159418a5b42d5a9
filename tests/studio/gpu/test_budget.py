"""Does it fit? Said before anything is loaded."""

import pytest

from engines.api.errors import OutOfMemory
from engines.api.protocols import Component, Plan, Stage
from engines.fake import FakeDevice, FakeWeights
from studio.gpu.manager import GpuManager
from tests.studio.card import MIB, keys, manager, one, part, plan, run


def test_what_can_never_fit_is_refused_with_the_sum() -> None:
    """A stage larger than the budget fails before anything is loaded, and says each term."""
    device = FakeDevice(1 << 40)
    gpu = GpuManager(device, 12 << 30, {}, reserve_bytes=1 << 30)
    wanted = plan(("denoise", (Component("qwen/transformer", 10 << 30, lambda: FakeWeights("")),), 2 << 10))

    with pytest.raises(OutOfMemory) as caught, gpu.lease(wanted):
        pass

    assert "denoise needs 13.0 GiB (qwen/transformer 10.0 GiB + working set 2.0 GiB + reserve 1.0 GiB)" in str(
        caught.value
    )
    assert "of 12.0 GiB" in str(caught.value)
    assert device.puts == 0
    assert gpu.status().holder == ""


def test_the_device_bounds_the_budget() -> None:
    """A budget beyond the device means the device."""
    gpu = manager(FakeDevice(50 * MIB), budget=100)

    fit = gpu.check(one(part("a/x", 60)))

    assert (fit.ok, fit.budget, fit.level) == (False, 50 * MIB, "does not fit")


def test_the_preflight_uses_what_was_measured() -> None:
    """A stage that used more than it declared is asked for that much next time."""
    device = FakeDevice(200 * MIB)
    gpu = manager(device, reserve=5)
    wanted = one(part("a/x", 30), working=10)
    assert gpu.check(wanted).needed == 45 * MIB

    with gpu.lease(wanted) as lease, lease.stage("go"):
        device.work(40 * MIB)

    assert gpu.check(wanted).needed == 75 * MIB
    assert gpu.check(wanted).words == "needs 75.0 MiB of 100.0 MiB"
    assert gpu.status().peak == 70 * MIB


def test_what_runs_inside_a_stage_is_no_work_of_its_own() -> None:
    """Weights that come, go or are unloaded while a stage runs, and the work of a stage inside it, are not taken for
    its own: what was admitted once is admitted again."""
    device = FakeDevice(100 * MIB)
    gpu, outer = manager(device), one(part("train/x", 50), working=10)
    run(gpu, one(part("idle/x", 45)))

    for _ in range(2):
        with gpu.lease(outer) as lease, lease.stage("go"):
            device.work(12 * MIB)
            with gpu.lease(one(part("draw/x", 30))) as inner, inner.stage("go"):
                device.work(5 * MIB)
            gpu.unload_all()

    assert gpu.check(outer).needed == 62 * MIB
    assert gpu.check(one(part("draw/x", 30))).needed == 35 * MIB


def test_what_ran_under_a_budget_is_not_refused_by_its_own_peak() -> None:
    """A measured peak above the budget is kept as the most that the budget admits."""
    device = FakeDevice(200 * MIB)
    gpu = manager(device, reserve=5)
    wanted = one(part("a/x", 30), working=10)

    with gpu.lease(wanted) as lease, lease.stage("go"):
        device.work(150 * MIB)

    assert gpu.check(wanted).ok
    assert gpu.check(wanted).level == "tight"


def test_the_preflight_tells_each_stage_and_what_goes() -> None:
    """Weights, working set and sum of every stage; of what others left, only what has to go is named."""
    gpu = manager(FakeDevice(200 * MIB), reserve=5)
    run(gpu, one(part("flux/transformer", 30)))
    run(gpu, one(part("flux/vae", 10)))
    run(gpu, one(part("qwen/te", 20)))
    wanted = plan(("encode", (part("qwen/te", 20),), 5), ("denoise", (part("qwen/transformer", 40),), 10))

    fit = gpu.check(wanted)

    assert [(stage.name, stage.weights, stage.working, stage.needed) for stage in fit.stages] == [
        ("encode", 20 * MIB, 5 * MIB, 30 * MIB),
        ("denoise", 40 * MIB, 10 * MIB, 55 * MIB),
    ]
    assert fit.evicts == (("flux/transformer", 30 * MIB),)
    assert fit.details == "encode 30.0 MiB · denoise 55.0 MiB; unloads flux/transformer 30.0 MiB"
    run(gpu, wanted)
    assert keys(gpu) == ["flux/vae", "qwen/te", "qwen/transformer"]


def test_a_preflight_says_how_a_stage_is_done_with_less() -> None:
    """The words name the leaner form, the level is no longer a plain fit."""
    tiled = Stage("decode", (part("a/vae", 10),), 20 * MIB, how="the VAE in tiles")
    wanted = Plan("draw", (Stage("decode", (part("a/vae", 10),), 200 * MIB, leaner=tiled),))

    fit = manager(FakeDevice(200 * MIB)).check(wanted)

    assert (fit.ok, fit.level) == (True, "tight")
    assert fit.words == "needs 30.0 MiB of 100.0 MiB, decode with the VAE in tiles"
