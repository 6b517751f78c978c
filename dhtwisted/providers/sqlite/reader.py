"""The threads that read from the file what is not in memory. Each has a connection, and runs one query at a time, with a time limit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from dhtwisted.kit.fair_queue import FairQueue
from dhtwisted.kit.reactor import IReactor
from dhtwisted.kit.worker import Worker
from dhtwisted.providers.sqlite.many_rows import CountedRows, ManyTable
from dhtwisted.providers.sqlite.messages import MessageTable
from dhtwisted.providers.sqlite.transaction import decode, translated_errors

T = TypeVar("T")
Table = MessageTable | ManyTable | CountedRows


READERS = 2
"""One client can keep only one of them busy with long queries."""

SECONDS = 5
"""Time limit of one query."""

PATIENCE = 3
"""Seconds that a query waits for its turn. Together with its own time limit it ends within ten seconds."""


class Reader(Worker):
    """A thread that reads.

    :ivar connection: of :func:`~dhtwisted.providers.sqlite.database.connect_reader`, made in the thread.
    """

    connection: sqlite3.Connection | None = None

    def __init__(self, reactor: IReactor, name: str) -> None:
        super().__init__(reactor, name)
        self._clock = reactor

    def select(self, table: Table, sql: str, parameters: Sequence[Any], size: int | None) -> Deferred[list[Any]]:
        """Find messages, or entities that are not in memory.

        :param table: makes objects of the rows.
        :param size: bytes of payload with which the list ends; ``None`` for no limit.
        :returns: a Deferred of a list.
        :raises Overloaded: it took too long.
        """
        assert self.connection is not None
        done = self.call(_select, self.connection, table, sql, parameters, size)
        timer = self._clock.callLater(SECONDS, self.connection.interrupt)
        return done.addBoth(_stop, timer)


class Readers:
    """All threads that read.

    :param reactor: for time, and to receive results from the threads.
    """

    def __init__(self, reactor: IReactor) -> None:
        self._readers = [Reader(reactor, f"storage reader {number}") for number in range(1, READERS + 1)]
        self._free = list(self._readers)
        self._turns = FairQueue(reactor, READERS, "the storage file", PATIENCE)

    @property
    def first(self) -> Reader:
        """The thread that opens the file."""
        return self._readers[0]

    async def connect(self, connect: Callable[[str], sqlite3.Connection], path: str) -> None:
        """Connect the threads that have no connection yet."""
        for reader in self._readers:
            if reader.connection is None:
                reader.connection = await reader.call(connect, path)

    async def select(self, *query: Any) -> list[Any]:
        """Find objects; see :meth:`Reader.select`. Clients are served in turn.

        :raises Overloaded: too many queries wait, or this one took too long.
        """
        return await self._turns.run(self._select, *query)

    async def _select(self, *query: Any) -> list[Any]:
        reader = self._free.pop()
        try:
            return await reader.select(*query)
        finally:
            self._free.append(reader)

    def drop(self, error: Exception) -> None:
        """Fail the queries that wait. Running ones are finished."""
        self._turns.drop(error)

    async def stop(self, close: Callable[[sqlite3.Connection | None], None]) -> None:
        """End the threads.

        :param close: closes a connection; it may get ``None``.
        """
        for reader in self._readers:
            await reader.stop(close, reader.connection)


def _select(connection: sqlite3.Connection, table: Table, sql: str, parameters: Sequence[Any], size: int | None) -> list[Any]:
    with translated_errors():
        try:
            rows = _rows(connection, str, table, sql, parameters, size)
        except sqlite3.OperationalError as error:
            # The driver gives no code if a text cannot be decoded. Its row is damaged, and must be read to be named.
            if hasattr(error, "sqlite_errorcode"):
                raise
            rows = _rows(connection, decode, table, sql, parameters, size)
    return table.objects(rows)


def _rows(
    connection: sqlite3.Connection,
    text_factory: Callable[[bytes], str],
    table: Table,
    sql: str,
    parameters: Sequence[Any],
    size: int | None,
) -> list[tuple[Any, ...]]:
    """Read rows, up to the one with which their payloads have so many bytes.

    :param text_factory: ``str`` saves a call for each text.
    """
    connection.text_factory = text_factory
    with closing(connection.execute(sql, parameters)) as cursor:
        if size is None:
            return cursor.fetchall()
        rows = []
        for row in cursor:
            rows.append(row)
            for place in table.payloads:
                payload = row[place]
                # In a damaged row it may be anything.
                if isinstance(payload, bytes):
                    size -= len(payload)
            if size <= 0:
                break
        return rows


def _stop(result: T, timer: IDelayedCall) -> T:
    if timer.active():
        timer.cancel()
    return result
