"""What stays on the card and in RAM, and who goes first."""

from engines.api.protocols import Component
from engines.fake import FakeDevice, FakeWeights
from tests.studio.card import MIB, Clock, keys, manager, one, part, plan, run


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
    clock, device = Clock(), FakeDevice(400 * MIB)
    loads: list[str] = []

    def noted(key: str, seconds: float) -> Component:
        inner = part(key, 40, clock, seconds)

        def load() -> object:
            loads.append(key)
            return inner.load()

        return Component(key, inner.bytes, load)

    gpu = manager(device, budget=40, host=80, clock=clock)
    for key, seconds in (("a/dear", 9.0), ("b/cheap", 1.0), ("c/middling", 3.0), ("a/dear", 9.0), ("b/cheap", 1.0)):
        run(gpu, one(noted(key, seconds)))

    assert loads == ["a/dear", "b/cheap", "c/middling", "b/cheap"]


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
        in_place = True

        def put(self, host: object, nbytes: int, *, streamed: bool = False) -> object:
            super().put(host, nbytes)
            return host

    loads: list[str] = []
    gpu = manager(InPlace(100 * MIB))

    def load() -> FakeWeights:
        loads.append("a/x")
        return FakeWeights("a/x")

    again = Component("a/x", 60 * MIB, load)

    run(gpu, one(again))
    run(gpu, one(part("b/x", 60)))
    run(gpu, one(again))

    assert loads == ["a/x", "a/x"]


def test_what_is_often_asked_for_stays() -> None:
    """Of two that cost the same to have back, the one that fewer jobs wanted lately goes first."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=0, clock=clock)
    often, seldom = part("a/often", 40, clock, 2.0), part("b/seldom", 40, clock, 2.0)
    for _ in range(3):
        run(gpu, one(often))
    run(gpu, one(seldom))

    run(gpu, one(part("c/new", 50)))

    assert keys(gpu) == ["a/often", "c/new"]


def test_a_habit_fades() -> None:
    """What was wanted often long ago goes before what was wanted once just now."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=0, clock=clock)
    for _ in range(3):
        run(gpu, one(part("a/once-loved", 40, clock, 2.0)))
    clock.now += 24 * 3600
    run(gpu, one(part("b/fresh", 40, clock, 2.0)))

    run(gpu, one(part("c/new", 50)))

    assert keys(gpu) == ["b/fresh", "c/new"]


def test_a_long_job_is_one_use() -> None:
    """A job that enters a stage a hundred times has asked once: its end is as near as another's."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, host=0, clock=clock)
    dear, cheap = part("a/dear", 40, clock, 3.0), part("b/cheap", 40, clock, 2.0)
    run(gpu, one(dear))
    with gpu.lease(one(cheap)) as lease:
        for _ in range(100):
            with lease.stage("go"):
                pass

    run(gpu, one(part("c/new", 50)))

    assert keys(gpu) == ["a/dear", "c/new"]


def test_the_status_says_where_everything_is() -> None:
    """On the card, in RAM ready to be copied, or on disk to be read again."""
    clock, device = Clock(), FakeDevice(200 * MIB)
    gpu = manager(device, budget=30, host=60, clock=clock)
    for name, seconds in (("a/dear", 9.0), ("b/cheap", 1.0), ("c/middling", 3.0)):
        run(gpu, one(part(name, 30, clock, seconds)))

    status = gpu.status()

    assert status.residents == (("c/middling", 30 * MIB),)
    assert status.masters == (("a/dear", 30 * MIB), ("c/middling", 30 * MIB))
    assert status.on_disk == (("b/cheap", 30 * MIB),)


def test_masters_are_released_with_their_budget() -> None:
    """What RAM holds is what the device was told to keep, and never more than the budget."""
    device = FakeDevice(400 * MIB)
    gpu = manager(device, host=70)

    for name in ("a/x", "b/x", "c/x", "d/huge"):
        run(gpu, one(part(name, 90 if "huge" in name else 30)))
        assert device.held <= 70 * MIB
    gpu.unload_all()

    assert device.held == 0


def test_what_a_part_keeps_beside_its_weights_is_in_the_hosts_budget() -> None:
    """What grows beside a part's weights while it is used takes room from masters; once the part has gone it does not,
    and where the device is the host it is the device's room."""
    clock, held = Clock(), {"mib": 0}

    def growing(key: str) -> Component:
        inner = part(key, 40, clock, 9.0)
        return Component(key, inner.bytes, inner.load, beside=lambda _: held["mib"] * MIB)

    gpu = manager(FakeDevice(400 * MIB), budget=100, host=80, clock=clock)
    run(gpu, one(part("b/plain", 40, clock, 1.0)))
    with gpu.lease(one(growing("a/growing"))) as lease, lease.stage("go"):
        assert dict(gpu.status().masters) == {"b/plain": 40 * MIB, "a/growing": 40 * MIB}
        held["mib"] = 30
    assert dict(gpu.status().masters) == {"a/growing": 40 * MIB}

    gpu.unload_all()
    run(gpu, plan(("one", (part("b/plain", 40),), 0), ("other", (part("c/plain", 40),), 0)))
    assert len(gpu.status().masters) == 2

    device = FakeDevice(400 * MIB)
    device.in_place = True
    own = manager(device, budget=100)
    run(own, one(growing("a/growing")))
    run(own, one(part("b/plain", 40)))
    assert keys(own) == ["b/plain"]
