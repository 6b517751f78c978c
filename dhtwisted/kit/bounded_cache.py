"""A cache that is bounded in entries and in bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """Drops the oldest entries when there are too many, or when they are too large together. Put an entry again to make it the newest.

    :param max_entries: how many entries there may be.
    :param max_bytes: how many bytes they may have together.
    :param size_of: gives the bytes of an entry from its key and value.
    :ivar size: bytes of all entries.
    """

    def __init__(self, max_entries: int, max_bytes: int, size_of: Callable[[K, V], int]) -> None:
        super().__init__()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size_of = size_of
        self.size = 0

    def put(self, key: K, value: V) -> None:
        """Add an entry, or replace the one with this key. An entry larger than ``max_bytes`` is not kept."""
        self.discard(key)
        self[key] = value
        self.size += self._size_of(key, value)
        while len(self) > self._max_entries or self.size > self._max_bytes:
            self.discard(next(iter(self)))

    def discard(self, key: K) -> None:
        """Remove an entry, if it is there."""
        if key in self:
            self.size -= self._size_of(key, self.pop(key))

    def clear(self) -> None:
        """Remove all entries."""
        super().clear()
        self.size = 0
