"""The text that programs exchange in a drawn picture."""

from __future__ import annotations

import pytest

from engines.api.params import GenerateParams
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
