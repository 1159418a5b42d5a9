"""A model is a row of data, and what its files say of themselves is part of the row."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from engines.api.errors import ModelMissing
from engines.api.params import EditParams, GenerateParams, TrainParams
from engines.catalogue.lora_bases import QWEN_EDITORS
from engines.catalogue.models import MODELS
from engines.catalogue.registry import Registry, declared_family, lora_files


@pytest.mark.parametrize(
    ("said", "family"),
    [
        ("flux-1-dev/lora", "flux"),
        ("Flux.1-dev", "flux"),
        ("flux1", "flux"),
        ("Flux.2-klein-4b", "flux2"),
        ("flux_2", "flux2"),
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


def test_every_class_that_a_row_names_has_a_file() -> None:
    """An engine, a trainer or a naming that a row spells wrongly would only be missed when someone asks for it."""
    for spec in MODELS:
        for path in filter(None, (spec.engine, spec.editor, spec.trainer, spec.loop, spec.captioner, spec.lora.names)):
            module, _, name = path.partition(":")
            found = find_spec(module)
            assert found is not None and found.origin is not None, path
            assert re.search(rf"^(class|def) {name}\b", Path(found.origin).read_text(encoding="utf-8"), re.M), path


def test_klein_is_offered_beside_flux(tmp_path: Path) -> None:
    """FLUX.2 is a generator like the others, free of a gate, drawn at 50 steps with a guidance of 4."""
    registry = Registry(tmp_path, tmp_path)
    spec = registry.spec("FLUX.2-klein-base-4B")
    assert spec in registry.role("generator")
    assert (spec.licence, spec.gated, spec.toy) == ("Apache-2.0", False, False)
    drawn = spec.params(GenerateParams)
    assert (drawn.steps, drawn.guidance, drawn.width, drawn.height) == (50, 4.0, 1024, 1024)
    assert spec.params(TrainParams).timestep_density == "resolution_shift"
    with pytest.raises(ModelMissing, match=r"FLUX\.2-klein-base-4B is not on this machine"):
        registry.engine(spec.name)


@pytest.mark.parametrize(
    ("name", "steps", "guidance"), [("FLUX.2-klein-base-4B", 50, 4.0), ("FLUX.2-klein-4B", 4, 1.0)]
)
def test_one_row_draws_and_edits(tmp_path: Path, name: str, steps: int, guidance: float) -> None:
    """klein is one row with two roles, of which a new character's first editor is never one; it sees no pictures."""
    registry = Registry(tmp_path, tmp_path)
    spec = registry.spec(name)
    assert spec.roles == ("generator", "editor") and not spec.captioner
    assert all(spec in registry.role(role) for role in spec.roles)
    assert [each.role for each in registry.role("editor")[-2:]] == ["generator"] * 2
    assert registry.first()["editor"] == "mini-qwen-edit"
    drawn, edited = spec.params(GenerateParams), spec.params(EditParams)
    assert (drawn.steps, drawn.guidance) == (edited.steps, edited.true_cfg) == (steps, guidance)
    assert edited.negative == ""
    with pytest.raises(ModelMissing, match=f"{name} is not on this machine"):
        registry.editor(name)


def test_a_fine_tune_is_a_row_of_its_family(tmp_path: Path) -> None:
    """FireRed edits as Qwen-Image-Edit-2509 does, without its few-step adapter, and takes the LoRAs of that size."""
    registry = Registry(tmp_path, tmp_path)
    spec, base = registry.spec("FireRed-Image-Edit-1.1"), registry.spec("Qwen-Image-Edit-2509")
    own = {"name": spec.name, "label": spec.label, "source": spec.source, "few_steps": None, "note": spec.note}
    assert replace(base, **own) == spec
    assert spec.licence == "Apache-2.0" and spec.name in QWEN_EDITORS
    assert spec.params(EditParams, few_steps=True).steps == 40  # refused by the engine; no knob changes


def test_a_registry_reads_its_rows_once(tmp_path: Path) -> None:
    """Rows that can be read only once, as from a generator, are all there, with the compiler's backend or without."""
    for backend in ("", "inductor"):
        registry = Registry(tmp_path, tmp_path, iter(MODELS), compile_with=backend)
        assert [registry.spec(row.name).options.get("compile", "") for row in MODELS] == [backend] * len(MODELS)
