"""Prompt and settings that other programs wrote into a picture file."""

from __future__ import annotations

import json

import pytest

from engines.infotext import NamedLora
from engines.metadata.picture_text import texts_of, told_in
from engines.pictures import decode
from tests.engines.metadata.pictures_of_others import NEGATIVE, PAIRS, PROMPT, WRITTEN, png, with_comment

_SAYS_NONE = "ComfyUI", "ComfyUI's WebP"  # of the negative prompt: FLUX.1's graph has none
_NO_LORAS = ("NovelAI",)


@pytest.mark.parametrize("program", WRITTEN)
def test_each_program_is_read(program: str) -> None:
    """Prompt, negative prompt, LoRAs, steps, seed and size come out of each program's own form."""
    told = told_in(texts_of(decode(WRITTEN[program]())))

    assert told is not None
    assert (told.prompt, told.negative) == (PROMPT, "" if program in _SAYS_NONE else NEGATIVE)
    assert PAIRS.items() <= told.pairs.items()
    assert [lora.weight for lora in told.loras] == ([] if program in _NO_LORAS else [0.8])
    assert all(lora.name.startswith("film") for lora in told.loras)


@pytest.mark.parametrize("comment", [b"", b"UNICODE\0", b"ASCII\0\0\0", b"\xff\xfe\x00", b"UNICODE\0\xd8\x00", "  "])
def test_a_comment_without_words_tells_nothing(comment: bytes | str) -> None:
    """Cameras leave empty comments; a broken one stops nothing."""
    told = told_in(texts_of(decode(with_comment("JPEG", comment))))
    assert told is None or not told.pairs


@pytest.mark.parametrize(
    "texts",
    [
        {"Comment": "Created with GIMP"},
        {"Comment": '{"prompt": 5, "steps": 1}'},
        {"Comment": '{"prompt": "a photo agency wants it now"}'},
        {"invokeai_metadata": "[" * 100_000},
        {"parameters": '{"sui_image_params": []}'},
        {"prompt": "a cat"},
        {},
    ],
)
def test_other_texts_are_no_prompt(texts: dict[str, str]) -> None:
    """What has another form, or no settings beside it, is not taken for a prompt."""
    assert told_in(texts_of(decode(png(**texts)))) is None


def test_swarmui_may_list_loras_in_one_text() -> None:
    """Its documentation allows both forms; where a weight is missing it is 1."""
    told = {"prompt": "a", "steps": 4, "loras": "film,noir", "loraweights": "0.5"}
    found = told_in({"parameters": json.dumps({"sui_image_params": told})})
    assert found is not None
    assert found.loras == (NamedLora("film", 0.5), NamedLora("noir", 1.0))
