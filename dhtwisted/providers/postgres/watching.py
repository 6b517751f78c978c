"""Lets a reactor watch sockets that libpq opens and closes.

Whenever it is called, libpq may close the socket of a lost connection, or open another one for the next address. If the reactor still
watches the number of a closed socket, it does not watch the next socket that gets this number. That may be a client's, which then waits for
ever. So the reactor watches a duplicate of the socket. We close the duplicate when the reactor does not watch it any more.
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
        """The duplicate; -1 after it is closed, because another socket may have the number now."""
        return self._descriptor

    def logPrefix(self) -> str:
        return self._watched.logPrefix()

    def doRead(self) -> None:
        self._do(self._watched.doRead)

    def doWrite(self) -> None:
        self._do(self._watched.doWrite)

    def _do(self, method: Callable[[], object]) -> None:
        """Call a method of the object. An error must not reach the reactor, which would stop watching. It ends the object's connection
        instead."""
        try:
            method()
        except Exception:
            failure = Failure()
            self.log.failure("A connection to PostgreSQL failed by a defect", failure)
            self._watched.connectionLost(failure)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has found the end of the connection, and watches no longer."""
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
        """Stop that."""
        self._remove(watched, self._readers, self._reactor.removeReader)

    def removeWriter(self, watched: Any) -> None:
        """Stop that."""
        self._remove(watched, self._writers, self._reactor.removeWriter)

    def remove_all(self) -> None:
        """Stop watching everything."""
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
            # The socket is closed already. The caller that waits for it must get an error.
            self.callLater(0, watched.connectionLost, Failure(ConnectionLost("the socket is closed")))
        else:
            add(watches[watched])

    def _remove(self, watched: Any, watches: dict[Any, _Watch], remove: Callable[[_Watch], object]) -> None:
        watch = watches.pop(watched, None)
        if watch is not None:
            remove(watch)
            watch.end()
