"""Lists the forms in which the large parts of a model can be held; every choice of a form is made of these rows.

How a form computes and is stored is its entry in `engines.weights.quantise.FORMS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FULL_WIDTH = "bf16"
Quantised = Literal["nf4", "int8", "fp8"]  # the keys of ROWS, as a type that a parameter's field can have


@dataclass(frozen=True)
class FormRow:
    """Describes one quantised form of weights.

    `bits`: what a weight takes, with its share of the scales. `download`, `training`: what the pages call the form
    where a model is downloaded, and where the frozen model of a training is chosen.
    """

    bits: float
    download: str
    training: str


ROWS: Mapping[str, FormRow] = {
    "nf4": FormRow(4.2, "4 bit (nf4): for a GPU with 24 GB", "4 bits: least memory"),
    "int8": FormRow(8.1, "8 bit (int8): closest to the original", "8 bits: closer to the original, more memory"),
    "fp8": FormRow(
        8.1, "8-bit floats (fp8): keeps the bytes of files in fp8", "8-bit floats: the memory of 8 bits, less close"
    ),
}
"""The quantised forms by their names; the first is the one that `pull` takes where none is named."""
