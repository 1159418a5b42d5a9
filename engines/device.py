"""The devices: this machine's memory, and a CUDA card. Torch is imported when a card is first used."""

from __future__ import annotations

import copy
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

from engines.api import Device
from engines.errors import BadInput, NotFound
from engines.registry import load_class

_CGROUPS = (  # folder, limit, use; version 2, then version 1
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
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


def host_bytes() -> int:
    """RAM this process may use: the machine's, or its container's limit where that is smaller."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _cgroup())])


def host_free_bytes() -> int:
    """RAM that can still be taken, the page cache counted as free."""
    return min([int(psutil.virtual_memory().available), *(max(0, limit - used) for limit, used in _cgroup())])


def _cgroup() -> list[tuple[int, int]]:
    for folder, limit_name, used_name in _CGROUPS:
        if (folder / limit_name).is_file() and (folder / used_name).is_file():
            words = (folder / limit_name).read_text().strip()
            if words.isdigit():
                return [(int(words), int((folder / used_name).read_text()) - _cached(folder))]
    return []


def _cached(folder: Path) -> int:
    """File pages that the kernel drops before it refuses memory."""
    stat = folder / "memory.stat"
    found = re.search(r"^(?:total_)?inactive_file (\d+)$", stat.read_text(), re.M) if stat.is_file() else None
    return int(found.group(1)) if found else 0


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

    def __init__(self, total_bytes: int | None = None) -> None:
        self._total = host_bytes() if total_bytes is None else total_bytes

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

    def put(self, host: Any, nbytes: int) -> Any:
        """The host object itself. Raises: MemoryError when even its declared size is beyond the total."""
        if nbytes > self._total:
            raise MemoryError(f"{nbytes} bytes are more than this machine's {self._total}")
        return host

    def drop(self, placed: Any, nbytes: int) -> None:
        """Nothing to do: the last reference frees it."""

    def reclaim(self) -> None:
        """Collect garbage and give the allocator's free pages back to the system."""
        gc.collect()
        if sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)

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

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self.name = self.torch_device = f"cuda:{index}"

    @cached_property
    def _cuda(self) -> Any:
        import torch

        return torch.cuda

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

    def put(self, host: Any, nbytes: int) -> Any:
        """A copy of a module on the card, its host master untouched; what is no module stays as it is.

        Raises: MemoryError.
        """
        del nbytes
        return copy_to(host, self.torch_device)

    def drop(self, placed: Any, nbytes: int) -> None:
        """Empty the copy's tensors, so that a forgotten reference to it keeps no memory."""
        del nbytes
        empty(placed)

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


def copy_to(host: Any, device: str) -> Any:
    """A module of the same structure whose tensors are copies on `device`; the host's are never moved.

    Raises: MemoryError when the device is full; nothing of the copy survives then.
    """
    import torch

    if not isinstance(host, torch.nn.Module):
        return host
    placed: dict[int, Any] = {}
    try:
        for tensor in [*host.parameters(), *host.buffers()]:
            if id(tensor) not in placed:
                placed[id(tensor)] = _copy_tensor(tensor, device)
        return copy.deepcopy(host, placed)
    except torch.OutOfMemoryError as error:
        words = str(error)
        placed.clear()
    raise MemoryError(words)


def _copy_tensor(tensor: Any, device: str) -> Any:
    import torch

    if type(tensor) is torch.nn.Parameter:
        copied = tensor.detach().to(device, copy=True)
        return torch.nn.Parameter(copied, requires_grad=tensor.requires_grad)
    if type(tensor) is torch.Tensor:
        return tensor.detach().to(device, copy=True)
    return copy.deepcopy(tensor).to(device)  # quantised parameters carry state that `.to` would share


def empty(module: Any) -> None:
    """Let go of all tensors of a module that will not be used again."""
    import torch

    if not isinstance(module, torch.nn.Module):
        return
    tensors: list[Any] = [*module.parameters(), *module.buffers()]
    for tensor in tensors:
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        if getattr(tensor, "quant_state", None) is not None:
            tensor.quant_state = None
