"""Knobs that more than one tab has."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from engines.api.params import GenerateParams
from engines.api.protocols import ModelSpec
from studio.workplace.desk import Workplace

MISSING = "not on this machine"


def first_block_cache(elem_id: str) -> gr.Slider:
    """How much a step may change and still be skipped; 0 is off."""
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
    """The models of a role as a drop-down's choices; those whose weights are missing say so."""
    return [
        (marked(workplace, spec.name, spec.label), spec.name) for spec in workplace.registry.role(role) if fitting(spec)
    ]


def marked(workplace: Workplace, model: str, label: str) -> str:
    """A label, with the word that the model's weights are missing where they are."""
    return label if workplace.registry.here(model) else f"{label} · {MISSING}"
