"""Caches results by a key, within a limit of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memo(Generic[T]):
    """Caches results by key; while they take more bytes than `limit_bytes`, the least recently used are dropped.

    `size`: a function that returns the bytes of a result.
    """

    def __init__(self, limit_bytes: int, size: Callable[[T], int]) -> None:
        self._limit = limit_bytes
        self._size = size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __getitem__(self, key: Hashable) -> T:
        self._kept.move_to_end(key)
        return self._kept[key]

    def __setitem__(self, key: Hashable, result: T) -> None:
        if key in self._kept:
            self._bytes -= self._size(self._kept[key])
        self._kept[key] = result
        self._kept.move_to_end(key)
        self._bytes += self._size(result)
        while self._bytes > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= self._size(oldest)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Returns the cached result for a key; where there is none, calls `make` and caches its result."""
        if key in self:
            return self[key]
        made = make()
        self[key] = made
        return made

    @property
    def bytes(self) -> int:
        """Returns the size of all cached results in bytes."""
        return self._bytes
