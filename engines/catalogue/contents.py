"""Tells from the names and shapes of tensors which components of which model a file of weights holds.

Sources of the names: Comfy-Org/ComfyUI, comfy/model_detection.py and comfy/sd.py (`detect_te_model`, `VAE`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.catalogue import formats
from engines.catalogue.shapes import Config, Layout

PREFIX = "model.diffusion_model."  # of ComfyUI's names, and of those in whole checkpoints
MARKERS = ("__index_timestep_zero__", "scaled_fp8")  # tiny tensors by which ComfyUI recognises a model; no weights
TRANSFORMER, TEXT_ENCODER, VAE = "--from", "--text-encoder", "--vae"
_WITHIN = re.compile(  # prefixes of a whole checkpoint's components
    rf"^(?:{re.escape(PREFIX)}|diffusion_model\.|text_encoders\.\w+\.(?:transformer\.)?|vae\.|first_stage_model\.)"
)
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    """Describes a number by which siblings differ: one side of a tensor, and what the configuration says of it.

    `tensors`: the tensor's names, its makers' and diffusers'; `side`: the dimension; `settings`: the entries of the
    configuration whose product the number is, with dots between nested ones.
    """

    tensors: tuple[str, ...]
    side: int
    settings: tuple[str, ...]

    def found(self, shapes: Shapes) -> int | None:
        """Returns the number that a file has, None where it lacks the tensor."""
        sides = (shapes[name][self.side] for name in self.tensors if len(shapes.get(name, ())) > self.side)
        return next(sides, None)

    def wanted(self, config: Config) -> int | None:
        """Returns the number that a configuration gives, None where it says nothing of it."""
        numbers = []
        for setting in self.settings:
            told: object = config
            for step in setting.split("."):
                told = told.get(step) if isinstance(told, Mapping) else None
            numbers.append(told)
        known = [number for number in numbers if isinstance(number, int)]
        return math.prod(known) if len(known) == len(numbers) else None


@dataclass(frozen=True)
class Kind:
    """Describes how the weights of a class are recognised.

    `class_name`: the class of diffusers or transformers, "" for one that no model here has; `words`: what it is, for
    users; `option`: the option of `pull` that takes it; `names`: matches a tensor that only this kind has; `sizes`: the
    numbers by which models of this class differ.
    """

    class_name: str
    words: str
    option: str
    names: re.Pattern[str]
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True)
class Piece:
    """Holds a component that a file has: its `kind`, the `prefix` of its names in the file, its `shapes` without it."""

    kind: Kind
    prefix: str
    shapes: Shapes


_FIRST_LAYER = ("img_in.weight", "x_embedder.weight")
_WORDS_IN = ("txt_in.weight", "context_embedder.weight")
_WIDTH = ("num_attention_heads", "attention_head_dim")
_EMBEDDED = ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "embed_tokens.weight")
_KINDS = (  # the first that matches is the one; a LoRA names the blocks of a transformer, too
    Kind("", "a LoRA", "", re.compile(r"lora_|\.lora\.|lokr_|hada_")),
    Kind(
        "Flux2Transformer2DModel", "the transformer of FLUX.2", TRANSFORMER,
        re.compile(r"^double_stream_modulation_img\."),
        (Size(_FIRST_LAYER, 1, ("in_channels",)), Size(_FIRST_LAYER, 0, _WIDTH)),
    ),
    Kind(
        "FluxTransformer2DModel", "the transformer of FLUX.1", TRANSFORMER,
        re.compile(r"^(double_blocks|single_transformer_blocks)\."),
        (Size(_FIRST_LAYER, 1, ("in_channels",)), Size(_WORDS_IN, 1, ("joint_attention_dim",))),
    ),
    Kind(
        "QwenImageTransformer2DModel", "the transformer of Qwen-Image", TRANSFORMER,
        re.compile(r"^transformer_blocks\.\d+\.img_mod\."),
        (Size(_FIRST_LAYER, 1, ("in_channels",)), Size(_FIRST_LAYER, 0, _WIDTH)),
    ),
    Kind(
        "AutoencoderKLFlux2", "a VAE of FLUX.2", VAE, re.compile(r"^bn\.running_mean$"),
        (Size(("decoder.conv_in.weight",), 1, ("latent_channels",)),),
    ),
    Kind(
        "AutoencoderKLQwenImage", "a VAE of Qwen-Image or Wan", VAE,
        re.compile(r"^(encoder|decoder)\.\S+\.(residual\.0|norm1)\.gamma$"),
        (Size(("decoder.conv1.weight", "decoder.conv_in.weight"), 1, ("z_dim",)),),
    ),
    Kind(
        "AutoencoderKL", "a VAE", VAE, re.compile(r"^(encoder|decoder)\.(conv|down|up|mid|mid_block)"),
        (Size(("decoder.conv_in.weight",), 1, ("latent_channels",)),),
    ),
    Kind(
        "T5EncoderModel", "a T5 text encoder", TEXT_ENCODER,
        re.compile(r"^(encoder\.block\.\d+\.layer\.|shared\.weight$)"),
        (Size(("shared.weight", "encoder.embed_tokens.weight"), 1, ("d_model",)),),
    ),
    Kind(
        "CLIPTextModel", "a CLIP text encoder", TEXT_ENCODER,
        re.compile(r"^(text_model\.|transformer\.resblocks|embeddings\.token_embedding\.)"),
        (
            Size(
                ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight"), 1,
                ("hidden_size",),
            ),
        ),
    ),
    Kind(
        "Qwen2_5_VLForConditionalGeneration", "a Qwen2.5-VL text encoder", TEXT_ENCODER,
        re.compile(r"^model\.(language_model\.)?layers\.\d+\.self_attn\.q_proj\.bias$"),
        (Size(_EMBEDDED, 1, ("text_config.hidden_size",)),),
    ),
    Kind(
        "Qwen3ForCausalLM", "a Qwen3 text encoder", TEXT_ENCODER,
        re.compile(r"^(model\.)?layers\.\d+\.self_attn\.q_norm\.weight$"),
        (Size(_EMBEDDED, 1, ("hidden_size",)),),
    ),
    Kind("", "a language model", TEXT_ENCODER, re.compile(r"^(model\.)?(language_model|layers|visual|embed_tokens)\.")),
    Kind(
        "", "a text encoder with llama.cpp's names", TEXT_ENCODER,
        re.compile(r"^((enc|dec)\.)?(blk\.\d+|token_embd)\."),
    ),
)  # fmt: skip


def pieces(files: Iterable[Path]) -> tuple[Piece, ...]:
    """Returns the components that a file of weights, or all the shards of one, hold; reads their headers alone.

    A file of one component has an empty prefix, even where ComfyUI's stands in front of its names. Raises: BadInput
    for a damaged file.
    """
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in (entry for file in files for entry in formats.shapes(file).items()):
        prefix = match.group() if (match := _WITHIN.match(name)) else ""
        groups.setdefault(prefix, {})[name[len(prefix) :]] = shape
    kinds = (
        (next((kind for kind in _KINDS if any(map(kind.names.search, shapes))), None), prefix, shapes)
        for prefix, shapes in groups.items()
    )
    found = [Piece(kind, prefix, shapes) for kind, prefix, shapes in kinds if kind]
    alone = len(found) == 1 and found[0].prefix in ("", PREFIX)
    return (Piece(found[0].kind, "", found[0].shapes),) if alone else tuple(found)


def option_of(class_name: str) -> str:
    """Returns the option of `pull` that takes the weights of a class; "" for a class that is not known."""
    return next((kind.option for kind in _KINDS if kind.class_name == class_name), "")


def component(piece: Piece, layout: Layout) -> str:
    """Returns the name of the component that a piece can be in a model's layout, "" for none. Sizes do not count."""
    own = piece.kind.class_name
    return next((name for name, part in layout.items() if own and part.class_name == own), "")


def difference(piece: Piece, config: Config) -> tuple[Size, int, int] | None:
    """Returns the first number in which a piece differs from a configuration, the piece's and the wanted one.

    Returns None where the two fit, as far as a file's header and the configuration tell.
    """
    for size in piece.kind.sizes:
        found, wanted = size.found(piece.shapes), size.wanted(config)
        if found is not None and wanted is not None and found != wanted:
            return size, found, wanted
    return None
