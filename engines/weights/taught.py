"""Adds a LoRA to a component's weights as it is loaded: for small models that were taught a further skill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from engines.api.errors import ModelMissing
from engines.api.protocols import Component, Loaded

DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def taught(component: Component, file: Path) -> Component:
    """Returns a component that loads as the given one does, with a LoRA's products added to its weights.

    `file`: safetensors with two matrices for each layer, whose names end as `DOWN` and `UP`; the scale is 1. The
    component has a key of its own, so that both can be loaded. Raises: ModelMissing where there is no such file.
    """
    if not file.is_file():
        raise ModelMissing(f"{file.name} of {component.key} is not here.", f"Put it at {file}.")

    @torch.no_grad()
    def load() -> Loaded:
        model = component.load()
        layers = dict(model.named_modules())
        state = load_file(file)
        for name, down in state.items():
            if name.endswith(DOWN):
                weight, up = layers[name.removesuffix(DOWN)].weight, state[name.removesuffix(DOWN) + UP]
                weight += (up.float() @ down.float()).to(weight.dtype)
        return model

    return replace(component, key=f"{component.key}-{file.stem}", load=load, streamed_bytes=0)
