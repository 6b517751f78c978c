"""Mappings that take little memory while they have no item or one: most of ten thousand clients have one filter, and are idle.

An empty dict takes 64 bytes, a dict with one item 190 or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ABSENT: Any = object()


class _Unused(dict[Any, Any]):
    """An empty dict that all share; see :data:`UNUSED`."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this dict is shared: put one of your own in its place, then write")

    __setitem__ = setdefault = update = __ior__ = _refuse  # type: ignore[assignment]


UNUSED: Any = _Unused()
"""Stands for a dict that nobody has written to. Whoever writes first puts a dict in its place; all else works as on an empty one."""


class FewItems(MutableMapping[K, V]):
    """A mapping in the order of insertion, as a dict is. It becomes one with its second item, and stays one."""

    __slots__ = ("_dict", "_key", "_value")

    def __init__(self) -> None:
        self._dict: dict[K, V] | None = None
        self._key: K = _ABSENT
        self._value: V = _ABSENT

    def __getitem__(self, key: K) -> V:
        if self._dict is not None:
            return self._dict[key]
        if self._key is _ABSENT or self._key != key:
            raise KeyError(key)
        return self._value

    def __setitem__(self, key: K, value: V) -> None:
        if self._dict is not None:
            self._dict[key] = value
        elif self._key is _ABSENT or self._key == key:
            self._key, self._value = key, value
        else:
            self._dict = {self._key: self._value, key: value}
            self._key = self._value = _ABSENT

    def __delitem__(self, key: K) -> None:
        if self._dict is not None:
            del self._dict[key]
        elif self._key is _ABSENT or self._key != key:
            raise KeyError(key)
        else:
            self._key = self._value = _ABSENT

    def __iter__(self) -> Iterator[K]:
        if self._dict is not None:
            return iter(self._dict)
        return iter(()) if self._key is _ABSENT else iter((self._key,))

    def __len__(self) -> int:
        return len(self._dict) if self._dict is not None else int(self._key is not _ABSENT)

    def items(self) -> Iterable[tuple[K, V]]:  # type: ignore[override]
        """All items; as ``dict.items``, but only to iterate over."""
        if self._dict is not None:
            return self._dict.items()
        return () if self._key is _ABSENT else ((self._key, self._value),)
