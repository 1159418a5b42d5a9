"""Tests the captioner on the editor's own text encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.params import CaptionParams
from engines.api.protocols import ModelSpec

pytestmark = pytest.mark.slow


def _pictures() -> list[Image.Image]:
    numbers = np.random.default_rng(0)
    sizes = [(64, 64), (64, 64), (128, 32)]
    return [Image.fromarray(numbers.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def _captions(spec: ModelSpec, folder: Any, images: list[Image.Image], host_lease: Any, steps: Any) -> list[Any]:
    from engines.families.qwen_edit.captioner import QwenCaptioner

    params = CaptionParams(trigger="ohwx", max_tokens=6)
    engine = QwenCaptioner(spec, folder)
    return list(engine.caption(images, params, host_lease(engine.plan(len(images), params)), steps))


def test_one_caption_a_picture_trigger_first(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """Every picture gets one line that starts with the trigger, and one step of progress."""
    captions = _captions(toy_qwen, qwen_folder, _pictures(), host_lease, steps)
    assert len(captions) == 3
    assert all(caption.text.startswith("ohwx") and "\n" not in caption.text for caption in captions)
    assert not any("<|" in caption.text for caption in captions)
    assert steps.seen[-1][:2] == (3, 3)


def test_captions_do_not_depend_on_the_batch(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """Pictures captioned together get the captions that they get alone."""
    together = _captions(toy_qwen, qwen_folder, _pictures(), host_lease, steps)
    alone = [_captions(toy_qwen, qwen_folder, [image], host_lease, steps)[0] for image in _pictures()]
    assert together == alone


def test_generation_sees_three_dimensional_positions(toy_qwen, qwen_folder) -> None:
    """The inputs of `generate` give image tokens 3-D positions, so that the text after them starts early."""
    from engines.families.qwen_edit import maths as qwen
    from engines.weights import components

    model = components.load(toy_qwen, qwen_folder, "text_encoder")
    inputs = qwen.vision_inputs(model, qwen.processor(qwen_folder), [qwen.PICTURE + "a"], [Image.new("RGB", (84, 84))])
    model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert model.model.rope_deltas.item() == 3 - 9  # nine tokens advance the position by three


def test_tags_are_read_from_the_words(toy_qwen) -> None:
    """The tags of a caption are the attributes that it names, and the trigger occurs once."""
    from engines.families.qwen_edit.captioner import _caption

    caption = _caption("ohwx", "ohwx person, bust shot, half-left view, smiling.")
    assert caption.text == "ohwx person, bust shot, half-left view, smiling"
    assert caption.tags["angle"] == "half-left"
    assert caption.tags["expression"] == "smiling"


def test_the_trigger_joins_the_subject() -> None:
    """A caption begins like a prompt, "ohwx person, …"; words without a subject follow a comma."""
    from engines.families.qwen_edit.captioner import _caption

    assert _caption("ohwx", "person, sad, front view").text == "ohwx person, sad, front view"
    assert _caption("ohwx", "a person in a red shirt").text == "ohwx person in a red shirt"
    assert _caption("ohwx", "bust shot, front view").text == "ohwx, bust shot, front view"
    assert _caption("ohwx", "").text == "ohwx"
    assert [_caption("", words).text for words in ("a person, sad", "front view")] == ["person, sad", "front view"]


def test_a_word_that_begins_with_the_trigger_is_no_trigger() -> None:
    """Whole words in their own case count, as everywhere; other words follow the trigger."""
    from engines.families.qwen_edit.captioner import _caption

    assert _caption("per", "person, sad").text == "per person, sad"
    assert _caption("head", "head-and-shoulders shot").text == "head-and-shoulders shot"  # a hyphen ends a word
    assert _caption("full", "fully dressed").text == "full, fully dressed"
    assert _caption("Mia", "mia standing").text == "Mia, mia standing"
