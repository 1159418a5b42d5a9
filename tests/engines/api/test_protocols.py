"""A registry row's own defaults."""

from __future__ import annotations

import pytest

from engines.api.errors import BadInput
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import ModelSpec

SPEC = ModelSpec(
    name="m", label="m", role="editor", family="f", engine="", source="", licence="",
    defaults={"EditParams": {"steps": 7, "true_cfg": 2.0}},
)  # fmt: skip


def test_worded_parameters_start_from_the_model() -> None:
    """The words go into the field that their kind has for them, and what no knob sets is as the model wants it."""
    edit = SPEC.worded(EditParams, "make it so", seed=3)
    assert edit == EditParams(instruction="make it so", steps=7, true_cfg=2.0, seed=3)
    assert SPEC.worded(GenerateParams, "a cat").prompt == "a cat"


@pytest.mark.parametrize("name", ["words", "kind", "self"])
def test_a_knob_that_is_none_is_refused_whatever_it_is_called(name: str) -> None:
    """A user's unknown knob is named in the error, also where it is called as something of ours."""
    with pytest.raises(BadInput, match=name):
        SPEC.worded(EditParams, "make it so", **{name: 1})
