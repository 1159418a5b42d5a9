"""What of this machine is ours."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch has read one or the other, by version


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grow_in_segments(environment: MutableMapping[str, str], platform: str) -> None:
    """Let torch's CUDA allocator extend its blocks, so that swapping models of other sizes leaves no holes.

    Read by torch when it is imported; where a user has set the allocator that stands. Windows knows no such blocks.
    """
    if platform != "win32" and not any(name in environment for name in _ALLOCATOR):
        environment.update(dict.fromkeys(_ALLOCATOR, "expandable_segments:True"))
