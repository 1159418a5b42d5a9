"""What of this machine is ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

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


@contextmanager
def without_proxies(environment: MutableMapping[str, str]) -> Iterator[None]:
    """While this lasts no proxy is set: Gradio makes an HTTP client when it is imported, and a proxy that httpx cannot
    use (SOCKS without its package, a misspelt address) would end the import. Downloads go through the proxy as before.
    """
    proxies = {name: value for name, value in environment.items() if name.lower().endswith("_proxy")}
    for name in proxies:
        del environment[name]
    try:
        yield
    finally:
        environment.update(proxies)
