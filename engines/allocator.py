"""What the C library does with memory that was freed: by default it is the kernel's, and asked for again at once."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# Of glibc's malloc.h. It takes no mmap threshold above half of a heap; what is larger goes back as soon as it is freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 32 << 20
_KEPT = 256 << 20


def keep_small_blocks() -> bool:
    """Let one step's activations lie where those of the step before lay, instead of on pages that are zeroed anew.

    At most a quarter of a GiB is held back; large weights are larger than any block that is kept. Answers whether the C
    library has such a setting: glibc has.
    """
    mallopt = _of_libc("mallopt")
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, _KEPT))


def give_back() -> None:
    """Hand all that is free to the system, kept blocks too."""
    trim = _of_libc("malloc_trim")
    if trim:
        trim(0)


def _of_libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
