"""Describes the layers of a transformer that get a LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL, ATTENTION = "all", "attention"
JOINT = r"(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"  # of a block with a text stream


@dataclass(frozen=True)
class Targets:
    """Describes which linear layers of a transformer get a LoRA.

    `pattern`: a regular expression for their full names. `widths` has one entry for each kind of block. Its key is the
    name under which the transformer's config has the number of such blocks, such as "num_layers". Its value is the sum
    of the input and output widths of those layers in one block, in multiples of the hidden size.
    """

    pattern: str
    widths: Mapping[str, int]
