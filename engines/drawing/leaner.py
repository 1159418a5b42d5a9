"""Makes variants of a stage that need less memory: the VAE in tiles, or blocks copied to the GPU one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from engines.api.protocols import Loaded, Stage
from engines.drawing.latents import latent_factor

Way = Callable[[Stage], Stage]

_TILE_UNIT = 32  # pixels: a tile, and three quarters of one, are a whole number of latents in every VAE


def leaner(stage: Stage, *ways: Way) -> Stage:
    """Returns a stage together with variants of it that need less memory, linked by the field `leaner`.

    The stage's `leaner` is the first variant, whose `leaner` is the next, and so on. `ways`: functions that return a
    variant of a stage. The first is called with `stage`, each later one with the variant before it. A variant that
    saves no memory is left out.
    """
    if not ways:
        return stage
    first, *others = ways
    form = first(stage)
    if _bytes(form) >= _bytes(stage):
        return leaner(stage, *others)
    return replace(stage, leaner=leaner(form, *others))


def streamed(stage: Stage) -> Stage:
    """Returns a variant of a stage that copies each block to the GPU only while it computes; its result is the same."""
    return replace(stage, streams=True, how=_and(stage.how, "blocks streamed"))


def tiled(width: int, height: int, bytes_per_pixel: float, batch: int = 1) -> Way:
    """Returns a function that makes a variant of a stage in which the VAE works on overlapping tiles of a picture.

    A tile's side is half of the picture's longer side; seams between tiles may show faintly. `width`, `height`: the
    picture's size in pixels; `bytes_per_pixel`: the VAE's working memory for each pixel; `batch`: how many pictures are
    decoded together.
    """
    side = -(-max(width, height) // (2 * _TILE_UNIT)) * _TILE_UNIT

    def way(stage: Stage) -> Stage:
        working = min(stage.working_bytes, int(side * side * bytes_per_pixel * batch))
        return replace(
            stage, working_bytes=working, how=_and(stage.how, "the VAE in tiles"), around=partial(tiles, side=side)
        )

    return way


@contextmanager
def tiles(parts: Mapping[str, Loaded], side: int) -> Iterator[None]:
    """Makes the VAE in `parts` work in tiles of side × side pixels inside a `with` block; they overlap by a quarter.

    `parts`: component name -> module. All tile sizes and strides of the VAE are set, because a stride longer than a
    tile would leave gaps. They are restored afterwards, because jobs share the VAE.
    """
    vae = parts["vae"]
    factor = latent_factor(vae.config) if "block_out_channels" in vae.config else 1
    sizes = {
        "tile_sample_min_size": side,
        "tile_latent_min_size": side // factor,
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


def _bytes(stage: Stage) -> int:
    return sum(stage.size(part) for part in stage.components) + stage.working_bytes


def _and(before: str, now: str) -> str:
    return f"{before}, {now}" if before else now
