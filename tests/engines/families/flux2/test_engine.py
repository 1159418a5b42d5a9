"""Compares the FLUX.2 [klein] engine with diffusers' own pipeline, on random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.api.errors import BadInput, Cancelled, LoraMismatch
from engines.api.forms import FULL_WIDTH
from engines.api.params import GenerateParams
from engines.catalogue.weights import QUANTISED, held_name
from tests.engines.families.flux2.tiny import PROMPTS, ROW, SPEC, TOKENS, asked, use

pytestmark = pytest.mark.slow


@pytest.fixture
def draw(flux2_folder: Path, host_lease: Any, steps: Any) -> Callable[..., list[Any]]:
    """Returns `draw(items)`, which returns the pictures as integers."""
    from engines.families.flux2.engine import Flux2

    def run(items: list[GenerateParams]) -> list[Any]:
        engine = Flux2(SPEC, flux2_folder)
        return [np.asarray(each).astype(int) for each in engine.generate(items, host_lease(engine.plan(items)), steps)]

    return run


def by_diffusers(flux2_pipe: Any, item: GenerateParams, **more: Any) -> Any:
    """The picture that diffusers' pipeline draws of the same parameters."""
    import torch

    return flux2_pipe(
        prompt=item.prompt,
        height=item.height,
        width=item.width,
        num_inference_steps=item.steps,
        guidance_scale=item.guidance,
        max_sequence_length=TOKENS,
        generator=torch.Generator("cpu").manual_seed(item.seed),
        **more,
    ).images[0]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_equals_diffusers_pipeline(flux2_pipe, draw, guidance: float) -> None:
    """A picture is Flux2KleinPipeline's at the same seed and steps, with and without guidance, to one grey level."""
    (item,) = items = asked(1, height=32, guidance=guidance)
    theirs = by_diffusers(flux2_pipe, item)
    (ours,) = draw(items)
    assert ours.shape == (32, 64, 3)
    assert ours.std() > 5
    assert np.abs(ours - np.asarray(theirs)).max() <= 1


def test_a_negative_prompt_equals_diffusers_pipeline(flux2_pipe, draw) -> None:
    """Guidance points away from its words instead of from none; pictures that share none of them share no batch."""
    plain, other = asked(2, guidance=4.0)
    item = other.replace(negative=PROMPTS[1])
    embeds, _ = flux2_pipe.encode_prompt(prompt=item.negative, max_sequence_length=TOKENS)
    theirs = by_diffusers(flux2_pipe, item, negative_prompt_embeds=embeds)
    first, ours = draw([plain, item])
    assert np.abs(ours - np.asarray(theirs)).max() <= 1
    assert np.abs(ours - draw([other])[0]).max() > 1
    assert np.abs(first - draw([plain])[0]).max() <= 1


def test_batch_equals_singles(draw) -> None:
    """Three pictures drawn together are those drawn alone, to one grey level."""
    items = asked()
    together, alone = draw(items), [draw([item])[0] for item in items]
    assert max(np.abs(one - other).max() for one, other in zip(together, alone, strict=True)) <= 1
    assert np.abs(together[0] - together[1]).max() > 1


def test_encodes_all_first_and_keeps_the_order(flux2_folder, host_lease, steps) -> None:
    """The text encoder is leased once; different sizes or guidance split the batch without reordering."""
    from engines.families.flux2.engine import Flux2

    items = [*asked(2), *asked(1, width=32), *asked(1, guidance=1.0)]
    engine = Flux2(SPEC, flux2_folder)
    lease = host_lease(engine.plan(items))
    pictures = list(engine.generate(items, lease, steps))
    assert [picture.size for picture in pictures] == [(64, 64), (64, 64), (32, 64), (64, 64)]
    assert lease.asked == ["encode", *["denoise", "decode"] * 3]
    numbers = [step for step, _, _ in steps.seen]
    assert numbers == sorted(numbers) and numbers[-1] == 12 == steps.seen[-1][1]


def test_only_guidance_reads_the_empty_prompt(flux2_folder, host_lease, steps) -> None:
    """The empty prompt is encoded with guidance above 1 alone."""
    from engines.families.flux2.engine import Flux2

    for guidance, read in ((1.0, 1), (4.0, 2)):
        engine, items = Flux2(SPEC, flux2_folder), asked(1, guidance=guidance)
        list(engine.generate(items, host_lease(engine.plan(items)), steps))
        assert f"reading prompt 1 of {read}" in [message for _, _, message in steps.seen]
        steps.seen.clear()


def test_words_that_were_read_are_not_read_again(flux2_folder, host_lease, steps) -> None:
    """A second job with known prompts never leases the encoder, and draws the same to the bit."""
    from engines.families.flux2.engine import Flux2

    items = asked(2)
    engine = Flux2(SPEC, flux2_folder)
    leases = [host_lease(engine.plan(items)) for _ in range(2)]
    first, again = ([np.asarray(picture) for picture in engine.generate(items, lease, steps)] for lease in leases)
    assert [lease.asked.count("encode") for lease in leases] == [1, 0]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_what_is_remembered_is_what_is_counted(flux2_folder, host_lease, steps) -> None:
    """Each prompt's encoding has memory of its own, so that dropping one frees as many bytes as were counted."""
    from engines.families.flux2.engine import Flux2

    engine, items = Flux2(SPEC, flux2_folder), asked(2)
    with host_lease(engine.plan(items)).stage("encode") as parts:
        rows = engine.read(parts, [item.prompt for item in items])
    assert [row.untyped_storage().nbytes() for row in rows] == [row.nbytes for row in rows]


def test_refuses_what_it_cannot_draw(draw, steps) -> None:
    """No steps, or no pixels, are refused before any weight is read."""
    for change in ({"steps": 0}, {"width": 4}):
        with pytest.raises(BadInput):
            draw(asked(1, **change))
    assert steps.seen == []


# ── LoRAs ───────────────────────────────────────────────────────────────────────────────────────


def test_cancel_leaves_the_transformer_clean(flux2_folder, host_lease, lora2_file) -> None:
    """A cancel takes effect at the first step, and the resident transformer loses its LoRA."""
    from engines.families.flux2.engine import Flux2

    seen: list[int] = []

    def on_step(step: int, total: int, message: str = "") -> None:
        seen.append(step)
        if step:
            raise Cancelled

    items = asked(1, loras=use(lora2_file))
    engine = Flux2(SPEC, flux2_folder)
    lease = host_lease(engine.plan(items))
    with pytest.raises(Cancelled):
        list(engine.generate(items, lease, on_step))
    assert max(seen) == 1
    assert not [name for name, _ in lease.part("transformer").named_modules() if "lora" in name]


def test_lora_changes_the_picture(draw, lora2_file) -> None:
    """A LoRA at strength 1 changes the picture; at strength 0 it does not."""
    (plain,) = draw(asked(1))
    assert np.array_equal(draw(asked(1, loras=use(lora2_file, 0.0)))[0], plain)
    assert not np.array_equal(draw(asked(1, loras=use(lora2_file)))[0], plain)


def test_a_lora_that_loads_nothing_is_an_error(draw, flux2_folder, lora2_file, tmp_path) -> None:
    """Tensors without a place, of another width or of another family are counted and refused, never ignored."""
    import torch
    from safetensors.torch import load_file, save_file

    good, name = load_file(lora2_file), "transformer.transformer_blocks.7.attn.to_q"
    stray = {f"{name}.lora_A.weight": torch.zeros(2, 64), f"{name}.lora_B.weight": torch.zeros(64, 2)}
    bfl = "diffusion_model.double_blocks.0.img_attn.unheard"
    dropped = {f"{bfl}.lora_A.weight": torch.zeros(2, 64), f"{bfl}.lora_B.weight": torch.zeros(64, 2)}
    cases: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({}, {}, "holds no tensors"),
        ({**good, **stray}, {}, f"2 of its {len(good) + 2} tensors"),
        (dropped, {}, "only 0 are understood"),
        (good, {"modelspec.architecture": "flux-1-dev/lora"}, "for the flux family"),
    ]
    for state, metadata, cause in cases:
        save_file(state, tmp_path / "bad.safetensors", metadata or None)
        with pytest.raises(LoraMismatch, match=cause):
            draw(asked(1, loras=use(tmp_path / "bad.safetensors")))


def test_flux1_refuses_its_files(flux2_folder, flux_folder, toy_flux, save_lora, tmp_path) -> None:
    """FLUX.1 refuses a FLUX.2 file that declares its architecture, though their modules share names and widths."""
    from engines.drawing.lora_files import attach
    from engines.weights import components

    said = {"modelspec.architecture": "Flux.2-klein-4b"}
    file = save_lora(flux2_folder, tmp_path / "klein.safetensors", "Flux2Transformer2DModel", said)
    with pytest.raises(LoraMismatch, match="for the flux2 family"):
        attach(components.load(toy_flux, flux_folder, "transformer"), use(file), "flux")


# ── weights ─────────────────────────────────────────────────────────────────────────────────────


def test_plan_counts_what_is_resident(flux2_folder, lora2_file) -> None:
    """A plan has three stages and keys named by the row; its bytes grow with pictures and with LoRAs."""
    from engines.families.flux2.engine import Flux2

    engine = Flux2(SPEC, flux2_folder)
    small, large = engine.plan(asked(1)), engine.plan(asked(1, width=128))
    assert [stage.name for stage in small.stages] == ["encode", "denoise", "decode"]
    assert small.stages[1].components[0].key == "tiny-flux2/transformer"
    assert small.stages[1].components[0].bytes > 10_000
    assert large.stages[2].working_bytes == 2 * small.stages[2].working_bytes
    stacked = engine.plan(asked(1, loras=use(lora2_file)))
    assert stacked.stages[1].working_bytes > small.stages[1].working_bytes


def test_draws_in_4_bits(flux2_folder, host_lease, steps) -> None:
    """With the row's own quantisation the shared modulation keeps its width, and the prediction stays close."""
    import torch
    from bitsandbytes.nn import Linear4bit

    from engines.families.flux2 import maths as flux2
    from engines.families.flux2.engine import Flux2

    spec = dataclasses.replace(SPEC, options={**ROW.options, **SPEC.options})
    engine, items = Flux2(spec, flux2_folder), asked(1, steps=2)
    lease = host_lease(engine.plan(items))
    (picture,) = engine.generate(items, lease, steps)
    small = lease.part("transformer")
    paths = {path for path, module in small.named_modules() if isinstance(module, Linear4bit)}
    assert len(paths) == 2 * 12 + 2 * 2
    assert not {path for path in paths if "modulation" in path or "embed" in path}
    assert any(isinstance(module, Linear4bit) for module in lease.part("text_encoder").modules())
    assert np.asarray(picture).std() > 5

    whole = type(small).from_pretrained(flux2_folder / "transformer")
    numbers = torch.Generator().manual_seed(1)
    packed, words = torch.randn(1, 16, 32, generator=numbers), torch.randn(1, 5, 48, generator=numbers)
    with torch.no_grad():
        exact, found = (flux2.velocity(each, packed, words, 0.5, 8, 8) for each in (whole, small))
    error = float((found - exact).norm() / exact.norm())
    assert 0 < error < 0.35


def test_the_rows_bytes_are_those_of_its_components() -> None:
    """The row's bytes of each component and precision are those of the published shapes; a plain name means bf16."""
    import torch
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from engines.weights.quantise import model_bytes, skeleton

    with torch.device("meta"):
        parts = {
            "transformer": Flux2Transformer2DModel(
                num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680,
                guidance_embeds=False,
            ),
            "text_encoder": Qwen3ForCausalLM(
                Qwen3Config(
                    vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
                    num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
                )
            ),
            "vae": AutoencoderKLFlux2(),
        }  # fmt: skip
    counted: dict[str, int] = {}
    for name, module in parts.items():
        for form in (FULL_WIDTH, *QUANTISED) if name in ROW.options["nf4"] else (FULL_WIDTH,):
            small = skeleton(deepcopy(module), form, torch.bfloat16, ROW.options["full_width"])
            counted[held_name(name, form)] = model_bytes(small, form, torch.bfloat16)
    assert dict(ROW.component_bytes) == counted
