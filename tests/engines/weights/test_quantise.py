"""Weights in 4 bits, on any machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engines.api.errors import ModelMissing
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow


def _velocity(transformer: Any) -> Any:
    import torch

    from engines.families.flux import maths as flux

    numbers = torch.Generator().manual_seed(1)
    cond = flux.Conditioning(torch.randn(1, 5, 48, generator=numbers), torch.randn(1, 32, generator=numbers))
    return flux.velocity(transformer, torch.randn(1, 16, 64, generator=numbers), cond, 0.5, 2.0, 8, 8)


def test_streamed_equals_quantised_in_place(toy_flux, flux_folder) -> None:
    """Both ways quantise the same layers to the same bits; the embedders and the last layer keep their width."""
    import torch
    from bitsandbytes.nn import Linear4bit

    from engines.weights import components
    from engines.weights.quantise import in_form

    streamed = components.load(replace(toy_flux, options={"nf4": ("transformer",)}), flux_folder, "transformer")
    whole = components.load(toy_flux, flux_folder, "transformer")
    small = {path for path, module in streamed.named_modules() if isinstance(module, Linear4bit)}
    in_place = in_form(whole, "nf4", torch.float32)
    assert small == {path for path, module in in_place.named_modules() if isinstance(module, Linear4bit)}
    assert "transformer_blocks.0.attn.to_q" in small
    assert not {"x_embedder", "proj_out"} & small
    assert torch.equal(_velocity(streamed), _velocity(in_place))


def test_a_row_names_what_keeps_its_width(toy_flux, flux_folder) -> None:
    """What the row's `full_width` names is not quantised, whichever way the model is read."""
    import torch
    from bitsandbytes.nn import Linear4bit

    from engines.weights import components
    from engines.weights.quantise import in_form

    options = {"nf4": ("transformer",), "full_width": ("single_transformer_blocks",)}
    streamed = components.load(replace(toy_flux, options=options), flux_folder, "transformer")
    plain = components.load(toy_flux, flux_folder, "transformer")
    in_place = in_form(plain, "nf4", torch.float32, options["full_width"])
    for model in (streamed, in_place):
        small = {path for path, module in model.named_modules() if isinstance(module, Linear4bit)}
        assert small and not [path for path in small if path.startswith("single_transformer_blocks")]


def test_a_layer_stays_close(toy_flux, flux_folder) -> None:
    """A quantised layer answers within a tenth of what it answered."""
    import torch

    from engines.weights import components
    from engines.weights.quantise import in_form

    model = components.load(toy_flux, flux_folder, "transformer")
    path, inputs = "transformer_blocks.0.ff.net.2", torch.randn(16, 256)
    before = model.get_submodule(path)(inputs)
    after = in_form(model, "nf4", torch.float32).get_submodule(path)(inputs)
    assert float((after - before).norm() / before.norm()) < 0.12


def test_lora_on_and_off_a_quantised_model(toy_flux, flux_folder, lora_file) -> None:
    """A LoRA attaches to 4-bit layers, acts, and leaves them as they were to the bit."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.weights import components

    model = components.load(replace(toy_flux, options={"nf4": ("transformer",)}), flux_folder, "transformer")
    with torch.no_grad():
        before = _velocity(model)
        with attached(model, [LoraUse(file=str(lora_file))], "flux"):
            assert not torch.equal(_velocity(model), before)
        assert torch.equal(_velocity(model), before)


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_a_lora_acts_as_on_the_full_width(form: str, toy_flux, flux_folder, lora_file) -> None:
    """What a LoRA changes in the whole prediction is what it changes at full width, to a tenth of it."""
    import torch

    from engines.drawing.lora_files import attached
    from engines.weights import components

    def effect(spec: Any) -> Any:
        model = components.load(spec, flux_folder, "transformer")
        with torch.no_grad():
            plain = _velocity(model)
            with attached(model, [LoraUse(file=str(lora_file))], "flux"):
                return _velocity(model) - plain

    whole = effect(toy_flux)
    small = effect(replace(toy_flux, options={form: ("transformer",)}))
    assert float((small - whole).norm() / whole.norm()) < 0.1


def test_a_part_in_another_format_is_a_component_of_its_own(toy_flux, flux_folder) -> None:
    """It never stands in for the one that draws, and is sized by its format; asked for the row's own, it is that."""
    from engines.weights import components

    def part(spec: Any) -> Any:
        return components.component(spec, flux_folder, "transformer")

    row = replace(toy_flux, options={**toy_flux.options, "nf4": ("transformer",)})
    eight = components.holding(row, "transformer", "int8")
    assert [components.form_of(each, flux_folder, "transformer") for each in (row, eight)] == ["nf4", "int8"]
    assert part(row).key != part(eight).key
    assert part(row).bytes < part(eight).bytes < part(toy_flux).bytes / 2


def test_a_language_model_in_4bit_reads_pictures(toy_qwen, qwen_folder) -> None:
    """The text encoder, quantised, still gives conditioning of the same shape; its head keeps its width."""
    import torch
    from bitsandbytes.nn import Linear4bit
    from PIL import Image

    from engines.families.qwen_edit import maths as qwen
    from engines.weights import components

    row = replace(toy_qwen, options={**toy_qwen.options, "nf4": ("text_encoder",)})
    model = components.load(row, qwen_folder, "text_encoder")
    cond = qwen.conditioning(model, qwen.processor(qwen_folder), "smiling", [Image.new("RGB", (84, 84))])
    assert cond.embeds.shape[-1] == 64
    assert bool(torch.isfinite(cond.embeds).all())
    assert not isinstance(model.lm_head, Linear4bit)


def test_a_missing_weight_is_named(toy_flux, flux_folder, tmp_path) -> None:
    """A folder that lacks weights is an error that names the first, not a model with holes."""
    import shutil

    from safetensors.torch import load_file, save_file

    from engines.weights import components

    shutil.copytree(flux_folder / "transformer", tmp_path / "transformer")
    shutil.copy(flux_folder / "model_index.json", tmp_path)
    (file,) = (tmp_path / "transformer").glob("*.safetensors")
    state = load_file(file)
    del state["x_embedder.weight"]
    save_file(state, file)
    with pytest.raises(ModelMissing, match=r"x_embedder\.weight"):
        components.load(replace(toy_flux, options={"nf4": ("transformer",)}), tmp_path, "transformer")


@pytest.mark.parametrize(("form", "most"), [("nf4", 0.3), ("int8", 0.03), ("fp8", 0.08)])
def test_t5_feeds_forward_the_same_in_every_form(form: str, most: float, toy_flux, flux_folder) -> None:
    """T5 converts the input of a layer to the type of its weights; a quantised weight is none that it rounds to."""
    import torch

    from engines.weights import components

    hidden = torch.randn(16, 48, generator=torch.Generator().manual_seed(0))

    def told(spec: Any) -> Any:
        model = components.load(spec, flux_folder, "text_encoder_2")
        return model.encoder.block[0].layer[1].DenseReluDense(hidden)

    whole = told(toy_flux)
    small = told(replace(toy_flux, options={form: ("text_encoder_2",)}))
    assert float((small - whole).norm() / whole.norm()) < most
