"""The settings of an engine as data: lists of knobs, from which tabs make widgets and read parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec
from studio.workplace.desk import Workplace

MISSING = "not on this machine"


@dataclass(frozen=True)
class Knob:
    """A field of an engine's parameters with its widget; 0, an empty value and off mean the model's own value."""

    name: str
    widget: Callable[..., Any]


Rows = Sequence[Sequence[Knob]]


def number(label: str, **more: Any) -> Callable[..., Any]:
    """Returns a function that makes a number widget; 0 means the model's own value."""
    return partial(gr.Number, 0, label=label, **more)


def lay_out(rows: Rows, tab: str) -> list[Any]:
    """Lays out the widgets of knobs, row by row, and returns them in that order."""
    made = []
    for row in rows:
        with gr.Row() if len(row) > 1 else nullcontext():
            made += [knob.widget(elem_id=f"{tab}-{knob.name.replace('_', '-')}") for knob in row]
    return made


def given(rows: Rows, values: Sequence[Any]) -> dict[str, Any]:
    """Returns the values that the user set, by the names of their knobs."""
    names = [knob.name for row in rows for knob in row]
    return {name: value for name, value in zip(names, values, strict=False) if value}


def first_block_cache(elem_id: str) -> gr.Slider:
    """Returns the slider of the first-block cache: the change below which a step is skipped; 0 is off."""
    least, most = GenerateParams.bounds("first_block_cache")
    return gr.Slider(
        least,
        most,
        value=0,
        step=0.01,
        label="Skip steps that hardly change (0: off)",
        info="Where a step's first block moved less than this share since the last step, its other blocks are not "
        "computed. Pays from about 20 steps on; it costs likeness to the full picture: try 0.1, and look.",
        elem_id=elem_id,
    )


def models(
    workplace: Workplace, role: str, fitting: Callable[[ModelSpec], object] = lambda spec: True
) -> list[tuple[str, str]]:
    """Returns the models of a role as choices of a drop-down; a label says where the weights are missing."""
    return [
        (marked(workplace, spec.name, spec.label), spec.name) for spec in workplace.registry.role(role) if fitting(spec)
    ]


def marked(workplace: Workplace, model: str, label: str) -> str:
    """Returns a label, with the note `not on this machine` where the model's weights are missing."""
    return label if workplace.registry.here(model) else f"{label} · {MISSING}"
