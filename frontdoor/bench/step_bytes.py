"""Counts the bytes that one training step takes at a model's real size, without computing a number.

The transformer of the published shapes, its LoRA and the family's own loss run forward and backward on tensors that
have shapes and no contents; every storage is counted while it lives. Where a GPU computes otherwise than a CPU, the
GPU's way is counted: attention in one kernel, and norms in float32 under autocast.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import layer_norm, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from engines.api.params import TrainParams
from engines.api.protocols import ModelSpec
from engines.catalogue.registry import load_class
from engines.training.family import Family
from engines.training.optimizers import OPTIMIZERS
from engines.training.trainer import trainable
from engines.weights import components, modulation
from engines.weights.quantise import skeleton

Shapes = dict[str, tuple[int, ...]]

_FORM = "int8"  # 4 bits take the same beside their weights: either is widened for the moment of its product
_PIXELS = 8  # a side of one latent, in every model here
_QKV = ("query", "key", "value")
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention.default


def count(spec: ModelSpec, folder: Path, params: TrainParams) -> int:
    """Returns the peak bytes of GPU memory that one training step takes in addition to the frozen weights.

    They are those of the LoRA, its gradients, the optimiser's state, the moving average and the activations. `folder`
    holds the model's configurations; no weights are read and nothing is computed. A step of an editor is counted with
    one reference picture.
    """
    family: Family = load_class(spec.trainer)(spec, folder)
    dtype = components.weight_dtype(spec)
    live, transformer = LiveBytes(), _meta_transformer(spec, folder, dtype)

    def checkpointed(block: nn.Module, *args: object) -> Any:  # what the block returns
        """Checkpoints a block as diffusers does, and counts the GPU's way in the backward pass as well.

        Function modes are not active by themselves there.
        """
        return checkpoint(
            block.__call__, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _CardKernels())
        )

    with trainable(transformer, params, family.targeted(params)) as weights:
        trained = sum(weight.numel() for weight in weights)
        with FakeTensorMode(allow_non_fake_inputs=True), live, _CardKernels():
            adapter = 4 * trained
            _materialise(transformer, dtype)
            if params.gradient_checkpointing:
                transformer.enable_gradient_checkpointing(checkpointed)
            frozen = live.restart() - adapter
            batch = _batch(spec, folder, family, params)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                noise, sigma = torch.empty_like(batch["latents"]), torch.ones(params.batch_size)
                losses = family.losses(transformer, batch, noise, sigma, params.guidance)
            loss: Any = losses.mean()  # torch's `backward` has no types
            loss.backward()
    kept = OPTIMIZERS[params.optimizer].state_bytes + (4 if params.ema_decay else 0)
    return live.peak - frozen + trained * kept


class LiveBytes(TorchDispatchMode):
    """Counts, while it is active as a context, the bytes of all tensor storages that are alive.

    `now` is their present sum, `peak` the largest sum since the last call of `restart`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.now = self.peak = 0
        self._known: dict[int, int] = {}  # a storage's address -> its bytes

    def __torch_dispatch__(  # `Any`: every operation of torch, and what it takes and returns
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1  # tensors have no contents: a noise level, or whether all values are true, is read as 1
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, Tensor):
                self._add(each.untyped_storage())
        return out

    def restart(self) -> int:
        """Resets the peak to the bytes that are alive now, and returns these bytes."""
        self.peak = self.now
        return self.now

    def _add(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage that was not seen before, until it is freed."""
        place = storage._cdata
        if place in self._known:
            return
        self._known[place] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, place)

    def _remove(self, place: int) -> None:
        self.now -= self._known.pop(place)


class _CardKernels(TorchFunctionMode):
    """Computes attention without a matrix of sequence × sequence, and norms in float32, as CUDA's autocast does."""

    def __torch_function__(  # `Any`: every function of torch, and what it takes and returns
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is layer_norm:
            return func(args[0].float(), *args[1:], **kwargs)
        if func is scaled_dot_product_attention:
            shown = {**dict(zip(_QKV, args, strict=False)), **kwargs}
            return _FLASH(*(shown[name].to(torch.bfloat16) for name in _QKV))[0]
        return func(*args, **kwargs)


def _meta_transformer(spec: ModelSpec, folder: Path, dtype: torch.dtype) -> Any:  # a class of diffusers
    """Returns the transformer on the meta device, quantised as a training holds it.

    Where the model's row asks for it, its modulation layers are a table.
    """
    bare = components.bare(folder, "transformer", folder / "transformer")
    model = skeleton(bare, _FORM, dtype, spec.options.get("full_width", ()))
    if not modulation.wanted(spec):
        return model
    width = int(bare.inner_dim)

    def layer(path: str, device: torch.device) -> nn.Module:
        """Returns one modulation layer, from which the table is made."""
        del path, device
        empty = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width, device="meta"))
        return _materialise(empty.requires_grad_(False), dtype)

    return modulation.tabled(model, layer)


def _materialise(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replaces a module's meta tensors by tensors that are counted, and returns the module.

    Trained weights become float32, frozen ones `dtype` where they hold fractions.
    """
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                kept = weight.dtype if weight.requires_grad or not weight.is_floating_point() else dtype
                module._parameters[name] = nn.Parameter(torch.empty(weight.shape, dtype=kept), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return model


def _batch(spec: ModelSpec, folder: Path, family: Family, params: TrainParams) -> dict[str, Tensor]:
    """Returns one batch of square pictures as the cache holds it: tensors by name, with shapes and no contents."""
    config = components.config(folder, "transformer")
    side = params.resolution // _PIXELS
    latents = (params.batch_size, config["in_channels"] // 4, side, side)
    words = (params.batch_size, family.text_tokens(), config["joint_attention_dim"])
    shapes = {"latents": latents, "prompt_embeds": words, **_MORE[spec.family](latents, words, config)}
    return {name: torch.empty(shape) for name, shape in shapes.items()}


_MORE: Mapping[str, Callable[..., Shapes]] = {
    "flux": lambda latents, words, config: {"pooled": (words[0], config["pooled_projection_dim"])},
    "flux2": lambda latents, words, config: {},
    "qwen-edit": lambda latents, words, config: {"reference_0": latents},
}
