"""The storage in a PostgreSQL database, on txpostgres. Several nodes can share one database.

One connection writes messages, commit by commit; a few others do everything else. A lost connection is made again; until then calls fail at
once. Nothing is kept in memory, so nodes need not know of each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred, DeferredLock, fail, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.errors import ConfigurationError, Duplicate, Missing, StorageUnavailable
from dhtwisted.interfaces import IBackupAdvice, IBoundedAnswers, IBulkStorage, IMeasuredStorage, ISharedStorage, IStorage
from dhtwisted.kit.batching import Batcher
from dhtwisted.kit.entity_tables import Key
from dhtwisted.kit.reactor import IReactor
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.kit.statistics import StorageStatistics
from dhtwisted.model import Command, Entity, EntityQuery, Holding, Message, MessageQuery, Node, Notification, entity_size, payload_size
from dhtwisted.providers.postgres.announcement import Announcement
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.counters import lift_counters
from dhtwisted.providers.postgres.dsn import describe, parse
from dhtwisted.providers.postgres.entities import ENTITY_TABLES, HOLDINGS, EntityTable, holdings
from dhtwisted.providers.postgres.errors import taken_value, unique_field
from dhtwisted.providers.postgres.messages import MESSAGE_TABLES
from dhtwisted.providers.postgres.migrations import migrate
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.providers.postgres.pool import Pool
from dhtwisted.providers.postgres.statements import Execute, Values
from dhtwisted.providers.postgres.values import is_bigint
from dhtwisted.providers.postgres.writer import (
    PREPARE_WRITE,
    RESULT_KEPT,
    SETUP,
    Append,
    ChangeMany,
    Operation,
    UpdateCommand,
    Writer,
    restore_statement,
)

POOL_SIZE = 4
WRITE_SECONDS = 3
"""Time limit of a commit. A caller that comes while one hangs waits for that and for their own: with the grace for an answer, eight
seconds."""

READ_SECONDS = 5
SCHEMA_SECONDS = 3600
"""Time limit of a statement that changes the schema. It may rewrite large tables, or wait for another node that does."""

MAX_ROWS = 500
"""Messages in one commit. Larger commits were not faster, and callers wait longer."""

BYTES_OF_A_ROW = 2048
"""Bytes of payload that count as one more message. So a commit has about a megabyte, or a single larger message."""

TIDY_INTERVAL = 60
UPDATES_KEPT = 3600
"""Seconds for which updates are kept for nodes that were cut off. A node that comes back later misses some updates, but has the commands.
An update whose result later updates refer to is kept longer."""

_FORGET_UPDATES = """
DELETE FROM command_updates WHERE id = ANY(ARRAY(
    SELECT id FROM command_updates
    WHERE server_time < (SELECT server_time FROM message_counter) - %s ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED))
RETURNING 1
"""
TIDY_SLICE, TIDY_PAUSE = 1000, 0.05

_PROPERTIES = "SELECT id, current_setting('server_encoding'), current_setting('fsync') FROM store"


@implementer(IStorage, IBulkStorage, IBackupAdvice, IBoundedAnswers, IMeasuredStorage, ISharedStorage)
class PostgresStorage:
    """Keeps entities and messages in a database of PostgreSQL 15 or newer.

    :param dsn: in the form of libpq.
    :param reactor: for time, sockets and delayed calls.
    :ivar store_id: identifies this set of tables; known after :meth:`open`.
    :ivar node: identifies the writes of this object.
    :raises ConfigurationError: the DSN is not well formed.
    """

    durability = "durable"
    backup_advice = "use pg_dump, see docs/postgres.md"
    state_directory = None

    log = Logger()

    def __init__(self, dsn: str, reactor: IReactor) -> None:
        self.parameters = parse(dsn)
        self.outage = Outage(describe(self.parameters))
        self.node = secrets.token_hex(8)
        self.store_id: str | None = None
        self._reactor = reactor
        self._open = False
        self._announcement: Announcement | None = None
        self.statistics = StorageStatistics(reactor.seconds)
        self._connections: list[HealingConnection] = []
        self._updating: dict[int, DeferredLock] = {}
        self._tidying = RepeatedWork(reactor, "deleting old updates of commands", self._tidy)

    @property
    def channel(self) -> str:
        """The channel on which listeners of this store are notified."""
        return f"dhtwisted_{self.store_id}"

    @inlineCallbacks
    def open(self) -> Generator[Any, Any, None]:
        """Wait for the database, upgrade its schema, and connect.

        :raises ConfigurationError: the database refuses this server, or its tables do not fit this program.
        """
        try:
            yield Deferred.fromCoroutine(self._prepare_schema())
            writing = self._writing = self._connect(WRITE_SECONDS, self._prepare_writer)
            pool = [self._connect(READ_SECONDS) for _ in range(POOL_SIZE)]
            for connection in (writing, *pool):
                yield Deferred.fromCoroutine(connection.wait())
        except BaseException:
            yield self._close_connections()
            raise
        self._pool = Pool(self._reactor, pool)
        self.writer = Writer(self._reactor, writing, self.channel, self.node)
        self._batcher = Batcher(self._commit, MAX_ROWS, patient=False)
        self._open = True
        self._tidying.start(TIDY_INTERVAL)

    @inlineCallbacks
    def close(self) -> Generator[Any, Any, None]:
        """Finish what was accepted, then close the connections."""
        if not self._open:
            yield self._close_connections()
            return
        self._open = False
        self._tidying.stop()
        yield self._batcher.drain()
        while self._updating:
            yield self._batcher.drain()
        yield self._pool.drain()
        yield self._close_connections()

    async def announce(self, node: Node) -> None:
        """Announce this server to the others, on the connection that writes."""
        self._check_open()
        assert self.store_id is not None
        self._announcement = announcement = Announcement(self.store_id, node)
        await announcement.make(self._writing.run)

    async def look_around(self) -> tuple[bool, list[Node]]:
        """Find the other servers."""
        self._check_open()
        assert self._announcement is not None
        return await self._announcement.look_around(self._writing.run)

    async def get(self, kind: type[Entity], key: Key) -> Any:
        """Find one entity, or ``None``."""
        rows = await self._run(*ENTITY_TABLES[kind].get(key))
        return ENTITY_TABLES[kind].entity(rows[0]) if rows else None

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        """List entities."""
        table = ENTITY_TABLES[kind]
        return [table.entity(row) for row in await self._run(*table.find(query))]

    async def count(self, kind: type[Entity], query: EntityQuery) -> int:
        """Count entities."""
        return (await self._run(*ENTITY_TABLES[kind].count(query)))[0][0]

    async def holdings(self, owner: int) -> dict[type[Entity], Holding]:
        """Tell what counts for a user."""
        self._check_open()
        return holdings(await self._run(HOLDINGS, (owner,))) if is_bigint(owner) else {}

    async def insert(self, entity: Entity) -> Any:
        """Add an entity, and give it back with its key."""
        table = ENTITY_TABLES[type(entity)]
        return table.entity(await self._change(table, *table.insert(entity, self.channel)))

    async def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Any:
        """Replace some fields of an entity, and give it back."""
        table = ENTITY_TABLES[kind]
        row = await self._change(table, *table.update(key, changes, self.channel))
        if row is None:
            raise Missing(kind, key)
        return table.entity(row)

    async def delete(self, kind: type[Entity], key: Key) -> bool:
        """Remove an entity, and return whether there was one."""
        return bool(await self._run(*ENTITY_TABLES[kind].delete(key, self.channel)))

    def change_many(
        self, put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message] = ()
    ) -> Deferred[None]:
        """Store entities, remove others, and append messages, in one commit with everything else that waits."""
        size = sum(map(entity_size, put)) + sum(map(payload_size, messages))
        return self._write(ChangeMany(put, removed, messages), len(put) + len(removed) + len(messages) + size // BYTES_OF_A_ROW)

    async def remove_group(self, kind: type[Entity], group: str) -> None:
        """Remove the entities of a group, after earlier changes."""
        await self.append(())
        await self._run(*ENTITY_TABLES[kind].delete_group(group))

    def append(self, messages: Sequence[Message]) -> Deferred[None]:
        """Store messages, in one commit with everything else that waits."""
        return self._write(Append(messages), len(messages) + sum(map(payload_size, messages)) // BYTES_OF_A_ROW)

    async def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Command | None:
        """Update a command. Concurrent updates of one command each have a commit of their own."""
        self._check_open()
        if not is_bigint(command_id):
            return None
        lock = self._updating.setdefault(command_id, DeferredLock())
        await lock.acquire()
        try:
            return await self._batcher.submit(UpdateCommand(device_id, command_id, changes))
        except StorageUnavailable as error:
            # The updates that wait would be tried one by one, each up to the time limit.
            waiting, lock.waiting = lock.waiting, []
            for waiter in waiting:
                waiter.errback(StorageUnavailable(str(error)))
            raise
        finally:
            lock.release()
            if not lock.locked:
                del self._updating[command_id]

    async def restore(self, messages: Sequence[Message]) -> None:
        """Store messages with the stamps that they have, after earlier appends, which must have their ids by then."""
        await self.append(())
        try:
            await self._run(*restore_statement(messages))
        except psycopg2.errors.UniqueViolation as error:
            kind = Command if error.diag.table_name == MESSAGE_TABLES[Command].name else Notification
            raise Duplicate(kind, "id", int(taken_value(error))) from error

    async def get_message(self, kind: type[Message], device_id: str, message_id: int) -> Any:
        """Find one message, or ``None``."""
        self._check_open()
        if not is_bigint(message_id):
            return None
        found = await self._find(kind, *MESSAGE_TABLES[kind].get(device_id, message_id))
        return found[0] if found else None

    async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
        """List messages."""
        return await self._find(kind, *MESSAGE_TABLES[kind].find(query))

    async def forget_messages(self, kind: type[Message], query: MessageQuery) -> int:
        """Delete messages, those first that arrived first, and return how many."""
        return len(await self._run(*MESSAGE_TABLES[kind].forget(query)))

    async def _prepare_schema(self) -> None:
        """Upgrade the schema, however often the connection breaks meanwhile."""
        connection = self._connect(SCHEMA_SECONDS)
        try:
            while self.store_id is None:
                await connection.wait()
                try:
                    await migrate(connection.run, self.outage.place)
                    behind = await lift_counters(connection.run)
                    ((self.store_id, encoding, fsync),) = await connection.run(_PROPERTIES)
                except StorageUnavailable as error:
                    self.log.warn("The schema is not ready yet: {reason}", reason=str(error))
        finally:
            await connection.close()
        if encoding != "UTF8":
            raise ConfigurationError(f"{self.outage.place} has the encoding {encoding}; make one with: createdb --encoding UTF8")
        for kind in behind:
            self.log.error(
                "{place}: the counter of ids of {kind} was behind its table; it goes on above it", place=self.outage.place, kind=kind
            )
        if fsync != "on":
            self.log.warn("{place} runs with fsync off: a loss of power can lose what was acknowledged", place=self.outage.place)

    def _connect(self, seconds: float, prepare: Callable[[Execute], Awaitable[None]] | None = None) -> HealingConnection:
        connection = HealingConnection(self._reactor, self.parameters, self.outage, seconds, prepare)
        self._connections.append(connection)
        connection.open()
        return connection

    async def _prepare_writer(self, execute: Execute) -> None:
        await execute(SETUP)
        await execute(PREPARE_WRITE)
        if self._announcement is not None:
            await self._announcement.make(execute)

    @inlineCallbacks
    def _close_connections(self) -> Generator[Any, Any, None]:
        connections, self._connections = self._connections, []
        for connection in connections:
            yield connection.close()

    def _check_open(self) -> None:
        if not self._open:
            raise StorageUnavailable("the storage is closed")

    def _write(self, operation: Operation, rows: int) -> Deferred[Any]:
        try:
            self._check_open()
            return self._batcher.submit(operation, rows)
        except StorageUnavailable:
            return fail()

    def _commit(self, operations: list[Operation]) -> Deferred[list[Any]]:
        return self.statistics.measure_commit(Deferred.fromCoroutine(self.writer.commit(operations)), len(operations))

    async def _run(self, sql: str, values: Values) -> list[Any]:
        self._check_open()
        return await self.statistics.measure_read(Deferred.fromCoroutine(self._pool.run(sql, values)))

    async def _find(self, kind: type[Message], sql: str, values: Values) -> list[Any]:
        return MESSAGE_TABLES[kind].messages(await self._run(sql, values))

    async def _change(self, table: EntityTable, sql: str, values: dict[str, Any]) -> Any:
        """Run a statement that inserts or updates one entity.

        :returns: its row, or ``None``.
        """
        try:
            rows = await self._run(sql, values)
        except psycopg2.errors.UniqueViolation as error:
            field = unique_field(error) or table.kind.KEY
            raise Duplicate(table.kind, field, values.get(field)) from error
        return rows[0] if rows else None

    async def _tidy(self) -> None:
        try:
            while self._open and len(await self._run(_FORGET_UPDATES, ((UPDATES_KEPT + RESULT_KEPT) * 1000,))) == TIDY_SLICE:
                await deferLater(self._reactor, TIDY_PAUSE)
        except StorageUnavailable as error:
            self.log.warn("Old updates of commands are not deleted now, and will be tried again: {reason}", reason=str(error))
        except Exception:
            # An error must not stop the timer.
            self.log.failure("Old updates of commands are not deleted now, and will be tried again")
