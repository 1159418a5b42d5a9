"""LoRA files of other tools: read as they were meant, told what is left out, or refused in words; never in part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.api.errors import BadInput, LoraMismatch, NotFound
from engines.api.params import LoraUse

pytestmark = pytest.mark.slow

MODULE = "transformer_blocks.0.attn.to_q"
FLAT = "lora_transformer_transformer_blocks_0_attn_to_q"
OTHER = "single_transformer_blocks.1.proj_out"
State = dict[str, Any]


@pytest.fixture(scope="module")
def skeleton(flux_folder: Path) -> Any:
    """The tiny FLUX's transformer without weights, which is all that a check needs."""
    from engines.weights import components

    return components.bare(flux_folder, "transformer", flux_folder / "transformer")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """How a file is written."""

    def write(state: State, metadata: dict[str, str] | None = None, name: str = "foreign.safetensors") -> Path:
        from safetensors.torch import save_file

        save_file({key: value.clone().contiguous() for key, value in state.items()}, tmp_path / name, metadata)
        return tmp_path / name

    return write


def _factors(width_in: int = 64, width_out: int = 64, rank: int = 2) -> tuple[Any, Any]:
    import torch

    numbers = torch.Generator().manual_seed(5)
    return torch.randn(rank, width_in, generator=numbers), torch.randn(width_out, rank, generator=numbers)


def _pair(down_name: str, up_name: str) -> State:
    down, up = _factors()
    return {down_name: down, up_name: up}


def _plain(module: str = MODULE) -> State:
    return _pair(f"transformer.{module}.lora_A.weight", f"transformer.{module}.lora_B.weight")


def _check(skeleton: Any, file: Path, weight: float = 1.0, family: str = "flux") -> list[str]:
    from engines.drawing.lora_files import check

    return check(skeleton, [LoraUse(file=str(file), weight=weight)], family)


def _effect(skeleton: Any, file: Path, module: str = MODULE) -> Any:
    """What a file adds to a layer at strength 1."""
    from engines.drawing.lora_files import fitting, read_adapter

    state, _ = fitting(skeleton, LoraUse(file=str(file)), "flux", read_adapter)
    return state[f"{module}.lora_B.weight"] @ state[f"{module}.lora_A.weight"]


# ── read as they were meant ─────────────────────────────────────────────────────────────────────

_NAMINGS = {
    "diffusers": (f"transformer.{MODULE}.lora_A.weight", f"transformer.{MODULE}.lora_B.weight"),
    "bare": (f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"),
    "bare down and up": (f"{MODULE}.lora_down.weight", f"{MODULE}.lora_up.weight"),
    "an adapter's name": (f"transformer.{MODULE}.lora_A.default.weight", f"transformer.{MODULE}.lora_B.default.weight"),
    "old diffusers": (f"transformer.{MODULE}.lora.down.weight", f"transformer.{MODULE}.lora.up.weight"),
    "a checkpoint's prefix": (
        f"model.diffusion_model.{MODULE}.lora_A.weight",
        f"model.diffusion_model.{MODULE}.lora_B.weight",
    ),
    "ComfyUI": (f"diffusion_model.{MODULE}.lora_down.weight", f"diffusion_model.{MODULE}.lora_up.weight"),
    "peft": (f"base_model.model.{MODULE}.lora_A.weight", f"base_model.model.{MODULE}.lora_B.weight"),
    "OneTrainer": (f"{FLAT}.lora_down.weight", f"{FLAT}.lora_up.weight"),
}


@pytest.mark.parametrize("naming", _NAMINGS)
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_every_naming_is_read_at_its_strength(naming: str, alpha: float | None, skeleton: Any, save: Any) -> None:
    """Each spelling of the same layer adds alpha / rank · B·A to it, and B·A where it has no alpha."""
    import torch

    down_name, up_name = _NAMINGS[naming]
    state = _pair(down_name, up_name)
    if alpha is not None:
        module = next(down_name.partition(mark)[0] for mark in (".lora_", ".lora.") if mark in down_name)
        state[f"{module}.alpha"] = torch.tensor(alpha)
    down, up = _factors()
    torch.testing.assert_close(_effect(skeleton, save(state)), (1.0 if alpha is None else alpha / 2) * up @ down)


def test_onetrainers_layers_outside_the_attention_are_read(skeleton: Any, save: Any) -> None:
    """Flat names are looked up among the model's own, whichever layers they name."""
    down, up = _factors(5 * 64, 64)
    state = {}
    for module in ("single_transformer_blocks_1_proj_out", "transformer_blocks_0_attn_to_q", "norm_out_linear"):
        wide_in, wide_out = {"s": (320, 64), "t": (64, 64), "n": (64, 128)}[module[0]]
        down, up = _factors(wide_in, wide_out)
        state |= {f"lora_transformer_{module}.lora_down.weight": down, f"lora_transformer_{module}.lora_up.weight": up}
    assert _check(skeleton, save(state)) == []


@pytest.mark.parametrize("width", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float64"])
def test_narrow_and_wide_numbers_are_read(width: str, skeleton: Any, save: Any) -> None:
    """8-bit floats are widened on reading, an alpha beside them too; what they say stays what it is."""
    import torch

    kind = getattr(torch, width)
    state = {f"{FLAT}.lora_down.weight": _factors()[0], f"{FLAT}.lora_up.weight": _factors()[1]}
    state = {key: value.to(kind) for key, value in state.items()} | {f"{FLAT}.alpha": torch.tensor(4.0).to(kind)}
    down, up = (value.to(kind).float() for value in _factors())
    torch.testing.assert_close(_effect(skeleton, save(state)).float(), 2 * up @ down, rtol=0.03, atol=0.1)


def test_black_forest_labs_names_without_a_prefix_are_read(save: Any) -> None:
    """Their bare names, in either spelling of the factors, are those behind ComfyUI's prefix."""
    import torch

    from engines.drawing.lora_files import read_adapter

    down, up = _factors(3072, 9216)
    name = "double_blocks.0.img_attn.qkv"
    for a, b in (("lora_A", "lora_B"), ("lora_down", "lora_up")):
        read, _ = read_adapter(save({f"{name}.{a}.weight": down, f"{name}.{b}.weight": up}))
        parts = [read[f"transformer_blocks.0.attn.{x}.lora_B.weight"] for x in ("to_q", "to_k", "to_v")]
        found = torch.cat([part @ read["transformer_blocks.0.attn.to_q.lora_A.weight"] for part in parts])
        torch.testing.assert_close(found, up @ down)


def test_flux2_layers_around_the_blocks_are_read(save: Any) -> None:
    """Of FLUX.2 the layers before and after the blocks, and the modulation that blocks share, have a place too."""
    from engines.drawing.lora_files import read_adapter

    names = ("img_in", "txt_in", "final_layer.linear", "double_stream_modulation_img.lin", "time_in.in_layer")
    state = {}
    for name in (*names, "single_blocks.0.linear1"):
        down, up = _factors()
        state |= {f"diffusion_model.{name}.lora_A.weight": down, f"diffusion_model.{name}.lora_B.weight": up}
    read, _ = read_adapter(save(state), "flux2")
    assert len(read) == len(state)
    assert {"x_embedder.lora_A.weight", "double_stream_modulation_img.linear.lora_B.weight"} <= read.keys()


def test_the_settings_that_peft_writes_beside_its_weights_count(skeleton: Any, save: Any, tmp_path: Path) -> None:
    """adapter_config.json beside adapter_model.safetensors: its alpha, also that of one module, and its root."""
    import torch

    down, up = _factors()
    file = save(_pair(*_NAMINGS["peft"]), name="adapter_model.safetensors")
    for config, scale in (
        ({"r": 2, "lora_alpha": 8}, 4.0),
        ({"r": 2, "lora_alpha": 8, "alpha_pattern": {"attn.to_q": 1}}, 0.5),
        ({"r": 2, "lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        torch.testing.assert_close(_effect(skeleton, file), scale * up @ down)


def test_alphas_and_settings_in_one_file_count_once(skeleton: Any, save: Any, tmp_path: Path) -> None:
    """A file with alphas and peft's settings, in it or beside it, adds alpha / rank · B·A."""
    import torch

    down, up = _factors()
    config = json.dumps({"r": 2, "lora_alpha": 1})
    (tmp_path / "adapter_config.json").write_text(config, encoding="utf-8")
    for module, metadata in ((f"transformer.{MODULE}", {"lora_adapter_metadata": config}), (MODULE, None)):
        pair = _pair(f"{module}.lora_A.weight", f"{module}.lora_B.weight")
        file = save({**pair, f"{module}.alpha": torch.tensor(1.0)}, metadata, name="adapter_model.safetensors")
        torch.testing.assert_close(_effect(skeleton, file), 0.5 * up @ down)


def test_settings_beside_somebody_elses_file_say_nothing(skeleton: Any, save: Any, tmp_path: Path) -> None:
    """A LoRA of another tool in the same folder keeps its own strength."""
    import torch

    down, up = _factors()
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 8}', encoding="utf-8")
    torch.testing.assert_close(_effect(skeleton, save(_plain())), up @ down)


# ── told ────────────────────────────────────────────────────────────────────────────────────────

_TEXT_ENCODERS = (
    "lora_te1_text_model_encoder_layers_0_mlp_fc1",
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
    "lora_te_text_model_encoder_layers_0_mlp_fc1",
    "text_encoder.text_model.encoder.layers.0.mlp.fc1",
    "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",
    "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1",
    "base_model.model.text_encoder.layers.0.mlp.fc1",
)


@pytest.mark.parametrize("module", _TEXT_ENCODERS)
def test_what_is_for_a_text_encoder_is_left_out_and_said(module: str, skeleton: Any, save: Any) -> None:
    """In every spelling, alpha and all; the rest is used, and a file of nothing else is refused."""
    import torch

    extra = {**_pair(f"{module}.lora_down.weight", f"{module}.lora_up.weight"), f"{module}.alpha": torch.tensor(1.0)}
    (note,) = _check(skeleton, save({**_plain(), **extra}))
    assert "foreign.safetensors" in note and "3 tensors" in note and "text encoder" in note
    with pytest.raises(LoraMismatch, match=r"foreign\.safetensors changes a text encoder alone"):
        _check(skeleton, save(extra))


# ── counted ─────────────────────────────────────────────────────────────────────────────────────

_ENDINGS = (
    *("lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora_down.weight", "lora.up.weight", "alpha"),
    *("lokr_w1", "lokr_w2_a", "lokr_t2", "hada_w1_b", "hada_t1", "diff", "diff_b", "dora_scale", "bias", "weight"),
    *("lora_magnitude_vector", "lora_mid.weight", "lora_B.bias", "oft_blocks", "scale", "norm.scale", ""),
)
_KEYS = st.builds(
    "{}{}.{}".format,
    st.sampled_from(
        ("transformer.", "diffusion_model.", "lora_unet_", "lora_transformer_", "lycoris_", "lora_te1_", "")
    ),
    st.sampled_from(
        (MODULE, OTHER, MODULE.replace(".", "_"), "double_blocks.0.img_attn.qkv", "img_in", "text_model.layers.0.fc1")
    )
    | st.text(min_size=1, max_size=12),
    st.sampled_from(_ENDINGS) | st.text(max_size=8),
)
_SHAPES = st.sampled_from([(), (1,), (2, 64), (64, 2), (64,), (64, 64), (2, 320), (2, 64, 1, 1), (8, 8)])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=_KEYS, shape=_SHAPES, whole=st.booleans())
def test_no_tensor_of_a_file_is_dropped_unsaid(key: str, shape: Any, whole: bool, skeleton: Any) -> None:
    """A tensor beside a good LoRA changes what is loaded, or is told of, or the file is refused with its name."""
    import torch

    from engines.drawing.lora_files import LEFT_OUT, fitting
    from engines.drawing.lora_reading import plain_state

    plain = _plain()
    extra = {key: torch.full(shape, 3, dtype=torch.int64 if whole else torch.float32)}

    def fitted(state: State) -> tuple[State, str]:
        def read(file: str, family: str) -> tuple[State, dict[str, str]]:
            own, note = plain_state(Path(file), state, family)
            return own, {LEFT_OUT: note}

        return fitting(skeleton, LoraUse(file="a.safetensors"), "flux", read)

    try:
        found, note = fitted({**plain, **extra})
    except LoraMismatch as refused:
        assert refused.cause.startswith(("a.safetensors", "The tensors in a.safetensors")) and refused.hint
        return
    before, _ = fitted(plain)
    changed = found.keys() != before.keys() or any(not torch.equal(found[name], before[name]) for name in before)
    assert changed or note or key in plain


# ── refused ─────────────────────────────────────────────────────────────────────────────────────


def _with(**more: Any) -> Callable[[], State]:
    """A right file and more tensors, of ones, by shape."""

    def make() -> State:
        import torch

        return {**_plain(), **{key.replace("__", "."): torch.ones(shape) for key, shape in more.items()}}

    return make


def _spoilt(number: float, side: str = "A") -> Callable[[], State]:
    def make() -> State:
        state = _plain()
        state[f"transformer.{MODULE}.lora_{side}.weight"][1, 1] = number
        return state

    return make


def _shaped(down: tuple[int, ...], up: tuple[int, ...]) -> Callable[[], State]:
    def make() -> State:
        import torch

        return dict(zip(_plain(), (torch.ones(down), torch.ones(up)), strict=True))

    return make


def _alpha(*numbers: float) -> Callable[[], State]:
    def make() -> State:
        import torch

        return {**_plain(), f"transformer.{MODULE}.alpha": torch.tensor(numbers[0] if len(numbers) == 1 else numbers)}

    return make


def _half() -> State:
    return dict(list(_plain().items())[:1])


_REFUSED = {
    "DoRA of kohya": (_with(**{f"transformer.{MODULE}.dora_scale": (64,)}), "looks like DoRA"),
    "DoRA of peft": (_with(**{f"transformer.{MODULE}.lora_magnitude_vector": (64,)}), "looks like DoRA"),
    "DoRA of peft, saved": (_with(**{f"transformer.{MODULE}.lora_magnitude_vector.weight": (64,)}), "looks like DoRA"),
    "a layer by two names": (_with(**{f"{FLAT}.lokr_w1": (8, 8), f"{FLAT}.lokr_w2": (8, 8)}), "twice, under the names"),
    "half a LoHa": (
        _with(**{f"{OTHER}.hada_w1_a": (64, 2)}),
        "not the factors of one LoKr or LoHa",
    ),
    "a norm": (_with(**{"diffusion_model.norm_out.linear.diff": (128,)}), "where a linear layer has matrices"),
    "biases": (_with(**{"diffusion_model.norm_out.linear.diff_b": (128,)}), "a LoRA with biases beside it"),
    "a bias of peft": (_with(**{f"transformer.{MODULE}.lora_B.bias": (64,)}), "with biases"),
    "a control LoRA": (_with(**{"double_blocks.0.img_attn.norm.key_norm.scale": (32,)}), "a control LoRA of FLUX"),
    "a stray tensor": (_with(**{"img_in.something": (3,)}), r"not understood, the first is img_in\.something"),
    "a stray alpha": (_with(**{f"transformer.{OTHER}.alpha": ()}), "has alpha, and no down and up"),
    "only one half": (_half, "has down, and no up"),
    "rank 0": (_shaped((0, 64), (64, 0)), "the rank at least 1"),
    "ranks that differ": (_shaped((2, 64), (64, 3)), r"shapes \(2, 64\) and \(64, 3\)"),
    "one dimension": (_shaped((64,), (64,)), r"shapes \(64,\)"),
    "no dimension": (_shaped((), ()), "shapes"),
    "a convolution": (_shaped((2, 64, 1, 1), (64, 2, 1, 1)), "shapes"),
    "not a number": (_spoilt(float("nan")), "is broken"),
    "infinite": (_spoilt(float("inf"), "B"), "is broken"),
    "minus infinite": (_spoilt(float("-inf")), "is broken"),
    "beyond all measure": (_spoilt(1e38), "is broken"),
    "alpha 0": (_alpha(0.0), "alpha of .* is 0"),
    "alpha not a number": (_alpha(float("nan")), "alpha of .* is nan"),
    "alpha beyond all measure": (_alpha(1e30), "is broken"),
    "an alpha each": (_alpha(1.0, 2.0), r"alpha of .* has the shape \(2,\)"),
}


@pytest.mark.parametrize("what", _REFUSED)
def test_what_is_not_a_plain_lora_is_refused_by_its_name(what: str, skeleton: Any, save: Any) -> None:
    """A file with anything that would not be used, or would draw nothing but black, is refused with its name."""
    make, words = _REFUSED[what]
    with pytest.raises(LoraMismatch, match=words) as refused:
        _check(skeleton, save(make()))
    assert "foreign.safetensors" in refused.value.cause and refused.value.hint


_SETTINGS = {
    "no JSON": "{r: 2",
    "no object": "[2, 4]",
    "no numbers": '{"transformer.r": "two", "transformer.lora_alpha": 4}',
    "an endless alpha": '{"transformer.r": 2, "transformer.lora_alpha": Infinity}',
    "alpha 0": '{"transformer.r": 2, "transformer.lora_alpha": 0}',
    "another rank": '{"transformer.r": 8, "transformer.lora_alpha": 8}',
    "another module": '{"transformer.r": 2, "transformer.lora_alpha": 2, "transformer.alpha_pattern": {"to_x": 1}}',
    "DoRA": '{"transformer.r": 2, "transformer.lora_alpha": 2, "transformer.use_dora": true}',
}


@pytest.mark.parametrize("what", _SETTINGS)
def test_settings_that_mean_nothing_are_refused(what: str, skeleton: Any, save: Any) -> None:
    """`lora_adapter_metadata` that is no LoRA's, or that the tensors contradict, is an error that names the file."""
    with pytest.raises(LoraMismatch, match=r"foreign\.safetensors"):
        _check(skeleton, save(_plain(), {"lora_adapter_metadata": _SETTINGS[what]}))


def test_a_lokr_with_settings_of_peft_is_refused(skeleton: Any, save: Any) -> None:
    """peft scales a LoKr otherwise than LyCORIS does."""
    import torch

    state = {f"transformer.{MODULE}.lokr_w{number}": torch.ones(8, 8) for number in (1, 2)}
    with pytest.raises(LoraMismatch, match="LoKr or LoHa as peft alone writes it"):
        _check(skeleton, save(state, {"lora_adapter_metadata": '{"transformer.r": 2, "transformer.lora_alpha": 4}'}))
    assert _check(skeleton, save(state)) == []


@pytest.mark.parametrize("settings", ["{}", '{"transformer.lora_alpha": 2}', '{"transformer.r": 2}'])
def test_settings_may_say_less(settings: str, skeleton: Any, save: Any) -> None:
    """What they don't say is as the tensors have it: B·A counts once."""
    import torch

    down, up = _factors()
    torch.testing.assert_close(_effect(skeleton, save(_plain(), {"lora_adapter_metadata": settings})), up @ down)


@pytest.mark.parametrize(
    "told",
    [
        {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
        {"modelspec.architecture": "wan2.1/lora"},
        {"ss_base_model_version": "sdxl_base_v1-0"},
        {"modelspec.architecture": "Qwen-Image-Edit/lora"},
        {"ss_base_model_version": "flux_2_klein_4b"},
    ],
)
def test_a_file_for_another_family_is_refused_though_its_shapes_fit(told: Any, skeleton: Any, save: Any) -> None:
    """What a file says of itself counts, also where it names a family that no model here belongs to."""
    with pytest.raises(LoraMismatch, match=r"foreign\.safetensors"):
        _check(skeleton, save(_plain(), told))


@pytest.mark.parametrize("told", ["flux1", "flux", "sd_1.5", "FLUX.1-dev"])
def test_a_file_for_this_family_is_taken_whatever_its_spelling(told: str, skeleton: Any, save: Any) -> None:
    """Old trainers write sd_1.5 into everything; others say flux alone."""
    assert _check(skeleton, save(_plain(), {"ss_base_model_version": told})) == []


def test_names_of_another_width_are_refused_with_a_reason(save: Any) -> None:
    """Where diffusers' converter gives up without a word, there is one all the same."""
    import torch

    from engines.drawing.lora_files import read_adapter

    name = "diffusion_model.single_blocks.0.linear1"
    state = {f"{name}.lora_A.weight": torch.ones(2, 3072), f"{name}.lora_B.weight": torch.ones(27648, 2)}
    with pytest.raises(LoraMismatch, match="its layers are not understood") as refused:
        read_adapter(save(state), "flux")
    assert "not understood: ." not in refused.value.cause


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), float("-inf"), 1e30, -101.0])
def test_a_strength_that_draws_black_is_refused(weight: float, skeleton: Any, save: Any) -> None:
    """The weight of a use is a number that a picture survives."""
    with pytest.raises(BadInput, match=r"The weight of .*foreign\.safetensors cannot be"):
        _check(skeleton, save(_plain()), weight)


@pytest.mark.parametrize("name", ["gone.safetensors", "", "x" * 5000, "nul\0", "\udce9.safetensors"])
def test_a_file_that_is_not_there_is_named(name: str, skeleton: Any, tmp_path: Path) -> None:
    """Any name: too long, with a NUL, not UTF-8."""
    with pytest.raises(NotFound, match="There is no LoRA file"):
        _check(skeleton, tmp_path / name)
