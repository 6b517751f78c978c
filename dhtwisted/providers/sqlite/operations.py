"""The operations on the SQLite file, and how they become the steps of one commit.

A batch is prepared when it is sent to the process that writes. At that moment no other commit runs. So keys, uniqueness, ids and times
follow from what is committed and from the earlier operations of the batch. After the commit the batch is applied to memory. If the commit
fails, the batch is dropped. So everything happens in the order of commits, and a failed commit leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.python.failure import Failure

from dhtwisted.errors import StorageDamaged
from dhtwisted.kit.entity_tables import EntityTable, Key
from dhtwisted.kit.entity_transaction import Transaction
from dhtwisted.model import Command, Entity, Message, MessageQuery
from dhtwisted.providers.sqlite.entity_bodies import encode_body
from dhtwisted.providers.sqlite.mark import BATCH, TIME
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES, is_integer_of_sqlite
from dhtwisted.providers.sqlite.row_checksum import checksum_of
from dhtwisted.providers.sqlite.steps import change, count, insert, require_free, run, run_many

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Step


_PUT_ENTITY = "INSERT OR REPLACE INTO entity (kind, key, body, checksum) VALUES (?, ?, ?, ?)"
_DELETE_ENTITY = "DELETE FROM entity WHERE kind = ? AND key = ?"

UPDATE = "command_update"
"""The name of the counter of updates of commands."""


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

    def step_to_repeat(self) -> Step:
        """Return a step that finds the same after the commit, because its answer was lost."""
        ...


class Batch:
    """The content of one commit.

    :param counters: as committed.
    :param now: the time in milliseconds.
    :ivar now: server time in milliseconds; never before that of an earlier batch.
    :ivar counters: all counters as they will be.
    :ivar entities: the :class:`~dhtwisted.kit.entity_transaction.Transaction` of the batch.
    :ivar stamps: kind -> a list of ``(message, timestamp, id)`` for each message to be stored.
    :ivar asking: the operations that need the result of their step, in the order of the steps.
    """

    def __init__(self, tables: Mapping[type[Entity], EntityTable], counters: dict[str, int], now: int) -> None:
        self._committed = counters
        self.now = max(now, counters[TIME])
        self.counters = {**counters, TIME: self.now, BATCH: counters[BATCH] + 1}
        self.stamps: dict[type[Message], list[tuple[Any, int, int]]] = {kind: [] for kind in MESSAGE_TABLES}
        self._bodies: dict[tuple[type[Entity], Key], bytes] = {}
        # Not a method: it would make a reference cycle, which keeps all messages in memory until the garbage collector runs.
        self.entities = Transaction(tables, self.counters, partial(_encode, self._bodies))
        self.asking: list[Asking] = []
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Add a step that has no result."""
        self._steps.append(step)

    def ask(self, operation: Asking, step: Step) -> None:
        """Add a step. The operation's ``take`` gets its result: the count of rows, and the rows."""
        self._steps.append(step)
        self.asking.append(operation)

    @property
    def changes_nothing(self) -> bool:
        """Whether only the time has changed."""
        return not (any(self.stamps.values()) or self._steps or self.entities.changes)

    def steps(self) -> list[Step]:
        """The steps of the commit."""
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
        """Stamp the messages, and give the operations the results of their steps."""
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
    bodies[type(entity), entity.key] = encode_body(entity)


class Append:
    """Store messages. They are stamped after the commit. If it fails they do not change, so the caller can try again.

    Without messages this is a barrier: it is done when everything before it is visible, and the server time goes on from there.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def prepare(self, batch: Batch) -> None:
        """Assign ids and times."""
        counters = batch.counters
        for message in self._messages:
            kind, timestamp = message.KIND, message.timestamp
            counters[kind] = message_id = counters[kind] + 1
            batch.stamps[type(message)].append((message, batch.now if timestamp is None else timestamp, message_id))

    def finish(self) -> None:
        """There is no result."""


class Restore:
    """Store messages with the stamps that they have."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages: dict[type[Message], list[Message]] = {
            kind: [message for message in messages if type(message) is kind] for kind in set(map(type, messages))
        }

    def prepare(self, batch: Batch) -> None:
        """Insert the rows. Later ids are higher than these.

        If an id is taken, nothing of the batch is done, and its operations are tried one by one.
        """
        for kind, messages in self._messages.items():
            ids = [message.id for message in messages]
            batch.counters[kind.KIND] = max(batch.counters[kind.KIND], *ids)
            table = MESSAGE_TABLES[kind]
            batch.add(require_free(kind.KIND, *table.taken(ids)))
            batch.add(insert(table.into, table.width, table.values(messages)))

    def finish(self) -> None:
        """There is no result."""


class UpdateCommand:
    """Update a command.

    :param report_damage: called with the error if the stored command is damaged.
    """

    def __init__(self, device_id: str, command_id: int, changes: dict[str, Any], report_damage: Callable[[StorageDamaged], object]) -> None:
        self._arguments = device_id, command_id
        self._changes = changes
        self._report_damage = report_damage
        self._outcome: Command | Failure | None = None

    def prepare(self, batch: Batch) -> None:
        """Add the update, with its time and number."""
        if is_integer_of_sqlite(self._arguments[1]):
            table = MESSAGE_TABLES[Command]
            batch.counters[UPDATE] += 1
            update = table.change(*self._arguments, batch.now, batch.counters[UPDATE], self._changes)
            batch.ask(self, change(table.get(*self._arguments), update, table.put_checksum))

    def step_to_repeat(self) -> Step:
        """Make the step that finds the updated command again."""
        return run(*MESSAGE_TABLES[Command].get(*self._arguments))

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep the updated command."""
        try:
            self._outcome = next(iter(MESSAGE_TABLES[Command].objects(rows)), None)
        except StorageDamaged as error:
            self._outcome = Failure()
            self._report_damage(error)

    def finish(self) -> Command | Failure | None:
        """Return the updated command, or a ``Failure`` if it is damaged."""
        return self._outcome


class ForgetMessages:
    """Delete the messages that arrived first."""

    def __init__(self, kind: type[Message], query: MessageQuery) -> None:
        self._step = run(*MESSAGE_TABLES[kind].forget(query))

    def prepare(self, batch: Batch) -> None:
        """Add the deletion."""
        batch.ask(self, self._step)

    def step_to_repeat(self) -> Step:
        """Make a step that deletes the next messages and counts these. The first count is lost."""
        return self._step

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep how many were deleted."""
        self._count = count

    def finish(self) -> int:
        """Return how many were deleted."""
        return self._count


class ChangeEntity:
    """Insert, update or delete an entity.

    :param method: the name of a method of :class:`~dhtwisted.kit.entity_transaction.Transaction`.
    """

    def __init__(self, method: str, *arguments: Any) -> None:
        self._method = method
        self._arguments = arguments

    def prepare(self, batch: Batch) -> None:
        """Make the change in the transaction."""
        self._result = getattr(batch.entities, self._method)(*self._arguments)

    def finish(self) -> Any:
        """Return the answer of the transaction."""
        return self._result
