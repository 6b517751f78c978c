"""Lets a reactor watch sockets that somebody else opens and closes.

libpq closes the socket of a connection when it finds that the connection has ended, and may open another when it tries the next address,
whenever it is called. A reactor that goes on watching the number of a closed socket does not watch the next one that gets this number: a
client's perhaps, who then waits for ever. So the reactor is given a duplicate of the socket, which is ours to close, and only when nobody
watches it any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psycopg2
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.kit.reactor import IReactor


@implementer(IReadWriteDescriptor)
class _Watch:
    """One socket that is watched for one purpose, on behalf of an object of txpostgres."""

    log = Logger()

    def __init__(self, watched: Any, watches: dict[Any, _Watch]) -> None:
        self._watched = watched
        self._watches = watches
        self._descriptor = os.dup(watched.pollable().fileno())

    def fileno(self) -> int:
        """The duplicate; -1 when it is closed: the reactor would take away who has the number now."""
        return self._descriptor

    def logPrefix(self) -> str:
        return self._watched.logPrefix()

    def doRead(self) -> None:
        self._do(self._watched.doRead)

    def doWrite(self) -> None:
        self._do(self._watched.doWrite)

    def _do(self, method: Callable[[], object]) -> None:
        """Let the object work. What it raises is no news for the reactor, which would cease to watch, but an end for the object."""
        try:
            method()
        except Exception:
            failure = Failure()
            self.log.failure("A connection to PostgreSQL failed by a defect", failure)
            self._watched.connectionLost(failure)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor found the end by itself, and watches no longer."""
        if self._watches.get(self._watched) is self:
            del self._watches[self._watched]
            self.end()
            self._watched.connectionLost(reason)

    def end(self) -> None:
        """Close the duplicate."""
        os.close(self._descriptor)
        self._descriptor = -1


class WatchingReactor:
    """Takes the place of the reactor for the connections and cursors of txpostgres.

    :param reactor: the reactor that does the work.
    """

    def __init__(self, reactor: IReactor) -> None:
        self.callLater = reactor.callLater
        self._reactor = reactor
        self._readers: dict[Any, _Watch] = {}
        self._writers: dict[Any, _Watch] = {}

    def addReader(self, watched: Any) -> None:
        """Call ``doRead`` of an object when its socket can be read."""
        self._add(watched, self._readers, self._reactor.addReader)

    def addWriter(self, watched: Any) -> None:
        """Call ``doWrite`` of an object when its socket can be written."""
        self._add(watched, self._writers, self._reactor.addWriter)

    def removeReader(self, watched: Any) -> None:
        """Call it no longer."""
        self._remove(watched, self._readers, self._reactor.removeReader)

    def removeWriter(self, watched: Any) -> None:
        """Call it no longer."""
        self._remove(watched, self._writers, self._reactor.removeWriter)

    def remove_all(self) -> None:
        """Watch nothing more."""
        for watched in list(self._readers):
            self.removeReader(watched)
        for watched in list(self._writers):
            self.removeWriter(watched)

    def _add(self, watched: Any, watches: dict[Any, _Watch], add: Callable[[_Watch], object]) -> None:
        if watched in watches:
            return
        try:
            watches[watched] = _Watch(watched, watches)
        except (OSError, ValueError, psycopg2.Error):
            # The socket is closed already, and whoever waits for it must hear of that.
            self.callLater(0, watched.connectionLost, Failure(ConnectionLost("the socket is closed")))
        else:
            add(watches[watched])

    def _remove(self, watched: Any, watches: dict[Any, _Watch], remove: Callable[[_Watch], object]) -> None:
        watch = watches.pop(watched, None)
        if watch is not None:
            remove(watch)
            watch.end()
