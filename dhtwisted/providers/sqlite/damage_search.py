"""A search for damage in a large data file, while the server works on it."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from dhtwisted.errors import StorageDamaged
from dhtwisted.kit.worker import Worker
from dhtwisted.providers.sqlite.inspection import damage_of

T = TypeVar("T")


class DamageSearch:
    """One search, in a thread of its own. SQLite reads all of the file; meanwhile the write-ahead log cannot be folded into it, and grows.

    :param reactor: takes the answer.
    :param path: of the data file.
    """

    def __init__(self, reactor: IReactorFromThreads, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._is_stopped = False
        self._ended: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        """Begin.

        :returns: a Deferred of ``None``; it fails with :class:`~dhtwisted.errors.StorageDamaged` when there is damage.
        """
        return Worker(self._reactor, "storage damage search").stop(self._search).addBoth(self._end)

    def stop(self) -> Deferred[None]:
        """End it.

        :returns: a Deferred; fires when the file is let go of.
        """
        self._is_stopped = True
        return self._ended

    def problem(self) -> str:
        """One line while it is under way; else empty."""
        return "" if self._ended.called else f"{self._path}: is looked through for damage, since the server did not stop by itself; wait"

    def _search(self) -> None:
        damage = damage_of(self._path, lambda: self._is_stopped)
        if damage is not None:
            raise StorageDamaged(f"the storage file is damaged: {damage}", lasts=True)

    def _end(self, result: T) -> T:
        self._ended.callback(None)
        return result
