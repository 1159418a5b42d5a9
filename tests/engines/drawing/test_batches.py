"""Grouping and progress."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_neighbours_share_a_batch_and_keep_their_order() -> None:
    """Only neighbours that are alike are put together, at most `size`, and concatenated they are the input."""
    from engines.drawing.batches import chunks

    items = list("aaaabba")
    found = list(chunks(items, lambda item: item, 3))
    assert found == [["a"] * 3, ["a"], ["b", "b"], ["a"]]
    assert [item for chunk in found for item in chunk] == items


def test_progress_counts_pictures_times_steps() -> None:
    """Chunks of different sizes add up to the whole job's total."""
    from engines.drawing.batches import Progress

    seen: list[tuple[int, int]] = []
    progress = Progress(lambda step, total, message="": seen.append((step, total)), 9, 3)
    progress.say("reading")
    for count in (2, 1):
        tick = progress.chunk(count)
        for step in (1, 2, 3):
            tick(step, 3)
    assert seen == [(0, 9), (2, 9), (4, 9), (6, 9), (7, 9), (8, 9), (9, 9)]
