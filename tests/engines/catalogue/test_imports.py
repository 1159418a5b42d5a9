"""Imports without the garbage collector."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from engines.catalogue.imports import bringing_in

ROOT = Path(__file__).resolve().parents[3]


def test_the_collector_is_as_it_was() -> None:
    """Off while something comes in, on after it, and off still where somebody had it off; an error changes nothing."""
    with bringing_in():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with bringing_in():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    try:
        with bringing_in():
            raise ImportError
    except ImportError:
        assert gc.isenabled()


def test_only_what_comes_in_with_torch_is_passed_over() -> None:
    """Garbage of later imports is still collected: there may be models in it."""
    script = (
        "import gc, sys, types, weakref\n"
        "from engines.catalogue.imports import bringing_in\n"
        "class Node: pass\n"
        "def ring():\n    node = Node(); node.self = node; return weakref.ref(node)\n"
        "with bringing_in():\n    sys.modules['torch'] = types.ModuleType('torch')\n"
        "frozen = gc.get_freeze_count()\n"
        "with bringing_in():\n    later = ring()\n"
        "gc.collect()\n"
        "print(frozen > 0, gc.get_freeze_count() == frozen, later() is None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3


@pytest.mark.slow
def test_libraries_keep_their_small_talk_to_themselves() -> None:
    """Loading a model on any CPU prints neither a bar for each file nor a note on a kernel that nobody asked for."""
    script = (
        "from engines.catalogue.registry import load_class\n"
        "load_class('bitsandbytes.nn:Linear4bit')\n"
        "load_class('transformers:CLIPTextModel').from_pretrained('assets/mini/flux/text_encoder')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
