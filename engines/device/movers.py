"""What moves modules between this machine's RAM and a device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from engines.device.arena import Arena, Streamed
from engines.device.host import Pins, anonymous_bytes, host_free_bytes


class Movers:
    """Modules on their way between this machine's RAM and a device, moved in place; what is no module stays.

    `pins` locks packed host masters, where the device has a use for that.
    """

    def __init__(self, torch_device: str, pins: Pins | None = None) -> None:
        self._device = torch_device
        self._pins = pins
        self._arenas: weakref.WeakKeyDictionary[nn.Module, Arena] = weakref.WeakKeyDictionary()
        self._placed: weakref.WeakKeyDictionary[nn.Module, Arena | Streamed] = weakref.WeakKeyDictionary()

    def keep(self, host: Any, room: int) -> int:
        """Pack a master and lock it where `room` allows; else it stays as it was loaded, a file's pages for nothing.

        Answers the bytes of RAM that only we can give back.
        """
        arena = self._arena(host)
        if arena is None:
            return 0
        if self._pins is not None and arena.nbytes <= min(room, host_free_bytes()) and arena.nbytes:
            self._pins.pin(host, arena.pack())
            return int(arena.nbytes)
        return anonymous_bytes((home.data_ptr(), home.nbytes) for home in arena.homes())

    def release(self, host: Any) -> None:
        """Let the master's RAM go; what is placed computes on."""
        arena = self._arenas.pop(host, None) if isinstance(host, nn.Module) else None
        if arena is not None:
            arena.forget()
            if self._pins is not None:
                self._pins.unpin(host)

    def put(self, host: Any, *, streamed: bool) -> Any:
        """The module, its weights on the device. Raises: MemoryError, with the module where it was."""
        arena = self._arena(host)
        if arena is None:
            return host
        try:
            mover = Streamed(host) if streamed else arena
            mover.place(self._device)
        except torch.OutOfMemoryError as error:
            words = str(error)
        else:
            self._placed[host] = mover
            return host
        raise MemoryError(words)

    def drop(self, placed: Any) -> None:
        """Back to the master's weights, or to none where the master has gone."""
        mover = self._placed.pop(placed, None) if isinstance(placed, nn.Module) else None
        if mover is not None:
            mover.drop()

    def _arena(self, host: Any) -> Arena | None:
        if not isinstance(host, nn.Module):
            return None
        if host not in self._arenas:
            self._arenas[host] = Arena(host)
        return self._arenas[host]
