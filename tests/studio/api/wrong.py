"""Arguments that a call of the scripted surface refuses, or may refuse, drawn from the call's own annotations."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from engines.api.params import CaptionParams, EditParams, GenerateParams, TrainParams, kinds
from studio.api.api import Api
from studio.flywheel.curate.characters import NewCharacter

_LISTED = 20_000  # entries; a longer list takes too long to make
_NAN, _INF = float("nan"), float("inf")
_OWNERS = (TrainParams, GenerateParams, EditParams, CaptionParams, NewCharacter)  # the classes behind `params`


def _deep(levels: int, *, named: bool = False) -> Any:
    """Returns lists in lists, or objects in objects, so many levels deep."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if named else [value]
    return value


_TEXTS = (
    *("", " ", "\n", "a\0b", "\x1b[31m", "\x7f", "\ud800", "a\udfff", "\ufeff", "\u202e", "é" * 3, "日本", "١"),
    *("b'\\xff\\xfe'", "\\x00", "null", "NaN", "Infinity", "1e999", "-1", "0x10", "1_000", "{}", "[]", "{0}", "%s"),
    *("../../../etc/passwd", "/dev/zero", "file:///etc/passwd", "~nobody/x", "CON", "a/b", "%00", "' OR 1=1 --"),
    *("<script>alert(1)</script>", "x" * 201, "x" * 1001, "x" * 10_001, "x" * 100_000),
)
_NUMBERS = (
    *(-1, 0, 1, 2, 255, 10_001, 2**31, 2**63, 2**64, 10**30, -(10**30), 10**400, 10**5000),
    *(-0.0, 0.5, 1.5, -1.5, 1e-320, 1e308, -1e308, sys.float_info.epsilon, _NAN, _INF, -_INF),
)
_LISTS = ([], [None], [[]], [[[{"a": [None]}]]], [{"path": "/etc/passwd"}], _deep(50), _deep(900))
_OBJECTS = (
    *({}, {"a": None}, {"": ""}, {"a\0b": 1}, {1: 2}, {"x" * 5000: "a\0b"}, {"path": None}),
    *(_deep(50, named=True), _deep(900, named=True)),
)
_PLAIN: Mapping[type, tuple[Any, ...]] = {
    str: _TEXTS,
    int: _NUMBERS,
    list: _LISTS,
    dict: _OBJECTS,
    bool: (True, False),
    NoneType: (None,),
    bytes: (b"", b"x", b"\xff\xfe"),
}
# What passes for another kind, as scripts send it: numbers in text, 1 for true, text in bytes.
_PASSES: Mapping[type, frozenset[type]] = {
    int: frozenset({int, str}),
    float: frozenset({int, str}),
    bool: frozenset({bool, int, str}),
    str: frozenset({str, bytes}),
}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_ANYTHING = st.sampled_from([value for values in _PLAIN.values() for value in values]) | _JSON
_STRANGE_NAMES = st.sampled_from(["stepz", "", "__class__", "a\0b", "x" * 3000])


# ── what a call says of itself ──────────────────────────────────────────────────────────────────


def arguments(name: str) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a call of the surface, by name."""
    found = inspect.signature(getattr(Api, name)).parameters
    return {each: parameter for each, parameter in found.items() if each != "self"}


def annotations(name: str) -> dict[str, Any]:
    """Returns the annotations of a call's arguments, with their bounds."""
    return get_type_hints(getattr(Api, name), include_extras=True)


def is_structured(kind: Any) -> bool:
    """Returns whether an annotation is that of a list or an object."""
    return get_origin(_parted(kind)[0]) is not None


def kinds_of(names: Iterable[str]) -> dict[str, Any]:
    """Returns the annotations of parameters by name, from the class that has them all; none where no class has."""
    wanted = sorted(names)
    owner = next((each for each in _OWNERS if kinds(each).keys() >= set(wanted)), None)
    return {name: kinds(owner)[name] for name in wanted} if owner else {}


def _parted(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Returns an annotation's bare type, its marks, and whether None is one of its values."""
    optional = get_origin(kind) in (Union, UnionType)
    if optional:
        kind = next(each for each in get_args(kind) if each is not NoneType)
    bare, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    return bare, tuple(marks), optional


# ── values ──────────────────────────────────────────────────────────────────────────────────────


def misfits(kind: Any) -> SearchStrategy[Any]:
    """Returns values that no call with this annotation takes: of another kind, or one beyond a bound."""
    bare, marks, optional = _parted(kind)
    plain = get_origin(bare) or bare
    if plain is Any:
        return st.nothing()
    passes = _PASSES.get(plain, {plain}) | ({NoneType} if optional else set())
    others = [value for each, values in _PLAIN.items() if each not in passes for value in values]
    return st.sampled_from(others) | st.sampled_from(_beyond(plain, marks) or others)


def _beyond(bare: Any, marks: Sequence[Any]) -> list[Any]:
    """Returns the values one beyond each bound, and the numbers that are none."""
    found: list[Any] = [_NAN, _INF, -_INF] if bare in (int, float) else []
    found += [1.5, 10**5000] if bare is int else []
    for mark in marks:
        if isinstance(mark, Ge | Gt):
            found.append(mark.ge - 1 if isinstance(mark, Ge) else mark.gt)
        elif isinstance(mark, Le):
            found.append(mark.le + 1)
        elif isinstance(mark, MaxLen | MinLen):
            length = mark.max_length + 1 if isinstance(mark, MaxLen) else mark.min_length - 1
            found += [["x"] * length if bare is list else "x" * length] if 0 <= length <= _LISTED else []
    return found


def _edges(kind: Any) -> list[Any]:
    """Returns the values at the bounds of an annotation, all of which it takes."""
    bare, marks, _ = _parted(kind)
    found: list[Any] = [mark.ge if isinstance(mark, Ge) else mark.le for mark in marks if isinstance(mark, Ge | Le)]
    return found + ["x" * mark.max_length for mark in marks if isinstance(mark, MaxLen) and bare is str]


def oddities(kind: Any, usual: Any, known: Mapping[str, Any]) -> SearchStrategy[Any]:
    """Returns values that a call may take or refuse: at the bounds, around what is usual, or anything at all.

    `known`: the names that an object of parameters may have, and their annotations.
    """
    bare, _, _ = _parted(kind)
    if get_origin(bare) is dict:
        return _parameters(known) | _changed(usual)
    if get_origin(bare) is list:
        (inner,) = get_args(bare)
        element = usual[0] if isinstance(usual, list) and usual else "x"
        each = misfits(inner) | oddities(inner, element, known) | st.just(element)
        same = st.lists(st.just(element), min_size=2, max_size=5)
        return st.lists(each, max_size=3) | same | _changed(usual) | _changed(usual)
    return _ANYTHING | st.sampled_from(_edges(kind) or [usual])


def _parameters(known: Mapping[str, Any]) -> SearchStrategy[dict[str, Any]]:
    """Returns objects of parameters: known names with values at and beyond their bounds, and names that none knows."""

    def named(name: str) -> SearchStrategy[tuple[str, Any]]:
        kind = known[name]
        return st.tuples(st.just(name), misfits(kind) | _ANYTHING | st.sampled_from(_edges(kind) or [0]))

    strange = st.tuples(_STRANGE_NAMES, _ANYTHING)
    one = st.sampled_from(sorted(known)).flatmap(named) if known else strange
    return st.lists(one, min_size=1, max_size=3).map(dict) | st.lists(one | strange, max_size=2).map(dict)


def _changed(value: Any) -> SearchStrategy[Any]:
    """Returns copies of a JSON value in which one leaf is another, or an object has one name less or one more."""
    if isinstance(value, dict) and value:
        keys = st.sampled_from(sorted(value))
        other = keys.flatmap(lambda key: _changed(value[key]).map(lambda inner: {**value, key: inner}))
        less = keys.map(lambda key: {name: inner for name, inner in value.items() if name != key})
        more = st.tuples(_STRANGE_NAMES, _ANYTHING).map(lambda pair: {**value, pair[0]: pair[1]})
        return st.one_of(*[other] * 4, less, more)
    if isinstance(value, list) and value:
        places = st.integers(0, len(value) - 1)
        return places.flatmap(lambda at: _changed(value[at]).map(lambda inner: [*value[:at], inner, *value[at + 1 :]]))
    return _ANYTHING
