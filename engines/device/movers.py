"""Moves modules between this machine's RAM and a device."""

from __future__ import annotations

import weakref

import torch
from torch import nn

from engines.api.protocols import Loaded
from engines.device.arena import Arena, Streamed
from engines.device.host import Pins, anonymous_bytes, host_free_bytes


class Movers:
    """Moves the weights of modules between this machine's RAM and a device; ignores anything that is no module.

    `torch_device`: torch's name of the device. `pins`: page-locks weights in RAM for fast copies to a GPU; None:
    weights are neither packed nor locked.
    """

    def __init__(self, torch_device: str, pins: Pins | None = None) -> None:
        self._device = torch_device
        self._pins = pins
        self._arenas: weakref.WeakKeyDictionary[nn.Module, Arena] = weakref.WeakKeyDictionary()
        self._placed: weakref.WeakKeyDictionary[nn.Module, Arena | Streamed] = weakref.WeakKeyDictionary()

    def keep(self, host: Loaded, room: int) -> int:
        """Packs a module's weights in one page-locked buffer in RAM, if they fit into `room` bytes and the free RAM.

        Otherwise they stay where they are, such as in the mapped pages of their file. Returns the bytes of RAM that
        they then take; pages of a mapped file do not count, because the system can drop them.
        """
        arena = self._arena(host)
        if arena is None:
            return 0
        if self._pins is not None and arena.nbytes <= min(room, host_free_bytes()) and arena.nbytes:
            self._pins.pin(host, arena.pack())
            return arena.nbytes
        return anonymous_bytes((home.data_ptr(), home.nbytes) for home in arena.homes())

    def release(self, host: Loaded) -> None:
        """Gives up the weights that a module holds in RAM; a copy on the device stays and can still compute.

        Weights in RAM that the module still uses, because it has no copy or is streamed, are freed with the module.
        """
        arena = self._arenas.pop(host, None) if isinstance(host, nn.Module) else None
        if arena is not None:
            arena.forget()
            if self._pins is not None:
                self._pins.unpin(host)

    def put(self, host: Loaded, *, streamed: bool) -> Loaded:
        """Copies a module's weights to the device and returns the module, which then computes with the copy.

        `streamed`: copy each block only while it computes. Raises: MemoryError where the device has no room; the module
        is then unchanged.
        """
        arena = self._arena(host)
        if arena is None:
            return host
        try:
            mover = Streamed(host) if streamed else arena
            mover.place(self._device)
        except torch.OutOfMemoryError as error:
            cause = str(error)
        else:
            self._placed[host] = mover
            return host
        raise MemoryError(cause)

    def drop(self, placed: Loaded) -> None:
        """Frees a module's weights on the device; the module then uses those in RAM, unless these were released."""
        mover = self._placed.pop(placed, None) if isinstance(placed, nn.Module) else None
        if mover is not None:
            mover.drop()

    def _arena(self, host: Loaded) -> Arena | None:
        if not isinstance(host, nn.Module):
            return None
        if host not in self._arenas:
            self._arenas[host] = Arena(host)
        return self._arenas[host]
