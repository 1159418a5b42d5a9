"""A model is a row of data, and what its files say of themselves is part of the row."""

from __future__ import annotations

import pytest

from engines.registry import MODELS, declared_family, lora_files


@pytest.mark.parametrize(
    ("said", "family"),
    [
        ("flux-1-dev/lora", "flux"),
        ("Flux.1-dev", "flux"),
        ("flux1", "flux"),
        ("Qwen-Image-Edit-Plus", "qwen-edit"),
        ("qwen_image_edit", "qwen-edit"),
        ("stable-diffusion-xl-v1-base/lora", ""),
        ("", ""),
    ],
)
def test_a_file_is_known_by_what_it_says(said: str, family: str) -> None:
    """The architectures that kohya, musubi and the model specification write lead to a family, or to none."""
    assert declared_family(said) == family


def test_rows_of_a_family_write_the_same_files() -> None:
    """An adapter belongs to a family, not to one of its models: every row of a family says the same of its files."""
    for spec in MODELS:
        assert spec.lora == lora_files(spec.family), spec.name


def test_what_can_be_trained_can_be_told_by_others() -> None:
    """Every row with a trainer says what its adapters' metadata tells other tools, and knows its own words again."""
    for spec in (spec for spec in MODELS if spec.trainer):
        files = spec.lora
        assert all((files.architecture, files.implementation, files.base_version, files.network)), spec.name
        assert declared_family(files.architecture) == declared_family(files.base_version) == spec.family
