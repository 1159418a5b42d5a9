"""The text that programs exchange in a drawn picture."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.api.params import EditParams, GenerateParams
from engines.infotext import NamedLora, parameters_text, read_parameters


@pytest.mark.parametrize("prompt", ["ohwx, smiling", 'two\nlines: "quoted", more', "小红, [x] (y:1.2)"])
@pytest.mark.parametrize("negative", ["", "blurry, dark"])
def test_what_is_written_is_read(prompt: str, negative: str) -> None:
    """Words, negative words, LoRAs, and every pair."""
    params = GenerateParams(prompt=prompt, negative=negative, steps=7, seed=4, width=64, height=48)
    told = {"model": "FLUX.1-dev: new", "loras": [{"name": "mine", "weight": 0.8, "hash": "abc"}]}

    found = read_parameters(parameters_text(told, params, (64, 48)))

    assert (found.prompt, found.negative, found.loras) == (prompt, negative, (NamedLora("mine", 0.8, "abc"),))
    assert {"Steps": "7", "Seed": "4", "Size": "64x48", "Model": "FLUX.1-dev: new"}.items() <= found.pairs.items()


_LETTERS = st.characters(exclude_categories=("Cs", "Cc"))
_PARTS = ["a, b", '"q"', "x: y", "\n", "Steps: 3", "小红", "Negative prompt", "(s:1.2)", " ", "\\", "[b]"]
_WORDS = st.text(_LETTERS, max_size=40) | st.lists(st.sampled_from(_PARTS), max_size=6).map("".join)
_NAMES = st.text(_LETTERS, min_size=1, max_size=12).map(lambda name: f"a{name}b")  # files' names have no outer spaces
_LORAS = st.lists(
    st.tuples(_NAMES, st.floats(-2, 2)), max_size=3, unique_by=lambda each: re.sub(r'[:<>,"]', "_", each[0])
)


@given(prompt=_WORDS, negative=_WORDS, loras=_LORAS, model=st.text(_LETTERS, max_size=12), edit=st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_words_come_back(
    prompt: str, negative: str, loras: list[tuple[str, float]], model: str, edit: bool
) -> None:
    """Prompts, LoRAs with weights and hashes, size, steps, seed and model are read as they were written, of an edit,
    too; the pairs are the last line and begin with the steps, and an empty negative prompt has no line.
    """
    known = {"negative": negative, "steps": 7, "seed": 5}
    params = EditParams(instruction=prompt, **known) if edit else GenerateParams(prompt=prompt, **known)
    stack = [{"name": name, "weight": weight, "hash": f"abc{number}"} for number, (name, weight) in enumerate(loras)]
    text = parameters_text({"model": model, "loras": stack}, params, (64, 48))
    found = read_parameters(text)

    assert (found.prompt, found.negative) == (prompt.strip(), negative.strip())
    assert [(lora.weight, lora.hash) for lora in found.loras] == [
        (pytest.approx(weight), f"abc{number}") for number, (_, weight) in enumerate(loras)
    ]
    told = {"Steps": "7", "Seed": "5", "Size": "64x48"} | ({"Model": model} if model else {})
    assert told.items() <= found.pairs.items()
    lines = text.split("\n")
    assert lines[-1].startswith("Steps: 7, Sampler: Euler, CFG scale: ")
    assert any(line.startswith("Negative prompt:") for line in lines) == bool(negative.strip())


@pytest.mark.parametrize("weight", [0.00001, -0.5, 1.0, 1.25, 100.0])
def test_a_weight_has_no_exponent(weight: float) -> None:
    """Other programs would read 1e-05 as 1."""
    told = parameters_text({"loras": [{"name": "mine", "weight": weight}]}, GenerateParams(prompt="a"), (64, 64))
    assert read_parameters(told).loras == (NamedLora("mine", weight),)


@pytest.mark.parametrize("text", ["", "\n", "a: b", "Negative prompt: x", "<lora::>", "x\nSteps: , Seed: , Size: "])
def test_any_text_can_be_read(text: str) -> None:
    """Whatever somebody wrote into a file."""
    assert isinstance(read_parameters(text).prompt, str)


def test_a_quoted_value_is_what_its_writer_meant() -> None:
    """Breaks and letters that were escaped come back; what is no JSON is taken as it stands."""
    told = read_parameters('a cat\nSteps: 4, Seed: 1, Note: "a\\nb, \\u00e4", Odd: "a\\xb"')
    assert (told.pairs["Note"], told.pairs["Odd"]) == ("a\nb, ä", "a\\xb")


@pytest.mark.parametrize("model", ['"best', '"best"', " spaced ", "a: b, c", 'a "b" c', '"'])
def test_a_value_keeps_its_quotes_and_spaces(model: str) -> None:
    """A model's name is read as it was written, also where its first character is a quote or a space."""
    told = parameters_text({"model": model}, GenerateParams(prompt="a"), (64, 64))
    assert read_parameters(told).pairs["Model"] == model


def test_a_quote_that_another_program_never_closed_is_kept() -> None:
    """Other writers quote no value for its first character."""
    assert read_parameters('a cat\nSteps: 4, Seed: 1, Note: "best').pairs["Note"] == '"best'


def test_a_lora_has_one_name_in_its_tag_and_among_the_hashes() -> None:
    """Other programs look a tag's name up in the list of hashes, so characters that end a name are in neither."""
    told = {"loras": [{"name": 'a,b:c<d>"e', "weight": 1.0, "hash": "abc"}, {"name": "f", "weight": 0.5, "hash": ""}]}

    found = read_parameters(parameters_text(told, GenerateParams(prompt="a"), (64, 64)))

    assert found.loras == (NamedLora("a_b_c_d__e", 1.0, "abc"), NamedLora("f", 0.5))
