"""How a value that cannot be is told."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from annotated_types import Ge, Le, MaxLen

from engines.api.errors import BadInput
from engines.api.values import shortened, shown, taken


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((), "[]"),
        ((1, "a"), "[1, 'a']"),
        ("", "''"),
        (10**5000, "a number of thousands of digits"),
    ],
    ids=["no entries", "a tuple", "no letters", "many digits"],
)
def test_a_value_is_shown_as_scripts_write_it(value: Any, words: str) -> None:
    """A tuple as a list, and nothing longer than a line."""
    assert shown(value) == words
    assert len(shown("x" * 1000)) <= 80


def test_a_name_is_told_as_it_is() -> None:
    """A long one is cut in its middle; one that cannot be seen stands in quotes."""
    assert shortened("steps") == "steps"
    assert shortened("a" * 500 + "z").startswith("aaa") and len(shortened("a" * 500)) < 90
    assert (shortened(""), shortened("  ")) == ("''", "'  '")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Annotated[int, Ge(1), Le(8)], True, "n cannot be True. It is a whole number from 1 to 8."),
        (Annotated[int, Ge(1)], 0, "n cannot be 0. It is a whole number, 1 or more."),
        (Annotated[str, MaxLen(3)], "four", "n cannot be 'four'. It is text of at most 3 letters."),
        (Annotated[tuple[int, ...], MaxLen(1)], (1, 2), "n cannot be [1, 2]. It is a list of at most 1 entries."),
        (float, float("nan"), "n cannot be nan. It is a number."),
        (dict[str, int], {"a": "b"}, "n['a'] cannot be 'b'. It is a whole number."),
        (
            dict[Annotated[str, MaxLen(1)], int],
            {"ab": 1},
            "A name in n cannot be 'ab'. It is text of at most 1 letters.",
        ),
        (list[dict[str, int]], [{}, {1: 1}], "A name in n[1] cannot be 1. It is text."),
    ],
    ids=["true", "below", "long", "many", "nan", "inside", "a name", "a name inside"],
)
def test_a_refusal_names_what_was_given_and_what_may_be(kind: Any, value: Any, words: str) -> None:
    """By the argument's name, in words of its annotation."""
    with pytest.raises(BadInput) as found:
        taken("n", value, kind)
    assert str(found.value) == words
