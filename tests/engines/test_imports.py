"""Imports without the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

from engines.imports import collector_waits

ROOT = Path(__file__).resolve().parents[2]


def test_the_collector_is_as_it_was() -> None:
    """Off while something comes in, on after it, and off still where somebody had it off; an error changes nothing."""
    with collector_waits():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_waits():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    try:
        with collector_waits():
            raise ImportError
    except ImportError:
        assert gc.isenabled()


def test_only_what_comes_in_with_torch_is_passed_over() -> None:
    """Garbage of later imports is still collected: there may be models in it."""
    script = (
        "import gc, sys, types, weakref\n"
        "from engines.imports import collector_waits\n"
        "class Node: pass\n"
        "def ring():\n    node = Node(); node.self = node; return weakref.ref(node)\n"
        "with collector_waits():\n    sys.modules['torch'] = types.ModuleType('torch')\n"
        "frozen = gc.get_freeze_count()\n"
        "with collector_waits():\n    later = ring()\n"
        "gc.collect()\n"
        "print(frozen > 0, gc.get_freeze_count() == frozen, later() is None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3
