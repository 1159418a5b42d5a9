"""Builds a model's folder with random weights of its published shapes, to measure memory without a download.

Its pictures are noise; bytes, kernels and stages are those of the real model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessorPil

from engines.api.forms import FULL_WIDTH
from engines.api.protocols import Loaded, ModelSpec
from engines.catalogue.shapes import Layout, write_layout
from engines.catalogue.weights import held_name
from engines.weights import components, store
from engines.weights.quantise import skeleton

_PLAIN = ["<pad>", "</s>"]
_QWEN = [
    "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
_QWEN_IDS = ("image_token_id", "<|image_pad|>"), ("video_token_id", "<|video_pad|>"), (
    "vision_start_token_id", "<|vision_start|>",
), ("vision_end_token_id", "<|vision_end|>")  # fmt: skip


@dataclass(frozen=True)
class _Extras:
    """Holds what a family's folder needs beside its components; `index` is its part of model_index.json."""

    write: Callable[[Path], None]
    index: Mapping[str, list[str]]


def build(spec: ModelSpec, layout: Layout, folder: Path, device: str = "cpu") -> Path:
    """Writes a model's folder with random weights, in the precisions of its registry row, and returns `folder`.

    `layout`: the configurations of the model's components; `device`: where the random weights are drawn and quantised.
    """
    _frame(spec, layout, folder)
    dtype = components.weight_dtype(spec)
    for name in layout:
        form = components.form_of(spec, folder, name)
        target = folder / held_name(name, form)
        model = skeleton(components.bare(folder, name, folder / name), form, dtype, components.full_width(spec))
        store.write(model, _random(model, device), target, form, dtype, device=device)
    return folder


def build_as_published(spec: ModelSpec, layout: Layout, folder: Path, device: str = "cpu") -> Path:
    """Writes a model's folder with random weights, not quantised, in the format of diffusers and transformers.

    It is for programs that cannot read our quantised files. `layout`: the configurations of the model's components;
    `device`: where the random weights are drawn. Returns `folder`.
    """
    _frame(spec, layout, folder)
    for name in layout:
        dtype = components.weight_dtype(spec)
        model: Loaded = skeleton(components.bare(folder, name, folder / name), FULL_WIDTH, dtype)
        model.to_empty(device="cpu")
        for key, weight in _random(model, device):
            model.get_parameter(key).data.copy_(weight)
        model.save_pretrained(folder / name)
    return folder


def _frame(spec: ModelSpec, layout: Layout, folder: Path) -> None:
    """Writes all files of a model's folder but the weights."""
    write_layout(layout, folder)
    extras = _EXTRAS[spec.family]
    extras.write(folder)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    (folder / "model_index.json").write_text(json.dumps({**index, **extras.index}), encoding="utf-8")


def _random(model: nn.Module, device: str) -> Iterator[tuple[str, Tensor]]:
    """Yields (name, random weight) for each weight of a model, of the size that training leaves; norms are one."""
    generator = torch.Generator(device).manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            yield name, torch.full(weight.shape, float(name.endswith("weight")), device=device)
        else:
            yield name, torch.randn(weight.shape, generator=generator, device=device) / weight[0].numel() ** 0.5


def _tokenizer(specials: list[str], longest: int) -> PreTrainedTokenizerFast:
    """Returns a tokenizer that reads every word as unknown: one token for each word and each mark."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*specials, "<unk>"])}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\|[a-z_]+\|>|\w+|\s|[^\w\s]"), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token=specials[0], eos_token=specials[1],
        additional_special_tokens=specials, model_max_length=longest,
    )  # fmt: skip


def _flux(folder: Path) -> None:
    _tokenizer(_PLAIN, 77).save_pretrained(folder / "tokenizer")
    _tokenizer(_PLAIN, 512).save_pretrained(folder / "tokenizer_2")
    schedule: Loaded = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
    )
    schedule.save_pretrained(folder / "scheduler")


def _qwen_edit(folder: Path) -> None:
    """Writes this tokenizer's special tokens into the configuration; no size depends on them."""
    tokenizer = _tokenizer(_QWEN, 8192)
    file = folder / "text_encoder" / "config.json"
    ids = {key: tokenizer.convert_tokens_to_ids(word) for key, word in _QWEN_IDS}
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **ids}), encoding="utf-8")
    for name in ("tokenizer", "processor"):
        tokenizer.save_pretrained(folder / name)
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 1280).save_pretrained(folder / "processor")
    schedule: Loaded = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02,
        time_shift_type="exponential",
    )  # fmt: skip
    schedule.save_pretrained(folder / "scheduler")


_FAST = ["transformers", "PreTrainedTokenizerFast"]
_SCHEDULER = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
_EXTRAS: Mapping[str, _Extras] = {
    "flux": _Extras(_flux, {"tokenizer": _FAST, "tokenizer_2": _FAST, "scheduler": _SCHEDULER}),
    "qwen-edit": _Extras(_qwen_edit, {"tokenizer": _FAST, "scheduler": _SCHEDULER}),
}
