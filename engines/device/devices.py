"""Gives access to this machine's RAM and to a CUDA GPU as devices; imports torch when a GPU is first used."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

from engines.api.errors import BadInput, NotFound
from engines.api.protocols import Device, Loaded
from engines.catalogue.registry import load_class
from engines.device import allocator
from engines.device.host import Pins, host_free_bytes
from engines.device.host import host_bytes as host_bytes

if TYPE_CHECKING:
    from engines.device.movers import Movers

Library: TypeAlias = Any  # a C library that ctypes loaded (or None), or torch.cuda: neither types its functions

_HOST_OOM = ("DefaultCPUAllocator", "not enough memory")
_CUDA_OOM = (  # words of torch's allocator, of the driver, of cuBLAS and cuDNN, and of the host
    "CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
    *_HOST_OOM,
)  # fmt: skip


def open_device(name: str, fake_bytes: int = 0) -> Device:
    """Creates the device that a setting names; imports nothing heavy.

    `name`: cpu, cuda, fake, or auto, which takes cuda where there is a GPU and cpu otherwise. `fake_bytes`: the memory
    of the fake device in bytes. Raises: NotFound where `cuda` finds no GPU, BadInput for another name.
    """
    if name == "auto":
        name = "cuda" if _torch_has_cuda() and cuda_count() else "cpu"
    if name == "cuda" and not (_torch_has_cuda() and cuda_count()):
        raise NotFound(
            "No CUDA card is found, or the installed torch is a CPU build.",
            "Set the device to auto or cpu, or install the driver and torch's CUDA build.",
        )
    if name == "cpu":
        return CpuDevice()
    if name == "cuda":
        return CudaDevice()
    if name == "fake":
        fake: Device = load_class("engines.fake:FakeDevice")(fake_bytes)
        return fake
    raise BadInput(f"There is no device named {name}.", "Known: auto, cpu, cuda, fake.")


# ── the GPUs, by the driver, without torch ──────────────────────────────────────────────────────


def cuda_count() -> int:
    """Returns the number of GPUs that the CUDA driver shows; 0 without a driver."""
    driver = _driver()
    if driver is None:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def cuda_total_bytes(index: int) -> int:
    """Returns the memory in bytes of the GPU at `index`, as the driver reports it; 0 where it does not respond."""
    driver = _driver()
    handle, total = ctypes.c_int(), ctypes.c_size_t()
    if driver is None or driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return 0
    return total.value if driver.cuDeviceTotalMem_v2(ctypes.byref(total), handle) == 0 else 0


def _driver() -> Library:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


def _torch_has_cuda() -> bool:
    """Returns whether the installed torch is a CUDA build, by its version file."""
    spec = find_spec("torch")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        version = Path(folder) / "version.py"
        if version.is_file():
            return re.search(r"^cuda\b[^=]*= *['\"]", version.read_text(), re.M) is not None
    return False


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


class CpuDevice:
    """Represents this machine's RAM as a device; loaded weights are already in place, so that nothing is copied."""

    name = "cpu"
    torch_device = "cpu"
    in_place = True

    def __init__(self, total_bytes: int | None = None) -> None:
        self._total = host_bytes() if total_bytes is None else total_bytes
        allocator.keep_small_blocks()

    def total_bytes(self) -> int:
        """Returns the machine's RAM in bytes, or its container's limit if smaller."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error is a MemoryError, or torch's error for a failed allocation in RAM."""
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_OOM)
        )

    def free_bytes(self) -> int:
        """Returns the bytes of RAM that can still be allocated."""
        return host_free_bytes()

    def keep(self, host: Loaded, nbytes: int, room: int) -> int:
        """Does nothing and returns 0: on the CPU the loaded module itself computes, and no copy takes more RAM."""
        del host, nbytes, room
        return 0

    def release(self, host: Loaded) -> None:
        """Does nothing: the module is freed with the last reference to it."""

    def put(self, host: Loaded, nbytes: int, *, streamed: bool = False) -> Loaded:
        """Returns the module itself, because it is already in RAM.

        Raises: MemoryError where `nbytes`, the size of its weights, exceeds the total RAM. `streamed` has no effect.
        """
        del streamed
        if nbytes > self._total:
            raise MemoryError(f"{nbytes} bytes are more than this machine's {self._total}")
        return host

    def drop(self, placed: Loaded, nbytes: int) -> None:
        """Does nothing: the module is freed with the last reference to it."""

    def reclaim(self) -> None:
        """Collects garbage and returns the C library's unused memory to the system."""
        gc.collect()
        allocator.give_back()

    def peak_bytes(self, *, reset: bool = False) -> int:
        """Returns the most bytes of RAM that the process used since the last reset; `reset` starts the count again.

        Outside Linux, where the peak cannot be reset, it returns the bytes in use now.
        """
        status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
        if not clear.exists():
            return int(psutil.Process().memory_info().rss)
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.M)
        if reset:
            with suppress(OSError):  # a hardened container refuses: the peak then never falls
                clear.write_text("5")
        return int(found.group(1)) * 1024 if found else 0


class CudaDevice:
    """Represents one CUDA GPU as a device; memory that torch's allocator caches counts as free."""

    in_place = False

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self.name = self.torch_device = f"cuda:{index}"

    @cached_property
    def _cuda(self) -> Library:
        import torch

        return torch.cuda

    @cached_property
    def _movers(self) -> Movers:
        import torch

        from engines.device.movers import Movers

        def settle() -> None:
            """Runs a kernel that may fail: CUDA reports a refused call once more, at the next kernel."""
            with suppress(RuntimeError):
                torch.zeros(1, device=self.torch_device)
                self._cuda.synchronize(self._index)

        return Movers(self.torch_device, Pins(self._cuda.cudart(), settle))

    @cached_property
    def _total(self) -> int:
        return cuda_total_bytes(self._index) or int(self._cuda.mem_get_info(self._index)[1])

    def total_bytes(self) -> int:
        """Returns the GPU's memory in bytes, as the driver reports it; imports torch only if the driver does not."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """Returns whether an error is a MemoryError, or one of torch, CUDA, cuBLAS or cuDNN for a failed allocation."""
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA_OOM)
        )

    def free_bytes(self) -> int:
        """Returns the free bytes of GPU memory, including those that torch's allocator holds unused."""
        cached = self._cuda.memory_reserved(self._index) - self._cuda.memory_allocated(self._index)
        return int(self._cuda.mem_get_info(self._index)[0] + cached)

    def keep(self, host: Loaded, nbytes: int, room: int) -> int:
        """Packs a module's weights in one page-locked buffer in RAM, if they fit into `room` bytes and the free RAM.

        Otherwise they stay where they are. Returns the bytes of RAM that the weights then take; pages of a mapped file
        do not count, because the system can drop them. `nbytes` is not used.
        """
        del nbytes
        return self._movers.keep(host, room)

    def release(self, host: Loaded) -> None:
        """Unlocks and frees the weights that a module holds in RAM; a copy on the GPU stays."""
        self._movers.release(host)

    def put(self, host: Loaded, nbytes: int, *, streamed: bool = False) -> Loaded:
        """Copies a module's weights to the GPU and returns the module, which then computes with them.

        `host`: the loaded module; anything that is no module is returned as it is. `nbytes` is not used. `streamed`:
        copy each block only while it computes. Raises: MemoryError where the GPU has no room.
        """
        del nbytes
        placed = self._movers.put(host, streamed=streamed)
        self._cuda.synchronize(self._index)  # so that the manager measures the copy and not its start
        return placed

    def drop(self, placed: Loaded, nbytes: int) -> None:
        """Frees a module's weights on the GPU at once, even while there are references to the module.

        `nbytes` is not used.
        """
        del nbytes
        self._movers.drop(placed)

    def reclaim(self) -> None:
        """Collects garbage, and returns to the driver the memory that torch's allocator caches."""
        gc.collect()
        self._cuda.empty_cache()

    def peak_bytes(self, *, reset: bool = False) -> int:
        """Returns the most bytes that torch had allocated on the GPU since the last reset.

        `reset`: start the count again.
        """
        peak = int(self._cuda.max_memory_allocated(self._index))
        if reset:
            self._cuda.reset_peak_memory_stats(self._index)
        return peak
