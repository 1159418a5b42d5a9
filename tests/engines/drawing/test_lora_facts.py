"""What a LoRA file is said to be: its base, ranks, names, and whether it changes modulation layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engines.api.errors import BadInput, LoraMismatch
from engines.catalogue.lora_bases import UNKNOWN
from engines.drawing.lora_facts import facts

pytestmark = pytest.mark.slow


def written(folder: Path, module: str, width: int, prefix: str = "transformer.", rank: int = 2) -> Path:
    """A LoRA of one module."""
    down, up = ("lora_down", "lora_up") if prefix == "lora_unet_" else ("lora_A", "lora_B")
    name = module.replace(".", "_") if prefix == "lora_unet_" else module
    path = folder / "one.safetensors"
    state = {
        f"{prefix}{name}.{down}.weight": torch.zeros(rank, width),
        f"{prefix}{name}.{up}.weight": torch.zeros(8, rank),
    }
    save_file(state, path)
    return path


@pytest.mark.parametrize(
    ("prefix", "naming"), [("transformer.", "diffusers"), ("diffusion_model.", "ComfyUI"), ("lora_unet_", "kohya")]
)
def test_a_file_is_known_whoever_wrote_it(tmp_path: Path, prefix: str, naming: str) -> None:
    """Base, family and rank are the same under three tools' names."""
    found = facts(written(tmp_path, "transformer_blocks.4.attn.to_q", 192, prefix))
    assert (found.naming, found.base, found.family) == (naming, "mini-qwen-edit", "qwen-edit")
    assert (found.ranks, found.modules, found.tensors, found.modulation) == ((2, 2), 1, 2, False)
    assert found.why_not("mini-qwen-edit") == "" and "mini-qwen-edit" in found.why_not("Qwen-Image-Edit-2511")


def test_a_file_that_changes_modulation_says_so(tmp_path: Path) -> None:
    """As LoRAs by fal do."""
    found = facts(written(tmp_path, "transformer_blocks.59.img_mod.1", 3072))
    assert (found.base, found.modulation) == ("Qwen-Image, 20B", True)


def test_layers_of_no_known_model_are_unknown(tmp_path: Path) -> None:
    """Nothing is guessed, and no editor is ruled out by it."""
    found = facts(written(tmp_path, "transformer_blocks.0.attn.to_q", 777))
    assert (found.base, found.editors, found.why_not("mini-qwen-edit")) == (UNKNOWN, (), "")


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    """A file without factors, and one that is no safetensors file."""
    path = tmp_path / "other.safetensors"
    save_file({"transformer_blocks.0.attn.to_q.lokr_w1": torch.zeros(2, 2)}, path)
    with pytest.raises(LoraMismatch):
        facts(path)
    path.write_bytes(b"nothing")
    with pytest.raises(BadInput, match="damaged"):
        facts(path)
