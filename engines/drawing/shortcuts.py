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
    """Skips most transformer blocks in steps in which the first block's result hardly changes, inside a `with` block.

    The residual of the first block is compared with that of the last step in which all blocks ran. Where its relative
    change is not above `threshold`, all other blocks are skipped, and their summed residual is taken from that step. A
    threshold of 0 turns the cache off. This saves time on long schedules only: with few steps each step changes too
    much.
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
    """Hook of the last block for the first-block cache, where only the first block returns text and picture as a pair.

    The last block then takes and returns one sequence, in which the text comes first. diffusers 0.42 subtracts the pair
    from the sequence here and fails.
    """

    def new_forward(self, module: nn.Module, *args: BlockArgument, **kwargs: BlockArgument) -> BlockArgument:
        """Runs the block, and splits the residual of all blocks after the first into those of picture and text."""
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
    """Replaces the last block's hook where the first block also returns the text and the last one does not."""
    stack = [block for child in transformer.children() if isinstance(child, nn.ModuleList) for block in child]
    head, tail = (TransformerBlockRegistry.get(type(block)) for block in (stack[0], stack[-1]))
    if head.return_encoder_hidden_states_index is None or tail.return_encoder_hidden_states_index is not None:
        return
    hooks = HookRegistry.check_if_exists_or_initialize(stack[-1])
    manager = hooks.get_hook(_FBC_BLOCK_HOOK).state_manager
    hooks.remove_hook(_FBC_BLOCK_HOOK)
    hooks.register_hook(_JoinedTail(manager, is_tail=True), _FBC_BLOCK_HOOK)


def branch(transformer: Loaded, name: str) -> AbstractContextManager[None]:
    """Returns a context manager in which forward passes use the first-block cache called `name`.

    `name`: any name for the kind of pass. Passes with the prompt and passes with the negative prompt need a name each,
    so that a pass is compared only with earlier passes of its kind. Where the cache is off, nothing happens.
    """
    if transformer.is_cache_enabled:
        context: AbstractContextManager[None] = transformer.cache_context(name)
        return context
    return nullcontext()


@contextmanager
def regionally_compiled(transformer: Loaded, backend: str | Backend, *, anywhere: bool = False) -> Iterator[None]:
    """Compiles the transformer's repeated blocks inside a `with` block.

    `backend`: torch's compiler backend; "" turns compiling off. `anywhere`: compile on a CPU, too; otherwise only on a
    GPU, because on a CPU compiling takes longer than it saves. After the `with` block the transformer runs uncompiled
    again, because a training needs it so; torch keeps the compiled code for the next use.
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
    """Compiles a transformer and turns on its first-block cache inside a `with` block, each only where asked for.

    `options`: those of the model's registry row, of which two are read: `compile` (torch's backend, "" for none) and
    `compile_anywhere` (whether to compile on a CPU, too). `threshold`: that of `first_block_cache`; 0 turns the cache
    off.
    """
    compiled = regionally_compiled(
        transformer, options.get("compile", ""), anywhere=bool(options.get("compile_anywhere", False))
    )
    with compiled, first_block_cache(transformer, threshold):
        yield
