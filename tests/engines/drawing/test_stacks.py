"""Stacks of LoRAs on quantised bases, in every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import LoraMismatch
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow

FORMATS = ("diffusers", "kohya", "comfyui")
LAYER = "transformer_blocks.1.attn.to_v"


@pytest.fixture(scope="module", params=["", "nf4", "int8", "fp8"])
def transformer(request: pytest.FixtureRequest, toy_qwen: Any, qwen_folder: Path) -> Any:
    """The tiny transformer at a width; one for all tests of it, as a resident one serves all jobs."""
    from engines.weights import components

    narrow = {request.param: ("transformer",)} if request.param else {}
    return components.load(replace(toy_qwen, options={**toy_qwen.options, **narrow}), qwen_folder, "transformer")


@pytest.fixture(scope="module")
def files(qwen_folder: Path, save_lora: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One LoRA of scale 2 in three formats, and another one."""
    folder = tmp_path_factory.mktemp("stack")
    kind = "QwenImageTransformer2DModel"
    first = save_lora(qwen_folder, folder / "diffusers.safetensors", kind)
    return {
        "diffusers": first,
        "kohya": _kohya(first, folder / "kohya.safetensors"),
        "comfyui": _comfyui(first, folder / "comfyui.safetensors"),
        "other": save_lora(qwen_folder, folder / "other.safetensors", kind, seed=9),
    }


def _pairs(file: Path) -> dict[str, tuple[Any, Any]]:
    """Down and up of each module."""
    from engines.drawing.lora_files import read_adapter

    state, _ = read_adapter(file, "qwen-edit")
    ending = ".lora_A.weight"
    paths = [key.removesuffix(ending) for key in state if key.endswith(ending)]
    return {path: (state[f"{path}{ending}"], state[f"{path}.lora_B.weight"]) for path in paths}


def _kohya(file: Path, target: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    state = {}
    for path, (down, up) in _pairs(file).items():
        stem = f"lora_unet_{path.replace('.', '_')}"
        state |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(4.0)}
    save_file(state, target)
    return target


def _comfyui(file: Path, target: Path) -> Path:
    """Without an alpha: the scale is in the weights."""
    from safetensors.torch import save_file

    state = {}
    for path, (down, up) in _pairs(file).items():
        stem = f"diffusion_model.{path}"
        state |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": 2 * up}
    save_file(state, target)
    return target


def _use(files: dict[str, Path], name: str, weight: float = 1.0) -> LoraUse:
    return LoraUse(file=str(files[name]), weight=weight)


def _answers(transformer: Any) -> Any:
    """What one layer makes of fixed inputs."""
    import torch

    inputs = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return inputs, transformer.get_submodule(LAYER)(inputs)


def _update(file: Path, inputs: Any) -> Any:
    down, up = _pairs(file)[LAYER]
    return 2 * inputs @ down.T @ up.T


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_acts_beside_every_width(transformer, files, form) -> None:
    """A stack adds weight · alpha / rank · B·A of each file to what the base answers, and comes off to the bit."""
    import torch

    from engines.drawing.lora_files import attached

    inputs, plain = _answers(transformer)
    with attached(transformer, [_use(files, form, 0.5), _use(files, "other", -0.25)], "qwen-edit"):
        _, stacked = _answers(transformer)
    expected = plain + 0.5 * _update(files["diffusers"], inputs) - 0.25 * _update(files["other"], inputs)
    torch.testing.assert_close(stacked, expected)
    assert torch.equal(_answers(transformer)[1], plain)


@pytest.mark.parametrize("kind", ["LoKr", "LoKr of a low rank", "LoHa"])
def test_products_act_beside_every_width(kind, transformer, files, tmp_path) -> None:
    """LoKr and LoHa add weight · their product to what the base answers, in a stack with a LoRA, and come off."""
    import torch
    from safetensors.torch import save_file

    from engines.drawing.lora_files import attached

    numbers = torch.Generator().manual_seed(7)
    shapes = {
        "LoKr": {"lokr_w1": (4, 8), "lokr_w2": (8, 4)},
        "LoKr of a low rank": {"lokr_w1": (8, 2), "lokr_w2_a": (4, 3), "lokr_w2_b": (3, 16)},
        "LoHa": {"hada_w1_a": (32, 2), "hada_w1_b": (2, 32), "hada_w2_a": (32, 2), "hada_w2_b": (2, 32)},
    }[kind]
    own = {name: torch.randn(shape, generator=numbers) for name, shape in shapes.items()}
    save_file({f"diffusion_model.{LAYER}.{name}": value for name, value in own.items()}, tmp_path / "own.safetensors")
    if kind == "LoHa":
        update = (own["hada_w1_a"] @ own["hada_w1_b"]) * (own["hada_w2_a"] @ own["hada_w2_b"])
    else:
        w2 = own["lokr_w2"] if kind == "LoKr" else own["lokr_w2_a"] @ own["lokr_w2_b"]
        update = torch.kron(own["lokr_w1"], w2)
    inputs, plain = _answers(transformer)
    product = LoraUse(file=str(tmp_path / "own.safetensors"), weight=0.5)
    with attached(transformer, [product, _use(files, "other", -0.25)], "qwen-edit"):
        _, stacked = _answers(transformer)
    expected = plain + 0.5 * inputs @ update.T - 0.25 * _update(files["other"], inputs)
    torch.testing.assert_close(stacked, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(_answers(transformer)[1], plain)


def test_stacks_are_swapped_and_the_base_stays(transformer, files) -> None:
    """Through stack after stack the base's weights are the same tensors, untouched, in the same place."""
    import torch

    from engines.device.arena import Arena
    from engines.drawing.lora_files import attached

    before = [(home.data_ptr(), home.clone()) for home in Arena(transformer).homes()]
    for stack in (["diffusers"], ["other", "kohya"], [], ["comfyui"]):
        with attached(transformer, [_use(files, name) for name in stack], "qwen-edit"):
            _answers(transformer)
    after = Arena(transformer).homes()
    assert [home.data_ptr() for home in after] == [place for place, _ in before]
    assert all(torch.equal(home, kept) for home, (_, kept) in zip(after, before, strict=True))


def test_every_module_is_counted(transformer, files) -> None:
    """All modules that a file names carry its adapter; one that does not is an error, never a silent loss."""
    from engines.drawing.lora_files import attached

    with attached(transformer, [_use(files, "kohya")], "qwen-edit"):
        carrying = [name for name, module in transformer.named_modules() if "stack_0" in getattr(module, "lora_A", ())]
    assert sorted(carrying) == sorted(_pairs(files["kohya"]))


def test_a_stray_module_is_refused(transformer, files, tmp_path) -> None:
    """A file with one module that the transformer lacks loads nothing at all."""
    import torch
    from safetensors.torch import load_file, save_file

    from engines.drawing.lora_files import attach

    stray = {f"diffusion_model.transformer_blocks.7.attn.to_q.lora_{side}.weight": torch.zeros(2, 2) for side in "AB"}
    save_file(load_file(files["comfyui"]) | stray, tmp_path / "stray.safetensors")
    with pytest.raises(LoraMismatch, match=r"stray\.safetensors.*2 of its"):
        attach(transformer, [LoraUse(file=str(tmp_path / "stray.safetensors"))], "qwen-edit")
    assert not getattr(transformer, "peft_config", None)


def test_files_are_read_once_while_they_fit(transformer, files, tmp_path) -> None:
    """A known file is not read again; a changed one is; beyond the bound the longest unused is forgotten."""
    import shutil

    from engines.drawing.lora_files import AdapterFiles, attached

    read = AdapterFiles()
    first = read(str(files["kohya"]))
    with attached(transformer, [_use(files, "kohya")], "qwen-edit", read):
        assert read(str(files["kohya"]))[0] is first[0]
    assert sorted(first[0]) == sorted(AdapterFiles()(str(files["kohya"]))[0])
    changing = shutil.copy(files["kohya"], tmp_path / "changing.safetensors")
    before = read(str(changing))
    shutil.copy(files["comfyui"], changing)
    assert read(str(changing))[0] is not before[0]
    off = AdapterFiles(limit_bytes=0)
    assert off(str(files["kohya"]))[0] is not off(str(files["kohya"]))[0]


def test_with_a_stack_streamed_blocks_answer_the_same(transformer, files) -> None:
    """Block by block on the device the whole prediction is the resident one's to the bit, with a LoRA and without."""
    import torch

    from engines.device.movers import Movers
    from engines.drawing.lora_files import attached
    from engines.families.qwen_edit import maths as qwen

    numbers = torch.Generator().manual_seed(1)
    target, reference = (torch.randn(1, 16, 64, generator=numbers) for _ in range(2))
    cond = qwen.Conditioning(torch.randn(1, 5, 64, generator=numbers), torch.ones(1, 5, dtype=torch.bool))

    def answer(stack: list[str], streamed: bool) -> Any:
        movers = Movers("cpu")
        movers.put(transformer, streamed=streamed)
        try:
            with torch.no_grad(), attached(transformer, [_use(files, name) for name in stack], "qwen-edit"):
                shapes = [(1, 4, 4), (1, 4, 4)]
                return qwen.velocity(transformer, target, reference, cond, torch.tensor([0.5]), shapes)
        finally:
            movers.drop(transformer)

    plain, stacked = answer([], False), answer(["diffusers"], False)
    assert not torch.equal(stacked, plain)
    assert torch.equal(answer(["diffusers"], True), stacked)
    assert torch.equal(answer([], True), plain)
