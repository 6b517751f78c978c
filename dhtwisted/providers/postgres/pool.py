"""Several connections to one database. Each statement goes to a free connection, and clients are served in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from dhtwisted.kit.fair_queue import FairQueue
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.statements import Values

MOST_WAITING = 1000
PATIENCE = 4
"""Seconds that a statement waits for a free connection. Together with its own time limit of 5 it ends within ten."""


class Pool:
    """Gives statements to connections.

    :param reactor: for delayed calls.
    :param connections: a list of :class:`~dhtwisted.providers.postgres.connection.HealingConnection`.
    """

    def __init__(self, reactor: IReactorTime, connections: Sequence[HealingConnection]) -> None:
        self._free = deque(connections)
        self._size = len(connections)
        self._missing: deque[Deferred[None]] = deque()
        self._turns = FairQueue(reactor, len(connections), "the database", PATIENCE, max_waiting=MOST_WAITING)

    async def run(self, sql: str, values: Values = None) -> list[Any]:
        """Run one statement.

        :returns: a list of rows.
        :raises Overloaded: too many statements wait, or this one waited too long.
        :raises StorageUnavailable: as :meth:`HealingConnection.run <dhtwisted.providers.postgres.connection.HealingConnection.run>`, like
            all others.
        """
        return await self._turns.run(self._run, sql, values)

    def drain(self) -> Deferred[None]:
        """Wait until every statement is answered.

        :returns: a Deferred of ``None``.
        """
        return self._turns.idle()

    async def _run(self, sql: str, values: Values) -> list[Any]:
        connection = await self._take()
        try:
            return await connection.run(sql, values)
        finally:
            self._free.append(connection)
            if self._missing:
                self._missing.popleft().callback(None)

    async def _take(self) -> HealingConnection:
        """Take a free connection that is up. If all are down, take one of them: its error says why."""
        while True:
            for _ in range(len(self._free)):
                connection = self._free.popleft()
                if connection.up:
                    return connection
                self._free.append(connection)
            if len(self._free) == self._size:
                return self._free.popleft()
            # Some connections are down, and the others are in use.
            freed: Deferred[None] = Deferred()
            self._missing.append(freed)
            await freed
