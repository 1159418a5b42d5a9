"""Imports libraries with the garbage collector turned off, which would free nothing, and without their log messages."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HUSHED = ("bitsandbytes.backends.cpu.ops",)  # warns that an optional kernel is absent, which nothing here uses


@contextmanager
def bringing_in() -> Iterator[None]:
    """Turns the garbage collector off inside a `with` block, for imports of heavy libraries.

    If torch is not imported yet when the block begins, all objects that exist at its end are exempted from garbage
    collection for good. Once torch is imported, a block exempts none: models may be in memory by then, which must stay
    collectable.
    Hugging Face's progress bars are turned off, because they would break up our own progress lines.
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
