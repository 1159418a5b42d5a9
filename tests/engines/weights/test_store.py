"""Quantised once, mapped ever after."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.api.errors import ModelMissing
from engines.api.forms import ROWS
from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).resolve().parents[3] / "assets"
FORMS = tuple(ROWS)


@pytest.fixture
def flux_copy(flux_folder: Path, tmp_path: Path) -> Path:
    """The tiny FLUX, to write into."""
    return Path(shutil.copytree(flux_folder, tmp_path / "flux"))


def _state(module: Any) -> dict[str, Any]:
    return dict(module.state_dict())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("family", "name"),
    [("flux", "transformer"), ("flux", "text_encoder_2"), ("qwen", "transformer"), ("qwen", "text_encoder")],
)
def test_mapped_is_what_was_quantised_in_memory(
    form: str, family: str, name: str, flux_folder, qwen_folder, toy_flux, toy_qwen, tmp_path
) -> None:
    """Every tensor of a part that was written and mapped back equals, bit for bit, the one quantised as it loads."""
    import torch

    from engines.weights import components
    from engines.weights.store import held_bytes

    row, original = {"flux": (toy_flux, flux_folder), "qwen": (toy_qwen, qwen_folder)}[family]
    row = replace(row, options={**row.options, form: (name,)})
    folder = Path(shutil.copytree(original, tmp_path / "model"))
    direct = components.load(row, folder, name)
    components.write(row, folder, name, form, folder / name)
    shutil.rmtree(folder / name)  # from here on there is only what was written

    mapped = components.load(row, folder, name)

    assert held_bytes(folder / f"{name}.{form}") > 0
    assert _state(mapped).keys() == _state(direct).keys()
    assert all(torch.equal(tensor, _state(mapped)[key]) for key, tensor in _state(direct).items())
    assert {key: value.dtype for key, value in _state(mapped).items()} == {
        key: value.dtype for key, value in _state(direct).items()
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_embedded_flux_draws_the_same_picture(form: str, tmp_path: Path, host_lease, steps) -> None:
    """The embedded FLUX, mapped from its quantised files, draws to the bit what it draws quantised in memory."""
    from engines.catalogue.models import MODELS
    from engines.families.flux.engine import Flux
    from engines.weights import components

    row = next(spec for spec in MODELS if spec.name == "mini-flux")
    row = replace(row, options={**row.options, form: ("transformer", "text_encoder_2")})
    folder = Path(shutil.copytree(ASSETS / "mini" / "flux", tmp_path / "flux"))
    asked = [GenerateParams(prompt="a person, front view, smiling", steps=3, width=64, height=64, seed=5)]

    def drawn() -> bytes:
        engine = Flux(row, folder)
        (picture,) = engine.generate(asked, host_lease(engine.plan(asked)), steps)
        return picture.tobytes()

    in_memory = drawn()
    for name in ("transformer", "text_encoder_2"):
        components.write(row, folder, name, form, folder / name)
        shutil.rmtree(folder / name)

    assert drawn() == in_memory


@pytest.mark.parametrize("form", ["bf16", *FORMS])
def test_planned_bytes_are_loaded_bytes(form: str, flux_copy: Path, toy_flux: ModelSpec) -> None:
    """What a plan says of a part is the sum of the tensors it loads, before it is written and after."""
    from engines.weights import components

    row = components.in_form(replace(toy_flux, options={"nf4": ("transformer", "text_encoder_2")}), form)
    for name in ("transformer", "text_encoder_2"):
        planned = components.component(row, flux_copy, name).bytes
        assert planned == _held_bytes(components.load(row, flux_copy, name))
        components.write(row, flux_copy, name, form, flux_copy / name)
        assert components.component(row, flux_copy, name).bytes == planned


def _held_bytes(module: Any) -> int:
    """Bytes of all that a module keeps, quantisation state counted, what it computes not."""
    seen: dict[int, int] = {}
    for layer in module.modules():
        for weight in [*layer._parameters.values(), layer._buffers.get("scale")]:
            if weight is not None:
                parts = weight.__tensor_flatten__()[0] if hasattr(weight, "__tensor_flatten__") else ()
                own = sum(getattr(weight, part).nbytes for part in parts) if parts else weight.nbytes
                seen[id(weight)] = own + _state_bytes(getattr(weight, "quant_state", None))
    return sum(seen.values())


def _state_bytes(state: Any) -> int:
    if state is None:
        return 0
    return sum(part.nbytes for part in (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code))


def test_half_written_is_not_there(flux_copy: Path, toy_flux: ModelSpec) -> None:
    """A quantisation that fails leaves no part behind, and the next one is not disturbed by its remains."""
    from safetensors.torch import load_file, save_file

    from engines.weights import components
    from engines.weights.store import held_bytes

    (file,) = (flux_copy / "transformer").glob("*.safetensors")
    whole = file.read_bytes()
    state = load_file(file)
    del state["proj_out.weight"]
    save_file(state, file)
    with pytest.raises(ModelMissing, match=r"proj_out\.weight"):
        components.write(toy_flux, flux_copy, "transformer", "nf4", flux_copy / "transformer")
    assert not (flux_copy / "transformer.nf4").exists()

    file.write_bytes(whole)
    components.write(toy_flux, flux_copy, "transformer", "nf4", flux_copy / "transformer")
    assert held_bytes(flux_copy / "transformer.nf4") > 0


def test_a_cut_file_is_said_to_be_damaged(flux_copy: Path, toy_flux: ModelSpec) -> None:
    """A safetensors file that ends too early is named, with what to do about it."""
    from engines.weights import components

    (file,) = (flux_copy / "transformer").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ModelMissing, match="damaged"):
        components.write(toy_flux, flux_copy, "transformer", "nf4", flux_copy / "transformer")


_PEAK = """
import sys
from pathlib import Path
import psutil
from engines.weights import components, store
from engines.catalogue.registry import MODELS
from diffusers import FluxTransformer2DModel
import bitsandbytes
folder, row = Path(sys.argv[1]), MODELS[1]
store.write.__kwdefaults__["shard_bytes"] = 4 << 20
used = psutil.Process().memory_info
before, seen = used().rss, []
components.write(
    row, folder, "transformer", "int8", folder / "transformer", on_tensor=lambda _: seen.append(used().rss)
)
print(max(seen) - before)
"""


def test_the_whole_model_never_stands_in_memory(tmp_path: Path) -> None:
    """While a model of many shards is quantised, memory grows by a third of its bytes at most."""
    whole = _write_shards(tmp_path / "transformer", blocks=64)
    (tmp_path / "model_index.json").write_text(json.dumps({"transformer": ["diffusers", "FluxTransformer2DModel"]}))

    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )

    assert whole > 250 << 20
    assert int(done.stdout) < whole / 3


def _write_shards(folder: Path, blocks: int) -> int:
    """A FLUX transformer of many small blocks in bfloat16, a shard for every two of them; answers its bytes."""
    import torch
    from accelerate import init_empty_weights
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file

    with init_empty_weights():
        model = FluxTransformer2DModel(
            in_channels=64, num_layers=0, num_single_layers=blocks, attention_head_dim=64, num_attention_heads=6,
            joint_attention_dim=64, pooled_projection_dim=64, axes_dims_rope=(16, 24, 24),
        )  # fmt: skip
    model.save_config(folder)
    random = torch.randn(4 << 20).bfloat16()
    weights = {name: random[: w.numel()].view(w.shape).clone() for name, w in model.named_parameters()}
    names = sorted(weights)
    for start in range(0, len(names), 2 * 10):
        part = names[start : start + 2 * 10]
        save_file({name: weights[name] for name in part}, folder / f"model-{start:05d}.safetensors")
    return sum(weight.nbytes for weight in weights.values())
