"""Sets how much freed memory the C library keeps for reuse; by default it returns large blocks to the kernel."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, TypeAlias

CFunction: TypeAlias = Any  # a function of a C library, which ctypes does not type, or None

# From glibc's malloc.h. Its mmap threshold is at most half of a heap; larger blocks go back as soon as they are freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 32 << 20
_KEPT = 256 << 20


def keep_small_blocks() -> bool:
    """Makes the C library keep freed blocks, so that each step of a training reuses the memory of the step before.

    By default freed memory goes back to the kernel, which must clear new pages for each step. After the call the
    library keeps at most 256 MiB, and no block above 32 MiB. All threads then share one heap, because further heaps
    would ignore the setting.
    Returns whether the C library accepted the setting; only glibc has it.
    """
    mallopt = _of_libc("mallopt")
    wanted = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    return bool(mallopt) and all(mallopt(setting, value) for setting, value in wanted)


def give_back() -> None:
    """Returns to the system all unused memory that the C library holds; does nothing without glibc."""
    trim = _of_libc("malloc_trim")
    if trim:
        trim(0)


def _of_libc(name: str) -> CFunction:
    """Returns a function of the C library; None where it has no such function, or the system is not Linux."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
