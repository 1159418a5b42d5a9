"""Which weights a model's folder holds, by its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.catalogue.weights import is_whole

_INDEX = {
    "_class_name": "FluxPipeline",
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "extra": [None, None],
}
_FILES = {
    "model_index.json": json.dumps(_INDEX),
    "transformer/config.json": "{}",
    "transformer/model.safetensors": "weights",
    "tokenizer/tokenizer.json": "{}",
}


@pytest.mark.parametrize(
    ("without", "more", "whole"),
    [
        ("", {}, True),
        ("transformer/model.safetensors", {}, False),
        ("transformer/model.safetensors", {"transformer.nf4/quantised.json": "{}"}, True),
        ("", {"transformer/model.safetensors.index.json": '{"weight_map": {"x": "gone.safetensors"}}'}, False),
        ("", {"transformer/model.safetensors.index.json": "{"}, False),
        ("tokenizer/tokenizer.json", {}, False),
    ],
)
def test_a_folder_is_whole_with_the_weights_of_each_component(
    without: str, more: dict[str, str], whole: bool, tmp_path: Path
) -> None:
    """A component with a config.json has weights, in full or quantised, all shards of its index, and its folder."""
    for path, text in {**_FILES, **more}.items():
        if path != without:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(text)
    assert is_whole(tmp_path) is whole
