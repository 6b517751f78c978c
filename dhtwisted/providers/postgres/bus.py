"""The bus of several nodes on one PostgreSQL database: the tables of messages are the log, and a notification in each commit only wakes.

Notifications come in the order of commits, so they are the order of everything here. One that tells of messages names the last ids after
its commit; what lies between those and the ids delivered last is read from the tables, unless it is what this node wrote itself and still
has at hand. One that tells of an entity has the caches renewed before anything later is delivered. A connection that was lost may have
missed notifications: then the caches are renewed as a whole, and all messages since are read.
"""

from collections import deque, namedtuple
from itertools import islice

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.interfaces import IMessageBus, IObservedBus
from dhtwisted.model import (
    COMMAND_INSERT,
    COMMAND_UPDATE,
    ENTITY_KINDS,
    NOTIFICATION_INSERT,
    Command,
    Device,
    Event,
    Notification,
    payload_size,
)
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.dsn import describe, parse
from dhtwisted.providers.postgres.messages import MESSAGE_TABLES, PAYLOADS
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.providers.postgres.writer import Heads

SECONDS = 5
PAGE = 500
FIRST_PAGE = 16
BYTES_OF_A_PAGE = 4 * 1024**2
"""Payload that is read at once. How many messages that is, is reckoned from those that were read last; after large ones they are few."""
RETRY_PAUSE = 0.5
MOST_AT_HAND = 10_000
"""Own events that wait for their notification. More are read from the tables like those of others."""

BYTES_OF_AN_EVENT = 2048
"""Payload that counts as one event more."""

_HEADS = "SELECT command, notification, command_update FROM message_counter"
_STREAMS = {
    "command": (Command, COMMAND_INSERT),
    "notification": (Notification, NOTIFICATION_INSERT),
    "command_update": (Command, COMMAND_UPDATE),
}
"""In this order, within one commit: an update must not come before its command."""

_AT_FIRST = {
    "status": "inserted_status",
    "result": "inserted_result::text",
    "last_updated": "timestamp",
    "updated": "false",
    "update_id": "0",
}
_AFTER_UPDATE = {"status": "u.status", "result": "r.result::text", "last_updated": "u.last_updated", "updated": "true", "update_id": "u.id"}
"""Fields of a command that are not what its row says now, and where they are read."""

Messages = namedtuple("Messages", "heard_at node heads")
"""A commit of messages: when it was heard of, by whom, and the :class:`~dhtwisted.providers.postgres.writer.Heads` after it."""

Entity = namedtuple("Entity", "heard_at key")
"""A change of an entity: ``(kind, key)``; ``None`` when it is not known which."""

Cut = namedtuple("Cut", "heard_at")
"""The connection was made anew: notifications may have been missed before."""


def _read_statement(stream):
    """What reads a page of a stream: rows of its id and of the message."""
    kind, action = _STREAMS[stream]
    elsewhere = {COMMAND_INSERT: _AT_FIRST, COMMAND_UPDATE: _AFTER_UPDATE}.get(action, {})
    columns = ", ".join(elsewhere.get(field, f"m.{field}{'::text' * (field in PAYLOADS)}") for field in kind.__struct_fields__)
    table, key = f"{MESSAGE_TABLES[kind].name} AS m", "m.id"
    if action == COMMAND_UPDATE:
        with_result = "command_updates AS r ON r.id = coalesce(u.result_update, u.id)"
        table, key = f"command_updates AS u JOIN {table} ON m.id = u.command_id LEFT JOIN {with_result}", "u.id"
    return f"SELECT {key}, {columns} FROM {table} WHERE {key} > %s AND {key} <= %s ORDER BY {key} LIMIT %s"


_READ = {stream: _read_statement(stream) for stream in _STREAMS}


@implementer(IMessageBus, IObservedBus)
class PostgresBus:
    """Hears of what all nodes store in one database.

    :param dsn: of the database of ``storage``, as libpq takes it.
    :param reactor: for sockets and delayed calls.
    :param storage: the opened :class:`~dhtwisted.providers.postgres.storage.PostgresStorage` by which this node writes.
    """

    log = Logger()

    def __init__(self, dsn, reactor, storage):
        self._reactor = reactor
        self._storage = storage
        parameters = parse(dsn)
        self._place = describe(parameters)
        outage = Outage(f"{self._place} (bus)")
        self._connection = HealingConnection(reactor, parameters, outage, SECONDS, self._listen, self._notified)
        self._receive = self._changed = None
        self._items = deque()
        self._done = None
        self._own = {}
        self._own_weight = 0
        self._page = FIRST_PAGE
        self._pumping = False
        self._running = False

    async def start(self, receive, changed):
        """Connect, and hand over what is stored from now on.

        :raises ConfigurationError: this is not the database of the storage, or it refuses us.
        """
        self._receive, self._changed = receive, changed
        self._running = True
        self._storage.writer.listener = self._wrote
        self._connection.open()
        await self._connection.wait()

    def publish(self, events):
        """Nothing: the commit that stored the messages has told of them."""

    def publish_change(self, kind, key):
        """Nothing: the commit that changed the entity has told of it."""

    async def stop(self):
        """Hand over no more."""
        self._running = False
        if self._storage.writer.listener == self._wrote:
            self._storage.writer.listener = None
        await self._connection.close()

    @property
    def up(self):
        """Whether the connection that listens is there."""
        return self._connection.up

    @property
    def lag(self):
        """Seconds since the oldest commit that was heard of, or made here, and that is not delivered yet; 0.0 when there is none."""
        waiting = [item.heard_at for item in islice(self._items, 1)]
        waiting += [stored_at for _, _, stored_at, _ in islice(self._own.values(), 1)]
        return max(0.0, self._reactor.seconds() - min(waiting)) if waiting else 0.0

    async def _listen(self, execute):
        """Make a new connection hear, and find out how far the tables have come."""
        try:
            ((store_id,),) = await execute("SELECT id FROM store")
        except psycopg2.errors.UndefinedTable:
            store_id = None
        if store_id != self._storage.store_id:
            raise ConfigurationError(f"bus.provider: {self._place} is not where messages are stored; give it the DSN of the storage")
        if self._done is not None:
            # Ahead of all that is heard from now on.
            self._enqueue(Cut(self._reactor.seconds()))
        await execute(f'LISTEN "{self._storage.channel}"')
        if self._done is None:
            (heads,) = await execute(_HEADS)
            self._done = Heads(*heads)._asdict()

    def _notified(self, payload):
        what, *rest = payload.split(" ", 2)
        now = self._reactor.seconds()
        if what == "messages":
            node, heads = rest
            self._enqueue(Messages(now, node, Heads(*map(int, heads.split()))))
        elif what == "entity":
            kind, *key = rest
            self._enqueue(Entity(now, (ENTITY_KINDS[kind], _key(ENTITY_KINDS[kind], key[0])) if key else None))

    def _wrote(self, batch, heads):
        """Keep what this node stored until its turn comes, if it is not too much and the turn will come."""
        counts = Heads(len(batch.commands), len(batch.notifications), len(batch.updates))
        if not any(counts) or self._own_weight > MOST_AT_HAND or not self._connection.up:
            return
        events = [Event(COMMAND_INSERT, command) for command in batch.commands]
        events += [Event(NOTIFICATION_INSERT, notification) for notification in batch.notifications]
        events += [Event(COMMAND_UPDATE, update.outcome) for update in batch.updates if update.outcome is not None]
        weight = sum(counts) + sum(payload_size(event.message) for event in events) // BYTES_OF_AN_EVENT
        self._own_weight += weight
        self._own[heads] = counts, events, self._reactor.seconds(), weight

    def _enqueue(self, item):
        if len(self._items) > MOST_AT_HAND and isinstance(item, Messages) and isinstance(self._items[-1], Messages):
            # Something holds everything back for long. The last heads tell all that those before them do.
            self._items.pop()
        self._items.append(item)
        if not self._pumping and self._done is not None:
            self._pumping = True
            Deferred.fromCoroutine(self._pump()).addErrback(self._failed)

    def _failed(self, failure):
        self.log.failure("The message bus failed; it goes on with the next notification", failure)

    async def _pump(self):
        """Work through the queue. What cannot be done while the database is away is done when it is back."""
        try:
            while self._items and self._running:
                try:
                    await self._work_on(self._items[0])
                except (StorageUnavailable, ConfigurationError):
                    await deferLater(self._reactor, RETRY_PAUSE)
        finally:
            self._pumping = False

    async def _work_on(self, item):
        if isinstance(item, Messages):
            await self._deliver_commits()
        elif isinstance(item, Entity):
            await self._renew_entities()
        else:
            await self._catch_up()
            self._items.popleft()

    async def _catch_up(self):
        """Make up for what was missed, when notifications are heard again."""
        await self._connection.wait()
        await self._renew(None)
        (heads,) = await self._connection.run(_HEADS)
        heads = Heads(*heads)
        for stream, last in heads._asdict().items():
            if last < self._done[stream]:
                self.log.warn("The database was set back to an earlier state; it goes on from there")
                self._done[stream] = last
        await self._read_up_to(heads)

    async def _renew_entities(self):
        keys = []
        while self._items and isinstance(self._items[0], Entity):
            keys.append(self._items.popleft().key)
        await self._renew(None if None in keys else list(dict.fromkeys(keys)))

    async def _renew(self, keys):
        """Have the caches renewed, with patience: rights that were taken away must not be used any longer."""
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

    async def _deliver_commits(self):
        """Deliver the commits at the front of the queue: own ones from memory, as long as no other lies between."""
        waited_for = None
        while self._items and isinstance(self._items[0], Messages):
            item = self._items[0]
            if item is not waited_for and self._is_unreported(item):
                waited_for = item
                await self._storage.writer.settled()
                await deferLater(self._reactor, 0)
                continue
            heads = item.heads
            counts, events, *_ = self._own.get(heads, (None, None))
            if events is not None and all(self._done[stream] + getattr(counts, stream) == getattr(heads, stream) for stream in _STREAMS):
                self._done = heads._asdict()
                self._deliver(events)
            elif any(self._done[stream] < getattr(heads, stream) for stream in _STREAMS):
                heads = self._last_commit()
                await self._read_up_to(heads)
            self._forget_own(heads)
            self._items.popleft()

    def _last_commit(self):
        """The heads after the last of the commits at the front of the queue that are followed by no other thing, nor by an own commit that
        its writer has not told of.
        """
        last = self._items[0].heads
        for item in islice(self._items, 1, None):
            if not isinstance(item, Messages) or self._is_unreported(item):
                break
            last = item.heads
        return last

    def _is_unreported(self, item):
        """Whether the writer of this node must first tell of a commit, and answer those who asked for it.

        Whoever inserted a command must be known as its inserter before anything later about it is delivered.
        """
        return item.node == self._storage.node and item.heads not in self._own and self._storage.writer.committing

    def _forget_own(self, heads):
        while self._own and next(iter(self._own)) <= heads:
            *_, weight = self._own.pop(next(iter(self._own)))
            self._own_weight -= weight

    async def _read_up_to(self, heads):
        for stream, (kind, action) in _STREAMS.items():
            while self._running and self._done[stream] < getattr(heads, stream):
                take = self._page
                rows = await self._connection.run(_READ[stream], (self._done[stream], getattr(heads, stream), take))
                self._done[stream] = rows[-1][0] if len(rows) == take else getattr(heads, stream)
                messages = [MESSAGE_TABLES[kind].message(row[1:]) for row in rows]
                self._page = _next_page(take, messages)
                self._deliver([Event(action, message) for message in messages])
        self._forget_own(heads)

    def _deliver(self, events):
        if not self._running or not events:
            return
        try:
            self._receive(events)
        except Exception:
            self.log.failure("The receiver of the message bus failed; subscribers may have missed {count} events", count=len(events))


def _next_page(take, messages):
    """How many messages to read next, after some of these sizes."""
    size = sum(map(payload_size, messages))
    return max(1, min(PAGE, 10 * take, BYTES_OF_A_PAGE * len(messages) // size if size else PAGE))


def _key(kind, text):
    return text if kind is Device else int(text)
