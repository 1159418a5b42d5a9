"""What this process may use and has used of the machine; torch's allocator; an environment without proxies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch has read one or the other, by version


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_bytes() -> int:
    """Returns the largest amount of RAM that this process has used so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def use_expandable_segments(environment: MutableMapping[str, str], platform: str) -> None:
    """Sets the environment variables that make torch's CUDA allocator use expandable segments.

    Swapping models of different sizes then leaves no gaps in the GPU's memory. `environment` is changed in place,
    before torch is imported; `platform` is as in `sys.platform`. A value that the user has set stays, and nothing is
    set on Windows, where torch has no expandable segments.
    """
    if platform != "win32" and not any(name in environment for name in _ALLOCATOR):
        environment.update(dict.fromkeys(_ALLOCATOR, "expandable_segments:True"))


@contextmanager
def without_proxies(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Removes the proxy variables from `environment` while the context is open, and restores them afterwards.

    It is for the import of Gradio, which makes an HTTP client. A proxy that this client cannot use, for example a
    misspelt address, would make the import fail.
    """
    proxies = {name: value for name, value in environment.items() if name.lower().endswith("_proxy")}
    for name in proxies:
        del environment[name]
    try:
        yield
    finally:
        environment.update(proxies)
