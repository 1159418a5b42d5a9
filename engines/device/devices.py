"""The devices: this machine's memory, and a CUDA card. Torch is imported when a card is first used."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from engines.api.errors import BadInput, NotFound
from engines.api.protocols import Device
from engines.catalogue.registry import load_class
from engines.device import allocator
from engines.device.host import Pins, host_free_bytes
from engines.device.host import host_bytes as host_bytes

_HOST_OOM = ("DefaultCPUAllocator", "not enough memory")
_CUDA_OOM = ("CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", *_HOST_OOM)


def open_device(name: str, fake_bytes: int = 0) -> Device:
    """The device that a setting names: auto, cpu, cuda or fake; nothing heavy is imported to open it.

    Raises: NotFound when a card is asked for and none answers, BadInput.
    """
    if name == "auto":
        name = "cuda" if _torch_has_cuda() and cuda_count() else "cpu"
    if name == "cuda" and not (_torch_has_cuda() and cuda_count()):
        raise NotFound(
            "No CUDA card answers, or the installed torch is a CPU build.",
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


# ── is there a card? asked of the driver, without torch ─────────────────────────────────────────


def cuda_count() -> int:
    """How many cards the CUDA driver shows; 0 without a driver."""
    driver = _driver()
    if driver is None:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def cuda_total_bytes(index: int) -> int:
    """Capacity of a card by its driver; 0 when it does not answer."""
    driver = _driver()
    handle, total = ctypes.c_int(), ctypes.c_size_t()
    if driver is None or driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return 0
    return total.value if driver.cuDeviceTotalMem_v2(ctypes.byref(total), handle) == 0 else 0


def _driver() -> Any:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


def _torch_has_cuda() -> bool:
    """Whether the installed torch is a CUDA build, read from its version file."""
    spec = find_spec("torch")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        version = Path(folder) / "version.py"
        if version.is_file():
            return re.search(r"^cuda\b[^=]*= *['\"]", version.read_text(), re.M) is not None
    return False


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


class CpuDevice:
    """This machine's RAM; what is loaded is already in place, so `put` answers what it was given."""

    name = "cpu"
    torch_device = "cpu"
    in_place = True

    def __init__(self, total_bytes: int | None = None) -> None:
        self._total = host_bytes() if total_bytes is None else total_bytes
        allocator.keep_small_blocks()

    def total_bytes(self) -> int:
        """RAM, or the container's share of it."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """MemoryError, or torch's words for it on the host."""
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_OOM)
        )

    def free_bytes(self) -> int:
        """RAM that can still be taken."""
        return host_free_bytes()

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """Nothing beside what runs here."""
        del host, nbytes, room
        return 0

    def release(self, host: Any) -> None:
        """Nothing to do: the last reference frees it."""

    def put(self, host: Any, nbytes: int, *, streamed: bool = False) -> Any:
        """The host object itself. Raises: MemoryError when even its declared size is beyond the total."""
        del streamed
        if nbytes > self._total:
            raise MemoryError(f"{nbytes} bytes are more than this machine's {self._total}")
        return host

    def drop(self, placed: Any, nbytes: int) -> None:
        """Nothing to do: the last reference frees it."""

    def reclaim(self) -> None:
        """Collect garbage and give what the allocator keeps back to the system."""
        gc.collect()
        allocator.give_back()

    def peak_bytes(self, *, reset: bool = False) -> int:
        """The process's high-water mark where the kernel lets one be reset, else what it uses now."""
        status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
        if not clear.exists():
            return int(psutil.Process().memory_info().rss)
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.M)
        if reset:
            with suppress(OSError):  # a hardened container: the mark then only ever grows
                clear.write_text("5")
        return int(found.group(1)) * 1024 if found else 0


class CudaDevice:
    """One CUDA card; our allocator's cached blocks count as free."""

    in_place = False

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self.name = self.torch_device = f"cuda:{index}"

    @cached_property
    def _cuda(self) -> Any:
        import torch

        return torch.cuda

    @cached_property
    def _movers(self) -> Any:
        from engines.device.movers import Movers

        return Movers(self.torch_device, Pins(self._cuda.cudart(), self._settle))

    def _settle(self) -> None:
        """CUDA reports a refused call once more at the next kernel: here, where nothing is lost by it."""
        import torch

        with suppress(RuntimeError):
            torch.zeros(1, device=self.torch_device)
            self._cuda.synchronize(self._index)

    @cached_property
    def _total(self) -> int:
        return cuda_total_bytes(self._index) or int(self._cuda.mem_get_info(self._index)[1])

    def total_bytes(self) -> int:
        """Capacity, by the driver, so that a status needs no torch."""
        return self._total

    def out_of_memory(self, error: BaseException) -> bool:
        """MemoryError, torch's OutOfMemoryError, or a library's words for it."""
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA_OOM)
        )

    def free_bytes(self) -> int:
        """What the driver calls free, and what our allocator holds without using."""
        cached = self._cuda.memory_reserved(self._index) - self._cuda.memory_allocated(self._index)
        return int(self._cuda.mem_get_info(self._index)[0] + cached)

    def keep(self, host: Any, nbytes: int, room: int) -> int:
        """A module's weights in one locked buffer, where `room` and free RAM allow."""
        del nbytes
        return int(self._movers.keep(host, room))

    def release(self, host: Any) -> None:
        """Unlock and free a master."""
        self._movers.release(host)

    def put(self, host: Any, nbytes: int, *, streamed: bool = False) -> Any:
        """A module with its weights on the card; what is no module stays as it is. Raises: MemoryError."""
        del nbytes
        placed = self._movers.put(host, streamed=streamed)
        self._cuda.synchronize(self._index)  # so that the manager measures the copy and not its start
        return placed

    def drop(self, placed: Any, nbytes: int) -> None:
        """The card's weights go at once, whoever still holds the module."""
        del nbytes
        self._movers.drop(placed)

    def reclaim(self) -> None:
        """Collect garbage and give cached blocks back to the driver."""
        gc.collect()
        self._cuda.empty_cache()

    def peak_bytes(self, *, reset: bool = False) -> int:
        """torch's own high-water mark of allocated bytes."""
        peak = int(self._cuda.max_memory_allocated(self._index))
        if reset:
            self._cuda.reset_peak_memory_stats(self._index)
        return peak
