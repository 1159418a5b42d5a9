"""The cores that this process may use, the settings of torch's allocator, and an environment without proxies."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch has read one or the other, by version


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_expandable_segments(environment: MutableMapping[str, str], platform: str) -> None:
    """Sets torch's CUDA allocator in `environment` to expandable segments.

    Swapping models of different sizes then leaves no gaps in the GPU's memory. torch reads the variable when it is
    imported. A user's own setting stays, and nothing is set on Windows, where torch has no expandable segments.
    """
    if platform != "win32" and not any(name in environment for name in _ALLOCATOR):
        environment.update(dict.fromkeys(_ALLOCATOR, "expandable_segments:True"))


@contextmanager
def without_proxies(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Removes all proxies from an environment while the context is open, and restores them afterwards.

    Gradio makes an HTTP client when it is imported, and a proxy that httpx cannot use (SOCKS without its package, a
    misspelt address) would end the import. Downloads go through the proxy as before.
    """
    proxies = {name: value for name, value in environment.items() if name.lower().endswith("_proxy")}
    for name in proxies:
        del environment[name]
    try:
        yield
    finally:
        environment.update(proxies)
