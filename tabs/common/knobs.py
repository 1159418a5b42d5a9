"""Knobs that more than one tab has."""

from __future__ import annotations

import gradio as gr


def first_block_cache(elem_id: str) -> gr.Slider:
    """How much a step may change and still be skipped; 0 is off."""
    return gr.Slider(
        0,
        0.3,
        value=0,
        step=0.01,
        label="Skip steps that hardly change (0: off)",
        info="Where a step's first block moved less than this share since the last step, its other blocks are not "
        "computed. Pays from about 20 steps on; it costs likeness to the full picture: try 0.1, and look.",
        elem_id=elem_id,
    )
