"""Tiny models with random weights, of the classes that the real ones use, and a lease that needs no card."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engines.api.protocols import ModelSpec, Plan
from tests.engines.families.flux2 import tiny as tiny_flux2

TOY_FLUX = ModelSpec(
    name="tiny-flux",
    label="tiny-flux",
    role="generator",
    family="flux",
    engine="engines.families.flux.engine:Flux",
    source="assets:none",
    licence="Apache-2.0",
    toy=True,
    dtype="float32",
    size=(64, 64),
    options={"text_tokens": 12, "batch": 4},
)
TOY_QWEN = ModelSpec(
    name="tiny-qwen-edit",
    label="tiny-qwen-edit",
    role="editor",
    family="qwen-edit",
    wording="drawn",
    engine="engines.families.qwen_edit.engine:QwenEdit",
    source="assets:none",
    licence="Apache-2.0",
    toy=True,
    dtype="float32",
    size=(64, 64),
    options={
        "reference_area": 64 * 64,
        "vision_area": 96 * 96,
        "multiple": 32,
        "vision_multiple": 32,
        "batch": 4,
    },
)


class HostLease:
    """A lease over a plan's parts in this machine's memory; it keeps the order in which stages were asked for."""

    device = "cpu"

    def __init__(self, plan: Plan) -> None:
        self._plan = {stage.name: stage for stage in plan.stages}
        self._loaded: dict[str, Any] = {}
        self.asked: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Mapping[str, Any]]:
        self.asked.append(name)
        for part in self._plan[name].components:
            if part.key not in self._loaded:
                self._loaded[part.key] = part.load()
        yield {part.key.partition("/")[2]: self._loaded[part.key] for part in self._plan[name].components}

    def part(self, name: str) -> Any:
        """A part that has been loaded."""
        return next(module for key, module in self._loaded.items() if key.endswith(f"/{name}"))


def _words(texts: list[str], specials: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Split(Regex(r"<\|[a-z_]+\|>|\w+|\s|[^\w\s]"), "isolated")
    found = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)} - set(specials))
    vocabulary = {word: index for index, word in enumerate([*specials, "<unk>", *found])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token=specials[0],
        eos_token=specials[1],
        additional_special_tokens=specials,
        model_max_length=16,
    )


_PHRASES = ["a person in a red shirt, front view, smiling", "ohwx person in the forest", "describe the picture"]


def _build_flux(folder: Path) -> Path:
    """A whole FLUX.1 of a few thousand weights in diffusers layout; 64 × 64 pictures are 8 × 8 tokens."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    tokenizer = _words(_PHRASES, ["<pad>", "</s>"])
    size = len(tokenizer)
    parts = {
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=16, eos_token_id=1, bos_token_id=1, pad_token_id=0,
            )
        ),
        "text_encoder_2": T5EncoderModel(
            T5Config(
                vocab_size=size, d_model=48, d_kv=12, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0,
                is_encoder_decoder=False, use_cache=False,
            )
        ),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=16,
            scaling_factor=0.8, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False, sample_size=64,
        ),
        "transformer": FluxTransformer2DModel(
            in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
            joint_attention_dim=48, pooled_projection_dim=32, guidance_embeds=True, axes_dims_rope=(8, 12, 12),
        ),
    }  # fmt: skip
    schedule = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    index = {
        "_class_name": "FluxPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    parts |= {"tokenizer": tokenizer, "tokenizer_2": tokenizer}
    return _save(folder, parts | {"scheduler": schedule}, index)


def _build_qwen(folder: Path, zero_cond_t: bool = True) -> Path:
    """A whole Qwen-Image-Edit of a few thousand weights in diffusers layout; 64 × 64 pictures are 8 × 8 tokens."""
    import torch
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    from engines.families.qwen_edit.maths import TEMPLATE

    torch.manual_seed(0)
    specials = [
        "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
        "<|video_pad|>",
    ]  # fmt: skip
    tokenizer = _words([TEMPLATE, *_PHRASES, "Picture 1: 2 3"], specials)
    tokenizer.model_max_length = 1024
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    language = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
                "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
                "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
            },
            vision_config={
                "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
                "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
                "fullatt_block_indexes": [1],
            },
            image_token_id=ids["image_pad"],
            video_token_id=ids["video_pad"],
            vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
            vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    parts = {
        "text_encoder": language,
        "vae": AutoencoderKLQwenImage(
            base_dim=8, z_dim=16, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, False]
        ),
        "transformer": QwenImageTransformer2DModel(
            in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=64, axes_dims_rope=(4, 6, 6), zero_cond_t=zero_cond_t,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192,
            shift_terminal=0.02, time_shift_type="exponential",
        ),
        "tokenizer": tokenizer,
        "processor": Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 64),
    }  # fmt: skip
    index = {
        "_class_name": "QwenImageEditPlusPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "processor": ["engines.families.qwen_edit.processor", "QwenEditProcessor"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
    _save(folder, parts, index)
    tokenizer.save_pretrained(folder / "processor")
    return folder


def _lively(module: Any) -> None:
    """Weights so large that every input shows in the output; as initialised, it hardly does."""
    import torch

    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 1.5 / weight.shape[1] ** 0.5)


def _save(folder: Path, parts: dict[str, Any], index: dict[str, Any]) -> Path:
    for name, part in parts.items():
        if name in ("transformer", "text_encoder", "text_encoder_2"):
            _lively(part)
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def toy_flux() -> ModelSpec:
    """The row of the tiny FLUX."""
    return TOY_FLUX


@pytest.fixture(scope="session")
def toy_qwen() -> ModelSpec:
    """The row of the tiny Qwen-Image-Edit."""
    return TOY_QWEN


@pytest.fixture(scope="session")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny FLUX, built once."""
    return _build_flux(tmp_path_factory.mktemp("tiny-flux"))


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Qwen-Image-Edit, built once."""
    return _build_qwen(tmp_path_factory.mktemp("tiny-qwen"))


@pytest.fixture(scope="session")
def flux2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny FLUX.2 [klein], built once."""
    return tiny_flux2.build(tmp_path_factory.mktemp("tiny-flux2"))


@pytest.fixture(scope="session")
def flux2_pipe(flux2_folder: Path) -> Any:
    """diffusers' own pipeline over the tiny FLUX.2 [klein]."""
    from diffusers import Flux2KleinPipeline

    pipe = Flux2KleinPipeline.from_pretrained(flux2_folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def build_qwen() -> Callable[..., Path]:
    """How another tiny Qwen-Image-Edit is built."""
    return _build_qwen


@pytest.fixture(scope="session")
def host_lease() -> Callable[[Plan], HostLease]:
    """How a plan is leased in this machine's memory."""
    return HostLease


@pytest.fixture
def steps() -> Callable[..., None]:
    """A step callback that remembers its calls in `.seen`."""

    def on_step(step: int, total: int, message: str = "") -> None:
        seen.append((step, total, message))

    seen: list[tuple[int, int, str]] = []
    on_step.seen = seen  # type: ignore[attr-defined]
    return on_step


@pytest.fixture(scope="session")
def lora_file(flux_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX LoRA of rank 2 and alpha 4 with random weights, in diffusers' format."""
    return _save_lora(flux_folder, tmp_path_factory.mktemp("lora") / "tiny.safetensors", "FluxTransformer2DModel")


@pytest.fixture(scope="session")
def lora2_file(flux2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for FLUX.2 [klein]."""
    return _save_lora(flux2_folder, tmp_path_factory.mktemp("lora2") / "tiny.safetensors", "Flux2Transformer2DModel")


@pytest.fixture(scope="session")
def save_lora() -> Callable[..., Path]:
    """How a random LoRA file is written."""
    return _save_lora


def _save_lora(
    folder: Path,
    file: Path,
    class_name: str,
    metadata: dict[str, str] | None = None,
    seed: int = 3,
    modules: Sequence[str] = ("to_q", "to_v", "to_out.0"),
) -> Path:
    """A random LoRA on a tiny transformer, its attention unless told otherwise, as diffusers and peft write theirs."""
    import diffusers
    import torch
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    model = getattr(diffusers, class_name).from_pretrained(folder / "transformer")
    peft = LoraConfig(r=2, lora_alpha=4, target_modules=list(modules), init_lora_weights=False)
    torch.manual_seed(seed)
    model.add_adapter(peft)
    state = {f"transformer.{key}": value.contiguous() for key, value in get_peft_model_state_dict(model).items()}
    settings = {f"transformer.{key}": _plain(value) for key, value in peft.to_dict().items()}
    save_file(state, file, {"format": "pt", "lora_adapter_metadata": json.dumps(settings), **(metadata or {})})
    return file


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
