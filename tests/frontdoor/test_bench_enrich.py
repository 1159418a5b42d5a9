"""The enrich bench: its edits, and how its figures are computed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_sixty_edits_of_twelve_sources_each_with_its_own_seed() -> None:
    """The blocks hold sixty edits of twelve pictures; those of one follow each other, and no seed comes twice."""
    import assets
    from engines.catalogue.registry import Registry
    from frontdoor.bench import enrich

    spec = Registry(Path(assets.__file__).parent, Path("models")).spec(enrich.MODEL)
    items = [item for number in range(enrich.BLOCKS) for item in enrich._block(spec, number)]
    pictures = [item.source.tobytes() for item in items]
    assert (len(items), len(set(pictures)), len({item.params.seed for item in items})) == (60, 12, 60)
    assert sum(one != other for one, other in pairwise(pictures)) == 11


def test_the_ratio_is_the_median_of_the_blocks() -> None:
    """Each block is compared with its own peer; a picture too far off misses its goal, and so does a slow engine."""
    from frontdoor.bench.enrich import _rows

    seconds = {"plain": [2.0, 4.0, 6.0, 4.0], "ours": [1.0, 2.0, 2.0, 4.0]}
    same, off = np.zeros((4, 8, 8, 3)), np.full((4, 8, 8, 3), 9.0)
    faster = next(row for row in _rows(seconds, same) if row.ratio is not None)
    assert (faster.ratio, faster.ok) == (2.0, True)
    assert [row.ok for row in _rows(seconds, off) if row.goal] == [True, False]
    assert [row.ok for row in _rows({**seconds, "ours": seconds["plain"]}, same) if row.goal] == [False, True]
