"""What is kept, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from engines.drawing.memo import Memo


def _making(made: list[str]) -> Callable[[Memo[str], str], str]:
    def get(memo: Memo[str], key: str) -> str:
        def make() -> str:
            made.append(key)
            return key

        return memo.get(key, make)

    return get


def test_a_known_key_is_not_made_again() -> None:
    """The second time, the first time's result comes back."""
    made: list[str] = []
    memo, get = Memo[str](10, len), _making(made)
    assert [get(memo, "ab"), get(memo, "ab")] == ["ab", "ab"]
    assert made == ["ab"]
    assert "ab" in memo


def test_the_longest_unused_goes_first() -> None:
    """Within its bound of bytes it keeps what was used last, not what was made last."""
    made: list[str] = []
    memo, get = Memo[str](6, len), _making(made)
    for key in ("aa", "bb", "cc", "aa", "dd"):
        get(memo, key)
    assert [key in memo for key in ("aa", "bb", "cc", "dd")] == [True, False, True, True]
    assert memo.bytes == 6


def test_a_result_that_is_set_again_is_the_newest() -> None:
    """Setting a known key counts as its last use, and its old size no longer counts."""
    memo = Memo[str](6, len)
    for key, result in (("a", "aa"), ("b", "bb"), ("a", "AAA"), ("c", "cc")):
        memo[key] = result
    assert [key in memo for key in "abc"] == [True, False, True]
    assert (memo["a"], memo.bytes) == ("AAA", 5)


def test_what_is_larger_than_the_bound_is_handed_on_and_not_kept() -> None:
    """A bound of 0 is a cache that is switched off."""
    made: list[str] = []
    memo, get = Memo[str](0, len), _making(made)
    assert get(memo, "abc") == "abc"
    assert get(memo, "abc") == "abc"
    assert made == ["abc", "abc"]
    assert memo.bytes == 0
