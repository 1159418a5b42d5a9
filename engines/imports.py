"""Libraries come in without the garbage collector, which would go through them again and again and free nothing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_waits() -> Iterator[None]:
    """Hold the collector while libraries are imported; what comes in with torch it passes over from then on.

    Only with torch: later there may be models alive, and what is frozen while alive is never collected.
    """
    collecting, first = gc.isenabled(), "torch" not in sys.modules
    if first:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
        if collecting:
            gc.enable()
