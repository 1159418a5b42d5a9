"""Fills the placeholders of a text that a person writes, such as {subject}; a name that nothing fills is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engines.api.errors import BadInput

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def names(template: str) -> tuple[str, ...]:
    """Returns the names of the placeholders in a text, each once, in the order in which they stand."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template)))


def filled(template: str, values: Mapping[str, str]) -> str:
    """Returns a text with each placeholder replaced by its value; braces around anything but a name stay.

    `values`: placeholder -> text. Raises: BadInput for a placeholder without a value, or with an empty one.
    """
    for name in names(template):
        if name not in values:
            known = ", ".join(f"{{{each}}}" for each in values)
            raise BadInput(f"Nothing fills {{{name}}}.", f"Choose from: {known}. Or write the words themselves.")
        if not values[name].strip():
            raise BadInput(f"{{{name}}} is still empty.", "Say what stands in its place.")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
