"""Compares the FLUX.1 engine with diffusers' own pipeline, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.api.errors import BadInput, Cancelled
from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec

pytestmark = pytest.mark.slow

PROMPTS = ("ohwx person in the forest", "a person in a red shirt, front view, smiling", "a person, front view")


def _items(count: int = 3, **changes: Any) -> list[GenerateParams]:
    first = GenerateParams(steps=3, guidance=2.5, width=64, height=64).replace(**changes)
    return [first.replace(prompt=PROMPTS[index % 3], seed=10 + index) for index in range(count)]


def _draw(spec: ModelSpec, folder: Path, items: list[GenerateParams], host_lease: Any, steps: Any) -> list[Any]:
    from engines.families.flux.engine import Flux

    engine = Flux(spec, folder)
    return [
        np.asarray(picture).astype(int) for picture in engine.generate(items, host_lease(engine.plan(items)), steps)
    ]


def test_equals_diffusers_pipeline(toy_flux, flux_folder, host_lease, steps) -> None:
    """A picture is that of FluxPipeline at the same seed, steps and guidance, to one grey level."""
    import torch
    from diffusers import FluxPipeline

    from engines.weights import components

    names = ("text_encoder", "text_encoder_2", "vae", "transformer")
    parts = {name: components.load(toy_flux, flux_folder, name) for name in names}
    parts |= {name: components.tokenizer(flux_folder, name) for name in ("tokenizer", "tokenizer_2", "scheduler")}
    pipe = FluxPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    (item,) = items = _items(1, height=32)
    theirs = pipe(
        item.prompt,
        height=item.height,
        width=item.width,
        num_inference_steps=item.steps,
        guidance_scale=item.guidance,
        max_sequence_length=12,
        generator=torch.Generator("cpu").manual_seed(item.seed),
    ).images[0]
    (ours,) = _draw(toy_flux, flux_folder, items, host_lease, steps)
    assert ours.shape == (32, 64, 3)
    assert np.abs(ours - np.asarray(theirs)).max() <= 1


def test_batch_equals_singles(toy_flux, flux_folder, host_lease, steps) -> None:
    """Three pictures drawn together are those drawn alone, to one grey level."""
    items = _items()
    together = _draw(toy_flux, flux_folder, items, host_lease, steps)
    alone = [_draw(toy_flux, flux_folder, [item], host_lease, steps)[0] for item in items]
    assert max(np.abs(one - other).max() for one, other in zip(together, alone, strict=True)) <= 1
    assert np.abs(together[0] - together[1]).max() > 1


def test_encodes_all_first_and_keeps_the_order(toy_flux, flux_folder, host_lease, steps) -> None:
    """The text encoders are leased once; different sizes split the batch without reordering."""
    from engines.families.flux.engine import Flux

    items = [*_items(2), *_items(1, width=32), *_items(1)]
    engine = Flux(toy_flux, flux_folder)
    lease = host_lease(engine.plan(items))
    pictures = list(engine.generate(items, lease, steps))
    assert [picture.size for picture in pictures] == [(64, 64), (64, 64), (32, 64), (64, 64)]
    assert lease.asked == ["encode", *["denoise", "decode"] * 3]


def test_steps_reach_the_total(toy_flux, flux_folder, host_lease, steps) -> None:
    """Progress is reported after every denoising step, never decreases, and ends at its total."""
    _draw(toy_flux, flux_folder, _items(5), host_lease, steps)
    numbers = [step for step, _, _ in steps.seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 15 == steps.seen[-1][1]
    assert len({number for number in numbers if number}) == 6  # 3 steps of four pictures, 3 of the fifth


def test_cancel_leaves_the_transformer_clean(toy_flux, flux_folder, host_lease, lora_file) -> None:
    """A cancel in the middle of a picture is raised, and the resident transformer loses its LoRA."""
    from engines.api.params import LoraUse
    from engines.families.flux.engine import Flux

    def on_step(step: int, total: int, message: str = "") -> None:
        if step:
            raise Cancelled

    items = _items(1, loras=(LoraUse(file=str(lora_file)),))
    engine = Flux(toy_flux, flux_folder)
    lease = host_lease(engine.plan(items))
    with pytest.raises(Cancelled):
        list(engine.generate(items, lease, on_step))
    assert not [name for name, _ in lease.part("transformer").named_modules() if "lora" in name]


def test_lora_changes_the_picture(toy_flux, flux_folder, host_lease, steps, lora_file) -> None:
    """A LoRA at strength 1 changes the picture; at strength 0 it does not."""
    from engines.api.params import LoraUse

    (plain,) = _draw(toy_flux, flux_folder, _items(1), host_lease, steps)
    off = _items(1, loras=(LoraUse(file=str(lora_file), weight=0.0),))
    on = _items(1, loras=(LoraUse(file=str(lora_file), weight=1.0),))
    assert np.array_equal(_draw(toy_flux, flux_folder, off, host_lease, steps)[0], plain)
    assert not np.array_equal(_draw(toy_flux, flux_folder, on, host_lease, steps)[0], plain)


def test_refuses_what_it_cannot_draw(toy_flux, flux_folder, host_lease, steps) -> None:
    """No steps, or no pixels, are refused before any weight is read."""
    for change in ({"steps": 0}, {"width": 4}):
        with pytest.raises(BadInput):
            _draw(toy_flux, flux_folder, _items(1, **change), host_lease, steps)
    assert steps.seen == []


def test_plan_counts_what_is_resident(toy_flux, flux_folder, lora_file) -> None:
    """A plan has three stages and keys named by the row; its bytes grow with pictures and with LoRAs."""
    from engines.api.params import LoraUse
    from engines.families.flux.engine import Flux

    engine = Flux(toy_flux, flux_folder)
    small, large = engine.plan(_items(1)), engine.plan(_items(1, width=128))
    assert [stage.name for stage in small.stages] == ["encode", "denoise", "decode"]
    assert small.stages[1].components[0].key == "tiny-flux/transformer"
    assert small.stages[1].components[0].bytes > 10_000
    assert large.stages[2].working_bytes == 2 * small.stages[2].working_bytes
    stacked = engine.plan(_items(1, loras=(LoraUse(file=str(lora_file)),)))
    assert stacked.stages[1].working_bytes > small.stages[1].working_bytes


def test_prompts_that_were_read_are_not_read_again(toy_flux, flux_folder, host_lease, steps) -> None:
    """A second job with known prompts never leases the text encoders, and draws the same to the bit."""
    from engines.families.flux.engine import Flux

    items = _items(2)
    engine = Flux(toy_flux, flux_folder)
    leases = [host_lease(engine.plan(items)) for _ in range(2)]
    first, again = ([np.asarray(picture) for picture in engine.generate(items, lease, steps)] for lease in leases)
    assert [lease.asked.count("encode") for lease in leases] == [1, 0]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
