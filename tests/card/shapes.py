"""The played card for models that no CPU could compute: large tensors have a shape and no values.

What is small keeps its values (tokens, positions, masks, noise levels), so that whatever the host reads of these is
true. What depends on a large tensor has none; where the host reads such a thing, it finds ones, and of a truth value
that it is not so. A text that is written goes on to its limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tests.card.card import Op, PlayedCard, inner, names_card, on_card  # before torch

import torch  # isort: skip
from torch import Tensor  # isort: skip
from torch.utils._pytree import tree_leaves, tree_map  # isort: skip

SMALL = 1 << 15  # numbers; a tensor of more has no values
_ATEN = torch.ops.aten
_INDEXED = (_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default, _ATEN._index_put_impl_.default)


class ShapesCard(PlayedCard):
    """A card whose large tensors have shapes alone; bytes, waits and refusals are counted as on the other."""

    def compute(self, func: Op, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Returns what an operator makes of its arguments: values where all that it reads is small, else a shape."""
        self._count_beside(func, args)
        leaves = tree_leaves((args, kwargs))
        tensors = [inner(x) if on_card(x) else x for x in leaves if isinstance(x, Tensor)]
        unknown = any(each.is_meta or each.numel() > SMALL for each in tensors)
        if func is _ATEN._local_scalar_dense.default:
            return _assumed(tensors[0]) if unknown else func(tensors[0])
        if func is _ATEN.isin.Tensor_Tensor and unknown:  # no token that was drawn ends a text
            return torch.zeros(tensors[0].shape, dtype=torch.bool)
        if func is _ATEN.copy_.default:
            return self._copied(args)
        if not tensors:
            return self._made(func, args, kwargs)
        if func is _ATEN._to_copy.default and unknown and _to_the_host(kwargs):
            dtype = kwargs.get("dtype") or tensors[0].dtype
            return torch.ones(tensors[0].shape, dtype=dtype)
        if not unknown:
            return func(*tree_map(_real, args), **tree_map(_real, dict(kwargs)))
        if func in _INDEXED:
            args = (args[0], [place for each in args[1] for place in _counted(each)], *args[2:])
        mutable = bool(func._schema.is_mutable)  # type: ignore[attr-defined]  # each operator has one
        out = func(*tree_map(_shape, args), **tree_map(_shape, dict(kwargs)))
        if mutable and on_card(args[0]):  # in place
            if not inner(args[0]).is_meta:
                inner(args[0]).fill_(1)
            return inner(args[0])
        return out

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any) -> Tensor:
        """Computes attention by one of the kernels of a card, none of which holds a matrix of tokens × tokens."""
        dropout, causal, scale = more["dropout_p"], more["is_causal"], more["scale"]
        if mask is None:
            flash = _ATEN._scaled_dot_product_flash_attention.default
            return flash(query, key, value, dropout, causal, False, scale=scale)[0]
        if mask.dtype is torch.bool:  # as numbers that are added
            mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(~mask, -math.inf)
        mask = mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
        efficient = _ATEN._scaled_dot_product_efficient_attention.default
        return efficient(query, key, value, mask, torch.is_grad_enabled(), dropout, causal, scale=scale)[0]

    def _copied(self, args: Any) -> Any:
        target, source = (inner(x) if on_card(x) else x for x in args[:2])
        if not target.is_meta:
            target.fill_(1) if source.is_meta or source.numel() > SMALL else target.copy_(source)
        return target

    def _made(self, func: Op, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Returns a new tensor; its shape is asked first, since memory for a large one may not be there."""
        shape = func(*tree_map(_shape, args), **{**tree_map(_shape, dict(kwargs)), "device": torch.device("meta")})
        if shape.numel() > SMALL:
            return shape
        return func(*tree_map(_real, args), **tree_map(_real, dict(kwargs)))


def _assumed(value: Tensor) -> Any:
    return False if value.dtype is torch.bool else 1


def _to_the_host(kwargs: Mapping[str, Any]) -> bool:
    to = kwargs.get("device")
    return to is not None and torch.device(to).type == "cpu"


def _real(value: Any) -> Any:
    if on_card(value):
        return inner(value)
    return torch.device("cpu") if names_card(value) else value


def _shape(value: Any) -> Any:
    """Returns a tensor's shape without its values."""
    if names_card(value):
        return torch.device("meta")
    if not isinstance(value, Tensor):
        return value
    held = inner(value) if on_card(value) else value
    if held.is_meta or (held.dim() == 0 and not on_card(value)):
        return held
    return torch.empty_strided(held.shape, held.stride(), dtype=held.dtype, device="meta")


def _counted(index: Any) -> list[Any]:
    """Returns a mask that has values as the places where it is true, whose number a shape then has."""
    held = inner(index) if on_card(index) else index
    if held is None or held.dtype is not torch.bool or held.is_meta:
        return [index]
    return list(held.nonzero().unbind(1))
