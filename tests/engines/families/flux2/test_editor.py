"""Compares edits by FLUX.2 [klein] with diffusers' own pipeline, on random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import BadInput, LoraMismatch
from engines.api.params import EditParams
from engines.api.protocols import EditItem
from tests.engines.families.flux2.tiny import PROMPTS, SPEC, TOKENS, use

pytestmark = pytest.mark.slow


def picture(width: int, height: int, turn: float = 0.0) -> Image.Image:
    """Returns a coloured picture; each `turn` gives another."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 3, height))
    waves = [np.sin(x * (3 + turn) + y), np.cos(y * (4 - turn)), np.sin(x * y + turn)]
    return Image.fromarray((np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8))


def asked(*others: Image.Image, source: Image.Image | None = None, **changes: Any) -> EditItem:
    """Returns an edit of a source of 96 × 64 pixels with further pictures; `changes` are its parameters."""
    first = EditParams(instruction=PROMPTS[0], negative="", steps=3, true_cfg=1.0, seed=5)
    return EditItem(source or picture(96, 64), first.replace(**changes), others)


@pytest.fixture
def edit(flux2_folder: Path, host_lease: Any, steps: Any) -> Callable[..., list[Image.Image]]:
    """Returns `edit(items)`, which returns the pictures."""
    from engines.families.flux2.editor import Flux2Edit

    def run(*items: EditItem) -> list[Image.Image]:
        engine = Flux2Edit(SPEC, flux2_folder)
        return list(engine.edit(items, host_lease(engine.plan(items)), steps))

    return run


REFERENCES = {"one": (), "two": (picture(64, 80, 1.0),), "four": tuple(picture(64, 16 * n, n) for n in (4, 6, 5))}


@pytest.mark.parametrize("true_cfg", [1.0, 4.0])
@pytest.mark.parametrize("others", REFERENCES.values(), ids=REFERENCES)
def test_latents_are_diffusers_to_the_bit(flux2_pipe, flux2_folder, edit, others, true_cfg: float) -> None:
    """An edit's latents are Flux2KleinPipeline's bit for bit, with one picture or several that are not square."""
    import torch

    from engines.drawing.latents import pack
    from engines.families.flux2 import maths as flux2
    from engines.weights import components

    item = asked(*others, true_cfg=true_cfg, negative=PROMPTS[1], steps=4)
    negative, _ = flux2_pipe.encode_prompt(prompt=PROMPTS[1], max_sequence_length=TOKENS)
    seen: list[torch.Tensor] = []

    def watch(pipe: Any, step: int, timestep: Any, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(found["latents"])
        return {}

    theirs = flux2_pipe(
        image=[item.source, *item.references],
        prompt=item.params.instruction,
        negative_prompt_embeds=negative,
        num_inference_steps=item.params.steps,
        guidance_scale=true_cfg,
        max_sequence_length=TOKENS,
        generator=torch.Generator("cpu").manual_seed(item.params.seed),
        callback_on_step_end=watch,
    ).images[0]
    parts = {name: components.load(SPEC, flux2_folder, name) for name in ("text_encoder", "vae", "transformer")}
    tokenizer = components.tokenizer(flux2_folder, "tokenizer")
    wanted, unwanted = (
        flux2.encode_prompts(parts["text_encoder"], tokenizer, [words], TOKENS) for words in PROMPTS[:2]
    )
    ours = flux2.edit(
        parts["transformer"],
        wanted,
        unwanted,
        flux2.References.of(
            [flux2.to_latents(parts["vae"], [each], sample=False) for each in (item.source, *item.references)]
        ),
        (16, 24),
        [item.params],
        components.scheduler(flux2_folder),
        lambda done, steps: None,
    )
    assert torch.equal(pack(ours), seen[-1])
    assert seen[-1].std() > 0.1
    (picture_,) = edit(item)
    assert np.array_equal(np.asarray(picture_), np.asarray(theirs))


@pytest.mark.parametrize("size", [(1024, 1024), (832, 1216), (3000, 2000), (1500, 1001), (700, 333), (17, 16)])
def test_sizes_are_diffusers(flux2_pipe, size: tuple[int, int]) -> None:
    """A picture is scaled to the size that the pipeline cuts it to, never enlarged; that size is kept when asked."""
    from engines.families.flux2.maths import reference_size

    width, height = size
    if width * height > 1024 * 1024:
        width, height = flux2_pipe.image_processor._resize_to_target_area(Image.new("1", size), 1024 * 1024).size
    ours = reference_size(*size, 1024 * 1024, 16)
    assert ours == (width // 16 * 16, height // 16 * 16) == reference_size(*ours, 1024 * 1024, 16)


def test_a_result_has_its_sources_shape(edit) -> None:
    """An edit has the scaled size of its source, whatever the other pictures' sizes; a second picture changes it."""
    source = picture(90, 70)
    alone, beside = edit(asked(source=source), asked(picture(128, 64, 2.0), source=source))
    assert alone.size == beside.size == (88, 64)
    assert not np.array_equal(np.asarray(alone), np.asarray(beside))


def test_a_batch_equals_singles_and_keeps_the_order(flux2_folder, host_lease, steps, edit) -> None:
    """Edits of equal sizes are drawn together, others apart; each is the one drawn alone, to one grey level."""
    from engines.families.flux2.editor import Flux2Edit

    items = [asked(), asked(seed=6, instruction=PROMPTS[1]), asked(source=picture(64, 64))]
    engine = Flux2Edit(SPEC, flux2_folder)
    lease = host_lease(engine.plan(items))
    together = [np.asarray(each).astype(int) for each in engine.edit(items, lease, steps)]
    assert lease.asked == ["encode", *["denoise", "decode"] * 2]
    assert (steps.seen[-1][0], steps.seen[-1][1]) == (9, 9)
    alone = [np.asarray(edit(item)[0]).astype(int) for item in items]
    assert max(np.abs(one - other).max() for one, other in zip(together, alone, strict=True)) <= 1
    again = list(engine.edit(items, lease, steps))
    assert lease.asked.count("encode") == 1  # words and pictures are not read again
    assert all(np.array_equal(np.asarray(one), other) for one, other in zip(again, together, strict=True))


def test_a_scaled_edit_is_the_same_edit(flux2_folder, host_lease, steps) -> None:
    """What `scaled` returns is as small as the model reads it, may be scaled again, and gives the same picture."""
    from engines.families.flux2.editor import Flux2Edit

    engine = Flux2Edit(dataclasses.replace(SPEC, options={**SPEC.options, "reference_area": 64 * 64}), flux2_folder)
    item = asked(source=picture(200, 120))
    small = engine.scaled(item)
    assert small.source.size == (80, 48) == engine.scaled(small).source.size
    one, other = (next(iter(engine.edit([each], host_lease(engine.plan([each])), steps))) for each in (item, small))
    assert one.size == (80, 48) and np.array_equal(np.asarray(one), np.asarray(other))


def test_loras_apply_to_edits(edit, flux2_folder, lora2_file, flux_folder, save_lora, tmp_path) -> None:
    """A LoRA of klein changes an edit at strength 1, not at 0; one of FLUX.1 is refused."""
    (plain,), (changed,), (off,) = (edit(asked(loras=loras)) for loras in ((), use(lora2_file), use(lora2_file, 0.0)))
    assert np.array_equal(np.asarray(plain), np.asarray(off))
    assert not np.array_equal(np.asarray(plain), np.asarray(changed))
    said = {"modelspec.architecture": "flux-1-dev/lora"}
    with pytest.raises(LoraMismatch, match="for the flux family"):
        edit(asked(loras=use(save_lora(flux2_folder, tmp_path / "a.safetensors", "Flux2Transformer2DModel", said))))


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        (asked(instruction=" "), "no instruction"),
        (asked(few_steps=True), "no few-step adapter"),
        (asked(*[picture(64, 64)] * 4), "takes 4 pictures, and an edit has 5"),
    ],
)
def test_refuses_what_it_cannot_edit(flux2_folder, item: EditItem, cause: str) -> None:
    """No words, few steps without an adapter, or too many pictures are refused when an edit is planned."""
    from engines.families.flux2.editor import Flux2Edit

    with pytest.raises(BadInput, match=cause):
        Flux2Edit(SPEC, flux2_folder).plan([item])


def test_a_plan_counts_every_picture(flux2_folder, lora2_file) -> None:
    """A plan uses the generator's own components; its bytes grow with the pictures of an edit and with LoRAs."""
    from engines.families.flux2.editor import Flux2Edit
    from engines.families.flux2.engine import Flux2

    engine = Flux2Edit(SPEC, flux2_folder)
    encode, denoise, decode = engine.plan([asked()]).stages
    assert {part.key for stage in (encode, denoise, decode) for part in stage.components} == {
        part.key for stage in Flux2(SPEC, flux2_folder).plan([]).stages for part in stage.components
    }
    _, more, same = engine.plan([asked(picture(96, 64))]).stages
    assert more.working_bytes * 2 == denoise.working_bytes * 3
    assert same.working_bytes == decode.working_bytes
    assert engine.plan([asked(loras=use(lora2_file))]).stages[1].working_bytes > denoise.working_bytes
