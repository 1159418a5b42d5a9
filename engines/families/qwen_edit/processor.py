"""Implements Qwen2.5-VL's processor without torchvision; marks the image tokens, which get 3-D positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

IMAGE_PAD = "<|image_pad|>"


class QwenEditProcessor:
    """Tokenizes prompts and preprocesses their pictures for Qwen2.5-VL, in pipelines and in training.

    It replaces transformers' `Qwen2VLProcessor`, whose video part needs torchvision.
    """

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: PreTrainedTokenizerBase) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path, **kwargs: Any) -> QwenEditProcessor:
        """Loads a processor from a folder (or repository) with a `preprocessor_config.json` and a tokenizer."""
        images = Qwen2VLImageProcessorPil.from_pretrained(folder, **kwargs)
        return cls(images, AutoTokenizer.from_pretrained(folder, **kwargs))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the tokenizer and the picture settings into a folder, for `from_pretrained`."""
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def __call__(
        self,
        text: str | list[str],
        images: Image.Image | list[Image.Image] | None = None,
        padding: bool | str = True,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Tokenizes texts and preprocesses their pictures; returns both as tensors by name.

        Each image mark in a text is repeated as often as its picture has tokens. Shapes: input_ids, attention_mask,
        mm_token_type_ids (B, L); pixel_values (patches, 1176); image_grid_thw (N, 3). Raises: ValueError where the
        numbers of marks and pictures differ.
        """
        texts = [text] if isinstance(text, str) else list(text)
        pictures = [images] if isinstance(images, Image.Image) else list(images or [])
        vision: dict[str, Any] = {}
        if pictures:
            vision = dict(self.image_processor(images=pictures, return_tensors=return_tensors))
            texts = self._widen(texts, vision["image_grid_thw"])
        tokens = dict(self.tokenizer(texts, padding=padding, return_tensors=return_tensors, **kwargs))
        mark = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        types = torch.as_tensor(tokens["input_ids"]).eq(torch.tensor(mark)).long()
        wanted = ("input_ids", "attention_mask")
        data = {name: tokens[name] for name in wanted} | {"mm_token_type_ids": types} | vision
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _widen(self, texts: list[str], grids: torch.Tensor) -> list[str]:
        """Returns the texts with each image mark repeated as often as its picture has tokens.

        `grids`: the pictures' grids of patches, (N, 3).
        """
        counts = [int(grid.prod()) // self.image_processor.merge_size**2 for grid in torch.as_tensor(grids)]
        marks = sum(text.count(IMAGE_PAD) for text in texts)
        if marks != len(counts):
            raise ValueError(f"{len(counts)} pictures were given for {marks} {IMAGE_PAD} marks in the text")
        left = iter(counts)
        widened = []
        for text in texts:
            parts = text.split(IMAGE_PAD)
            widened.append(parts[0] + "".join(IMAGE_PAD * next(left) + part for part in parts[1:]))
        return widened

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Decodes token ids to texts; takes the arguments of the tokenizer's `batch_decode`."""
        return list(self.tokenizer.batch_decode(*args, **kwargs))

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        """Formats a conversation as text or tokens; takes the arguments of the tokenizer's `apply_chat_template`."""
        return self.tokenizer.apply_chat_template(*args, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Returns the names of the tensors that calling the processor returns."""
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw"]
