"""Knobs: what each may be stands once, and is what a submit, a slider and the trainer go by."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from engines.api.errors import BadInput
from engines.api.params import CaptionParams, EditParams, GenerateParams, LoraUse, Params, TrainParams, kinds

KINDS = (GenerateParams, EditParams, CaptionParams, TrainParams)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_taken_and_come_back(kind: type[Params]) -> None:
    """Every default is a value that its own field allows."""
    made = kind()
    assert kind.from_json(made.to_json()) == kind.kept(made.to_json()) == made.checked() == made


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_has_a_least_value(kind: type[Params]) -> None:
    """None can be forgotten: a field of numbers without a bound is a field that nobody checks."""
    own = kind()
    numbers = [each.name for each in fields(kind) if type(getattr(own, each.name)) in (int, float)]
    assert numbers and all(kind.bounds(name)[0] is not None for name in numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_kept_to(kind: type[Params]) -> None:
    """The bound itself is taken, or is refused where it must be exceeded; what lies beyond is refused by name."""
    for name in kinds(kind):
        low, high = kind.bounds(name)
        beyond = ([low - 1] if low is not None else []) + ([high + 1] if high is not None else [])
        if high is not None:
            assert getattr(kind.from_json({name: high}), name) == high
        for value in beyond:
            with pytest.raises(BadInput, match=name):
                kind.from_json({name: value})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": "many"}, "steps cannot be 'many'. It is a whole number from 1 to"),
        ({"steps": True}, "steps cannot be True"),
        ({"steps": 0}, "steps cannot be 0"),
        ({"steps": 2.0}, "steps cannot be 2.0"),
        ({"learning_rate": float("nan")}, "learning_rate cannot be nan. It is a number above 0"),
        ({"flip": 1}, "flip cannot be 1. It is true or false"),
        ({"optimizer": "lion"}, "no optimizer named lion. Choose one of: adamw, adamw8bit, prodigy"),
        ({"optimizer": 5}, "optimizer cannot be 5. It is one of: adamw"),
        ({"resolutions": [32, "x"]}, "resolutions[1] cannot be 'x'"),
        ({"resolutions": 32}, "resolutions cannot be 32. It is a list"),
        ({"stepz": 5}, "no parameter stepz. It knows: alpha"),
        ({"class_word": "x" * 1000}, "of at most 200 letters"),
    ],
)
def test_a_refusal_names_the_knob_what_was_given_and_what_is_allowed(given: dict[str, Any], words: str) -> None:
    """In one sentence each, short whatever was given."""
    with pytest.raises(BadInput) as refused:
        TrainParams.from_json(given)
    assert words in str(refused.value) and len(str(refused.value)) < 600


def test_a_whole_number_is_a_number() -> None:
    """JSON knows no other."""
    assert TrainParams.from_json({"alpha": 16, "resolutions": [32]}).resolutions == (32,)


def test_the_text_leaves_out_the_prompt_alone() -> None:
    """Another parameter with the same words as the prompt is written beside it; empty ones are not."""
    first, rest = GenerateParams(prompt="a cat", negative="a cat").to_text().split("\n")
    assert first == "a cat" and rest.startswith("Negative: a cat, Steps: 28, ") and "Loras" not in rest


def test_what_is_stored_is_read_whatever_is_allowed_now() -> None:
    """A picture that an earlier version made keeps its knobs; names are checked, for an unknown one has no place."""
    old = {"prompt": "x" * 20_000, "steps": 0, "guidance": -1.0, "loras": [{"file": "a.safetensors"}]}
    read = GenerateParams.kept(old)

    assert (read.steps, read.guidance, read.loras) == (0, -1.0, (LoraUse(file="a.safetensors"),))
    with pytest.raises(BadInput, match="brightness"):
        GenerateParams.kept({"brightness": 1})
