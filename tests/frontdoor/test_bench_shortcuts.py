"""The shortcuts bench: every faster way, and how its figures are computed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def test_every_way_is_measured_beside_the_plain_way() -> None:
    """At the smallest scale each way has its speed, largest and mean difference. Caches give equal pictures; few steps
    and tiles give others, which shows that they were used."""
    from frontdoor.bench.shortcuts import Scale, rows

    scale = Scale(rounds=1, pictures=1, batch=2, long=6, tiled=128, steps=2, backend="eager")
    found = {row.name: row for row in rows(scale)}

    paths = {name.partition(":")[0] for name in found}
    for words in ("few steps", "read before", "in a batch", "compiled (eager)", "in tiles", "first-block cache 0.2"):
        assert any(words in path for path in paths)
    assert len(found) == 3 * len(paths) == 3 * 9
    assert all(row.value > 0 for name, row in found.items() if name.endswith("same time"))
    apart = {name.partition(":")[0]: row for name, row in found.items() if name.endswith("largest difference")}
    (read,) = (row for name, row in apart.items() if "read before" in name)
    assert (read.value, read.ok) == (0, True)
    for words in ("few steps, an edit", "in tiles"):
        assert all(row.value > 0 for name, row in apart.items() if words in name)


def test_the_ratio_is_that_of_the_medians() -> None:
    """Either way goes first in turn; the spread is that of the rounds; pictures that are not equal miss a goal of 0."""
    from frontdoor.bench.shortcuts import Comparison, compare

    now = {"s": 0.0}

    def way(seconds: list[float], grey: int) -> list[Image.Image]:
        now["s"] += seconds.pop(0)
        return [Image.new("L", (2, 2), grey), Image.new("L", (2, 2), 0)]

    plain, quick = [9.0, 2.0, 8.0, 4.0], [9.0, 1.0, 2.0, 2.0]
    comparison = Comparison("a path", lambda: way(plain, 0), lambda: way(quick, 6), most_apart=0)
    speed, furthest, mean = compare(comparison, 3, clock=lambda: now["s"])

    assert (speed.value, speed.ratio, speed.spread) == (2.0, 2.0, 1.0)
    assert (furthest.value, furthest.ok, mean.value) == (6.0, False, 3.0)
    assert np.isclose(float(speed.peer.split(", ")[1].split()[0]), 2.0)  # CPU seconds a picture
