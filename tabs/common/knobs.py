"""The settings of an engine as data: each field of its parameters with the widget that sets it."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

from engines.api.axes import Medium
from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec
from studio.workplace.desk import Workplace

MISSING = "not on this machine"


class _Unwritten(ComponentMeta):
    """Makes the class of a component without the file that Gradio's own metaclass writes beside its source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> Any:
        """Returns the class as Python makes it; it inherits Gradio's events from its base."""
        return ABCMeta.__new__(cls, name, bases, attrs)


class Slider(gr.Slider, metaclass=_Unwritten):
    """Shows a slider, and takes every number typed into its field: one outside its range counts as the nearest end."""

    is_template = True  # the browser shows Gradio's slider

    def preprocess(self, payload: float | None) -> float:
        """Returns the number for a handler, moved into the slider's range; None, an emptied field, is its least."""
        typed = self.minimum if payload is None else payload
        return super().preprocess(min(max(typed, self.minimum), self.maximum))


@dataclass(frozen=True)
class Knob:
    """Holds a field of an engine's parameters by `name`, and the function that makes its widget.

    The widget's values 0, "" and False mean the model's own value.
    """

    name: str
    widget: Callable[..., Any]


Rows = Sequence[Sequence[Knob]]


def number(label: str, **more: Any) -> Callable[..., Any]:
    """Returns a function that makes a number field, in which 0 means the model's own value.

    `more` are further arguments for `gr.Number`.
    """
    return partial(gr.Number, 0, label=label, **more)


def lay_out(rows: Rows, tab: str) -> list[Any]:
    """Makes the widgets of settings and returns them in one list, row by row.

    Each inner sequence of `rows` is one row of the page. `tab` is the prefix of the widgets' element ids.
    """
    made = []
    for row in rows:
        with gr.Row() if len(row) > 1 else nullcontext():
            made += [knob.widget(elem_id=f"{tab}-{knob.name.replace('_', '-')}") for knob in row]
    return made


def given(rows: Rows, values: Sequence[Any]) -> dict[str, Any]:
    """Returns by name the values that the user set; a value of 0, "" or False is left out as not set.

    `values` are those of all widgets, row by row.
    """
    names = [knob.name for row in rows for knob in row]
    return {name: value for name, value in zip(names, values, strict=False) if value}


def first_block_cache(elem_id: str) -> Slider:
    """Returns the slider that sets the threshold of the first-block cache; 0 switches the cache off.

    The cache saves time: if the result of the first transformer block differs from that in the last step by a smaller
    share than the threshold, the other blocks of the step are not computed.
    """
    least, most = GenerateParams.bounds("first_block_cache")
    return Slider(
        least,
        most,
        value=0,
        step=0.01,
        label="Skip steps that hardly change (0: off)",
        info="Where a step's first block moved less than this share since the last step, its other blocks are not "
        "computed. Pays from about 20 steps on; it costs likeness to the full picture: try 0.1, and look.",
        elem_id=elem_id,
    )


MEDIA_CHOICES: list[tuple[str, Medium]] = [("photos", "photo"), ("drawings", "drawing"), ("3D renders", "3D render")]
MEDIUM_INFO = "Prompts and captions say it."


def models(
    workplace: Workplace, role: str, fitting: Callable[[ModelSpec], object] = lambda spec: True
) -> list[tuple[str, str]]:
    """Returns the models of a role as (label, name) choices; a label says so if the weights are missing.

    `role` is generator, editor or scorer. `fitting` decides for each model whether it is offered.
    """
    return [
        (marked(workplace, spec.name, spec.label), spec.name) for spec in workplace.registry.role(role) if fitting(spec)
    ]


def marked(workplace: Workplace, model: str, label: str) -> str:
    """Returns `label`, a model's label, with a note added if its weights are missing; `model` is its name."""
    return label if workplace.registry.here(model) else f"{label} · {MISSING}"
