"""Ways to get a step of a transformer sooner; each is off unless asked for, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from diffusers import FirstBlockCacheConfig


@contextmanager
def first_block_cache(transformer: Any, threshold: float) -> Iterator[None]:
    """For the length of a picture: where the first block's residual moved less than `threshold`, the rest is skipped.

    The residual is compared with the last step's, relative to its mean size, and the other blocks' sum is taken from
    there. It pays on long schedules alone: with few steps each step moves too far. 0 is off.
    Source: first-block cache of chengzeyi/ParaAttention, as in diffusers' hooks.
    """
    if threshold <= 0:
        yield
        return
    transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        yield
    finally:
        transformer.disable_cache()


def branch(transformer: Any, name: str) -> AbstractContextManager[None]:
    """One pass of a step, by name: the guided and the unguided one each have their own history to compare with."""
    if transformer.is_cache_enabled:
        context: AbstractContextManager[None] = transformer.cache_context(name)
        return context
    return nullcontext()


@contextmanager
def regionally_compiled(transformer: Any, backend: Any, *, anywhere: bool = False) -> Iterator[None]:
    """The repeated blocks compiled one by one, while the block lasts; an empty `backend` is off.

    On a card alone unless `anywhere`: on a CPU compiling takes longer than it gains. Whoever gets the transformer next,
    to train it perhaps, gets it uncompiled; what torch has compiled it keeps, and takes again for the next picture.
    Source: `compile_repeated_blocks` in diffusers.
    """
    if not backend or not (anywhere or transformer.device.type == "cuda"):
        yield
        return
    transformer.compile_repeated_blocks(backend=backend, dynamic=True)
    try:
        yield
    finally:
        for module in transformer.modules():
            module._compiled_call_impl = None


@contextmanager
def taken(transformer: Any, options: Mapping[str, Any], threshold: float) -> Iterator[None]:
    """What a picture's knob and a row's options `compile` (torch's name of a backend), `compile_anywhere` ask for."""
    compiled = regionally_compiled(
        transformer, options.get("compile", ""), anywhere=bool(options.get("compile_anywhere", False))
    )
    with compiled, first_block_cache(transformer, threshold):
        yield
