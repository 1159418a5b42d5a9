"""The table of forms, and what stands for it elsewhere."""

from __future__ import annotations

from typing import get_args

import pytest

from engines.api.forms import FULL_WIDTH, ROWS, Quantised


@pytest.mark.slow
def test_a_form_is_named_alike_everywhere() -> None:
    """The type of a parameter, the table, and the ways to quantise have the same names; full width is none of them."""
    from engines.weights.quantise import FORMS

    assert get_args(Quantised) == tuple(ROWS) == tuple(FORMS)
    assert FULL_WIDTH not in ROWS
    assert all(row.bits < 16 for row in ROWS.values())
