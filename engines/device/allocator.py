"""What the C library does with memory that was freed: by default it is the kernel's, and asked for again at once."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# Of glibc's malloc.h. It takes no mmap threshold above half of a heap; what is larger goes back as soon as it is freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 32 << 20
_KEPT = 256 << 20


def keep_small_blocks() -> bool:
    """Let one step's activations lie where those of the step before lay, instead of on pages that are zeroed anew.

    All threads share one heap, for those of their own shrink as they like. At most a quarter of a GiB is held back, and
    no block as large as a model's weights. Answers whether the C library has such a setting: glibc has.
    """
    mallopt = _of_libc("mallopt")
    wanted = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    return bool(mallopt) and all(mallopt(setting, value) for setting, value in wanted)


def give_back() -> None:
    """Hand all that is free to the system, kept blocks too."""
    trim = _of_libc("malloc_trim")
    if trim:
        trim(0)


def _of_libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
