"""The devices of this machine, and how a module gets onto one."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engines.api.errors import BadInput, NotFound
from engines.device.devices import CpuDevice, CudaDevice, cuda_count, open_device
from engines.device.host import host_bytes
from engines.fake import FakeDevice

ROOT = Path(__file__).resolve().parents[3]


def test_opening_a_device_imports_no_torch() -> None:
    """The studio starts without torch, whatever device it is set to find."""
    code = (
        "import sys, engines.device.devices as d; auto = d.open_device('auto'); auto.total_bytes();"
        "d.open_device('cpu').free_bytes(); print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_this_machines_memory_is_the_budget() -> None:
    """The CPU device is as large as the RAM that this process may use, a container's limit included."""
    device = open_device("cpu")

    assert 0 < device.total_bytes() == host_bytes() <= psutil.virtual_memory().total
    assert 0 < device.free_bytes() <= device.total_bytes()


def test_in_ram_what_is_loaded_is_in_place() -> None:
    """`put` answers the host object itself, unless it is larger than the machine."""
    device, host = CpuDevice(total_bytes=100), object()

    assert device.put(host, 100) is host
    with pytest.raises(MemoryError):
        device.put(host, 101)
    assert device.keep(host, 100, 100) == 0
    device.release(host)
    device.drop(host, 100)
    device.reclaim()


def test_the_peak_starts_again_after_a_reset() -> None:
    """The high-water mark counts what was used and given back since the reset."""
    device = CpuDevice()
    device.peak_bytes(reset=True)
    base = device.peak_bytes()

    block = bytearray(b"x" * (64 << 20))
    del block

    assert base > 0
    assert device.peak_bytes() >= base


def test_out_of_memory_has_many_names() -> None:
    """MemoryError and torch's words on the host count; other errors don't."""
    device = CpuDevice()

    assert device.out_of_memory(MemoryError())
    assert device.out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not device.out_of_memory(RuntimeError("shapes differ"))


def test_a_card_is_out_of_memory_in_the_words_of_each_library() -> None:
    """A failed allocation by torch's allocator, by the driver, cuBLAS or cuDNN counts; another CUDA error doesn't."""
    device = CudaDevice()

    for words in (
        "CUDA out of memory. Tried to allocate 2 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ):
        assert device.out_of_memory(RuntimeError(words)), words
    assert not device.out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_a_fake_device_has_the_size_asked() -> None:
    """The setting `fake` opens a card of any size."""
    device = open_device("fake", fake_bytes=123)

    assert isinstance(device, FakeDevice)
    assert device.total_bytes() == 123


def test_unknown_devices_are_named() -> None:
    """A misspelt device says which there are; a card that is not there says how to go on."""
    with pytest.raises(BadInput, match="no device named gpu"):
        open_device("gpu")
    if cuda_count() == 0:
        with pytest.raises(NotFound, match="No CUDA card"):
            open_device("cuda")
