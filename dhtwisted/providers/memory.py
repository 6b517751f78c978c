"""Everything in this process: for tests, demonstrations, and servers that may forget.

It is the reference of what a storage does, and every answer is ready at once, unless much has to be looked at for it.
"""

from zope.interface import implementer

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IBoundedAnswers, IStorage
from dhtwisted.kit.entity_tables import entity_tables, holdings
from dhtwisted.kit.entity_transaction import Transaction
from dhtwisted.kit.message_log import MessageLog
from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.kit.slices import Slices
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import MESSAGE_KINDS, Command


@implementer(IStorage, IBoundedAnswers)
class MemoryStorage:
    """Keeps entities and messages until the process ends.

    :param reactor: gives the time.
    :param max_messages: how many messages to keep, of all kinds together; when there are a thousandth more, those that arrived first go.
        Not those with the oldest ``timestamp``: a client may give one, and one from the future would then outlast everybody else's.
    """

    durability = "volatile"
    state_directory = None

    def __init__(self, reactor, max_messages=1_000_000):
        self._seconds = reactor.seconds
        self._slices = Slices(reactor)
        self._max_messages = max_messages
        # Not one for each that comes: looking how many there are costs more than forgetting one.
        self._forget_above = max_messages + max_messages // 1000
        self._closed = False
        self._tables = entity_tables()
        self._sequences = {}
        self._logs = {kind: MessageLog(kind) for kind in MESSAGE_KINDS.values()}
        # Their lengths are there at no cost, for each append.
        self._commands, self._notifications = [log.by_id for log in self._logs.values()]
        self._server_time = 0
        self._forward_time = ForwardTime()

    async def open(self):
        """Nothing to prepare."""

    async def close(self):
        """Refuse every later call."""
        self._closed = True

    async def get(self, kind, key):
        """Find one entity, or ``None``."""
        return self._table(kind).entities.get(key)

    async def find(self, kind, query):
        """List entities."""
        return await self._slices.run(self._table(kind).find_in_slices, query)

    async def count(self, kind, query):
        """Count entities."""
        return await self._slices.run(self._table(kind).count_in_slices, query)

    async def holdings(self, owner):
        """Tell what counts for a user."""
        self._check_open()
        return holdings(self._tables, owner)

    async def insert(self, entity):
        """Add an entity, and return it with its key."""
        return self._change("insert", entity)

    async def update(self, kind, key, changes):
        """Replace some fields of an entity, and return it."""
        return self._change("update", kind, key, changes)

    async def delete(self, kind, key):
        """Remove an entity, and say whether there was one."""
        return self._change("delete", kind, key)

    def append(self, messages):
        """Stamp and keep messages, as the very objects that were handed in: no coroutine, since nearly all that is asked for is this."""
        if self._closed:
            self._check_open()
        now = int(self._seconds() * 1000)
        if now != self._server_time:
            self._server_time = self._forward_time.next_after(self._server_time, now)
        for message in messages:
            self._logs[type(message)].add(message, self._server_time)
        if len(self._commands) + len(self._notifications) > self._forget_above:
            self._forget_surplus()
        return DONE

    async def update_command(self, device_id, command_id, changes):
        """Record what became of a command in a new object; the one handed out before stays as it was."""
        return self._log(Command).update_command(device_id, command_id, self._now(), changes)

    async def get_message(self, kind, device_id, message_id):
        """Find one message, or ``None``."""
        return self._log(kind).get(device_id, message_id)

    async def find_messages(self, kind, query):
        """List messages."""
        return await self._slices.run(self._log(kind).find_in_slices, query)

    async def forget_messages(self, kind, query):
        """Delete messages, those first that arrived first, and say how many."""
        return self._log(kind).forget(query)

    async def restore(self, messages):
        """Keep messages as they are."""
        self._check_open()
        for message in messages:
            self._logs[type(message)].check_free(message.id)
        for message in messages:
            self._logs[type(message)].put(message)
        self._forget_surplus()

    def _check_open(self):
        if self._closed:
            raise StorageUnavailable("the storage is closed")

    def _table(self, kind):
        self._check_open()
        return self._tables[kind]

    def _log(self, kind):
        self._check_open()
        return self._logs[kind]

    def _change(self, method, *arguments):
        self._check_open()
        transaction = Transaction(self._tables, self._sequences)
        result = getattr(transaction, method)(*arguments)
        transaction.apply()
        return result

    def _now(self):
        self._server_time = self._forward_time.next_after(self._server_time, int(self._seconds() * 1000))
        return self._server_time

    def _forget_surplus(self):
        """Remove what arrived first."""
        logs = self._logs.values()
        for _ in range(sum(map(len, logs)) - self._max_messages):
            min(logs, key=MessageLog.first_arrival).forget_first()
