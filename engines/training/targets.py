"""Which of a transformer's layers learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL, ATTENTION = "all", "attention"
JOINT = r"(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"  # of a block that reads words, too


@dataclass(frozen=True)
class Targets:
    """Linear layers that get a LoRA: a full-match pattern of their names, and how wide they are.

    `widths`: config key of a stack of blocks -> inputs and outputs of one block's layers together, in hidden sizes.
    """

    pattern: str
    widths: Mapping[str, int]
