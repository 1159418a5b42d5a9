"""A CUDA card that the CPU plays: tensors that say `cuda:0`, hold a CPU tensor, and refuse to mix with the host's.

Import it before torch, in a process of its own: it makes torch believe in the card for good. It cannot show what a real
card's kernels round differently, streams, pinned copies, fragmentation, or speed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import math
import os
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = Path(next(iter(importlib.util.find_spec("torch").submodule_search_locations))) / "lib"  # type: ignore[union-attr, arg-type]  # torch is a dependency
for _library in (_LIBRARIES / "libc10.so", _LIBRARIES / "libtorch_cpu.so", Path(os.environ["PLAYED_GUARD"])):
    ctypes.CDLL(str(_library), mode=ctypes.RTLD_GLOBAL)

import torch  # noqa: E402  # only now does it find a card's guard
from torch import Tensor  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves, tree_map  # noqa: E402

Op = Callable[..., Any]  # one of torch's operators

CARD = torch.device("cuda:0")
_ATEN = torch.ops.aten
_COPIES = (_ATEN.copy_.default, _ATEN._to_copy.default)
_INDEXED = (  # a table on the card may be indexed by the host
    _ATEN.index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
    _ATEN._index_put_impl_.default,
)

_SIZED_BY_VALUES = (
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
    _ATEN._unique2.default,
    _ATEN.unique_dim.default,
)
_LIBRARY = torch.library.Library("aten", "IMPL")  # kept: what it registers goes with it
_FEW_ROWS = 1536  # up to here bitsandbytes may multiply by 4-bit weights as they are

_LOOKING: Mapping[str, tuple[str, ...]] = {  # at their import
    "bitsandbytes": (),
    "diffusers": ("FluxPipeline", "QwenImageEditPlusPipeline"),
    "peft": (),
    "transformers": ("CLIPTextModel", "Qwen2_5_VLForConditionalGeneration", "T5EncoderModel"),
}


class WrongSide(RuntimeError):
    """An operator was given tensors of the card and of the host."""


class OnCard(Tensor):
    """A tensor on the played card; `inner` is the CPU tensor that holds its values."""

    inner: Tensor
    card: PlayedCard

    @staticmethod
    def __new__(cls, inner: Tensor, card: PlayedCard) -> OnCard:
        """Makes a tensor on `card` of the values of `inner`."""
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CARD,
        )
        made.inner, made.card = inner, card
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        """Returns the values, as torch prints them."""
        del tensor_contents
        return f"OnCard({self.inner})"

    def tolist(self) -> Any:
        """Returns the values as Python numbers; the host waits for the card."""
        self.card.waits[f"tolist {_place()}"] += 1
        return self.inner.tolist() if not self.inner.is_meta else torch.ones(self.shape, dtype=self.dtype).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Raises: TypeError, as for each tensor of a card."""
        del force
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Op, types: object, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator on the card that one of its arguments lies on."""
        card = next(x.card for x in tree_leaves((args, kwargs)) if isinstance(x, OnCard))
        return card.run(func, args, kwargs or {})


class PlayedCard(TorchDispatchMode):
    """The card: inside its `with` block what is made or moved to `cuda` lies on it.

    `cap`: its memory in bytes; an allocation beyond raises torch's OutOfMemoryError. `used`, `peak`: bytes now and at
    most, `highest` the same, which only its user starts again. `waits` counts how often the host waited for the card,
    by place in the code. The counts are of each storage.
    """

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.cap, self.used, self.peak, self.highest, self.waits = cap, 0, 0, 0, Counter[str]()
        self._storages: dict[int, int] = {}
        self._functions = _Functions(self)
        _deceive(self)

    def __enter__(self) -> PlayedCard:
        self._functions.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._functions.__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Op, types: object, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator: on the card where an argument lies there or names it, else on the host."""
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(_made_of_others(x) for x in leaves):
            return NotImplemented
        if any(on_card(x) or names_card(x) for x in leaves):
            return self.run(func, args, kwargs)
        return func(*args, **kwargs)

    def run(self, func: Op, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Runs an operator of the card and puts what it returns where a real card would."""
        leaves = tree_leaves((args, kwargs))
        ours = [x for x in leaves if on_card(x)]
        hosts = [x for x in leaves if isinstance(x, Tensor) and not on_card(x)]
        to = kwargs.get("device", next((x for x in args if isinstance(x, torch.device)), None))
        if ours and any(x.dim() for x in hosts) and func not in _COPIES and not (func in _INDEXED and on_card(args[0])):
            raise WrongSide(f"{func}: tensors are on cuda:0 and on cpu at {_place()}")
        self._count_wait(func, args, kwargs, ours, hosts)
        out = self.compute(func, args, kwargs)
        if func is _ATEN._local_scalar_dense.default:
            return out
        if func is _ATEN.copy_.default:
            return args[0]
        if to is not None and not names_card(torch.device(to)):
            return tree_map(functools.partial(_apart, others=[inner(x) for x in ours]), out)
        place = functools.partial(self._place, known={id(inner(x)): x for x in ours}, hosts=[] if ours else hosts)
        return tree_map(place, out)

    def compute(self, func: Op, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Returns what an operator makes of the values that its arguments hold."""
        self._count_beside(func, args)
        return func(*tree_map(_to_host, args), **tree_map(_to_host, dict(kwargs)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any) -> Tensor:
        """Computes attention, in one operator where no gradient is asked for; `more`: aten's own other arguments."""
        if torch.is_grad_enabled():
            return _ATEN._scaled_dot_product_attention_math.default(query, key, value, mask, **more)[0]
        return self.run(torch.nn.functional.scaled_dot_product_attention, (query, key, value, mask), more)

    def _count_wait(
        self, func: Op, args: Any, kwargs: Mapping[str, Any], ours: Sequence[Tensor], hosts: Sequence[Tensor]
    ) -> None:
        """Counts an operator for which a card makes the host wait.

        It does where values come back to the host, where a result's size depends on values, and where memory of the
        host is copied to the card and the copy is not asked to be `non_blocking`.
        """
        why = ""
        if func is _ATEN._local_scalar_dense.default:
            why = "item"
        elif func in _SIZED_BY_VALUES or (func in _INDEXED and any(_is_mask(each) for each in args[1] or ())):
            why = f"{func}: its size"
        elif func in _COPIES:
            back = ours and not (on_card(args[0]) if func is _ATEN.copy_.default else _stays(args, kwargs))
            asynchronous = kwargs.get("non_blocking", len(args) > 2 and args[2])
            why = "to the host" if back else "to the card" if hosts and not asynchronous else ""
        if why:
            self.waits[f"{why} {_place()}"] += 1

    def _count_beside(self, func: Op, args: Any) -> None:
        """Counts what a kernel of a card takes for its own length, where the CPU's takes nothing."""
        if func is torch.ops.bitsandbytes.gemm_4bit.default:  # many rows: widened, then multiplied by cuBLAS
            rows, weights = args[0].numel() // args[0].shape[-1], math.prod(args[2])
            wide = weights * args[0].element_size() + weights // args[4] * 4
            self._rise(self.used + (wide if rows > _FEW_ROWS else 0))

    def _place(self, value: Any, known: Mapping[int, Tensor], hosts: list[Tensor]) -> Any:
        """Returns a result as a tensor of the card; `known` are the arguments, by the id of what they hold."""
        if not isinstance(value, Tensor) or isinstance(value, OnCard):
            return value
        if id(value) in known:  # an operator in place
            return known[id(value)]
        value = _apart(value, hosts)  # what was moved from the host is a copy
        self._count(value)
        return OnCard(value, self)

    def _count(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        if self.used + nbytes > self.cap:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {nbytes} bytes on the played card")
        self._storages[key] = nbytes
        self.used += nbytes
        self._rise(self.used)
        weakref.finalize(storage, self._gone, key)

    def _rise(self, nbytes: int) -> None:
        self.peak, self.highest = max(self.peak, nbytes), max(self.highest, nbytes)

    def _gone(self, key: int) -> None:
        self.used -= self._storages.pop(key, 0)


class _Functions(TorchFunctionMode):
    """What a dispatch mode does not see: `torch.tensor(…, device=)`, and a parameter that is given new data."""

    def __init__(self, card: PlayedCard) -> None:
        super().__init__()
        self._card = card

    def __torch_function__(self, func: Op, types: object, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch; makes a new tensor on the host before it is moved to the card."""
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor):
            values = tree_map(lambda x: inner(x).item() if on_card(x) else x, args[0])
            device = kwargs.pop("device", None)
            made = func(values, *args[1:], **kwargs)
            return made if device is None else made.to(device)
        out = func(*args, **kwargs)
        if getattr(func, "__name__", "") == "__set__" and len(args) == 2 and on_card(args[1]):
            args[0]._held = inner(args[1])
        return out


def on_card(value: object) -> bool:
    """Returns whether a value is a tensor of the card."""
    return isinstance(value, Tensor) and value.device.type == "cuda"


def _made_of_others(value: object) -> bool:
    """Returns whether a value is a tensor of quanto's, which takes its operators apart by itself."""
    return hasattr(value, "__tensor_flatten__") and not isinstance(value, OnCard)


def _is_mask(value: object) -> bool:
    return on_card(value) and value.dtype in (torch.bool, torch.uint8)  # type: ignore[attr-defined]  # a tensor


def _stays(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Returns whether a copy's result lies where its source does."""
    to = kwargs.get("device")
    return to is None or torch.device(to).type == args[0].device.type


def names_card(value: object) -> bool:
    """Returns whether a value is the card as torch's device."""
    return isinstance(value, torch.device) and value.type == "cuda"


def inner(value: Any) -> Tensor:
    """Returns the CPU tensor that holds a card tensor's values; a parameter holds those of the data it was given."""
    found: Tensor = value.inner if isinstance(value, OnCard) else value._held
    return found


def _to_host(value: Any) -> Any:
    if on_card(value):
        return inner(value)
    return torch.device("cpu") if names_card(value) else value


def _apart(value: Any, others: list[Tensor]) -> Any:
    """Returns a copy of a tensor that shares its memory with another, and any other value as it is."""
    if isinstance(value, Tensor) and any(
        value.untyped_storage()._cdata == other.untyped_storage()._cdata for other in others
    ):
        return value.clone(memory_format=torch.preserve_format)
    return value


def _place() -> str:
    """Returns file:line of our code that runs now."""
    ours = tuple(f"{ROOT / room}{os.sep}" for room in ("engines", "studio"))
    frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(ours)]
    return f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "?"


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Computes attention on the card that the query lies on."""
    more = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    card = next(x.card for x in (query, key, value) if isinstance(x, OnCard))
    return card.attend(query, key, value, mask, **more)


def _deceive(card: PlayedCard) -> None:
    """Makes torch.cuda answer for the played card, once the libraries that look for compiled CUDA are imported."""
    for module, names in _LOOKING.items():
        for name in names:
            getattr(importlib.import_module(module), name)

    def restart(*args: object) -> None:
        del args
        card.peak = card.used

    answers: Mapping[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *args, **more: True,
        "mem_get_info": lambda *args: (card.cap - card.used, card.cap),
        "memory_reserved": lambda *args: card.used,
        "memory_allocated": lambda *args: card.used,
        "max_memory_allocated": lambda *args: card.peak,
        "reset_peak_memory_stats": restart,
        "synchronize": lambda *args: None,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_device_capability": lambda *args: (8, 9),
        "cudart": lambda: SimpleNamespace(cudaHostRegister=lambda *a: 0, cudaHostUnregister=lambda *a: 0),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    # torch would take attention apart by what a compiled CUDA could do, and this torch has none.
    _LIBRARY.impl("scaled_dot_product_attention", _attention, "AutogradCUDA")
    make = Tensor._make_subclass

    def make_subclass(cls: type[Tensor], data: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Makes a parameter of a tensor of the card as an arena does: torch would share the Python object."""
        if not isinstance(data, OnCard):
            return make(cls, data, *args, **kwargs)
        made = make(cls, torch.empty(data.shape, dtype=data.dtype), *args, **kwargs)
        made.data = data
        return made

    Tensor._make_subclass = staticmethod(make_subclass)  # type: ignore[method-assign]  # as torch.cuda's above
