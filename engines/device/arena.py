"""A module's weights as one run of bytes: one allocation on the card, one copy in, none back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_ALIGN = 256  # as torch's own allocator aligns


@dataclass(frozen=True)
class _Weight:
    """Tensors that are bound as one; `bind` puts others of the same shapes in their place."""

    homes: tuple[Tensor, ...]
    bind: Callable[[Sequence[Tensor]], None]
    plain: bool = True  # nothing but its data: an empty tensor may stand for it


class Arena:
    """The weights of a module, quantised ones with their state, moved in place.

    Forward passes see the device's tensors from `place` to `drop`, and the host's otherwise; the host's are never
    written. Raises what torch raises when the device is full, and leaves the module as it was then.
    """

    def __init__(self, module: nn.Module, without: Collection[nn.Module] = ()) -> None:
        skipped = {id(part) for block in without for part in block.modules()}
        owners = [part for part in module.modules() if id(part) not in skipped]
        self._weights = list(_weights(owners))
        self._offsets, self.nbytes = _layout(home for weight in self._weights for home in weight.homes)
        self._run = self._found_run()

    def place(self, device: str) -> None:
        """Copy all weights into one block on the device, and compute with them from now on."""
        run = torch.empty(self.nbytes, dtype=torch.uint8, device=device)
        self._fill(run)
        self._bind(run)

    def drop(self) -> None:
        """Compute with the host's weights again; the block on the device is free with that."""
        for weight in self._weights:
            weight.bind(weight.homes)

    def vacate(self, device: str) -> None:
        """Hold nothing on the device, yet seem to be there: what is attached to a weight asks where that is."""
        for weight in self._weights:
            blanks = [home.new_empty(0, device=device) for home in weight.homes]
            weight.bind(blanks if weight.plain else weight.homes)

    def pack(self) -> Tensor:
        """Gather the host's weights in one buffer, which is answered: a copy from it is a single one."""
        run = torch.empty(self.nbytes, dtype=torch.uint8)
        offsets = iter(self._offsets)
        for index, weight in enumerate(self._weights):  # one by one, so that no weight stands twice for long
            views = tuple(_view(run, next(offsets), home) for home in weight.homes)
            for view, home in zip(views, weight.homes, strict=True):
                view.copy_(home)
            weight.bind(views)
            self._weights[index] = _Weight(views, weight.bind, weight.plain)
        self._run = run
        return run

    def forget(self) -> None:
        """Let go of the host's weights: after this a `drop` leaves the module empty."""
        for index, weight in enumerate(self._weights):
            blanks = tuple(home.new_empty(0) for home in weight.homes)
            self._weights[index] = _Weight(blanks, weight.bind, weight.plain)
        self._run = None

    def homes(self) -> list[Tensor]:
        """The host's tensors."""
        return [home for weight in self._weights for home in weight.homes]

    def _fill(self, run: Tensor) -> None:
        if self._run is not None:
            run.copy_(self._run, non_blocking=True)
            return
        for offset, home in zip(self._offsets, self.homes(), strict=True):
            _view(run, offset, home).copy_(home, non_blocking=True)

    def _bind(self, run: Tensor) -> None:
        offsets = iter(self._offsets)
        for weight in self._weights:
            weight.bind([_view(run, next(offsets), home) for home in weight.homes])

    def _found_run(self) -> Tensor | None:
        """The host's bytes as one tensor, where they lie already as they shall lie on the device."""
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
    """A module whose blocks visit the device one by one; what lies outside of them stays there throughout."""

    def __init__(self, module: nn.Module) -> None:
        self._blocks = list(blocks(module))
        self._arenas = [Arena(block) for block in self._blocks]
        self._outer = Arena(module, without=self._blocks)
        self._hooks: list[Any] = []

    @property
    def nbytes(self) -> int:
        """The most that is on the device at a time."""
        return self._outer.nbytes + max((arena.nbytes for arena in self._arenas), default=0)

    def place(self, device: str) -> None:
        """Copy the outer weights in, and each block's when its forward begins."""
        self._outer.place(device)
        for block, arena in zip(self._blocks, self._arenas, strict=True):
            arena.vacate(device)
            self._hooks += [
                block.register_forward_pre_hook(partial(_come, arena, device)),
                block.register_forward_hook(partial(_go, arena, device), always_call=True),
            ]

    def drop(self) -> None:
        """Compute with the host's weights again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for arena in (self._outer, *self._arenas):
            arena.drop()

    def forget(self) -> None:
        """Nothing: a streamed module lives on its host master."""


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of a module's outermost lists: what runs one after another."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


def _come(arena: Arena, device: str, *_: Any) -> None:
    arena.place(device)


def _go(arena: Arena, device: str, *_: Any) -> None:
    arena.vacate(device)


# ── what a module's weights are ─────────────────────────────────────────────────────────────────


def _weights(owners: Sequence[nn.Module]) -> Iterator[_Weight]:
    """Each parameter and buffer once, tied ones together."""
    seen: set[int] = set()
    for table in (table for owner in owners for table in (owner._parameters, owner._buffers)):
        for name, tensor in table.items():
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if hasattr(tensor, "__tensor_flatten__"):
                yield _wrapped(table, name, tensor)
            else:
                yield _Weight((tensor.data,), partial(_set_data, tensor))
                yield from _quant_state(getattr(tensor, "quant_state", None))


def _wrapped(table: dict[str, Any], name: str, tensor: Any) -> _Weight:
    """A tensor made of tensors, as quanto's are: it knows how to be taken apart and built anew."""
    names, told = tensor.__tensor_flatten__()
    shape, stride, rebuild = tensor.size(), tensor.stride(), type(tensor).__tensor_unflatten__

    def bind(parts: Sequence[Tensor]) -> None:
        rebuilt = rebuild(dict(zip(names, parts, strict=True)), told, shape, stride)
        table[name] = nn.Parameter(rebuilt, requires_grad=False) if isinstance(tensor, nn.Parameter) else rebuilt

    return _Weight(tuple(getattr(tensor, each) for each in names), bind, plain=False)


def _quant_state(state: Any) -> Iterator[_Weight]:
    """bitsandbytes' scales beside 4-bit data, and the scales of the scales.

    Its code tables are shared with the library, so that the attributes are set and never the tensors' data.
    """
    while state is not None:
        for name, value in vars(state).items():
            if isinstance(value, Tensor):
                yield _Weight((value,), partial(_set_attribute, state, name), plain=False)
        state = state.state2


def _set_data(tensor: Tensor, parts: Sequence[Tensor]) -> None:
    (tensor.data,) = parts


def _set_attribute(owner: Any, name: str, parts: Sequence[Tensor]) -> None:
    (value,) = parts
    setattr(owner, name, value)


# ── where they lie ──────────────────────────────────────────────────────────────────────────────


def _layout(homes: Iterator[Tensor]) -> tuple[list[int], int]:
    offsets, end = [], 0
    for home in homes:
        offsets.append(end)
        end += -(-home.numel() * home.element_size() // _ALIGN) * _ALIGN
    return offsets, end


def _view(run: Tensor, offset: int, like: Tensor) -> Tensor:
    """A tensor in the run's bytes, of another's type, shape and order of dimensions."""
    flat = run[offset : offset + like.numel() * like.element_size()].view(like.dtype)
    dense = 1 + sum((n - 1) * step for n, step in zip(like.shape, like.stride(), strict=True)) == like.numel()
    return flat.as_strided(like.shape, like.stride()) if dense and like.numel() else flat.view(like.shape)
