"""A storage in memory, for tests, demonstrations, and servers that may lose their data.

It is the reference of what a storage does. Every answer is ready at once, unless a query has to visit much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IBackupAdvice, IBoundedAnswers, IBulkStorage, IStorage
from dhtwisted.kit.entity_tables import EntityTable, Key, entity_tables, holdings
from dhtwisted.kit.entity_transaction import Transaction
from dhtwisted.kit.message_log import MessageLog
from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.kit.slices import Slices
from dhtwisted.kit.waiter import DONE, Done, Ready
from dhtwisted.model import MESSAGE_KINDS, Command, Entity, EntityQuery, Holding, Message, MessageQuery


@implementer(IStorage, IBoundedAnswers, IBackupAdvice, IBulkStorage)
class MemoryStorage:
    """Keeps entities and messages until the process ends.

    :param reactor: gives the time.
    :param max_messages: how many messages to keep, of all kinds together. When there are a thousandth more, those that arrived first are
        deleted. The ``timestamp`` does not count: clients may set it, and a message from the future would outlast all others.
    """

    durability = "volatile"
    backup_advice = "whose data end with the server; use devicehive export"
    state_directory = None

    def __init__(self, reactor: IReactorTime, max_messages: int = 1_000_000) -> None:
        self._seconds = reactor.seconds
        self._slices = Slices(reactor)
        self._max_messages = max_messages
        # Not at each message: counting costs more than deleting.
        self._forget_above = max_messages + max_messages // 1000
        self._closed = False
        self._tables = entity_tables()
        self._sequences: dict[str, int] = {}
        self._logs = {kind: MessageLog(kind) for kind in MESSAGE_KINDS.values()}
        # An append reads their lengths, which cost nothing.
        self._commands, self._notifications = [log.by_id for log in self._logs.values()]
        self._server_time = 0
        self._forward_time = ForwardTime()

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """Refuse every later call."""
        self._closed = True

    async def get(self, kind: type[Entity], key: Key) -> Any:
        """Find one entity, or ``None``."""
        return self._table(kind).entities.get(key)

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        """List entities."""
        return await self._slices.run(self._table(kind).find_in_slices, query)

    async def count(self, kind: type[Entity], query: EntityQuery) -> int:
        """Count entities."""
        return await self._slices.run(self._table(kind).count_in_slices, query)

    async def holdings(self, owner: int) -> dict[type[Entity], Holding]:
        """Count what a user owns."""
        self._check_open()
        return holdings(self._tables, owner)

    async def insert(self, entity: Entity) -> Any:
        """Add an entity, and return it with its key."""
        return self._change("insert", entity)

    async def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Any:
        """Change some fields of an entity, and return it."""
        return self._change("update", kind, key, changes)

    async def delete(self, kind: type[Entity], key: Key) -> bool:
        """Remove an entity, and return whether there was one."""
        return self._change("delete", kind, key)

    def change_many(self, put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message] = ()) -> Done:
        """Store entities, remove others, and append messages."""
        self._check_open()
        for entity in put:
            self._tables[type(entity)].put(entity.key, entity)
        for kind, key in removed:
            self._tables[kind].put(key, None)
        return self.append(messages) if messages else DONE

    async def remove_group(self, kind: type[Entity], group: str) -> None:
        """Remove the entities of a group."""
        table = self._table(kind)
        for entity in table.find(EntityQuery(equal={kind.MANY: group})):
            table.put(entity.key, None)

    def append(self, messages: Sequence[Message]) -> Done:
        """Stamp and store the messages themselves, without copies. This is not a coroutine, because nearly all calls are to this method."""
        if self._closed:
            self._check_open()
        now = int(self._seconds() * 1000)
        if now != self._server_time:
            self._server_time = self._forward_time.next_after(self._server_time, now)
        if len(messages) > 1 and len(kinds := set(map(type, messages))) == 1:
            self._logs[kinds.pop()].add_many(messages, self._server_time)
        else:
            for message in messages:
                self._logs[type(message)].add(message, self._server_time)
        if len(self._commands) + len(self._notifications) > self._forget_above:
            self._forget_surplus()
        return DONE

    def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Awaitable[Command | None]:
        """Update a command. The update is a new object; the one that was returned before does not change."""
        return Ready(self._log(Command).update_command(device_id, command_id, self._now(), changes))

    async def get_message(self, kind: type[Message], device_id: str, message_id: int) -> Any:
        """Find one message, or ``None``."""
        return self._log(kind).get(device_id, message_id)

    async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
        """List messages."""
        return await self._slices.run(self._log(kind).find_in_slices, query)

    async def forget_messages(self, kind: type[Message], query: MessageQuery) -> int:
        """Delete messages, those first that arrived first, and return how many."""
        return self._log(kind).forget(query)

    async def restore(self, messages: Sequence[Message]) -> None:
        """Store messages with the stamps that they have."""
        self._check_open()
        for message in messages:
            self._logs[type(message)].check_free(message.id)
        for message in messages:
            self._logs[type(message)].put(message)
        self._forget_surplus()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("the storage is closed")

    def _table(self, kind: type[Entity]) -> EntityTable:
        self._check_open()
        return self._tables[kind]

    def _log(self, kind: type[Message]) -> MessageLog:
        self._check_open()
        return self._logs[kind]

    def _change(self, method: str, *arguments: Any) -> Any:
        self._check_open()
        transaction = Transaction(self._tables, self._sequences)
        result = getattr(transaction, method)(*arguments)
        transaction.apply()
        return result

    def _now(self) -> int:
        self._server_time = self._forward_time.next_after(self._server_time, int(self._seconds() * 1000))
        return self._server_time

    def _forget_surplus(self) -> None:
        """Delete the messages that arrived first."""
        logs = self._logs.values()
        for _ in range(sum(map(len, logs)) - self._max_messages):
            min(logs, key=MessageLog.first_arrival).forget_first()
