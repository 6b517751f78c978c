"""The bus of several nodes on one PostgreSQL database. The tables of messages are the log; a notification in each commit wakes the nodes.

Notifications come in the order of commits, and everything here follows this order. A notification of messages contains the last ids after
its commit. The bus reads the messages between the ids delivered last and these ids from the tables, unless this node wrote them itself and
has them in its cache. After a notification of an entity the caches are renewed before anything later is delivered. A lost connection may
have missed notifications. Then all caches are renewed, and all messages since then are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.interfaces import IMessageBus, INodeBus, IObservedBus
from dhtwisted.kit.entity_tables import Key
from dhtwisted.kit.reactor import IReactor
from dhtwisted.model import (
    COMMAND_INSERT,
    COMMAND_UPDATE,
    ENTITY_KINDS,
    NOTIFICATION_INSERT,
    Command,
    Device,
    Entity,
    Event,
    Message,
    Notification,
    payload_size,
)
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.dsn import describe, parse
from dhtwisted.providers.postgres.messages import MESSAGE_TABLES, PAYLOADS
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.providers.postgres.statements import Execute
from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.providers.postgres.writer import Batch, Heads

SECONDS = 5
PAGE = 500
FIRST_PAGE = 16
BYTES_OF_A_PAGE = 4 * 1024**2
"""Bytes of payload that are read at once. The number of messages is computed from those that were read last: few after large ones."""
RETRY_PAUSE = 0.5
MAX_CACHED_EVENTS = 10_000
"""Own events that are cached until their notification comes. Further ones are read from the tables, like those of other nodes."""

BYTES_OF_AN_EVENT = 2048
"""Bytes of payload that count as one more event."""

_TELL = "SELECT count(pg_notify(%s, 'node ' || text)) FROM unnest(%s) AS text"
_HEADS = "SELECT command, notification, command_update FROM message_counter"
_STREAMS: dict[str, tuple[type[Message], str]] = {
    "command": (Command, COMMAND_INSERT),
    "notification": (Notification, NOTIFICATION_INSERT),
    "command_update": (Command, COMMAND_UPDATE),
}
"""Within one commit, events are delivered in this order: an update must not come before its command."""

_AT_FIRST = {
    "status": "inserted_status",
    "result": "inserted_result::text",
    "last_updated": "timestamp",
    "updated": "false",
    "update_id": "0",
}
_AFTER_UPDATE = {"status": "u.status", "result": "r.result::text", "last_updated": "u.last_updated", "updated": "true", "update_id": "u.id"}
"""Fields of a command whose present value in its row is not the one of the event, and the SQL that reads them."""

Keys = Sequence[tuple[type[Entity], Key]] | None
"""Entities that were changed; ``None`` for all."""


class Messages(NamedTuple):
    """A commit of messages.

    :ivar heard_at: when its notification came, in seconds.
    :ivar node: the node that made it.
    :ivar heads: the last ids after it.
    """

    heard_at: float
    node: str
    heads: Heads


class Change(NamedTuple):
    """A change of an entity.

    :ivar key: kind and key; ``None`` if they are not known.
    """

    heard_at: float
    key: tuple[type[Entity], Key] | None


class Cut(NamedTuple):
    """The connection was made again. Notifications before it may have been missed."""

    heard_at: float


Item = Messages | Change | Cut


def _read_statement(stream: str) -> str:
    """Make the statement that reads a page of a stream. Its rows have the id in the stream and the message."""
    kind, action = _STREAMS[stream]
    elsewhere = {COMMAND_INSERT: _AT_FIRST, COMMAND_UPDATE: _AFTER_UPDATE}.get(action, {})
    columns = ", ".join(elsewhere.get(field, f"m.{field}{'::text' * (field in PAYLOADS)}") for field in kind.__struct_fields__)
    table, key = f"{MESSAGE_TABLES[kind].name} AS m", "m.id"
    if action == COMMAND_UPDATE:
        with_result = "command_updates AS r ON r.id = coalesce(u.result_update, u.id)"
        table, key = f"command_updates AS u JOIN {table} ON m.id = u.command_id LEFT JOIN {with_result}", "u.id"
    return f"SELECT {key}, {columns} FROM {table} WHERE {key} > %s AND {key} <= %s ORDER BY {key} LIMIT %s"


_READ = {stream: _read_statement(stream) for stream in _STREAMS}


@implementer(IMessageBus, INodeBus, IObservedBus)
class PostgresBus:
    """Delivers what all nodes store in one database.

    :param dsn: of the database of ``storage``, in the form of libpq.
    :param reactor: for sockets and delayed calls.
    :param storage: the opened :class:`~dhtwisted.providers.postgres.storage.PostgresStorage` by which this node writes.
    """

    log = Logger()

    _receive: Callable[[Sequence[Event]], object]
    _changed: Callable[[Keys], Awaitable[object]]

    def __init__(self, dsn: str, reactor: IReactor, storage: PostgresStorage) -> None:
        self._reactor = reactor
        self._storage = storage
        parameters = parse(dsn)
        self._place = describe(parameters)
        outage = Outage(f"{self._place} (bus)")
        self._connection = HealingConnection(reactor, parameters, outage, SECONDS, self._listen, self._notified)
        self._items: deque[Item] = deque()
        # The last ids that were delivered; empty until they are known.
        self._delivered: dict[str, int] = {}
        self._own: dict[Heads, tuple[Heads, list[Event], float, int]] = {}
        self._own_weight = 0
        self._page = FIRST_PAGE
        self._heard: Callable[[str], object] | None = None
        self._texts: list[str] = []
        self._pumping = False
        self._running = False

    async def start(self, receive: Callable[[Sequence[Event]], object], changed: Callable[[Keys], Awaitable[object]]) -> None:
        """Connect, and deliver what is stored from now on.

        :raises ConfigurationError: this is not the database of the storage, or it refuses this server.
        """
        self._receive, self._changed = receive, changed
        self._running = True
        self._storage.writer.listener = self._wrote
        self._connection.open()
        await self._connection.wait()

    def publish(self, events: Sequence[Event]) -> None:
        """Do nothing: the commit that stored the messages has notified all nodes."""

    def publish_change(self, kind: type[Entity], key: Key) -> None:
        """Do nothing: the commit that changed the entity has notified all nodes."""

    def listen(self, heard: Callable[[str], object]) -> None:
        """Choose who hears what is said."""
        self._heard = heard

    def tell(self, text: str) -> None:
        """Say a text to all nodes, in one transaction with all others of this turn of the reactor."""
        self._texts.append(text)
        if len(self._texts) == 1:
            Deferred.fromCoroutine(self._tell()).addErrback(self._failed)

    async def _tell(self) -> None:
        await deferLater(self._reactor, 0)
        texts, self._texts = self._texts, []
        if self._running:
            # While the database is away, nobody hears anything.
            with suppress(StorageUnavailable):
                await self._connection.run(_TELL, (self._storage.channel, texts))

    async def stop(self) -> None:
        """Deliver no more."""
        self._running = False
        if self._storage.writer.listener == self._wrote:
            self._storage.writer.listener = None
        await self._connection.close()

    @property
    def up(self) -> bool:
        """Whether the connection that listens is up."""
        return self._connection.up

    @property
    def lag(self) -> float:
        """Seconds since the oldest known commit that is not delivered yet; 0.0 if there is none."""
        waiting = [item.heard_at for item in islice(self._items, 1)]
        waiting += [stored_at for _, _, stored_at, _ in islice(self._own.values(), 1)]
        return max(0.0, self._reactor.seconds() - min(waiting)) if waiting else 0.0

    async def _listen(self, execute: Execute) -> None:
        """Listen on a new connection, and read the last ids of the tables."""
        try:
            ((store_id,),) = await execute("SELECT id FROM store")
        except psycopg2.errors.UndefinedTable:
            store_id = None
        if store_id != self._storage.store_id:
            raise ConfigurationError(f"bus.provider: {self._place} is not where messages are stored; give it the DSN of the storage")
        if self._delivered:
            # Before everything that is notified from now on.
            self._enqueue(Cut(self._reactor.seconds()))
        await execute(f'LISTEN "{self._storage.channel}"')
        if not self._delivered:
            (heads,) = await execute(_HEADS)
            self._delivered = Heads(*heads)._asdict()

    def _notified(self, payload: str) -> None:
        what, *rest = payload.split(" ", 2)
        now = self._reactor.seconds()
        if what == "messages":
            node, heads = rest
            self._enqueue(Messages(now, node, Heads(*map(int, heads.split()))))
        elif what == "entity":
            kind, *key = rest
            self._enqueue(Change(now, (ENTITY_KINDS[kind], _key(ENTITY_KINDS[kind], key[0])) if key else None))
        elif what == "node":
            self._hear(payload.removeprefix("node "))

    def _hear(self, text: str) -> None:
        """It waits for nothing: it has no order with messages."""
        if self._heard is not None and self._running:
            try:
                self._heard(text)
            except Exception:
                self.log.failure("A text of a node could not be processed")

    def _wrote(self, batch: Batch, heads: Heads) -> None:
        """Cache what this node stored until its notification comes, if it is not too much and the notification will come."""
        counts = Heads(len(batch.commands), len(batch.notifications), len(batch.updates))
        if not any(counts) or self._own_weight > MAX_CACHED_EVENTS or not self._connection.up:
            return
        events = [Event(COMMAND_INSERT, command) for command in batch.commands]
        events += [Event(NOTIFICATION_INSERT, notification) for notification in batch.notifications]
        events += [Event(COMMAND_UPDATE, update.outcome) for update in batch.updates if update.outcome is not None]
        weight = sum(counts) + sum(payload_size(event.message) for event in events) // BYTES_OF_AN_EVENT
        self._own_weight += weight
        self._own[heads] = counts, events, self._reactor.seconds(), weight

    def _enqueue(self, item: Item) -> None:
        if len(self._items) > MAX_CACHED_EVENTS and isinstance(item, Messages) and isinstance(self._items[-1], Messages):
            # The queue has been blocked for long. The last heads include those before them.
            self._items.pop()
        self._items.append(item)
        if not self._pumping and self._delivered:
            self._pumping = True
            Deferred.fromCoroutine(self._pump()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("The message bus failed; it goes on with the next notification", failure)

    async def _pump(self) -> None:
        """Work through the queue. While the database is away, try again."""
        try:
            while self._items and self._running:
                try:
                    await self._work_on(self._items[0])
                except (StorageUnavailable, ConfigurationError):
                    await deferLater(self._reactor, RETRY_PAUSE)
        finally:
            self._pumping = False

    async def _work_on(self, item: Item) -> None:
        if isinstance(item, Messages):
            await self._deliver_commits()
        elif isinstance(item, Change):
            await self._renew_entities()
        else:
            await self._catch_up()
            self._items.popleft()

    async def _catch_up(self) -> None:
        """Deliver what was missed, when notifications come again."""
        await self._connection.wait()
        await self._renew(None)
        (heads,) = await self._connection.run(_HEADS)
        heads = Heads(*heads)
        for stream, last in heads._asdict().items():
            if last < self._delivered[stream]:
                self.log.warn("The database was set back to an earlier state; it goes on from there")
                self._delivered[stream] = last
        await self._read_up_to(heads)

    async def _renew_entities(self) -> None:
        keys: list[tuple[type[Entity], Key] | None] = []
        while self._items and isinstance(item := self._items[0], Change):
            keys.append(item.key)
            self._items.popleft()
        known = [key for key in keys if key is not None]
        await self._renew(list(dict.fromkeys(known)) if len(known) == len(keys) else None)

    async def _renew(self, keys: Keys) -> None:
        """Renew the caches, and try until it succeeds: rights that were removed must not be used any longer."""
        while self._running:
            try:
                await self._changed(keys)
                return
            except StorageUnavailable as error:
                self.log.warn("Caches cannot be renewed now, and will be tried again: {reason}", reason=str(error))
            except Exception:
                self.log.failure("Caches cannot be renewed now, and will be tried again")
            keys = None
            await deferLater(self._reactor, RETRY_PAUSE)

    async def _deliver_commits(self) -> None:
        """Deliver the commits at the front of the queue: own ones from the cache, if no other commit lies between."""
        waited_for = None
        while self._items and isinstance(self._items[0], Messages):
            item = self._items[0]
            if item is not waited_for and self._is_unreported(item):
                waited_for = item
                await self._storage.writer.settled()
                await deferLater(self._reactor, 0)
                continue
            heads = item.heads
            own = self._own.get(heads)
            if own is not None and self._comes_next(own[0], heads):
                self._delivered = heads._asdict()
                self._deliver(own[1])
            elif any(self._delivered[stream] < getattr(heads, stream) for stream in _STREAMS):
                heads = self._last_commit(item)
                await self._read_up_to(heads)
            self._forget_own(heads)
            self._items.popleft()

    def _comes_next(self, counts: Heads, heads: Heads) -> bool:
        """Whether a commit of so many messages follows directly on what was delivered."""
        return all(self._delivered[stream] + getattr(counts, stream) == getattr(heads, stream) for stream in _STREAMS)

    def _last_commit(self, first: Messages) -> Heads:
        """The heads after the last of the commits at the front of the queue. They end before any other item, and before an own commit that
        the writer has not reported yet.
        """
        last = first.heads
        for item in islice(self._items, 1, None):
            if not isinstance(item, Messages) or self._is_unreported(item):
                break
            last = item.heads
        return last

    def _is_unreported(self, item: Messages) -> bool:
        """Whether the writer of this node must first report a commit, and answer its requests.

        The client that inserted a command must be known before any later event of the command is delivered.
        """
        return item.node == self._storage.node and item.heads not in self._own and self._storage.writer.committing

    def _forget_own(self, heads: Heads) -> None:
        while self._own and next(iter(self._own)) <= heads:
            *_, weight = self._own.pop(next(iter(self._own)))
            self._own_weight -= weight

    async def _read_up_to(self, heads: Heads) -> None:
        for stream, (kind, action) in _STREAMS.items():
            while self._running and self._delivered[stream] < getattr(heads, stream):
                take = self._page
                rows = await self._connection.run(_READ[stream], (self._delivered[stream], getattr(heads, stream), take))
                self._delivered[stream] = rows[-1][0] if len(rows) == take else getattr(heads, stream)
                messages = MESSAGE_TABLES[kind].messages(row[1:] for row in rows)
                self._page = _next_page(take, messages)
                self._deliver([Event(action, message) for message in messages])
        self._forget_own(heads)

    def _deliver(self, events: Sequence[Event]) -> None:
        if not self._running or not events:
            return
        try:
            self._receive(events)
        except Exception:
            self.log.failure("The receiver of the message bus failed; subscribers may have missed {count} events", count=len(events))


def _next_page(take: int, messages: list[Message]) -> int:
    """How many messages to read next, after some of these sizes."""
    size = sum(map(payload_size, messages))
    return max(1, min(PAGE, 10 * take, BYTES_OF_A_PAGE * len(messages) // size if size else PAGE))


def _key(kind: type[Entity], text: str) -> Key:
    return text if kind is Device else int(text)
