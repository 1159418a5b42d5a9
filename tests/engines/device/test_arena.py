"""A module's weights as one run of bytes."""

from __future__ import annotations

import copy
import gc
from functools import partial
from typing import Any

import pytest

from tests.engines.device.test_host import Cudart

pytestmark = pytest.mark.slow


def _net() -> Any:
    """Shared layers, buffers, odd lengths, an order of dimensions of its own, and blocks to stream."""
    import torch

    torch.manual_seed(0)
    shared = torch.nn.Linear(5, 5)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Sequential(shared, torch.nn.BatchNorm1d(5), shared)
            rows = (torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.ReLU()) for _ in range(3))
            self.blocks = torch.nn.ModuleList(rows)
            self.last = torch.nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)
            self.register_buffer("nothing", torch.empty(0))

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.last(x[None, None])

    return Net().eval().requires_grad_(False)


def _quantised(form: str = "nf4") -> Any:
    """A quantised layer, in 4 bits doubly, beside another."""
    import torch

    from engines.weights.quantise import in_form

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 128, bias=False), torch.nn.ReLU(), torch.nn.Linear(128, 8))
    return in_form(net, form, torch.float32).eval()


def _eight_bit() -> Any:
    """An 8-bit layer of optimum-quanto."""
    import torch
    from optimum.quanto import freeze, qint8, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
    quantize(net, weights=qint8)
    freeze(net)
    return net.eval()


MODULES = {
    "plain": (_net, (4, 5)),
    "4-bit": (_quantised, (4, 64)),
    "8-bit": (_eight_bit, (4, 64)),
    "8-bit floats": (partial(_quantised, "fp8"), (4, 64)),
}


def _addresses(run: Any) -> range:
    return range(run.data_ptr(), run.data_ptr() + run.numel())


def _tensors(module: Any) -> list[Any]:
    """Everything that a module computes with, scales of quantised weights included."""
    from engines.device.arena import Arena

    return Arena(module).homes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", list(MODULES))
def test_a_module_in_an_arena_computes_the_same(kind: str, packed: bool) -> None:
    """In one block on the device, from a packed master or a scattered one, the result is the same to the bit; every
    weight lies in that block, and dropping it brings the master's back."""
    import torch

    from engines.device.arena import Arena

    make, shape = MODULES[kind]
    module, given = make(), torch.randn(shape)
    with torch.no_grad():
        expected = module(given)
        arena = Arena(module)
        if packed:
            home = _addresses(arena.pack())
            assert all(tensor.data_ptr() in home for tensor in _tensors(module) if tensor.numel())
        homes = [tensor.data_ptr() for tensor in arena.homes()]
        arena.place("cpu")
        placed = _tensors(module)
        result = module(given)
        arena.drop()
        again = module(given)

    assert torch.equal(result, expected)
    assert torch.equal(again, expected)
    start = min(tensor.data_ptr() for tensor in placed if tensor.numel())
    assert all(start <= tensor.data_ptr() < start + arena.nbytes for tensor in placed if tensor.numel())
    assert [tensor.data_ptr() for tensor in _tensors(module)] == homes


def test_strides_and_shared_weights_stay_as_they_were() -> None:
    """A convolution keeps its order of dimensions, a layer used twice is one."""
    from engines.device.arena import Arena

    module = _net()
    before = module.last.weight.stride()
    arena = Arena(module)
    arena.place("cpu")

    assert module.last.weight.stride() == before
    assert module.first[0].weight is module.first[2].weight


@pytest.mark.parametrize("kind", list(MODULES))
def test_nothing_keeps_the_memory_of_a_dropped_arena(kind: str) -> None:
    """After `drop` no tensor anywhere lies in the block, even where the module itself is still held."""
    import torch

    from engines.device.arena import Arena

    module = MODULES[kind][0]()
    arena = Arena(module)
    arena.place("cpu")
    start = min(tensor.data_ptr() for tensor in _tensors(module) if tensor.numel())
    arena.drop()
    gc.collect()

    plain = (torch.Tensor, torch.nn.Parameter)
    left = [each for each in gc.get_objects() if type(each) in plain and each.numel()]
    assert not [each for each in left if each.untyped_storage().data_ptr() == start]


@pytest.mark.parametrize("kind", ["plain", "4-bit", "8-bit floats"])
def test_streamed_blocks_visit_one_at_a_time(kind: str) -> None:
    """The same to the bit, with no more on the device than what lies outside of the blocks and one of them."""
    import torch

    from engines.device.arena import Arena, Streamed

    make, shape = MODULES[kind]
    module, given = make(), torch.randn(shape)
    if kind != "plain":
        layers = module

        class Listed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.blocks = torch.nn.ModuleList(map(torch.nn.Sequential, layers))

            def forward(self, x: Any) -> Any:
                for block in self.blocks:
                    x = block(x)
                return x

        module = Listed().eval()
    with torch.no_grad():
        expected = module(given)
        Arena(module).pack()
        streamed = Streamed(module)
        streamed.place("cpu")
        between = [_numbers(weight) for weight in module.blocks.parameters()]
        inside: list[int] = []
        for block in module.blocks:
            block[0].register_forward_hook(
                lambda *_: inside.append(sum(bool(_numbers(one)) for one in _firsts(module)))
            )
        result = module(given)
        streamed.drop()

    assert torch.equal(result, expected)
    assert set(between) == {0}
    assert max(inside) == 1
    assert streamed.nbytes < Arena(module).nbytes
    assert not [block for block in module.blocks if "forward" in vars(block)]


def _numbers(weight: Any) -> int:
    """How many numbers a weight has; one made of tensors has its own shape, whatever they hold."""
    return int(getattr(weight, "_data", weight).numel())


def _firsts(module: Any) -> list[Any]:
    return [weight for block in module.blocks for weight in list(block.parameters())[:1]]


def test_a_skipped_block_is_not_copied() -> None:
    """A block whose forward another wrapper skips stays off the device; the others compute as before, to the bit."""
    import torch

    from engines.device.arena import Streamed

    module, given, seen = _net(), torch.randn(4, 5), []
    streamed = Streamed(module)
    streamed.place("cpu")
    own = module.blocks[1].forward
    with torch.no_grad():
        expected = module(given)
        module.blocks[1].forward = lambda x: seen.append(module.blocks[1][0].weight.numel()) or own(x)
        assert torch.equal(module(given), expected)
    assert seen == [0]


def test_an_error_inside_a_block_leaves_no_block_behind() -> None:
    """What breaks in mid-block takes the block off the device as the end of its forward would."""
    import torch

    from engines.device.arena import Streamed

    module = _net()
    streamed = Streamed(module)
    streamed.place("cpu")

    def stop(*_: Any) -> None:
        raise ZeroDivisionError

    module.blocks[1][1].register_forward_pre_hook(stop)
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        module(torch.randn(4, 5))

    assert {weight.numel() for weight in module.blocks.parameters()} == {0}


def test_masters_are_pinned_within_the_room_and_freed_when_they_go() -> None:
    """A master is packed and locked exactly where there is room, left alone where there is none; once released, a
    placed module computes on, and then keeps nothing."""
    import torch

    from engines.device.host import Pins
    from engines.device.movers import Movers

    cudart = Cudart()
    movers = Movers("cpu", Pins(cudart, lambda: None))
    module, other, given = _quantised(), _quantised(), torch.randn(4, 64)
    with torch.no_grad():
        expected = module(given)

        held = movers.keep(module, room=1 << 30)
        assert cudart.locked == {_tensors(module)[0].data_ptr(): held}
        assert movers.keep(other, room=held - 1) == sum(tensor.nbytes for tensor in _tensors(other))
        assert len(cudart.locked) == 1

        assert movers.put(module, streamed=False) is module
        movers.release(module)
        assert cudart.locked == {}
        assert torch.equal(module(given), expected)
    movers.drop(module)
    assert sum(weight.numel() for weight in module.parameters()) == 0
    assert movers.put("a tokenizer", streamed=False) == "a tokenizer"


def test_a_mapped_file_costs_no_ram(tmp_path: Any) -> None:
    """A master whose weights are a safetensors file's pages counts for nothing until it is packed."""
    import torch
    from safetensors.torch import load_file, save_file

    from engines.device.movers import Movers

    save_file({"weight": torch.randn(256, 256)}, tmp_path / "w.safetensors")
    module = torch.nn.Linear(256, 256, bias=False)
    assert Movers("cpu").keep(module, room=0) == 256 * 256 * 4
    module.load_state_dict(load_file(tmp_path / "w.safetensors"), assign=True)

    assert Movers("cpu").keep(copy.copy(module), room=0) == 0
