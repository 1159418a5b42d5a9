"""Sixty edits of twelve sources through the studio's engine, and through a plain loop over diffusers' own pipeline."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from PIL import Image
from torch import Tensor

from engines.api.params import EditParams
from engines.api.protocols import EditItem, Editor, ModelSpec
from engines.families.qwen_edit import maths as qwen
from engines.mini import world
from engines.mini.dataset import edit_pair, held_out_scene
from engines.weights import components
from engines.wording import drawn as vocab
from frontdoor.bench import progress
from frontdoor.bench.rows import Row
from frontdoor.studio import open_studio

MODEL = "mini-qwen-edit"
BLOCKS, SOURCES, EDITS = 4, 3, 5  # sources a block, edits a source
FASTER, GREY_LEVELS = 1.5, 2


def measure(options: argparse.Namespace) -> list[Row]:
    """Measures the seconds of an edit by the studio's engine and by diffusers' pipeline; returns the report's rows.

    Both make the same edits, one group of edits after another; which of the two comes first alternates from group to
    group. The rows also tell how much the two results of each edit differ. `options` is not used.
    """
    del options
    with tempfile.TemporaryDirectory() as folder, closing(open_studio(Path(folder) / "home")) as workplace:
        spec = workplace.registry.spec(MODEL)
        plain = PlainLoop(spec, workplace.registry.folder(spec))
        engine: Editor = workplace.engine(MODEL)

        def ours(items: Sequence[EditItem]) -> list[Image.Image]:
            with workplace.gpu.lease(engine.plan(items)) as lease:
                return list(engine.edit(items, lease, progress.ignore))

        ways = {"plain": plain.edit, "ours": ours}
        blocks = [_block(spec, number) for number in range(BLOCKS)]
        for edit in ways.values():
            edit(blocks[0][:1])  # imports, and loads the weights
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        apart: list[np.ndarray] = []
        for number, items in enumerate(blocks):
            drawn = {}
            for name in sorted(ways, reverse=number % 2 == 1):
                began = time.perf_counter()
                drawn[name] = ways[name](items)
                seconds[name].append((time.perf_counter() - began) / len(items))
            for one, other in zip(drawn["plain"], drawn["ours"], strict=True):
                apart.append(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)))
    return _rows(seconds, np.stack(apart))


def _rows(seconds: Mapping[str, Sequence[float]], apart: np.ndarray) -> list[Row]:
    """Returns the report's rows.

    `seconds` maps each way to its seconds an edit, one value for each block. `apart` is the absolute difference of the
    pictures in grey levels, (N, H, W, 3).
    """
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True)]
    low, _, high = quantiles(ratios, n=4)
    ratio, furthest, count = median(ratios), float(apart.max()), len(apart)
    return [
        Row(name="an edit, diffusers pipeline in a loop", value=median(seconds["plain"]), unit="s"),
        Row(name="an edit, the studio", value=median(seconds["ours"]), unit="s"),
        Row(
            name=f"edits in the same time, {count} of {BLOCKS * SOURCES} sources",
            value=ratio,
            unit="×",
            peer="diffusers pipeline in a loop",
            ratio=ratio,
            spread=(high - low) / 2,
            goal=f"≥ {FASTER:g}",
            ok=ratio >= FASTER,
        ),
        Row(
            name=f"largest difference in {count} pictures",
            value=furthest,
            unit="grey levels of 255",
            goal=f"≤ {GREY_LEVELS}",
            ok=furthest <= GREY_LEVELS,
        ),
        Row(name="share of values that are equal", value=float((apart == 0).mean()), unit=""),
    ]


def _block(spec: ModelSpec, number: int) -> list[EditItem]:
    """Returns the edits of one block, of a few unseen people; edits of one source follow each other, as in a plan."""
    items = []
    for source in range(number * SOURCES, (number + 1) * SOURCES):
        scene = held_out_scene(90_000 + 8 * source, framing=("head", "bust")[source % 2])
        picture = world.draw(scene)
        for index, task in enumerate(vocab.TASKS[:EDITS]):
            words = edit_pair(scene, f"bench {source} {task}", task).instruction
            items.append(EditItem(picture, spec.params(EditParams, instruction=words, seed=100 * source + index)))
    return items


class PlainLoop:
    """Calls diffusers' own edit pipeline once for each edit, for a comparison with the studio's engine.

    It uses the same weights and picture sizes as the engine.
    """

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        parts = {name: components.load(spec, folder, name) for name in ("text_encoder", "vae", "transformer")}
        parts |= {name: components.tokenizer(folder, name) for name in ("tokenizer", "scheduler")}
        self._pipe = _TokenTypesPipeline(processor=qwen.processor(folder), **parts)
        self._pipe.sizes = self._sizes = qwen.Sizes.of(spec)
        self._pipe.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]  # diffusers has no types here

    def edit(self, items: Sequence[EditItem]) -> list[Image.Image]:
        """Returns the edited pictures in the order of `items`."""
        with self._reference_area():
            return [self._edit(item) for item in items]

    def _edit(self, item: EditItem) -> Image.Image:
        """Returns the edited picture of one edit."""
        shown, params = self._sizes.reference(item.source), item.params
        self._pipe.source = item.source
        result = self._pipe(
            image=[item.source],
            prompt=params.instruction,
            negative_prompt=params.negative,
            true_cfg_scale=params.true_cfg,
            num_inference_steps=params.steps,
            width=shown.width,
            height=shown.height,
            generator=torch.Generator("cpu").manual_seed(params.seed),
        )
        picture: Image.Image = result.images[0]
        return picture

    @contextmanager
    def _reference_area(self) -> Iterator[None]:
        """Sets the pipeline's reference area to the small model's while the context is open.

        The pipeline keeps that area as a constant of its module.
        """
        module = pipeline_qwenimage_edit_plus
        area, module.VAE_IMAGE_SIZE = module.VAE_IMAGE_SIZE, self._sizes.reference_area
        try:
            yield
        finally:
            module.VAE_IMAGE_SIZE = area


class _TokenTypesPipeline(QwenImageEditPlusPipeline):
    """Encodes an instruction with token types, and its picture at the size that the small model looks at.

    diffusers' own pipeline passes no token types on, so that transformers 5 gives image tokens flat positions.
    """

    sizes: qwen.Sizes
    source: Image.Image

    def _get_qwen_prompt_embeds(
        self, prompt: str | list[str] | None = None, image: object = None, device: object = None, dtype: object = None
    ) -> tuple[Tensor, Tensor]:
        """Returns an instruction's embeddings (1, n, C) and mask (1, n), n being its tokens and the picture's."""
        del image, device, dtype
        words = prompt if isinstance(prompt, str) else (prompt or [""])[0]
        shown = [self.sizes.vision(self.source)]
        embeds, _ = qwen.conditioning(
            self.text_encoder, self.processor, words, shown, picture_label=self.sizes.picture_label
        )
        return embeds, torch.ones(embeds.shape[:2], dtype=torch.long)
