"""The same pictures with less memory: blocks streamed to the bit, the VAE in tiles but for a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.api.errors import RanOut
from engines.api.params import EditParams, GenerateParams, LoraUse
from engines.api.protocols import Component, EditItem, ModelSpec, Plan, Stage
from engines.fake import FakeCard
from studio.gpu.manager import GpuManager
from tests.engines.families.flux2 import tiny as tiny_flux2

pytestmark = pytest.mark.slow


def _manager() -> GpuManager:
    return GpuManager(FakeCard(4 << 30), 4 << 30, {}, reserve_bytes=0)


def _forms(stage: Stage) -> list[Stage]:
    return [stage, *_forms(stage.leaner)] if stage.leaner else [stage]


def _tiled(plan: Plan) -> Plan:
    """Each stage in tiles, where it can."""
    forms = [[form for form in _forms(stage) if form.how == "the VAE in tiles"] or [stage] for stage in plan.stages]
    return replace(plan, stages=tuple(replace(found[0], leaner=None) for found in forms))


def _streamed(plan: Plan) -> Plan:
    """Each stage with its blocks streamed and nothing else changed."""
    return replace(plan, stages=tuple(replace(stage, streams=True, leaner=None) for stage in plan.stages))


def _draw(gpu: GpuManager, plan: Plan, engine: Any, items: list[Any], steps: Any) -> list[Any]:
    with gpu.lease(plan) as lease:
        pictures = getattr(engine, "generate" if hasattr(engine, "generate") else "edit")(items, lease, steps)
        return [np.asarray(picture).astype(int) for picture in pictures]


def _forgetful(spec: ModelSpec) -> ModelSpec:
    """The row without a memory for words and pictures, so that every job asks for its encoders."""
    return replace(spec, options={**spec.options, "encoding_cache_bytes": 0})


def _flux(spec: Any, folder: Path, lora: Path) -> tuple[Any, list[Any]]:
    from engines.families.flux.engine import Flux

    item = GenerateParams(steps=2, guidance=2.5, width=64, height=64, prompt="ohwx person in the forest", seed=1)
    return Flux(_forgetful(spec), folder), [item, item.replace(seed=2, loras=(LoraUse(file=str(lora)),))]


def _qwen(spec: Any, folder: Path) -> tuple[Any, list[Any]]:
    from engines.families.qwen_edit.engine import QwenEdit

    noise = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    edit = EditParams(instruction="smiling person", steps=2, seed=4)
    return QwenEdit(_forgetful(spec), folder), [EditItem(picture, edit)]


def _flux2(folder: Path, lora: Path) -> tuple[Any, list[Any]]:
    from engines.families.flux2.engine import Flux2

    return Flux2(_forgetful(tiny_flux2.SPEC), folder), [
        *tiny_flux2.asked(1, steps=2),
        *tiny_flux2.asked(1, steps=2, loras=tiny_flux2.use(lora)),
    ]


@pytest.fixture(params=["flux", "flux2", "qwen", "qwen-table"])
def family(request: pytest.FixtureRequest) -> tuple[Any, list[Any]]:
    """An engine on a tiny model, and what to draw with it."""
    given = request.getfixturevalue
    if request.param == "flux":
        return _flux(given("toy_flux"), given("flux_folder"), given("lora_file"))
    if request.param == "flux2":
        return _flux2(given("flux2_folder"), given("lora2_file"))
    row = given("toy_qwen")
    tabled = replace(row, options={**row.options, "modulation": "table"})
    return _qwen(tabled if request.param == "qwen-table" else row, given("qwen_folder"))


def test_streamed_blocks_draw_the_same_picture(family: tuple[Any, list[Any]], steps: Any) -> None:
    """With every part's blocks on the card one at a time, LoRA and all, not a bit differs, and nothing stays there."""
    engine, items = family
    gpu, plan = _manager(), engine.plan(items)
    plain = _draw(gpu, plan, engine, items, steps)
    drawn = _draw(gpu, _streamed(plan), engine, items, steps)

    assert all(np.array_equal(one, other) for one, other in zip(plain, drawn, strict=True))
    assert gpu.status().used < sum(part.bytes for part in {part.key: part for part in _parts(plan)}.values())


def test_the_ladder_ends_in_the_same_picture(family: tuple[Any, list[Any]], steps: Any) -> None:
    """Encoding and denoising run out the plain way each time they are tried: the manager goes on to streamed blocks by
    itself, and not a bit differs."""
    engine, items = family
    gpu, plan = _manager(), engine.plan(items)
    plain = _draw(gpu, plan, engine, items, steps)
    tight = replace(plan, stages=tuple(_never_plain(stage) for stage in plan.stages))

    ran_out, drawn = 0, []
    while not drawn:
        try:
            drawn = _draw(gpu, tight, engine, items, steps)
        except RanOut:
            ran_out += 1

    assert ran_out == 4  # each of the two the plain way, then with the card to itself
    assert all(np.array_equal(one, other) for one, other in zip(plain, drawn, strict=True))


def _never_plain(stage: Stage) -> Stage:
    """A stage that runs out unless its blocks are streamed; decoding, which has none, as it is."""
    if stage.name == "decode":
        return stage
    return replace(stage, around=_no_room, leaner=replace(stage, streams=True, how="blocks streamed", leaner=None))


def _no_room(parts: Any) -> Any:
    raise MemoryError(f"no room beside {', '.join(parts)}")


def _parts(plan: Plan) -> list[Component]:
    return [part for stage in plan.stages for part in stage.components]


def test_a_vae_in_tiles_leaves_a_trace_and_no_setting(family: tuple[Any, list[Any]], steps: Any) -> None:
    """Tiles are really used, the picture is close, and the next picture is plain again to the bit."""
    engine, items = family
    gpu, plan = _manager(), engine.plan(items)
    plain = _draw(gpu, plan, engine, items, steps)
    lean = _tiled(plan)
    assert sum(stage.working_bytes for stage in lean.stages) < sum(stage.working_bytes for stage in plan.stages)

    drawn = _draw(gpu, lean, engine, items, steps)
    again = _draw(gpu, plan, engine, items, steps)

    difference = np.abs(plain[0] - drawn[0])
    assert 0 < difference.mean() < 64
    assert np.array_equal(plain[0], again[0])


def test_what_is_streamed_is_counted(toy_flux: Any, flux_folder: Path) -> None:
    """The declared bytes cover what really lies on the card while blocks come and go, and are fewer than the whole."""
    from engines.device.arena import Streamed
    from engines.families.flux.engine import Flux

    plan = Flux(toy_flux, flux_folder).plan([GenerateParams(width=64, height=64)])
    (transformer,) = plan.stages[1].components

    assert Streamed(transformer.load()).nbytes <= transformer.streamed_bytes < transformer.bytes
