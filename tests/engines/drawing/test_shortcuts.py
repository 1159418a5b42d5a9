"""Shortcuts through all families' transformers, against the plain way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import assets
from engines.api.params import EditParams, GenerateParams
from engines.api.protocols import EditItem, ModelSpec
from engines.catalogue.registry import Registry, load_class
from tests.engines.families.flux2 import tiny as tiny_flux2

pytestmark = pytest.mark.slow

every = pytest.mark.parametrize("family", ["flux", "flux2", "qwen-edit"])


@pytest.fixture
def models(toy_flux, toy_qwen, flux_folder, flux2_folder, qwen_folder) -> dict[str, tuple[ModelSpec, Any]]:
    """A row and its folder, by family."""
    return {
        "flux": (toy_flux, flux_folder),
        "flux2": (tiny_flux2.SPEC, flux2_folder),
        "qwen-edit": (toy_qwen, qwen_folder),
    }


@pytest.fixture
def draw(models, host_lease, steps) -> Any:
    """`draw(family, options={}, **knobs)`: two pictures, and the transformer that drew them."""

    def draw_two(family: str, options: Any = None, **knobs: Any) -> tuple[Any, Any]:
        spec, folder = models[family]
        spec = replace(spec, options={**spec.options, **(options or {})})
        engine = load_class(spec.engine)(spec, folder)
        if spec.role == "generator":
            params = GenerateParams(prompt="ohwx person in the forest", width=64, height=64, steps=8)
            items = [params.replace(seed=seed, **knobs) for seed in (1, 2)]
            pictures = engine.generate(items, lease := host_lease(engine.plan(items)), steps)
        else:
            edit = EditParams(instruction="smiling person", steps=8, true_cfg=3.0)
            items = [EditItem(Image.new("RGB", (64, 64), "teal"), edit.replace(seed=s, **knobs)) for s in (1, 2)]
            pictures = engine.edit(items, lease := host_lease(engine.plan(items)), steps)
        return np.stack([np.asarray(picture).astype(int) for picture in pictures]), lease.part("transformer")

    return draw_two


@every
def test_a_threshold_that_nothing_falls_under_changes_nothing(draw, family) -> None:
    """With every block at every step the pictures are plain to the bit; with all that can be skipped, they are not."""
    plain, _ = draw(family)
    never, ever = (draw(family, first_block_cache=threshold)[0] for threshold in (1e-9, 10.0))
    assert np.array_equal(never, plain)
    assert not np.array_equal(ever, plain)


def test_skipping_on_a_long_schedule_stays_close(host_lease, steps, tmp_path) -> None:
    """At a threshold of 0.15 the embedded FLUX skips some of its twenty steps; two grey levels on average."""
    spec = (registry := Registry(Path(assets.__file__).parent, tmp_path)).spec("mini-flux")
    engine = load_class(spec.engine)(spec, registry.folder(spec))
    pictures = []
    for threshold in (0.0, 0.15):
        item = spec.params(GenerateParams, prompt="person, front view, smiling, forest", first_block_cache=threshold)
        (picture,) = engine.generate([item], host_lease(engine.plan([item])), steps)
        pictures.append(np.asarray(picture).astype(int))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 5


@every
def test_the_first_block_cache_skips_blocks_and_leaves_no_trace(draw, family, models) -> None:
    """After the first step of each pass the last block rests; afterwards it works at every step, with no hook left."""
    import torch

    from engines.drawing.shortcuts import branch, first_block_cache
    from engines.weights import components

    spec, folder = models[family]
    transformer = components.load(spec, folder, "transformer")
    stack = [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", ())]
    worked = []
    mark = stack[-1].attn.register_forward_hook(lambda module, args, output: worked.append(1))
    with torch.no_grad(), first_block_cache(transformer, 10.0):
        for _ in range(3):
            for name in ("cond", "uncond"):
                with branch(transformer, name):
                    _forward(family, transformer)
    assert len(worked) == 2
    with torch.no_grad():
        _forward(family, transformer)
    mark.remove()
    assert len(worked) == 3
    assert not transformer.is_cache_enabled


def _forward(family: str, transformer: Any) -> Any:
    import torch

    from engines.families.flux import maths as flux
    from engines.families.flux2 import maths as flux2
    from engines.families.qwen_edit import maths as qwen

    if family == "flux2":
        return flux2.velocity(transformer, torch.ones(1, 16, 32), torch.ones(1, 5, 48), 0.5, 8, 8)
    if family == "flux":
        cond = flux.Conditioning(torch.ones(1, 5, 48), torch.ones(1, 32))
        return flux.velocity(transformer, torch.ones(1, 16, 64), cond, 0.5, 2.0, 8, 8)
    words = qwen.Conditioning(torch.ones(1, 5, 64), None)
    return qwen.velocity(transformer, torch.ones(1, 16, 64), None, words, 0.5, [(1, 4, 4)])


@every
def test_compiled_blocks_draw_the_same(draw, family) -> None:
    """Traced by torch, block by block, pictures are the plain ones to a grey level; the next user gets none of it."""
    plain, _ = draw(family)
    compiled, transformer = draw(family, {"compile": "eager", "compile_anywhere": True})
    assert np.abs(compiled - plain).max() <= 1
    assert all(module._compiled_call_impl is None for module in transformer.modules())


@every
def test_compiling_is_for_cards_unless_asked(models, family) -> None:
    """On a CPU the option alone compiles nothing; with `compile_anywhere` each repeated block is compiled, once."""
    import torch

    from engines.drawing.shortcuts import regionally_compiled
    from engines.weights import components

    spec, folder = models[family]
    transformer = components.load(spec, folder, "transformer")
    graphs = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    with torch.no_grad():
        with regionally_compiled(transformer, counting):
            _forward(family, transformer)
        assert graphs == []
        with regionally_compiled(transformer, counting, anywhere=True):
            _forward(family, transformer)
        compiled = len(graphs)
        with regionally_compiled(transformer, counting, anywhere=True):
            _forward(family, transformer)
    assert compiled > 0
    assert len(graphs) == compiled
