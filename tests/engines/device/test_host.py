"""This machine's RAM, and pages locked for a card."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np

from engines.device.host import Pins, anonymous_bytes, host_bytes, host_free_bytes


class Cudart:
    """What torch.cuda.cudart() offers; it refuses what is larger than `limit`."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.locked: dict[int, int] = {}

    def cudaHostRegister(self, pointer: int, size: int, flags: int) -> int:
        if size > self.limit:
            return 2
        self.locked[pointer] = size
        return 0

    def cudaHostUnregister(self, pointer: int) -> int:
        del self.locked[pointer]
        return 0


class Buffer:
    """As much of a tensor as pinning needs."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)

    def data_ptr(self) -> int:
        """Where it lies, or a number that stands for it."""
        return id(self.bytes)

    def numel(self) -> int:
        """How long it is."""
        return len(self.bytes)


class Owner:
    """A model."""


def test_free_ram_is_part_of_ours() -> None:
    """What can still be taken is some, and no more than all."""
    assert 0 < host_free_bytes() <= host_bytes()


def test_a_files_pages_are_told_from_our_own(tmp_path: Path) -> None:
    """Memory that maps a file costs nothing that the kernel could not have back; an array of ours does."""
    (tmp_path / "weights").write_bytes(b"w" * 3 * mmap.PAGESIZE)
    with (tmp_path / "weights").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        weights = np.frombuffer(mapped, dtype=np.uint8)
        ours = np.ones(5000, dtype=np.uint8)
        spans = [(weights.ctypes.data, weights.nbytes), (ours.ctypes.data, ours.nbytes)]

        assert anonymous_bytes(spans) == 5000
        assert anonymous_bytes([]) == 0
        del weights


def test_pages_are_locked_exactly_and_unlocked_when_the_master_goes() -> None:
    """The buffer's own length is locked, not the next power of two; unpinning frees it, and so does the owner's end."""
    cudart, first, second = Cudart(), Owner(), Owner()
    pins, buffer = Pins(cudart, lambda: None), Buffer(3000)

    assert pins.pin(first, buffer)
    assert pins.pin(second, Buffer(5000))
    assert sorted(cudart.locked.values()) == [3000, 5000]
    pins.unpin(first)
    pins.unpin(first)
    assert list(cudart.locked.values()) == [5000]
    del second
    gc.collect()
    assert cudart.locked == {}


def test_a_refused_lock_is_no_error() -> None:
    """What the driver will not lock is copied at the ordinary speed; its complaint is heard out at once."""
    told: list[str] = []
    cudart, owner = Cudart(limit=100), Owner()
    pins = Pins(cudart, lambda: told.append("settled"))

    assert not pins.pin(owner, Buffer(3000))
    pins.unpin(owner)

    assert (cudart.locked, told) == ({}, ["settled"])
