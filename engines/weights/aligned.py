"""Writes safetensors files whose tensors start at whole cache lines.

Mapped weights are used in place, and matrix products may round differently where a tensor is not aligned: the format's
own writer aligns to 8 bytes, and the difference is enough to change a picture.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64", torch.int32: "I32", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_aligned(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors to a safetensors file so that each starts at a multiple of `ALIGNMENT` bytes, where possible.

    The tensors must be contiguous and in RAM. Those whose size is a multiple of `ALIGNMENT` come first, so that only
    small ones at the end can be unaligned.
    Source: the format's description in huggingface/safetensors, README.md.
    """
    ordered = sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGNMENT != 0, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-(len(words) + 8) % ALIGNMENT)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(words)) + words)
        for name in ordered:
            stream.write(tensors[name].reshape(-1).view(torch.uint8).numpy().data)


def straight(tensor: Tensor) -> Tensor:
    """Returns a tensor whose data start at a multiple of `ALIGNMENT` bytes in memory.

    That is the given tensor if it is aligned, and otherwise a copy.
    """
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()
