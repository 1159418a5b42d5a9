"""Tests the figures of the embedded models, with random weights."""

from __future__ import annotations

import numpy as np
import pytest

from engines.mini.measure import generator_figures
from engines.mini.nets import Reader

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("count", "heads"), [(1, False), (40, True)])
def test_a_share_of_no_pictures_is_left_out(count: int, heads: bool) -> None:
    """One scene that is no head shot has no share of head shots; among forty scenes there are some."""
    figures = generator_figures(lambda texts: np.zeros((len(texts), 64, 64, 3), np.uint8), Reader().eval(), count)
    assert ("expression_in_head_shots" in figures) is heads
    assert figures["captions"] == count and not any(np.isnan(share) for share in figures.values())
