"""The keys of a table in order, so that a list can continue where its last portion ended."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

_MIN_REMOVED = 1000
"""Fewer removed keys than this are not worth a walk through all keys."""


class OrderedKeys:
    """Keys in ascending order. Adding and removing cost little: keys are sorted at the next walk, or when half of them are removed.

    :param keys: the first keys, in any order. Anything that can be compared is a key.
    """

    __slots__ = ("_keys", "_new", "_removed")

    def __init__(self, keys: Iterable[Any] = ()) -> None:
        self._keys = sorted(keys)
        self._new: list[Any] = []
        self._removed: set[Any] = set()

    def add(self, key: Any) -> None:
        """Add a key, which must not be there yet."""
        if key in self._removed:
            self._removed.remove(key)
        else:
            self._new.append(key)

    def remove(self, key: Any) -> None:
        """Remove a key, which must be there."""
        self._removed.add(key)
        if len(self._removed) > max(_MIN_REMOVED, (len(self._keys) + len(self._new)) // 2):
            self._keys = [key for key in (*self._keys, *self._new) if key not in self._removed]
            self._keys.sort()
            self._new.clear()
            self._removed.clear()

    def walk(self, descending: bool = False, after: tuple[Any, ...] = ()) -> Iterator[Any]:
        """Walk through the keys. Some of them may have been removed.

        :param after: empty, or a tuple of one key, which need not be there: begin behind it.
        """
        self._sort()
        low, high = 0, len(self._keys)
        if after and descending:
            high = bisect_left(self._keys, after[0])
        elif after:
            low = bisect_right(self._keys, after[0])
        positions = range(low, high)
        return map(self._keys.__getitem__, reversed(positions) if descending else positions)

    def walk_down_groups(self, width: int, after: tuple[Any, ...] = ()) -> Iterator[Any]:
        """Walk through keys that are tuples: descending by their first parts, and ascending where the first parts are equal.

        :param width: the number of first parts.
        :param after: as for :meth:`walk`.
        """
        self._sort()
        keys, high = self._keys, len(self._keys)
        if after:
            group = after[0][:width]
            high = bisect_left(keys, group)
            end = bisect_right(keys, group, high, key=lambda key: key[:width])
            yield from map(keys.__getitem__, range(bisect_right(keys, after[0], high, end), end))
        while high:
            low = bisect_left(keys, keys[high - 1][:width], 0, high)
            yield from map(keys.__getitem__, range(low, high))
            high = low

    def _sort(self) -> None:
        if self._new:
            # Sorting visits the keys that are in order already only once.
            self._keys += self._new
            self._new.clear()
            self._keys.sort()
