"""The bench of the forms of weights."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_every_form_has_its_figures() -> None:
    """Each form's error is that of its bits, and what a file gives as 8-bit floats is best kept so."""
    from engines.api.forms import ROWS
    from frontdoor.bench.forms import compared, given

    figures = {row.name: row.value for row in compared(48, 64)}
    errors = [figures[f"48 × 64 {form}: error"] for form in ("bf16", "int8", "fp8", "nf4")]
    assert errors == sorted(errors) and errors[-1] < 0.1
    assert figures["48 × 64 fp8: size"] == figures["48 × 64 int8: size"] == 8 + 16 / 64
    kept, *anew = [row.value for row in given(48, 64)]
    assert len(anew) == len(ROWS) and kept < min(anew)
