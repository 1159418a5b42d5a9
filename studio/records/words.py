"""The rules for text that is stored: text that every store, page and script can read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from engines.api.errors import BadInput
from engines.api.values import shortened, shown

DEEPEST: Final = 20
"""The deepest nesting of lists and objects that is accepted; the studio's own calls need five levels."""
CAPTION_LETTERS: Final = 4000
"""The most characters of a caption: about twice what the longest text encoder of the models reads."""

_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and lone surrogates


def demand_text(what: str, value: Any, room: int = DEEPEST) -> None:
    """Raises BadInput when a JSON value is nested too deep or holds control characters or lone surrogates.

    `what` names the value in the error message; the message also says where in the value the fault is. `room` is how
    many levels deep lists and objects may be nested.
    """
    if isinstance(value, str):
        if not value.isprintable() and (found := _UNFIT.search(value)):
            raise BadInput(
                f"{shortened(what)} holds a character that is no text (U+{ord(found[0]):04X}): {mended(value)[:60]!r}.",
                "Type it again, or save it as UTF-8.",
            )
    elif isinstance(value, Mapping | list | tuple):
        if not room:
            raise BadInput(
                f"{shortened(what)} is nested too deep.", f"At most {DEEPEST} lists and objects may lie in one another."
            )
        if isinstance(value, Mapping):
            for name, inner in value.items():
                demand_text(f"A name in {what}", name)
                demand_text(f"{what}[{shown(name)}]", inner, room - 1)
        else:
            for index, inner in enumerate(value):
                demand_text(f"{what}[{index}]", inner, room - 1)


def mended(value: Any) -> Any:
    """Returns a copy of a JSON value with `?` in place of every control character and lone surrogate."""
    if isinstance(value, str):
        return value if value.isprintable() else _UNFIT.sub("?", value)
    if isinstance(value, dict):
        return {mended(name): mended(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [mended(inner) for inner in value]
    return tuple(map(mended, value)) if isinstance(value, tuple) else value


def demand_caption(words: str) -> None:
    """Raises BadInput when a caption has more characters than the studio accepts."""
    if len(words) > CAPTION_LETTERS:
        raise BadInput(
            f"This caption is {len(words)} letters long; at most {CAPTION_LETTERS} are kept.",
            "Keep it to a few sentences: models read no more.",
        )
