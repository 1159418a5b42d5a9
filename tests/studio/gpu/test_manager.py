"""Leases on a fake card of any size: what a stage hands out, who waits for whom."""

import threading
from collections.abc import Iterator, Mapping

import pytest

from engines.api.errors import BadInput, Cancelled, OutOfMemory
from engines.api.protocols import Component
from engines.fake import FakeDevice, FakeWeights
from studio.gpu.lease import CardLease
from tests.studio.card import MIB, keys, manager, one, part, plan, run


def test_a_stage_yields_its_components_by_name() -> None:
    """What a stage hands out is named by the part of the key after the slash, and lies on the device."""
    gpu = manager(FakeDevice(200 * MIB))

    with gpu.lease(one(part("flux/vae", 2))) as lease, lease.stage("go") as parts:
        placed: Mapping[str, FakeWeights] = dict(parts)

    assert {name: weights.device for name, weights in placed.items()} == {"vae": "fake"}
    assert lease.device == "cpu"


def test_an_exception_in_a_stage_frees_it() -> None:
    """A job that breaks leaves the card to the next, what it loaded evictable."""
    gpu = manager(FakeDevice(100 * MIB))

    with pytest.raises(ZeroDivisionError), gpu.lease(one(part("a/x", 80))) as lease, lease.stage("go"):
        raise ZeroDivisionError

    run(gpu, one(part("b/x", 80)))
    assert keys(gpu) == ["b/x"]


def test_a_generator_left_in_a_stage_is_freed_with_the_lease() -> None:
    """An engine abandoned in mid-yield holds nothing once its lease has ended, nor can it go on."""
    gpu = manager(FakeDevice(100 * MIB))

    def engine(lease: CardLease) -> Iterator[int]:
        with lease.stage("go"):
            yield 1
        with lease.stage("go"):
            yield 2

    with gpu.lease(one(part("a/x", 80))) as lease:
        drawn = engine(lease)
        next(drawn)
        assert gpu.status().stage == "go"

    assert gpu.status().stage == ""
    run(gpu, one(part("b/x", 80)))
    with pytest.raises(RuntimeError, match="after its lease had ended"):
        next(drawn)


def test_a_stage_that_the_plan_lacks_is_named() -> None:
    """A misspelt stage says which there are."""
    gpu = manager(FakeDevice(100 * MIB))

    with pytest.raises(BadInput, match="no stage 'decode'"), gpu.lease(one(part("a/x", 1))) as lease:
        lease.stage("decode").__enter__()


def test_stages_nest_and_count_together() -> None:
    """A preview inside training is admitted beside it; what would not fit beside it is refused."""
    gpu = manager(FakeDevice(100 * MIB))

    with gpu.lease(one(part("train/x", 50), working=10)) as lease, lease.stage("go"):
        with gpu.lease(one(part("draw/x", 30))) as inner, inner.stage("go"):
            assert gpu.status().used == 80 * MIB
        with pytest.raises(OutOfMemory, match=r"beside 60\.0 MiB"):
            run(gpu, one(part("draw/y", 45)))

    assert gpu.status().holder == ""


def test_a_second_job_waits_and_says_for_what() -> None:
    """A lease is exclusive; who waits is told the holder's words, and when the wait is over."""
    gpu = manager(FakeDevice(100 * MIB))
    said: list[str] = []
    told, done = threading.Event(), threading.Event()

    def waiting(words: str) -> None:
        said.append(words)
        told.set()

    def second() -> None:
        with gpu.lease(one(part("b/x", 1), what="draw"), waiting=waiting):
            done.set()

    with gpu.lease(one(part("a/x", 1), what="train v2")):
        thread = threading.Thread(target=second)
        thread.start()
        told.wait()
        assert not done.is_set()
    thread.join()

    assert (said, done.is_set()) == (["the GPU: train v2", ""], True)


def test_a_cancel_ends_the_wait() -> None:
    """A waiting job that is cancelled leaves the queue, and the holder is not disturbed."""
    gpu = manager(FakeDevice(100 * MIB))
    cancel, caught, told = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with (
            pytest.raises(Cancelled),
            gpu.lease(one(part("b/x", 1)), cancelled=cancel.is_set, waiting=lambda _: told.set()),
        ):
            pass
        caught.set()

    with gpu.lease(one(part("a/x", 1), what="train")):
        thread = threading.Thread(target=second)
        thread.start()
        told.wait()
        cancel.set()
        caught.wait()
        assert gpu.status().holder == "train"
    thread.join()

    run(gpu, one(part("c/x", 1)))


def test_a_cancel_is_heard_between_loads() -> None:
    """Loading a stage stops at the next component once the user wants out."""
    device, cancel = FakeDevice(100 * MIB), threading.Event()
    gpu = manager(device)

    def load() -> FakeWeights:
        cancel.set()
        return FakeWeights("a/x")

    wanted = plan(("go", (Component("a/x", MIB, load), part("a/y", 1)), 0))
    with pytest.raises(Cancelled), gpu.lease(wanted, cancelled=cancel.is_set) as lease, lease.stage("go"):
        pass

    assert (keys(gpu), gpu.status().holder) == (["a/x"], "")


def test_loads_are_told() -> None:
    """While a component loads, the job says so."""
    gpu = manager(FakeDevice(100 * MIB))
    said: list[str] = []

    with gpu.lease(one(part("flux/vae", 50)), waiting=said.append) as lease, lease.stage("go"):
        pass

    assert said == ["loading flux/vae, 50.0 MiB", ""]


def test_many_threads_take_turns() -> None:
    """Jobs from several threads never overlap, none starves, and whoever watches is answered all the while."""
    device = FakeDevice(100 * MIB, fail_at={3, 9, 10})
    gpu = manager(device)
    inside: list[int] = []
    worst: list[int] = []

    def job(number: int) -> None:
        for turn in range(5):
            with gpu.lease(one(part(f"{number}/{turn % 2}", 40))) as lease, lease.stage("go"):
                inside.append(number)
                worst.append(len(inside))
                gpu.status()
                inside.remove(number)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert gpu.status().used <= gpu.budget
        threads[-1].join(0.001)

    assert (max(worst), len(worst), gpu.status().holder) == (1, 20, "")
