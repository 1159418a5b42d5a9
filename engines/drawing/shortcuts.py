"""Ways to get a step of a transformer sooner; each is off unless asked for, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.hooks.first_block_cache import _FBC_BLOCK_HOOK, FBCBlockHook
from diffusers.hooks.hooks import HookRegistry
from torch import nn


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
        _join_the_tail(transformer)
        yield
    finally:
        transformer.disable_cache()


class _JoinedTail(FBCBlockHook):  # type: ignore[misc]
    """The last block where it sees words and picture as one sequence, words first, and the first one saw two.

    diffusers 0.42 subtracts the pair from the sequence here and fails.
    """

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The block's answer; what it all came to since the first block is kept as a pair again."""
        state = self.state_manager.get_state()
        if not state.should_compute:
            return super().new_forward(module, *args, **kwargs)
        picture, words = state.head_block_output
        state.head_block_output = torch.cat([words, picture], dim=1)
        output = super().new_forward(module, *args, **kwargs)
        moved, _ = state.tail_block_residuals
        state.tail_block_residuals = (moved[:, words.shape[1] :], moved[:, : words.shape[1]])
        return output


def _join_the_tail(transformer: Any) -> None:
    """Teach the last block to keep a pair, where it alone of first and last has no words of its own."""
    stack = [block for child in transformer.children() if isinstance(child, nn.ModuleList) for block in child]
    head, tail = (TransformerBlockRegistry.get(type(block)) for block in (stack[0], stack[-1]))
    if head.return_encoder_hidden_states_index is None or tail.return_encoder_hidden_states_index is not None:
        return
    hooks = HookRegistry.check_if_exists_or_initialize(stack[-1])
    manager = hooks.get_hook(_FBC_BLOCK_HOOK).state_manager
    hooks.remove_hook(_FBC_BLOCK_HOOK)
    hooks.register_hook(_JoinedTail(manager, is_tail=True), _FBC_BLOCK_HOOK)


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
