"""Several connections to one database, for statements that stand alone: each goes to the first connection that is free."""

from collections import deque

from twisted.internet.defer import Deferred, succeed

from dhtwisted.errors import Overloaded

MAX_WAITING = 1000
PATIENCE = 4
"""Seconds that a statement waits for a free connection. With its own deadline of 5 it is answered, or refused, within ten."""


class Pool:
    """Hands statements to connections.

    :param reactor: for delayed calls.
    :param connections: a list of :class:`~dhtwisted.postgres.connection.HealingConnection`.
    """

    def __init__(self, reactor, connections):
        self._reactor = reactor
        self._connections = connections
        self._free = deque(connections)
        self._waiting = deque()
        self._drained = None

    async def run(self, sql, values=None):
        """Run one statement.

        :returns: a list of rows.
        :raises Overloaded: too many wait, or one waited too long.
        :raises StorageUnavailable: as :meth:`HealingConnection.run <dhtwisted.postgres.connection.HealingConnection.run>`, like all others.
        """
        connection = self._take() or await self._wait()
        try:
            return await connection.run(sql, values)
        finally:
            self._give_back(connection)

    def drain(self):
        """Wait until every statement is answered.

        :returns: a Deferred of ``None``.
        """
        if len(self._free) == len(self._connections):
            return succeed(None)
        self._drained = Deferred()
        return self._drained

    def _take(self):
        """A free connection that is up; one that is not, if there is no other at all, since it says why."""
        for _ in range(len(self._free)):
            connection = self._free.popleft()
            if connection.up:
                return connection
            self._free.append(connection)
        busy = len(self._free) < len(self._connections)
        return None if busy else self._free.popleft()

    async def _wait(self):
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded("too many questions wait for the database")
        waiting = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        timer = self._reactor.callLater(PATIENCE, self._give_up, waiting)
        try:
            return await waiting
        finally:
            if timer.active():
                timer.cancel()

    def _give_up(self, waiting):
        self._waiting.remove(waiting)
        waiting.errback(Overloaded(f"the database was too busy for a question for {PATIENCE} seconds"))

    def _give_back(self, connection):
        if self._waiting:
            self._waiting.popleft().callback(connection)
            return
        self._free.append(connection)
        if self._drained is not None and len(self._free) == len(self._connections):
            drained, self._drained = self._drained, None
            drained.callback(None)
