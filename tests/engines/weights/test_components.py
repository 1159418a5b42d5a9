"""From a folder to the parts of a plan."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from engines.api.errors import ModelMissing

pytestmark = pytest.mark.slow


def test_size_is_known_before_a_weight_is_read(toy_flux, flux_folder) -> None:
    """A component's bytes are exactly those of its loaded weights; its key is row and part."""
    from engines.weights import components

    for name in ("transformer", "vae", "text_encoder"):
        part = components.component(toy_flux, flux_folder, name)
        module = part.load()
        assert part.bytes == sum(weight.numel() * weight.element_size() for weight in module.parameters())
        assert part.key == f"tiny-flux/{name}"


def test_the_rows_measured_figure_wins(toy_flux, flux_folder) -> None:
    """Where the registry row says how large a part is on the card, that is its size."""
    from dataclasses import replace

    from engines.weights import components

    row = replace(toy_flux, component_bytes={"vae": 123})
    assert components.component(row, flux_folder, "vae").bytes == 123


def test_loaded_weights_are_frozen(toy_flux, flux_folder) -> None:
    """A part is in evaluation mode, float32 for an embedded model, and asks for no gradient."""
    import torch

    from engines.weights import components

    module = components.load(toy_flux, flux_folder, "transformer")
    assert not module.training
    assert not any(weight.requires_grad for weight in module.parameters())
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}


def test_what_is_missing_is_named(toy_flux, flux_folder, tmp_path) -> None:
    """An empty folder, and a part that the index does not know, are errors with the path."""
    from engines.weights import components

    with pytest.raises(ModelMissing, match=str(tmp_path)):
        components.component(toy_flux, tmp_path, "transformer")
    with pytest.raises(ModelMissing, match="text_encoder_9"):
        components.tokenizer(flux_folder, "text_encoder_9")


@pytest.mark.parametrize("damage", ["", "{", "[]", "\x00\xff"])
@pytest.mark.parametrize(
    "path",
    [
        "model_index.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/config.json",
    ],
)
def test_a_damaged_file_is_named(path: str, damage: str, toy_flux, flux_folder, tmp_path) -> None:
    """Each file of a component that is cut off or holds something else is named, in bf16 and quantised as it loads."""
    from engines.weights import components

    row = components.replace(toy_flux, options={**toy_flux.options, "nf4": ("text_encoder_2",)})
    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    (folder / path).write_text(damage, encoding="utf-8")
    name = path.split("/")[0] if "/" in path else "vae"
    with pytest.raises(ModelMissing, match=rf"{re.escape(str(folder / path))} is damaged"):
        components.load(row, folder, name)


def test_a_component_without_its_config_is_not_loaded_by_a_default(toy_flux, flux_folder, tmp_path) -> None:
    """A missing config.json is an error: transformers would take the configuration of some model instead."""
    from engines.weights import components

    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    (folder / "text_encoder" / "config.json").unlink()
    with pytest.raises(ModelMissing, match=r"text_encoder.config\.json is not there"):
        components.load(toy_flux, folder, "text_encoder")


def test_a_damaged_shard_is_named_by_the_plan(toy_flux, flux_folder, tmp_path) -> None:
    """Planning reads a component's headers, and names the one that is damaged."""
    from engines.weights import components

    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"\xff" * 100)
    row = components.replace(toy_flux, component_bytes={"transformer": 5})
    with pytest.raises(ModelMissing, match=r"diffusion_pytorch_model\.safetensors is damaged"):
        components.component(row, folder, "transformer")


def test_a_damaged_record_of_a_quantised_component_is_named(toy_flux, flux_folder, tmp_path) -> None:
    """A quantised.json that is cut off is an error with its path."""
    from engines.weights import components

    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    row = components.replace(toy_flux, options={**toy_flux.options, "nf4": ("transformer",)})
    components.write(row, folder, "transformer", "nf4", folder / "transformer")
    (folder / "transformer.nf4" / "quantised.json").write_text("{")
    with pytest.raises(ModelMissing, match=r"transformer\.nf4.quantised\.json is damaged"):
        components.load(row, folder, "transformer")


@pytest.mark.parametrize("damage", ["", "[]"])
def test_a_damaged_tokenizer_is_named(damage: str, flux_folder, tmp_path) -> None:
    """A tokenizer that cannot be read is an error with its folder."""
    from engines.weights import components

    folder = Path(shutil.copytree(flux_folder, tmp_path / "model"))
    (folder / "tokenizer" / "tokenizer.json").write_text(damage)
    with pytest.raises(ModelMissing, match=r"tokenizer cannot be read"):
        components.tokenizer(folder, "tokenizer")
