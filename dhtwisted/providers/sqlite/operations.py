"""What can be done to the SQLite file, and how operations become the steps of one commit.

A batch is prepared when it is handed to the process that writes: at that moment nothing else is under way, so keys, uniqueness, ids and
times are decided against what is committed plus what the batch did before. After the commit the batch is applied to memory; when the commit
fails it is forgotten. So the order of commits is the one order of everything, and a failed commit leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from twisted.python.failure import Failure

from dhtwisted.errors import StorageDamaged, Unstorable
from dhtwisted.kit.entity_tables import EntityTable, Key
from dhtwisted.kit.entity_transaction import Transaction
from dhtwisted.model import Command, Entity, Message, MessageQuery
from dhtwisted.providers.sqlite.mark import BATCH, TIME
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES, is_integer_of_sqlite
from dhtwisted.providers.sqlite.row_checksum import checksum_of
from dhtwisted.providers.sqlite.steps import change, count, insert, require_free, run, run_many

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Step


_PUT_ENTITY = "INSERT OR REPLACE INTO entity (kind, key, body, checksum) VALUES (?, ?, ?, ?)"
_DELETE_ENTITY = "DELETE FROM entity WHERE kind = ? AND key = ?"
_BODY = msgspec.json.Encoder()

UPDATE = "command_update"
"""The name of one more counter: of the updates of commands."""


class Operation(Protocol):
    """What a caller asks of the storage."""

    def prepare(self, batch: Batch) -> None:
        """Add to a batch what is to be done.

        :raises StorageError: it cannot be done.
        """

    def finish(self) -> Any:
        """Return the result, after the commit."""


class Asking(Operation, Protocol):
    """An operation whose step finds something."""

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep what the step found: the count of rows, and the rows."""

    def recall(self) -> Step:
        """Return a step that finds the same after the commit, because its answer was lost."""
        ...


class Batch:
    """What one commit will do.

    :param counters: as committed.
    :param now: the time in milliseconds.
    :ivar now: server time in milliseconds; never before that of an earlier batch.
    :ivar counters: all counters as they will be.
    :ivar entities: the :class:`~dhtwisted.kit.entity_transaction.Transaction` of the batch.
    :ivar stamps: kind -> a list of ``(message, timestamp, id)`` for each message to be stored.
    :ivar asking: the operations that take what their step finds, in the order of these steps.
    """

    def __init__(self, tables: Mapping[type[Entity], EntityTable], counters: dict[str, int], now: int) -> None:
        self._committed = counters
        self.now = max(now, counters[TIME])
        self.counters = {**counters, TIME: self.now, BATCH: counters[BATCH] + 1}
        self.stamps: dict[type[Message], list[tuple[Any, int, int]]] = {kind: [] for kind in MESSAGE_TABLES}
        self._bodies: dict[tuple[type[Entity], Key], bytes] = {}
        # Not a method of this: the two would hold each other, and all the messages with them, until the collector comes.
        self.entities = Transaction(tables, self.counters, partial(_encode, self._bodies))
        self.asking: list[Asking] = []
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Have a step done that finds nothing."""
        self._steps.append(step)

    def ask(self, operation: Asking, step: Step) -> None:
        """Have a step done and the operation's ``take`` called with what it found: the count of rows, and the rows."""
        self._steps.append(step)
        self.asking.append(operation)

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to write but the time."""
        return not (any(self.stamps.values()) or self._steps or self.entities.changes)

    def steps(self) -> list[Step]:
        """All that is to be done."""
        entities = [self._entity_step(kind, key, entity) for (kind, key), entity in self.entities.changes.items()]
        counters = {name: value for name, value in self.counters.items() if self._committed.get(name) != value}
        return [*self._inserts(), *self._steps, *entities, count(counters)]

    def _inserts(self) -> list[Step]:
        steps = []
        for kind, stamps in self.stamps.items():
            if stamps:
                table = MESSAGE_TABLES[kind]
                steps.append(insert(table.into, table.width, table.values_of_new(self.now, *zip(*stamps, strict=True))))
        return steps

    def _entity_step(self, kind: type[Entity], key: Key, entity: Entity | None) -> Step:
        if entity is None:
            return run_many(_DELETE_ENTITY, [(kind.KIND, str(key))])
        row = kind.KIND, str(key), self._bodies[kind, key]
        return run_many(_PUT_ENTITY, [(*row, checksum_of(row))])

    def take(self, results: list[tuple[int, list[Any]]]) -> None:
        """Stamp the messages, and tell the operations what their steps found."""
        for stamps in self.stamps.values():
            for message, timestamp, message_id in stamps:
                message.id = message_id
                message.timestamp = timestamp
                message.arrived = self.now
        for command, timestamp, _ in self.stamps[Command]:
            command.last_updated = timestamp
        for operation, result in zip(self.asking, results, strict=True):
            operation.take(*result)


def _encode(bodies: dict[tuple[type[Entity], Key], bytes], entity: Entity) -> None:
    try:
        bodies[type(entity), entity.key] = _BODY.encode(entity)
    except (UnicodeEncodeError, OverflowError) as error:
        raise Unstorable(f"a {type(entity).__name__} cannot be kept: {type(error).__name__}") from error


class Append:
    """Store messages. They are stamped when the commit is done, and left alone when it fails: the caller may try again.

    Without messages it is a barrier: its turn comes when all before it are visible, and server time goes on from there.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def prepare(self, batch: Batch) -> None:
        """Give ids and times."""
        counters = batch.counters
        for message in self._messages:
            kind, timestamp = message.KIND, message.timestamp
            counters[kind] = message_id = counters[kind] + 1
            batch.stamps[type(message)].append((message, batch.now if timestamp is None else timestamp, message_id))

    def finish(self) -> None:
        """Nothing to tell."""


class Restore:
    """Store messages as they are."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages: dict[type[Message], list[Message]] = {
            kind: [message for message in messages if type(message) is kind] for kind in set(map(type, messages))
        }

    def prepare(self, batch: Batch) -> None:
        """Insert the rows, unless an id is taken: then nothing of the batch is done, and its operations are tried one by one. Have later
        ids lie above these.
        """
        for kind, messages in self._messages.items():
            ids = [message.id for message in messages]
            batch.counters[kind.KIND] = max(batch.counters[kind.KIND], *ids)
            table = MESSAGE_TABLES[kind]
            batch.add(require_free(kind.KIND, *table.taken(ids)))
            batch.add(insert(table.into, table.width, table.values(messages)))

    def finish(self) -> None:
        """Nothing to tell."""


class UpdateCommand:
    """Record what became of a command.

    :param tell_damage: called with the error where the command is damaged.
    """

    def __init__(self, device_id: str, command_id: int, changes: dict[str, Any], tell_damage: Callable[[StorageDamaged], object]) -> None:
        self._arguments = device_id, command_id
        self._changes = changes
        self._tell_damage = tell_damage
        self._outcome: Command | Failure | None = None

    def prepare(self, batch: Batch) -> None:
        """Give the time."""
        if is_integer_of_sqlite(self._arguments[1]):
            table = MESSAGE_TABLES[Command]
            batch.counters[UPDATE] += 1
            update = table.change(*self._arguments, batch.now, batch.counters[UPDATE], self._changes)
            batch.ask(self, change(table.get(*self._arguments), update, table.put_checksum))

    def recall(self) -> Step:
        """The step that finds the same when the change has been made."""
        return run(*MESSAGE_TABLES[Command].get(*self._arguments))

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep the command as it is now."""
        try:
            self._outcome = MESSAGE_TABLES[Command].message(rows[0]) if rows else None
        except StorageDamaged as error:
            self._outcome = Failure()
            self._tell_damage(error)

    def finish(self) -> Command | Failure | None:
        """The command as it is now, or the ``Failure`` of one that is damaged."""
        return self._outcome


class ForgetMessages:
    """Delete the messages that arrived first."""

    def __init__(self, kind: type[Message], query: MessageQuery) -> None:
        self._step = run(*MESSAGE_TABLES[kind].forget(query))

    def prepare(self, batch: Batch) -> None:
        """Take a turn."""
        batch.ask(self, self._step)

    def recall(self) -> Step:
        """The step that deletes the next ones, and counts these: how many went before is not known any more."""
        return self._step

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep how many were deleted."""
        self._count = count

    def finish(self) -> int:
        """How many there were."""
        return self._count


class ChangeEntity:
    """Insert, update or delete an entity.

    :param method: the name of a method of :class:`~dhtwisted.kit.entity_transaction.Transaction`.
    """

    def __init__(self, method: str, *arguments: Any) -> None:
        self._method = method
        self._arguments = arguments

    def prepare(self, batch: Batch) -> None:
        """Decide what happens."""
        self._result = getattr(batch.entities, self._method)(*self._arguments)

    def finish(self) -> Any:
        """What the transaction answered."""
        return self._result
