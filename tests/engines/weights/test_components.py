"""From a folder to the parts of a plan."""

from __future__ import annotations

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
