"""Checks values by annotations: the type and the bounds of a value are written once, with its field or argument.

The checks, the sliders and the error messages all read them from there. Python has no type for annotations, so that
every `kind` here is Any.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AllowInfNan, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from engines.api.errors import BadInput

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SEEDS = 1 << 64  # the number of different seeds of torch's generators
Seed = Annotated[int, Ge(0), Le(SEEDS - 1)]
Many = Annotated[int, Ge(1), Le(10_000)]  # pictures or edits of one job
Line = Annotated[str, MaxLen(1000)]  # a name, a reason
Words = Annotated[str, MaxLen(10_000)]  # several times the length that any encoder here reads

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple: "a list",
    list: "a list",
    dict: "an object of names and values",
}
_NAME = "[key]"  # the last part of a place, after a name, where pydantic means the name itself
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 80


def later_seed(seed: int, places: int) -> int:
    """Returns the seed that is `places` after `seed`; after the greatest seed comes 0."""
    return (seed + places) % SEEDS


def taken(name: str, value: object, kind: Any) -> Any:
    """Checks a value against the type and the bounds of an annotation, and returns the value.

    `name`: the value's name in errors; `kind`: an annotation such as `Annotated[int, Ge(1), Le(1000)]`. A whole number
    is accepted where a float is wanted; true, false, nan and infinity are not accepted as numbers.
    Raises: BadInput that tells the name, the value given and the values allowed.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise misfit(name, kind, error.errors(include_url=False)[0]) from None


def misfit(name: str, kind: Any, found: ErrorDetails) -> BadInput:
    """Converts one of pydantic's validation errors to a BadInput and returns it.

    `name`, `kind`: the name of the value that was checked, and its annotation. `found`: pydantic's error; its `loc` is
    the place of the error inside the value.
    """
    places = found["loc"]
    is_name = places[-1:] == (_NAME,)
    inside = _inside(kind, places)
    what = name + "".join(f"[{shown(each)}]" for each in (places[:-2] if is_name else places))
    if found["type"] == "literal_error" and isinstance(found["input"], str):
        are = "are" if name.endswith("s") else "is"
        return BadInput(f"There {are} no {what} named {shortened(found['input'])}.", f"Choose {allowed(inside)}.")
    what = f"A name in {what}" if is_name else what
    return BadInput(f"{what} cannot be {shown(found['input'])}.", f"It is {allowed(inside)}.")


def shown(value: object) -> str:
    """Returns a value's repr for an error message: a tuple is shown as a list, a long repr without its middle."""
    try:
        return _SHOWN.repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # Python refuses to print a whole number of more than some thousand digits
        return "a number of thousands of digits"


def shortened(name: str) -> str:
    """Returns a name for an error message: without its middle where it is long, in quotes where it is blank."""
    half = _SHOWN.maxstring // 2
    short = name if len(name) <= 2 * half else f"{name[:half]}...{name[-half:]}"
    return short if short.strip() else shown(short)


def allowed(kind: Any) -> str:
    """Returns a description in words of the values that an annotation allows, for error messages."""
    bare, marks = _parted(kind)
    if get_origin(bare) is Literal:
        return f"one of: {', '.join(str(each) or '(nothing)' for each in get_args(bare))}"
    told = _KINDS.get(get_origin(bare) or bare, "of another kind")
    if any(isinstance(mark, MinLen) for mark in marks) and bare is str:
        told += ", not empty,"
    longest = next((mark.max_length for mark in marks if isinstance(mark, MaxLen)), None)
    if longest is not None:
        told += f" of at most {longest:,} {'letters' if bare is str else 'entries'}"
    return f"{told}{_range(marks)}".rstrip(",")


def limits(kind: Any) -> tuple[Any, Any]:
    """Returns the (lower, upper) bound that an annotation sets for a number; None stands for a missing bound."""
    marks = _parted(kind)[1]
    low = next((mark.ge if isinstance(mark, Ge) else mark.gt for mark in marks if isinstance(mark, Ge | Gt)), None)
    return low, next((mark.le for mark in marks if isinstance(mark, Le)), None)


def _range(marks: Sequence[Any]) -> str:
    low = next((mark.ge for mark in marks if isinstance(mark, Ge)), None)
    above = next((mark.gt for mark in marks if isinstance(mark, Gt)), None)
    high = next((mark.le for mark in marks if isinstance(mark, Le)), None)
    if low is not None:
        return f" from {_figure(low)} to {_figure(high)}" if high is not None else f", {_figure(low)} or more"
    if above is not None:
        return f" above {_figure(above)}" + (f" and at most {_figure(high)}" if high is not None else "")
    return f" of at most {_figure(high)}" if high is not None else ""


def _figure(number: Any) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _inside(kind: Any, places: Sequence[int | str]) -> Any:
    """Returns the annotation of what lies at a place inside a list or a mapping: of the value, or of the key."""
    for at in range(len(places)):
        inner = get_args(_parted(kind)[0])
        if not inner:
            return Any
        if places[at + 1 :] == (_NAME,):
            return inner[0]
        kind = inner[-1] if get_origin(_parted(kind)[0]) in (dict, Mapping) else inner[0]
    return kind


def _parted(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Splits an annotation into its bare type, without the None of an optional one, and its metadata."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is Annotated:
        bare, *marks = get_args(kind)
        return bare, tuple(marks)
    return kind, ()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=_STRICT)


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


# Numbers as scripts send them: 2.0 and "2" are accepted as 2.
Whole = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, AllowInfNan(False), BeforeValidator(_no_truth)]
