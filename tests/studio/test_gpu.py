"""The GPU manager on a fake card of any size."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.api import Component, Plan, Stage
from engines.errors import BadInput, Cancelled, OutOfMemory
from engines.fake import FakeDevice, FakeWeights
from studio.gpu import GpuManager
from studio.lease import CardLease

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


def test_a_stage_yields_its_components_by_name() -> None:
    """What a stage hands out is named by the part of the key after the slash, and lies on the device."""
    gpu = manager(FakeDevice(200 * MIB))

    with gpu.lease(one(part("flux/vae", 2))) as lease, lease.stage("go") as parts:
        placed: Mapping[str, FakeWeights] = dict(parts)

    assert {name: weights.device for name, weights in placed.items()} == {"vae": "fake"}
    assert lease.device == "cpu"


def test_residents_stay_until_their_room_is_wanted() -> None:
    """A component used again is not placed again."""
    device = FakeDevice(200 * MIB)
    gpu = manager(device)

    run(gpu, one(part("flux/transformer", 60)))
    run(gpu, one(part("flux/transformer", 60)))

    assert (device.puts, gpu.status().used) == (1, 60 * MIB)


def test_the_cheapest_to_reload_per_byte_goes_first() -> None:
    """Of two idle components of one size, the one that loaded faster makes room."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=0, clock=clock)
    run(gpu, one(part("a/slow", 40, clock, 9.0)))
    run(gpu, one(part("b/quick", 40, clock, 1.0)))

    run(gpu, one(part("c/new", 50)))

    assert keys(gpu) == ["a/slow", "c/new"]


def test_a_host_master_makes_a_reload_cheap() -> None:
    """What still has its master on the host goes before what must be read from disk again."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=40, clock=clock)
    run(gpu, one(part("a/read-slowly", 40, clock, 9.0)))
    run(gpu, one(part("b/read-quickly", 40, clock, 1.0)))

    run(gpu, one(part("c/new", 50, clock, 0.5)))

    assert keys(gpu) == ["b/read-quickly", "c/new"]


def test_what_the_plan_wants_later_goes_last() -> None:
    """A component of another stage of the same plan outlives cheaper strangers' claims."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=0, clock=clock)
    vae = part("a/vae", 40, clock, 0.1)
    run(gpu, one(part("b/dear", 40, clock, 9.0)))

    run(gpu, plan(("encode", (vae,), 0), ("denoise", (part("a/transformer", 50),), 0)))

    assert keys(gpu) == ["a/vae", "a/transformer"]


def test_masters_keep_to_the_host_budget() -> None:
    """A reload from a master reads nothing; the least valuable master is dropped when the host is full."""
    clock, device, loads = Clock(), FakeDevice(400 * MIB), []

    def noted(key: str, seconds: float) -> Component:
        inner = part(key, 40, clock, seconds)
        return Component(key, inner.bytes, lambda: (loads.append(key), inner.load())[1])

    gpu = manager(device, budget=40, host=80, clock=clock)
    for key, seconds in (("a/dear", 9.0), ("b/cheap", 1.0), ("c/middling", 3.0), ("a/dear", 9.0), ("b/cheap", 1.0)):
        run(gpu, one(noted(key, seconds)))

    assert loads == ["a/dear", "b/cheap", "c/middling", "b/cheap"]


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


def test_what_ran_under_a_budget_is_not_refused_by_its_own_peak() -> None:
    """A measured peak above the budget is kept as the most that the budget admits."""
    device = FakeDevice(200 * MIB)
    gpu = manager(device, reserve=5)
    wanted = one(part("a/x", 30), working=10)

    with gpu.lease(wanted) as lease, lease.stage("go"):
        device.work(150 * MIB)

    assert gpu.check(wanted).ok
    assert gpu.check(wanted).level == "tight"


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
    device = FakeDevice(100 * MIB, fail_at={2, 3, 4})
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

    assert (said, done.is_set()) == (["the card: train v2", ""], True)


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
    gpu, said = manager(FakeDevice(100 * MIB)), []

    with gpu.lease(one(part("flux/vae", 50)), waiting=said.append) as lease, lease.stage("go"):
        pass

    assert said == ["loading flux/vae, 50.0 MiB", ""]


def test_unload_all_spares_what_is_in_use() -> None:
    """Emptying the card takes idle components and masters, never a running stage's."""
    device = FakeDevice(100 * MIB)
    gpu = manager(device)
    run(gpu, one(part("idle/x", 20)))

    with gpu.lease(one(part("a/x", 20))) as lease, lease.stage("go"):
        gpu.unload_all()
        assert keys(gpu) == ["a/x"]
    gpu.unload_all()

    assert (keys(gpu), device.used) == ([], 0)


def test_a_device_that_is_the_host_keeps_nothing_twice() -> None:
    """Where `put` answers the host object itself, eviction frees it: the next use reads it again."""

    class InPlace(FakeDevice):
        def put(self, host: object, nbytes: int) -> object:
            super().put(host, nbytes)
            return host

    loads: list[str] = []
    gpu = manager(InPlace(100 * MIB))
    again = Component("a/x", 60 * MIB, lambda: loads.append("a/x") or FakeWeights("a/x"))

    run(gpu, one(again))
    run(gpu, one(part("b/x", 60)))
    run(gpu, one(again))

    assert loads == ["a/x", "a/x"]


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


# ── any order of anything ───────────────────────────────────────────────────────────────────────

SIZES = {"m/te": 30, "m/t": 45, "m/vae": 5, "n/t": 50, "n/te": 20, "n/huge": 90}
STAGES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=3, unique=True),
        st.integers(0, 30),  # declared
        st.integers(0, 60),  # really used
        st.sampled_from(["done", "done", "done", "break", "cancel", "abandon", "nest"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, deadline=None, database=None)
@given(
    jobs=st.lists(STAGES, min_size=1, max_size=8),
    fail_at=st.sets(st.integers(1, 25), max_size=8),
    host=st.sampled_from([None, 0, 50]),
    total=st.integers(60, 130),
)
def test_no_sequence_breaks_the_card(
    jobs: list[list[tuple[list[str], int, int, str]]], fail_at: set[int], host: int | None, total: int
) -> None:
    """Whatever is leased, breaks, runs out or is cancelled: within budget, nothing half-loaded, never stuck."""
    device = FakeDevice(total * MIB, fail_at)
    gpu = manager(device, budget=100, reserve=3, host=host)

    for job in jobs:
        stages = [
            (str(index), tuple(part(key, SIZES[key]) for key in names), declared)
            for index, (names, declared, _, _) in enumerate(job)
        ]
        with suppress(OutOfMemory, ZeroDivisionError, Cancelled):
            _play(gpu, device, plan(*stages), job)
        assert gpu.status().holder == gpu.status().stage == ""
        _whole(gpu, device)

    gpu.unload_all()
    assert device.used == device.litter == 0
    assert device.free_bytes() == total * MIB


def _play(gpu: GpuManager, device: FakeDevice, wanted: Plan, job: list[tuple[list[str], int, int, str]]) -> None:
    cancel = threading.Event()
    with gpu.lease(wanted, cancelled=cancel.is_set) as lease:
        for stage, (_, declared, really, fate) in zip(wanted.stages, job, strict=True):
            entered = lease.stage(stage.name)
            parts = entered.__enter__()
            assert all(weights.device == "fake" for weights in parts.values())
            assert gpu.status().used + (declared + 3) * MIB <= gpu.budget
            _whole(gpu, device)
            if fate == "abandon":
                return
            entered.__exit__(None, None, None)
            with lease.stage(stage.name):
                device.work(really * MIB)
                if fate == "break":
                    raise ZeroDivisionError
                if fate == "nest":
                    run(gpu, one(part("n/te", SIZES["n/te"])))
            if fate == "cancel":
                cancel.set()


def _whole(gpu: GpuManager, device: FakeDevice) -> None:
    assert device.used == gpu.status().used <= gpu.budget
