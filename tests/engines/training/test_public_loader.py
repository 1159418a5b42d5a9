"""Tests our LoRAs with diffusers' `load_lora_weights`: they draw what they draw here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.api.params import EditParams, GenerateParams, LoraUse, TrainParams
from engines.api.protocols import CheckpointSaved, EditItem, TrainItem, TrainRun
from engines.catalogue.registry import Registry
from engines.mini import world
from engines.mini.dataset import edit_pair, held_out_scene

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).resolve().parents[3] / "assets"
GREY_LEVELS = 2
CLEARLY = 20  # grey levels by which a LoRA must change a picture somewhere
PICTURES = 4
LEARNING = TrainParams(
    rank=4,
    alpha=8.0,  # not the rank: a scale that is lost shows
    learning_rate=3e-2,
    steps=4,
    batch_size=2,
    resolution=64,
    caption_dropout=0.0,
    gradient_checkpointing=False,
    save_every=0,
    sample_every=0,
)
PROMPT = GenerateParams(prompt="ohwx person, front view, smiling", steps=4, guidance=2.5, width=64, height=64, seed=11)
WORDS = EditParams(instruction="put the person in a forest", steps=4, true_cfg=3.0, negative=" ", seed=12)
EDIT = EditItem(world.draw(held_out_scene(90_000, framing="head")), WORDS)


def _captioned(folder: Path) -> tuple[TrainItem, ...]:
    """Returns items of one held-out person, captioned with the trigger."""
    scenes = [held_out_scene(index) for index in range(PICTURES)]
    return tuple(
        TrainItem(_saved(folder, f"{index}", scene), world.caption(scene, "ohwx person"))
        for index, scene in enumerate(scenes)
    )


def _edits(folder: Path) -> tuple[TrainItem, ...]:
    """Returns items with changed backgrounds and their instructions."""
    pairs = [edit_pair(held_out_scene(index), f"public {index}", "background") for index in range(PICTURES)]
    return tuple(
        TrainItem(_saved(folder, f"{index}", pair.after), pair.instruction, (_saved(folder, f"{index}b", pair.before),))
        for index, pair in enumerate(pairs)
    )


def _saved(folder: Path, name: str, scene: Any) -> Path:
    path = folder / f"{name}.png"
    world.draw(scene).save(path)
    return path


def _flux_pipeline(folder: Path) -> Any:
    import torch
    from diffusers import FluxPipeline

    return FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)


def _flux_picture(pipe: Any) -> Any:
    import torch

    return pipe(
        PROMPT.prompt,
        height=PROMPT.height,
        width=PROMPT.width,
        num_inference_steps=PROMPT.steps,
        guidance_scale=PROMPT.guidance,
        max_sequence_length=32,
        generator=torch.Generator("cpu").manual_seed(PROMPT.seed),
    )


def _qwen_pipeline(folder: Path) -> Any:
    """Returns the plain pipeline, without transformers' processor, whose video half needs torchvision."""
    import torch
    from diffusers import QwenImageEditPlusPipeline

    return QwenImageEditPlusPipeline.from_pretrained(folder, processor=None, torch_dtype=torch.float32)


def _qwen_picture(pipe: Any) -> Any:
    """Draws with our embeddings: the pipeline passes no token types on, so that its image positions would be flat."""
    import torch

    from engines.families.qwen_edit import maths as qwen

    spec = _registry().spec("mini-qwen-edit")
    sizes, processor = qwen.Sizes.of(spec), qwen.processor(_registry().folder(spec))
    told, negative = (
        qwen.conditioning(pipe.text_encoder, processor, words, [sizes.vision(EDIT.source)])
        for words in (WORDS.instruction, WORDS.negative)
    )
    with _reference_area(sizes.reference_area):
        return pipe(
            image=[EDIT.source],
            prompt_embeds=told.embeds,
            prompt_embeds_mask=torch.ones(told.embeds.shape[:2], dtype=torch.long),
            negative_prompt_embeds=negative.embeds,
            negative_prompt_embeds_mask=torch.ones(negative.embeds.shape[:2], dtype=torch.long),
            true_cfg_scale=WORDS.true_cfg,
            num_inference_steps=WORDS.steps,
            height=64,
            width=64,
            generator=torch.Generator("cpu").manual_seed(WORDS.seed),
        )


@contextmanager
def _reference_area(area: int) -> Iterator[None]:
    """Sets the pipeline's area of references, a constant of its module, to that of the small model."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    theirs, module.VAE_IMAGE_SIZE = module.VAE_IMAGE_SIZE, area
    try:
        yield
    finally:
        module.VAE_IMAGE_SIZE = theirs


@dataclass(frozen=True)
class Way:
    """Describes how one embedded model is trained, and how we and diffusers draw with it."""

    model: str
    items: Callable[[Path], tuple[TrainItem, ...]]
    pipeline: Callable[[Path], Any]
    theirs: Callable[[Any], Any]
    ours: Callable[[Any, Sequence[LoraUse]], tuple[Callable[..., Any], list[Any]]]
    forms: tuple[str, ...]  # that diffusers' converters take at the embedded model's size


def _generating(engine: Any, loras: Sequence[LoraUse]) -> tuple[Callable[..., Any], list[Any]]:
    return engine.generate, [PROMPT.replace(loras=tuple(loras))]


def _editing(engine: Any, loras: Sequence[LoraUse]) -> tuple[Callable[..., Any], list[Any]]:
    return engine.edit, [EditItem(EDIT.source, WORDS.replace(loras=tuple(loras)))]


FLUX = Way("mini-flux", _captioned, _flux_pipeline, _flux_picture, _generating, ("diffusers",))
QWEN = Way("mini-qwen-edit", _edits, _qwen_pipeline, _qwen_picture, _editing, ("diffusers", "kohya", "comfyui"))


def _registry() -> Registry:
    return Registry(ASSETS, ASSETS / "none")


def _trained(way: Way, folder: Path, host_lease: Any, on_step: Any) -> Path:
    """Trains a LoRA for a few steps on the embedded model."""
    trainer = _registry().trainer(way.model)
    run = TrainRun(folder / "run", way.items(folder), LEARNING, trigger="ohwx")
    events = trainer.train(run, host_lease(trainer.plan(run)), on_step)
    return [event for event in events if isinstance(event, CheckpointSaved)][-1].adapter


def _drawn_here(way: Way, adapter: Path, host_lease: Any, on_step: Any) -> Any:
    engine = _registry().engine(way.model)
    draw, items = way.ours(engine, [LoraUse(file=str(adapter))])
    (picture,) = draw(items, host_lease(engine.plan(items)), on_step)
    return np.asarray(picture).astype(int)


def _drawn_there(way: Way, pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return np.asarray(way.theirs(pipe).images[0]).astype(int)


def _furthest(one: Any, other: Any) -> int:
    return int(np.abs(one - other).max())


@pytest.mark.parametrize("way", [FLUX, QWEN], ids=lambda way: way.model)
def test_the_public_loader_draws_what_we_draw(way: Way, tmp_path: Path, host_lease: Any, steps: Any) -> None:
    """A trained LoRA, exported and loaded by diffusers' `load_lora_weights` in every form that it takes, draws our
    picture to two grey levels, differs from the one without it, and has a place for every module.
    """
    from engines.drawing.lora_files import read_adapter

    adapter = _trained(way, tmp_path, host_lease, steps)
    ours = _drawn_here(way, adapter, host_lease, steps)
    pipe = way.pipeline(_registry().folder(_registry().spec(way.model)))
    without = _drawn_there(way, pipe)
    trained = {name.partition(".lora_")[0] for name in read_adapter(adapter)[0]}

    for form in way.forms:
        file = tmp_path / f"{form}.safetensors"
        _registry().export(adapter, file, form)
        pipe.load_lora_weights(file)
        loaded = {name for name, module in pipe.transformer.named_modules() if hasattr(module, "lora_A")}
        theirs = _drawn_there(way, pipe)
        pipe.unload_lora_weights()

        assert loaded == trained
        assert _furthest(ours, theirs) <= GREY_LEVELS
        assert _furthest(without, theirs) >= CLEARLY
    assert np.array_equal(_drawn_there(way, pipe), without)
