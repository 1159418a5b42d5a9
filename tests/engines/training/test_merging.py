"""Tests the merging of a stack of LoRAs into one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import BadInput, LoraMismatch
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow

MODEL = "QwenImageTransformer2DModel"


def _info() -> Any:
    from engines.training.export import Info

    return Info(
        family="qwen-edit", base_model="tiny", trigger="", rank=1, alpha=1.0, step=0, dataset="", targets="",
        licence="MIT + unknown", told="Merged from two.",
    )  # fmt: skip


@pytest.fixture(scope="module")
def stack(qwen_folder: Path, save_lora: Any, tmp_path_factory: pytest.TempPathFactory) -> list[LoraUse]:
    """Two LoRAs that share some layers, one of them on modulation, at strengths of their own."""
    folder = tmp_path_factory.mktemp("parts")
    one = save_lora(qwen_folder, folder / "one.safetensors", MODEL, seed=1, modules=["to_q", "img_mod.1"])
    other = save_lora(qwen_folder, folder / "other.safetensors", MODEL, seed=2, modules=["to_q", "to_v"])
    return [LoraUse(file=str(one), weight=0.7), LoraUse(file=str(other), weight=-0.4)]


def _velocity(transformer: Any, uses: list[LoraUse]) -> Any:
    import torch

    from engines.drawing.lora_files import attached
    from engines.families.qwen_edit import maths as qwen

    numbers = torch.Generator().manual_seed(1)
    target, reference = (torch.randn(2, 16, 64, generator=numbers) for _ in range(2))
    cond = qwen.Conditioning(torch.randn(2, 5, 64, generator=numbers), None)
    with torch.no_grad(), attached(transformer, uses, "qwen-edit"):
        return qwen.velocity(transformer, target, reference, cond, torch.tensor([0.3, 0.8]), [(1, 4, 4), (1, 4, 4)])


def test_an_exact_merge_acts_as_its_stack(toy_qwen, qwen_folder, stack, tmp_path) -> None:
    """To a hundred-thousandth of its effect in float32; layers keep the sums of their ranks; the error told is 0."""
    from engines.drawing.lora_files import read_adapter
    from engines.training.merging import merge
    from engines.weights import components

    file, layers = tmp_path / "merged.safetensors", []
    assert merge(stack, file, _info(), on_layer=lambda done, total: layers.append((done, total))) == 0
    transformer = components.load(toy_qwen, qwen_folder, "transformer")
    base, wanted = _velocity(transformer, []), _velocity(transformer, stack)
    found = _velocity(transformer, [LoraUse(file=str(file))])
    assert (found - wanted).norm() < 1e-5 * (wanted - base).norm()
    state, metadata = read_adapter(file)
    ranks = {key: value.shape[0] for key, value in state.items() if ".lora_A." in key}
    assert {rank for key, rank in ranks.items() if "to_q" in key} == {4}
    assert {rank for key, rank in ranks.items() if "to_q" not in key} == {2}
    assert layers == [(done, len(ranks)) for done in range(1, len(ranks) + 1)]
    assert (metadata["modelspec.description"], metadata["licence"]) == ("Merged from two.", "MIT + unknown")


def test_diffusers_reads_it_the_same(toy_qwen, qwen_folder, stack, tmp_path) -> None:
    """Without our reader, by the settings in its metadata, layers of different ranks too."""
    import torch

    from engines.training.merging import merge
    from engines.weights import components

    file = tmp_path / "merged.safetensors"
    merge(stack, file, _info())
    ours, theirs = (components.load(toy_qwen, qwen_folder, "transformer") for _ in range(2))
    theirs.load_lora_adapter(str(file), prefix="transformer", weight_name=file.name)
    theirs.requires_grad_(False)
    assert torch.allclose(_velocity(ours, [LoraUse(file=str(file))]), _velocity(theirs, []), atol=1e-6)


def test_a_rank_cuts_off_what_is_told(stack, tmp_path) -> None:
    """The error is that of the updates themselves, and no other file of that rank has a smaller one."""
    import torch

    from engines.drawing.lora_files import read_adapter
    from engines.training.merging import merge

    def updates(file: Path) -> dict[str, Any]:
        state, _ = read_adapter(file)
        names = sorted({key.partition(".lora_")[0] for key in state})
        return {name: state[f"{name}.lora_B.weight"] @ state[f"{name}.lora_A.weight"] for name in names}

    exact, cut = tmp_path / "exact.safetensors", tmp_path / "cut.safetensors"
    merge(stack, exact, _info())
    error = merge(stack, cut, _info(), rank=1)
    wanted, found = updates(exact), updates(cut)
    lost = sum((found[name] - each).square().sum() for name, each in wanted.items())
    best = sum(torch.linalg.svdvals(each)[1:].square().sum() for each in wanted.values())
    total = sum(each.square().sum() for each in wanted.values())
    assert 0.1 < error < 1
    assert error == pytest.approx(float((lost / total) ** 0.5), rel=1e-4)
    assert error == pytest.approx(float((best / total) ** 0.5), rel=1e-4)


def test_what_cannot_be_merged_is_refused_and_leaves_no_file(stack, tmp_path) -> None:
    """A LoKr, a LoRA of other sizes, a strength out of bounds, strengths of 0."""
    import torch
    from safetensors.torch import save_file

    from engines.training.merging import merge

    at = "transformer.transformer_blocks.0.attn.to_q"
    lokr, wide = tmp_path / "lokr.safetensors", tmp_path / "wide.safetensors"
    save_file({f"{at}.lokr_w1": torch.ones(1, 1), f"{at}.lokr_w2": torch.ones(32, 32)}, lokr)
    save_file({f"{at}.lora_A.weight": torch.ones(2, 48), f"{at}.lora_B.weight": torch.ones(48, 2)}, wide)
    target = tmp_path / "merged" / "merged.safetensors"
    target.parent.mkdir()
    with pytest.raises(LoraMismatch, match=r"lokr\.safetensors cannot be merged"):
        merge([*stack, LoraUse(file=str(lokr))], target, _info())
    with pytest.raises(LoraMismatch, match="for different models"):
        merge([*stack, LoraUse(file=str(wide))], target, _info())
    with pytest.raises(BadInput, match="nothing to merge"):
        merge([replace(use, weight=0.0) for use in stack], target, _info())
    with pytest.raises(BadInput):
        merge([LoraUse(file=stack[0].file, weight=1e9)], target, _info())
    assert list(target.parent.iterdir()) == []
