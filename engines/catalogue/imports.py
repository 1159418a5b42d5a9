"""How libraries come in: without the garbage collector, which would free nothing, and without their small talk."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HUSHED = ("bitsandbytes.backends.cpu.ops",)  # warns that an optional kernel, which nothing here asks for, is absent


@contextmanager
def bringing_in() -> Iterator[None]:
    """Hold the collector while libraries are imported; what comes in with torch it passes over from then on.

    Only with torch: later there may be models alive, and what is frozen while alive is never collected.
    Our own progress is told by what is going on, so that theirs, a bar for each file, would only tear it up.
    """
    collecting, first = gc.isenabled(), "torch" not in sys.modules
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in _HUSHED:
        logging.getLogger(name).setLevel(logging.ERROR)
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
