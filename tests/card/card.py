"""A CUDA card that the CPU plays: tensors that say `cuda:0`, hold a CPU tensor, and refuse to mix with the host's.

Import it before torch, in a process of its own: it makes torch believe in the card for good. It cannot show what a real
card's kernels round differently, streams, pinned copies, fragmentation, or speed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
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
        return self.inner.tolist()

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
    most. `waits` counts how often the host waited for the card, by place in the code. The counts are of each storage.
    """

    def __init__(self, cap: int) -> None:
        super().__init__()
        self.cap, self.used, self.peak, self.waits = cap, 0, 0, Counter[str]()
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
        if any(_on_card(x) or _names_card(x) for x in tree_leaves((args, kwargs))):
            return self.run(func, args, kwargs)
        return func(*args, **kwargs)

    def run(self, func: Op, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Runs an operator of the card and puts what it returns where a real card would."""
        leaves = tree_leaves((args, kwargs))
        ours = [x for x in leaves if _on_card(x)]
        hosts = [x for x in leaves if isinstance(x, Tensor) and not _on_card(x)]
        to = kwargs.get("device", next((x for x in args if isinstance(x, torch.device)), None))
        if (
            ours
            and any(x.dim() for x in hosts)
            and func not in _COPIES
            and not (func in _INDEXED and _on_card(args[0]))
        ):
            raise WrongSide(f"{func}: tensors are on cuda:0 and on cpu at {_place()}")
        out = func(*tree_map(_to_host, args), **tree_map(_to_host, dict(kwargs)))
        if func is _ATEN._local_scalar_dense.default:
            self.waits[f"item {_place()}"] += 1
            return out
        if func is _ATEN.copy_.default:
            if not _on_card(args[0]):
                self.waits[f"copy to the host {_place()}"] += 1
            return args[0]
        if to is not None and not _names_card(torch.device(to)):
            self.waits[f"to the host {_place()}"] += bool(ours)
            return tree_map(functools.partial(_apart, others=[_inner(x) for x in ours]), out)
        place = functools.partial(self._place, known={id(_inner(x)): x for x in ours}, hosts=[] if ours else hosts)
        return tree_map(place, out)

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
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self._gone, key)

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
            values = tree_map(lambda x: _inner(x).item() if _on_card(x) else x, args[0])
            device = kwargs.pop("device", None)
            made = func(values, *args[1:], **kwargs)
            return made if device is None else made.to(device)
        if (
            func is torch.nn.functional.scaled_dot_product_attention
            and not torch.is_grad_enabled()
            and any(_on_card(x) for x in (*args, *kwargs.values()))
        ):
            # One operator: torch takes it apart by what a compiled CUDA could do, and this torch has none.
            return self._card.run(func, args, kwargs)
        out = func(*args, **kwargs)
        if getattr(func, "__name__", "") == "__set__" and len(args) == 2 and _on_card(args[1]):
            args[0]._held = _inner(args[1])
        return out


def _on_card(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"


def _names_card(value: object) -> bool:
    return isinstance(value, torch.device) and value.type == "cuda"


def _inner(value: Any) -> Tensor:
    """Returns the CPU tensor that holds a card tensor's values; a parameter holds those of the data it was given."""
    found: Tensor = value.inner if isinstance(value, OnCard) else value._held
    return found


def _to_host(value: Any) -> Any:
    if _on_card(value):
        return _inner(value)
    return torch.device("cpu") if _names_card(value) else value


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
