"""How a stage is done with less memory: the VAE in tiles, blocks copied in one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from engines.api.protocols import Stage

Way = Callable[[Stage], Stage]

_TILE_UNIT = 32  # pixels: a tile, and three quarters of one, are whole latents in every VAE


def leaner(stage: Stage, *ways: Way) -> Stage:
    """A stage that knows how to go on with less, each way that saves something on top of those before it."""
    if not ways:
        return stage
    first, *others = ways
    form = first(stage)
    if _bytes(form) >= _bytes(stage):
        return leaner(stage, *others)
    return replace(stage, leaner=leaner(form, *others))


def streamed(stage: Stage) -> Stage:
    """The same to the bit, each block on the card only while it computes."""
    return replace(stage, streams=True, how=_and(stage.how, "blocks streamed"))


def tiled(width: int, height: int, bytes_per_pixel: float, batch: int = 1) -> Way:
    """Quarters of a picture with overlap, one after another; their seams are blended, a trace is left."""
    side = -(-max(width, height) // (2 * _TILE_UNIT)) * _TILE_UNIT

    def way(stage: Stage) -> Stage:
        working = min(stage.working_bytes, int(side * side * bytes_per_pixel * batch))
        return replace(
            stage, working_bytes=working, how=_and(stage.how, "the VAE in tiles"), around=partial(tiles, side=side)
        )

    return way


@contextmanager
def tiles(parts: Mapping[str, Any], side: int) -> Iterator[None]:
    """Have the VAE work in tiles of side × side pixels, a quarter of it overlap, for the length of a block.

    All of its sizes are set, and set back: it is shared, and a tile shorter than its stride would drop bands.
    """
    vae = parts["vae"]
    sizes = {
        "tile_sample_min_size": side,
        "tile_latent_min_size": side // _factor(vae),
        "tile_overlap_factor": 0.25,
        "tile_sample_min_height": side,
        "tile_sample_min_width": side,
        "tile_sample_stride_height": side * 3 // 4,
        "tile_sample_stride_width": side * 3 // 4,
    }
    before = {name: getattr(vae, name) for name in sizes if hasattr(vae, name)}
    try:
        vae.enable_tiling()
        for name in before:
            setattr(vae, name, sizes[name])
        yield
    finally:
        vae.disable_tiling()
        for name, size in before.items():
            setattr(vae, name, size)


def _factor(vae: Any) -> int:
    return int(2 ** (len(vae.config.block_out_channels) - 1)) if "block_out_channels" in vae.config else 1


def _bytes(stage: Stage) -> int:
    return sum(stage.size(part) for part in stage.components) + stage.working_bytes


def _and(before: str, now: str) -> str:
    return f"{before}, {now}" if before else now
