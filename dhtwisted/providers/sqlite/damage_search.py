"""Searches a large data file for damage while the server works on it."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from dhtwisted.errors import StorageDamaged
from dhtwisted.kit.worker import Worker
from dhtwisted.providers.sqlite.inspection import damage_of

T = TypeVar("T")


class DamageSearch:
    """One search, in a thread of its own. SQLite reads the whole file. Meanwhile the write-ahead log cannot be merged into it, and grows.

    :param reactor: receives the result.
    :param path: of the data file.
    """

    def __init__(self, reactor: IReactorFromThreads, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._is_stopped = False
        self._ended: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        """Start the search.

        :returns: a Deferred of ``None``; it fails with :class:`~dhtwisted.errors.StorageDamaged` when there is damage.
        """
        return Worker(self._reactor, "storage damage search").stop(self._search).addBoth(self._end)

    def stop(self) -> Deferred[None]:
        """Stop the search.

        :returns: fires when the file is closed.
        """
        self._is_stopped = True
        return self._ended

    def problem(self) -> str:
        """One line while the search runs; otherwise empty."""
        return "" if self._ended.called else f"{self._path}: is searched for damage, because the server did not stop by itself; wait"

    def _search(self) -> None:
        damage = damage_of(self._path, lambda: self._is_stopped)
        if damage is not None:
            raise StorageDamaged(f"the storage file is damaged: {damage}", lasts=True)

    def _end(self, result: T) -> T:
        self._ended.callback(None)
        return result
