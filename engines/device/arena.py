"""Holds a module's weights as one block of bytes: one allocation on the GPU, one copy to it, none back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

_ALIGN = 256  # bytes, as in torch's own allocator

# A tensor made of tensors, as quanto's are, or bitsandbytes' QuantState: their attributes are known at run time only.
Quantised: TypeAlias = Any


@dataclass(frozen=True)
class _Weight:
    """Holds the tensors of one weight in RAM; `bind` makes the module compute with other tensors of the same shapes."""

    homes: tuple[Tensor, ...]
    bind: Callable[[Sequence[Tensor]], None]
    plain: bool = True  # the weight has no state beside its data, so that an empty tensor may replace it


class Arena:
    """Copies a module's weights to a device as one block of bytes, and switches the module between copy and original.

    Between `place` and `drop` the module computes with the copy on the device, otherwise with the weights in RAM, which
    are never written. Quantised weights move with their scales. Where the device is full, `place` raises torch's own
    error and leaves the module unchanged.
    `without`: parts of the module whose weights do not move.
    """

    def __init__(self, module: nn.Module, without: Collection[nn.Module] = ()) -> None:
        skipped = {id(part) for block in without for part in block.modules()}
        owners = [part for part in module.modules() if id(part) not in skipped]
        self._weights = list(_weights(owners))
        self._offsets: list[int] = []
        self.nbytes = 0
        for home in self.homes():
            self._offsets.append(self.nbytes)
            self.nbytes += -(-home.numel() * home.element_size() // _ALIGN) * _ALIGN
        self._run = self._found_run()

    def place(self, device: str) -> None:
        """Copies all weights into one block on the device; the module computes with them from then on."""
        run = torch.empty(self.nbytes, dtype=torch.uint8, device=device)
        offsets = iter(self._offsets)
        views = [[_view(run, next(offsets), home) for home in weight.homes] for weight in self._weights]
        if self._run is not None:
            run.copy_(self._run, non_blocking=True)
        else:
            for weight, own in zip(self._weights, views, strict=True):
                for view, home in zip(own, weight.homes, strict=True):
                    view.copy_(home, non_blocking=True)
        for weight, own in zip(self._weights, views, strict=True):
            weight.bind(own)

    def drop(self) -> None:
        """Makes the module compute with the weights in RAM again, which frees the block on the device."""
        for weight in self._weights:
            weight.bind(weight.homes)

    def vacate(self, device: str) -> None:
        """Replaces the weights by empty tensors on `device`, which frees the weights' copy there.

        The empty tensors are on `device` because a LoRA layer computes on the device of the weight that it adapts.
        Tensors of a quantised weight that must not be empty, such as scales, are replaced by the originals in RAM.
        """
        for weight in self._weights:
            blanks = [home.new_empty(0, device=device) for home in weight.homes]
            weight.bind(blanks if weight.plain else weight.homes)

    def pack(self) -> Tensor:
        """Copies the weights into one buffer in RAM (uint8), which the module uses from then on; returns the buffer.

        After that, `place` is a single copy.
        """
        run = torch.empty(self.nbytes, dtype=torch.uint8)
        offsets = iter(self._offsets)
        for index, weight in enumerate(self._weights):  # one by one, so that only one weight is in memory twice
            views = tuple(_view(run, next(offsets), home) for home in weight.homes)
            for view, home in zip(views, weight.homes, strict=True):
                view.copy_(home)
            weight.bind(views)
            self._weights[index] = _Weight(views, weight.bind, weight.plain)
        self._run = run
        return run

    def forget(self) -> None:
        """Drops this object's references to the weights in RAM, so that they are freed if the module has a copy.

        A module without a copy on the device keeps its weights in RAM alive. A module with a copy computes with it
        until `drop`, which then leaves the module without weights.
        """
        for index, weight in enumerate(self._weights):
            blanks = tuple(home.new_empty(0) for home in weight.homes)
            self._weights[index] = _Weight(blanks, weight.bind, weight.plain)
        self._run = None

    def homes(self) -> list[Tensor]:
        """Returns the weights' tensors in RAM, in the order in which their copies lie in the block on the device."""
        return [home for weight in self._weights for home in weight.homes]

    def _found_run(self) -> Tensor | None:
        """Returns the weights in RAM as one tensor of bytes where they already lie as on the device, else None."""
        homes = self.homes()
        if not homes or not self.nbytes:
            return None
        first, storage = homes[0].data_ptr(), homes[0].untyped_storage()
        start = first - storage.data_ptr()
        if start + self.nbytes > storage.nbytes():
            return None
        together = all(
            home.untyped_storage().data_ptr() == storage.data_ptr() and home.data_ptr() == first + offset
            for offset, home in zip(self._offsets, homes, strict=True)
        )
        return torch.empty(0, dtype=torch.uint8).set_(storage, start, (self.nbytes,), (1,)) if together else None


class Streamed:
    """Copies each block of a module to the device only while that block computes, for a device with little memory.

    Weights outside the blocks are on the device from `place` to `drop`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._blocks = list(blocks(module))
        self._arenas = [Arena(block) for block in self._blocks]
        self._outer = Arena(module, without=self._blocks)

    @property
    def nbytes(self) -> int:
        """Returns the most bytes on the device at a time: all weights outside the blocks, and the largest block's."""
        return self._outer.nbytes + max((arena.nbytes for arena in self._arenas), default=0)

    def place(self, device: str) -> None:
        """Copies the weights outside the blocks to the device; wraps each block's forward, which copies the block.

        A block that another wrapper skips, such as the first-block cache, is not copied.
        """
        self._outer.place(device)
        for block, arena in zip(self._blocks, self._arenas, strict=True):
            arena.vacate(device)
            block.forward = visiting(block.forward, arena, device)

    def drop(self) -> None:
        """Makes the module compute with the weights in RAM again, by the blocks' own forwards."""
        for block in self._blocks:
            vars(block).pop("forward", None)
        for arena in (self._outer, *self._arenas):
            arena.drop()

    def forget(self) -> None:
        """Does nothing: a streamed module needs its weights in RAM."""


def visiting(forward: Callable[..., Any], arena: Arena, device: str) -> Callable[..., Any]:
    """Returns a block's forward that copies the block's weights to the device while it computes.

    `forward`: the block's own; `arena`: the block's weights.
    """

    @wraps(forward)
    def visit(*args: Any, **kwargs: Any) -> Any:
        arena.place(device)
        try:
            return forward(*args, **kwargs)
        finally:
            arena.vacate(device)

    return visit


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yields the blocks of a module, which run one after another: the members of its outermost ModuleLists."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


# ── a module's weights ──────────────────────────────────────────────────────────────────────────


def _weights(owners: Sequence[nn.Module]) -> Iterator[_Weight]:
    """Yields each parameter and buffer once, even where modules share it."""
    seen: set[int] = set()
    tables: list[dict[str, Any]] = [table for owner in owners for table in (owner._parameters, owner._buffers)]
    for table in tables:
        for name, tensor in table.items():
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if hasattr(tensor, "__tensor_flatten__"):
                yield _wrapped(table, name, tensor)
            else:
                yield _Weight((tensor.data,), partial(_set_attribute, tensor, "data"))
                yield from _quant_state(getattr(tensor, "quant_state", None))


def _wrapped(table: dict[str, Any], name: str, tensor: Quantised) -> _Weight:
    """Describes a quantised weight made of several tensors; its `bind` builds the weight anew from other tensors."""
    names, context = tensor.__tensor_flatten__()
    shape, stride, rebuild = tensor.size(), tensor.stride(), type(tensor).__tensor_unflatten__

    def bind(parts: Sequence[Tensor]) -> None:
        rebuilt = rebuild(dict(zip(names, parts, strict=True)), context, shape, stride)
        table[name] = nn.Parameter(rebuilt, requires_grad=False) if isinstance(tensor, nn.Parameter) else rebuilt

    return _Weight(tuple(getattr(tensor, each) for each in names), bind)


def _quant_state(state: Quantised) -> Iterator[_Weight]:
    """Yields bitsandbytes' scales beside 4-bit data, and the scales of the scales.

    The library shares its code tables between weights, so the attributes are set and never the tensors' data.
    """
    while state is not None:
        for name, value in vars(state).items():
            if isinstance(value, Tensor):
                yield _Weight((value,), partial(_set_attribute, state, name), plain=False)
        state = state.state2


def _set_attribute(owner: Quantised, name: str, parts: Sequence[Tensor]) -> None:
    (value,) = parts
    setattr(owner, name, value)


def _view(run: Tensor, offset: int, like: Tensor) -> Tensor:
    """Returns the bytes from `offset` on as a tensor with the type, shape and strides of `like`."""
    flat = run[offset : offset + like.numel() * like.element_size()].view(like.dtype)
    dense = 1 + sum((n - 1) * step for n, step in zip(like.shape, like.stride(), strict=True)) == like.numel()
    return flat.as_strided(like.shape, like.stride()) if dense and like.numel() else flat.view(like.shape)
