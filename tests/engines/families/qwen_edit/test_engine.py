"""Compares the Qwen-Image-Edit engine with diffusers' own pipeline, on random weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import BadInput, ModelMissing
from engines.api.params import EditParams, LoraUse
from engines.api.protocols import EditItem, FewSteps

pytestmark = pytest.mark.slow

WORDS = ("describe the person in a red shirt", "smiling person", "a person in the forest, front view")


def _picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def _items(count: int = 3, references: int = 0, size: tuple[int, int] = (64, 64), **changes: Any) -> list[EditItem]:
    first = EditParams(steps=3, true_cfg=3.0).replace(**changes)
    return [
        EditItem(
            source=_picture(index, size),
            params=first.replace(instruction=WORDS[index % 3], seed=20 + index),
            references=tuple(_picture(50 + index + extra, (32, 96)) for extra in range(references)),
        )
        for index in range(count)
    ]


def _edit(spec: Any, folder: Any, items: list[EditItem], host_lease: Any, steps: Any) -> list[Any]:
    from engines.families.qwen_edit.engine import QwenEdit

    engine = QwenEdit(spec, folder)
    return [np.asarray(picture).astype(int) for picture in engine.edit(items, host_lease(engine.plan(items)), steps)]


def _pipeline(spec: Any, folder: Any) -> Any:
    """Returns diffusers' pipeline with our conditioning, which marks image tokens as its own should."""
    import torch
    from diffusers import QwenImageEditPlusPipeline

    from engines.families.qwen_edit import maths as qwen
    from engines.weights import components

    class Told(QwenImageEditPlusPipeline):
        def _get_qwen_prompt_embeds(self, prompt: Any, image: Any, device: Any = None, dtype: Any = None) -> Any:
            embeds, _ = qwen.conditioning(self.text_encoder, self.processor, prompt[0], image)
            return embeds, torch.ones(embeds.shape[:2], dtype=torch.long)

    parts = {name: components.load(spec, folder, name) for name in ("text_encoder", "vae", "transformer")}
    parts |= {name: components.tokenizer(folder, name) for name in ("tokenizer", "scheduler")}
    pipe = Told(processor=qwen.processor(folder), **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _theirs(pipe: Any, item: EditItem) -> Any:
    """Draws the pipeline's picture, with the constants of its module set to the tiny model's sizes for the call."""
    import torch
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    sizes = module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE
    module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE = 96 * 96, 64 * 64
    try:
        result = pipe(
            image=[item.source, *item.references],
            prompt=item.params.instruction,
            negative_prompt=item.params.negative,
            true_cfg_scale=item.params.true_cfg,
            num_inference_steps=item.params.steps,
            height=64,
            width=64,
            generator=torch.Generator("cpu").manual_seed(item.params.seed),
        )
    finally:
        module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE = sizes
    return np.asarray(result.images[0]).astype(int)


@pytest.mark.parametrize("references", [0, 1])
@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_equals_diffusers_pipeline(toy_qwen, qwen_folder, host_lease, steps, references, true_cfg) -> None:
    """An edit is that of QwenImageEditPlusPipeline at the same seed, with and without guidance, to one grey level."""
    items = _items(1, references, true_cfg=true_cfg)
    (ours,) = _edit(toy_qwen, qwen_folder, items, host_lease, steps)
    assert np.abs(ours - _theirs(_pipeline(toy_qwen, qwen_folder), items[0])).max() <= 1


def test_conditioning_equals_the_pipelines_own_but_for_positions(toy_qwen, qwen_folder) -> None:
    """Template, pictures and cut are the pipeline's: without image tokens the embeddings are equal."""
    import torch
    from diffusers import QwenImageEditPlusPipeline

    from engines.families.qwen_edit import maths as qwen

    pipe = _pipeline(toy_qwen, qwen_folder)
    pictures = [qwen.Sizes.of(toy_qwen).vision(_picture(index)) for index in range(2)]
    plain = QwenImageEditPlusPipeline._get_qwen_prompt_embeds(pipe, [WORDS[0]], pictures, device="cpu")[0]
    ours = qwen.conditioning(pipe.text_encoder, pipe.processor, WORDS[0], pictures).embeds
    assert plain.shape == ours.shape
    assert not torch.allclose(plain, ours, atol=1e-4)  # flat positions: the silent bug
    text = qwen.conditioning(pipe.text_encoder, pipe.processor, WORDS[0], []).embeds
    theirs = QwenImageEditPlusPipeline._get_qwen_prompt_embeds(pipe, [WORDS[0]], None, device="cpu")[0]
    torch.testing.assert_close(text, theirs)


def test_batch_equals_singles(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """Three edits with words of different lengths drawn together are those drawn alone, to one grey level."""
    items = _items()
    together = _edit(toy_qwen, qwen_folder, items, host_lease, steps)
    alone = [_edit(toy_qwen, qwen_folder, [item], host_lease, steps)[0] for item in items]
    assert max(np.abs(one - other).max() for one, other in zip(together, alone, strict=True)) <= 1
    assert np.abs(together[0] - together[1]).max() > 1


def test_guidance_is_really_on(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """true_cfg changes the result, and at 1 the negative prompt has no effect."""
    off, on, more = (
        _edit(toy_qwen, qwen_folder, _items(1, true_cfg=scale), host_lease, steps)[0] for scale in (1.0, 3.0, 9.0)
    )
    (other,) = _edit(toy_qwen, qwen_folder, _items(1, true_cfg=1.0, negative="forest"), host_lease, steps)
    assert not np.array_equal(off, on)
    assert not np.array_equal(on, more)
    assert np.array_equal(off, other)


def test_result_has_the_sources_shape(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """A result has its source's aspect, whatever the references'; different shapes split the batch in order."""
    from engines.families.qwen_edit.engine import QwenEdit

    items = [*_items(2), *_items(1, size=(32, 128)), *_items(1, references=1)]
    engine = QwenEdit(toy_qwen, qwen_folder)
    lease = host_lease(engine.plan(items))
    sizes = [picture.size for picture in engine.edit(items, lease, steps)]
    assert sizes == [(64, 64), (64, 64), (32, 128), (64, 64)]
    assert lease.asked == ["encode", *["denoise", "decode"] * 3]
    assert [stage.name for stage in engine.plan(items).stages] == ["encode", "denoise", "decode"]


def test_a_scaled_source_makes_the_same_picture(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """A source that is kept as small as the model reads it, at shapes that round unevenly, changes no pixel."""
    from engines.families.qwen_edit.engine import QwenEdit

    for size in ((200, 150), (640, 65)):
        items = _items(1, size=size)
        scaled = [QwenEdit(toy_qwen, qwen_folder).scaled(item) for item in items]
        assert scaled[0].source.size != size
        whole, small = (_edit(toy_qwen, qwen_folder, each, host_lease, steps) for each in (items, scaled))
        np.testing.assert_array_equal(whole[0], small[0])


def test_steps_reach_the_total(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """Progress includes the encoding, never decreases, and ends at its total."""
    _edit(toy_qwen, qwen_folder, _items(5), host_lease, steps)
    numbers = [step for step, _, _ in steps.seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 15 == steps.seen[-1][1]
    assert numbers.count(0) == 5


def test_zero_cond_t_comes_from_the_folder(toy_qwen, qwen_folder, host_lease, steps, build_qwen, tmp_path) -> None:
    """A 2511 and a 2509 with the same weights draw differently, by the folder's configuration."""
    older = build_qwen(tmp_path / "older", zero_cond_t=False)
    (new,) = _edit(toy_qwen, qwen_folder, _items(1), host_lease, steps)
    (old,) = _edit(toy_qwen, older, _items(1), host_lease, steps)
    assert not np.array_equal(new, old)


def test_refuses_an_empty_instruction(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """An edit without an instruction is refused before any weight is read."""
    with pytest.raises(BadInput):
        _edit(toy_qwen, qwen_folder, [EditItem(_picture(1), EditParams(instruction=" "))], host_lease, steps)
    assert steps.seen == []


@pytest.mark.parametrize("field", ["instruction", "negative"])
def test_the_mark_for_a_picture_is_no_word(field: str, toy_qwen, qwen_folder) -> None:
    """Words that hold the model's own mark for a picture are refused before any weight is read."""
    from engines.families.qwen_edit.engine import QwenEdit

    item = EditItem(_picture(1), EditParams(instruction="smiling").replace(**{field: "a <|image_pad|> b"}))
    with pytest.raises(BadInput, match="stands for a picture"):
        QwenEdit(toy_qwen, qwen_folder).plan([item])


def test_pictures_that_differ_in_their_palette_alone_are_two(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """A red and a blue picture of the same indices are encoded each for itself."""
    from engines.families.qwen_edit.engine import QwenEdit

    pictures = []
    for colour in ((200, 30, 30), (30, 30, 200)):
        picture = Image.new("P", (64, 64), 0)
        picture.putpalette(colour)
        pictures.append(picture)
    engine, (plain,) = QwenEdit(toy_qwen, qwen_folder), _items(1)
    items = [dataclasses.replace(plain, source=picture) for picture in pictures]
    red, blue = (np.asarray(each).astype(int) for each in engine.edit(items, host_lease(engine.plan(items)), steps))

    assert not np.array_equal(red, blue)


def test_few_steps_take_the_adapter_and_its_schedule(
    toy_qwen, qwen_folder, host_lease, steps, save_lora, tmp_path
) -> None:
    """The distilled adapter lies under the user's own stack, on the schedule that it was distilled on."""
    file = save_lora(qwen_folder, tmp_path / "few.safetensors", "QwenImageTransformer2DModel")
    schedule = {"base_shift": 3.0, "max_shift": 3.0, "shift_terminal": None}
    spec = dataclasses.replace(toy_qwen, few_steps=FewSteps(file=str(file), knobs={"steps": 2}, scheduler=schedule))
    same = dataclasses.replace(spec, few_steps=dataclasses.replace(spec.few_steps, scheduler={}))
    fast, by_hand = _items(1, few_steps=True), _items(1, loras=(LoraUse(file=str(file)),))

    (plain,) = _edit(spec, qwen_folder, _items(1), host_lease, steps)
    (shifted,) = _edit(spec, qwen_folder, fast, host_lease, steps)
    (unshifted,) = _edit(same, qwen_folder, fast, host_lease, steps)
    (stacked,) = _edit(toy_qwen, qwen_folder, by_hand, host_lease, steps)

    assert np.array_equal(unshifted, stacked)
    assert not np.array_equal(unshifted, plain)
    assert not np.array_equal(unshifted, shifted)
    assert spec.params(EditParams, few_steps=True).steps == 2
    assert spec.params(EditParams, few_steps=True, steps=6).steps == 6


def test_too_few_steps_for_the_schedule_are_refused(
    toy_qwen, qwen_folder, host_lease, steps, save_lora, tmp_path
) -> None:
    """A schedule stretched to a last level has no single step, and says so before any weight is read; the few-step
    adapter's own, which is not stretched, has."""
    file = save_lora(qwen_folder, tmp_path / "few.safetensors", "QwenImageTransformer2DModel")
    few = FewSteps(file=str(file), scheduler={"shift_terminal": None})
    spec = dataclasses.replace(toy_qwen, few_steps=few)

    with pytest.raises(BadInput, match="1 step cannot follow"):
        _edit(spec, qwen_folder, _items(1, steps=1), host_lease, steps)
    with pytest.raises(BadInput, match="0 steps cannot follow"):
        _edit(spec, qwen_folder, _items(1, steps=0, few_steps=True), host_lease, steps)
    assert steps.seen == []
    (drawn,) = _edit(spec, qwen_folder, _items(1, steps=1, few_steps=True), host_lease, steps)
    assert drawn.std() > 5


def test_few_steps_without_an_adapter_are_refused(toy_qwen, qwen_folder) -> None:
    """A model that has none, and one whose file is not here, each say what to do, before the card is taken."""
    from engines.families.qwen_edit.engine import QwenEdit

    listed = dataclasses.replace(toy_qwen, few_steps=FewSteps(file="few_steps/none.safetensors"))
    with pytest.raises(BadInput, match="no few-step adapter"):
        QwenEdit(toy_qwen, qwen_folder).plan(_items(1, few_steps=True))
    with pytest.raises(ModelMissing, match="not here"):
        QwenEdit(listed, qwen_folder).plan(_items(1, few_steps=True))


def test_what_was_read_is_not_read_again(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """A second job with known pictures and words never leases the encoders, and draws the same to the bit."""
    from engines.families.qwen_edit.engine import QwenEdit

    items = _items(2)
    engine = QwenEdit(toy_qwen, qwen_folder)
    leases = [host_lease(engine.plan(items)) for _ in range(3)]
    first, again = ([np.asarray(picture) for picture in engine.edit(items, lease, steps)] for lease in leases[:2])
    assert [lease.asked.count("encode") for lease in leases[:2]] == [1, 0]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    reworded = [dataclasses.replace(items[0], params=items[0].params.replace(instruction="a person in the forest"))]
    list(engine.edit(reworded, leases[2], steps))
    assert leases[2].asked.count("encode") == 1


def test_the_cache_of_encodings_can_be_off(toy_qwen, qwen_folder, host_lease, steps) -> None:
    """With a bound of 0 bytes every job encodes anew, and the pictures are the same."""
    from engines.families.qwen_edit.engine import QwenEdit

    items = _items(2)
    engine = QwenEdit(
        dataclasses.replace(toy_qwen, options={**toy_qwen.options, "encoding_cache_bytes": 0}), qwen_folder
    )
    leases = [host_lease(engine.plan(items)) for _ in range(2)]
    drawn = [[np.asarray(picture) for picture in engine.edit(items, lease, steps)] for lease in leases]
    assert [lease.asked.count("encode") for lease in leases] == [1, 1]
    cached = _edit(toy_qwen, qwen_folder, items, host_lease, steps)
    assert all(np.array_equal(*pair) for pair in zip(drawn[0] + drawn[1], cached + cached, strict=True))
