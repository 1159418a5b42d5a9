"""A killed process has lost nothing that it had acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from studio.records.image import Kind, Verdict
from studio.store import Library, Store

pytestmark = pytest.mark.slow
ROUNDS = 12
ROOT = Path(__file__).parents[3]


def killed_writer(home: Path, seed: int, rng: random.Random) -> list[list[str]]:
    """What a writer acknowledged before it was killed at a moment of chance."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.studio.store.crash_writer", str(home), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        acknowledged = [writer.stdout.readline() for _ in range(rng.randrange(60))]
        for _ in range(rng.randrange(20_000)):  # up to a few commits' time, without a clock
            pass
        writer.kill()
        acknowledged += writer.stdout.readlines()
    assert writer.returncode == -9
    return [line.split() for line in acknowledged if line.endswith("\n")]


def check(store: Store, acknowledged: list[list[str]]) -> None:
    """Every acknowledged act is there, and the books agree with each other."""
    for what, record_id in acknowledged:
        if what == "image":
            assert store.open_image(record_id).size == (8, 8)
        else:
            assert record_id in store.decisions
        if what == "undo":
            assert store.decisions.get(record_id).undone
    for image in store.select(Kind.ENRICHED):
        standing = store.decisions.find(image=image.id, undone=False)
        assert image.state is (standing[-1].verdict if standing else Verdict.PENDING)
        assert (image.id in store.triplets) is (image.state is Verdict.GOOD)


def test_killed_writer_loses_nothing(tmp_path: Path) -> None:
    """Over many kills at random moments, through compactions, no acknowledged act is ever missing."""
    rng = random.Random(1)
    with Library(tmp_path) as library:
        store = library.open(library.create("Mira").id)
        for shade in range(10):
            store.add_image(Image.new("RGB", (8, 8), (shade, 0, 0)), kind=Kind.ENRICHED, parent="source")
    acknowledged: list[list[str]] = []
    for seed in range(ROUNDS):
        acknowledged += killed_writer(tmp_path, seed, rng)
        with Library(tmp_path) as library:
            store = library.open("mira")
            check(store, acknowledged)
            decisions = {record_id for what, record_id in acknowledged if what == "decision"}
            assert len(store.decisions) - len(decisions) <= seed + 1  # at most one a kill had no time to be told
    assert len(acknowledged) > 100
