"""Sets the precision of the matrix products in a training step; the LoRA's weights and the loss are always float32."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint


def fast_bfloat16(device: torch.device) -> bool:
    """Returns whether a device multiplies bfloat16 faster than float32: a GPU or a CPU with instructions for it.

    GPUs before Ampere have none. On a GPU the answer is that for the process's current GPU.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


@contextmanager
def narrow_products(device: torch.device, held: torch.dtype) -> Iterator[None]:
    """Turns bfloat16 autocast on or off inside a `with` block, as the model and the device require.

    `held`: the dtype of the model's weights. Autocast is on if `held` is not float32, or if the device multiplies
    bfloat16 faster than float32.
    """
    narrow = held is not torch.float32 or fast_bfloat16(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=narrow), warnings.catch_warnings():
        # The norms' weights are float32 on purpose, and torch warns that this takes the plain kernel.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        yield


def attention(device: torch.device) -> AbstractContextManager[object]:
    """Returns a context manager under which attention is computed in float32 on a CPU; on a GPU it changes nothing."""
    return _WideAttention() if device.type == "cpu" else nullcontext()


def checkpointing(device: torch.device) -> Callable[..., Any]:
    """Returns a checkpointing function to be passed to a diffusers model's `enable_gradient_checkpointing`.

    In the backward pass the function recomputes each block under `attention(device)`. The caller runs the forward pass
    under the same context manager, so that attention has equal precision in both.
    """

    def recompute(block: Any, *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), attention(device)))

    return recompute


class _WideAttention(TorchFunctionMode):
    """Computes attention in float32: a CPU's kernels widen bfloat16 block by block, which takes longer."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is not scaled_dot_product_attention:
            return func(*args, **given)
        query = args[0] if args else given["query"]
        with torch.autocast("cpu", enabled=False):
            found = func(*map(_wide, args), **{name: _wide(value) for name, value in given.items()})
        return found.to(query.dtype)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
