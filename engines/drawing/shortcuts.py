"""Speeds up the steps of a transformer; each shortcut is off by default and is undone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.hooks.first_block_cache import _FBC_BLOCK_HOOK, FBCBlockHook
from diffusers.hooks.hooks import HookRegistry
from torch import nn

from engines.api.protocols import Loaded

Backend = Callable[..., object]  # one that torch.compile accepts in place of a name
BlockArgument: TypeAlias = Any  # whatever a transformer's block takes and returns


@contextmanager
def first_block_cache(transformer: Loaded, threshold: float) -> Iterator[None]:
    """Skips a step's blocks after the first where the first changed less than `threshold`, inside a `with` block.

    0 turns it off. The first block's residual is compared with the last step's, relative to its mean size; the other
    blocks' sum is then that of the last step. It saves time on long schedules only: with few steps each step changes
    too much.
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


class _JoinedTail(FBCBlockHook):
    """Lets the cache work where the last block takes words and picture as one sequence, and the first as a pair.

    The words come first in the sequence. diffusers 0.42 subtracts the pair from the sequence here and fails.
    """

    def new_forward(self, module: nn.Module, *args: BlockArgument, **kwargs: BlockArgument) -> BlockArgument:
        """Runs the block, and splits the residual of all blocks after the first into picture and words again."""
        state = self.state_manager.get_state()
        if not state.should_compute:
            return super().new_forward(module, *args, **kwargs)
        picture, words = state.head_block_output
        state.head_block_output = torch.cat([words, picture], dim=1)
        output = super().new_forward(module, *args, **kwargs)
        moved, _ = state.tail_block_residuals
        state.tail_block_residuals = (moved[:, words.shape[1] :], moved[:, : words.shape[1]])
        return output


def _join_the_tail(transformer: Loaded) -> None:
    """Replaces the last block's hook where the first block also returns the words and the last one does not."""
    stack = [block for child in transformer.children() if isinstance(child, nn.ModuleList) for block in child]
    head, tail = (TransformerBlockRegistry.get(type(block)) for block in (stack[0], stack[-1]))
    if head.return_encoder_hidden_states_index is None or tail.return_encoder_hidden_states_index is not None:
        return
    hooks = HookRegistry.check_if_exists_or_initialize(stack[-1])
    manager = hooks.get_hook(_FBC_BLOCK_HOOK).state_manager
    hooks.remove_hook(_FBC_BLOCK_HOOK)
    hooks.register_hook(_JoinedTail(manager, is_tail=True), _FBC_BLOCK_HOOK)


def branch(transformer: Loaded, name: str) -> AbstractContextManager[None]:
    """Marks a forward pass as the guided or the unguided one, so that the cache compares each with its own history."""
    if transformer.is_cache_enabled:
        context: AbstractContextManager[None] = transformer.cache_context(name)
        return context
    return nullcontext()


@contextmanager
def regionally_compiled(transformer: Loaded, backend: str | Backend, *, anywhere: bool = False) -> Iterator[None]:
    """Compiles the transformer's repeated blocks inside a `with` block; an empty `backend` turns it off.

    It compiles on a card only, unless `anywhere`: on a CPU compiling takes longer than it saves. The transformer is
    uncompiled afterwards, for a training perhaps; torch keeps the compiled code and reuses it for the next picture.
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
def taken(transformer: Loaded, options: Mapping[str, Any], threshold: float) -> Iterator[None]:
    """Applies the first-block cache and the compilation inside a `with` block.

    `options`: those of the model's registry row, `compile` (torch's backend) and `compile_anywhere`; `threshold`: that
    of the cache, 0 for none.
    """
    compiled = regionally_compiled(
        transformer, options.get("compile", ""), anywhere=bool(options.get("compile_anywhere", False))
    )
    with compiled, first_block_cache(transformer, threshold):
        yield
