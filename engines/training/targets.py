"""Describes the layers of a transformer that get a LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL, ATTENTION = "all", "attention"
JOINT = r"(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"  # of a block with a text stream


@dataclass(frozen=True)
class Targets:
    """Describes the linear layers that get a LoRA: a pattern that matches their full names, and their widths.

    `widths`: for each kind of block, the config key with the number of such blocks -> the sum of the inputs and outputs
    of all its targeted layers, as a multiple of the hidden size.
    """

    pattern: str
    widths: Mapping[str, int]
