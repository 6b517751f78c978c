"""Writes messages to PostgreSQL: one statement, which is one transaction, for everything that waits.

The statement first changes the row of ``message_counter``. So it waits for the commits of all other nodes, and gets its ids and its time
from the row. It needs no further message from the client, so a node that dies or hangs blocks nobody. The same commit notifies the
listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.model import Command, Entity, Message, Notification
from dhtwisted.providers.postgres import bulk
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.messages import MESSAGE_TABLES
from dhtwisted.providers.postgres.statements import Statement
from dhtwisted.providers.postgres.values import folded, integer_column, payload_column, text_column


class Column(NamedTuple):
    """One column of many rows.

    :ivar type: of the parameter, in SQL.
    :ivar encode: makes the parameter from a list with one value for each row.
    :ivar value: gives the value from the object of a row.
    """

    name: str
    type: str
    encode: Callable[[list[Any]], Any]
    value: Callable[[Any], Any]


def _text(name: str, value: Callable[[Any], Any] | None = None) -> Column:
    return Column(name, "text[]", text_column, value or attrgetter(name))


def _integer(name: str) -> Column:
    return Column(name, "bigint[]", integer_column, attrgetter(name))


def _payload(name: str) -> Column:
    return Column(name, "text[]", payload_column, attrgetter(name))


def _flag(name: str) -> Column:
    return Column(name, "boolean[]", list, attrgetter(name))


_ADDRESSED = (
    _text("name"),
    _text("device_id"),
    _integer("network_id"),
    _integer("device_type_id"),
    _payload("parameters"),
    _integer("timestamp"),
)
_FOLDED_STATUS = _text("folded_status", lambda command: folded(command.status))
COMMAND_COLUMNS = (*_ADDRESSED, _integer("user_id"), _integer("lifetime"), _text("status"), _FOLDED_STATUS, _payload("result"))
NOTIFICATION_COLUMNS = _ADDRESSED
UPDATE_COLUMNS = (
    _text("device_id"),
    _integer("command_id"),
    _text("status"),
    _FOLDED_STATUS,
    _payload("result"),
    _flag("sets_status"),
    _flag("sets_result"),
)
_GROUPS = (COMMAND_COLUMNS, NOTIFICATION_COLUMNS, UPDATE_COLUMNS)

SETUP = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan"
"""Settings of the writer's connection. The statement is planned once, when the tables may be empty. The plan must not scan them when they
are full."""


def _parameters() -> tuple[list[str], list[list[str]]]:
    """Number the parameters of the statement without entities.

    :returns: their types, and for each group the places of its columns, such as ``$5``.
    """
    types, places = ["bigint", "text", "text", "bigint"], []
    for group in _GROUPS:
        places.append([f"${len(types) + 1 + n}" for n in range(len(group))])
        types += [column.type for column in group]
    return types, places


def _given(columns: Sequence[Column], places: Sequence[str]) -> str:
    """The rows of a group, with their numbers from 1."""
    return f"unnest({', '.join(places)}) WITH ORDINALITY AS given ({', '.join(column.name for column in columns)}, number)"


RESULT_KEPT = 1800
"""Seconds for which updates of a command refer to one row of ``command_updates`` with the result. After that a row stores the result again,
so that old rows can be deleted."""

_TIME = "coalesce(given.timestamp, stamp.server_time)"
_ARRIVED = ("arrived", "stamp.server_time")


def _select(columns: Sequence[Column], time: str) -> list[str]:
    """What is inserted of a row of ``given``.

    :param time: what becomes of its ``timestamp``.
    """
    selected = [f"given.{column.name}::json" if column.encode is payload_column else f"given.{column.name}" for column in columns]
    return [time if name == "given.timestamp" else name for name in selected]


def _insert(kind: str, columns: Sequence[Column], places: Sequence[str], more: Sequence[tuple[str, str]]) -> str:
    """The part of the statement that inserts messages of one kind.

    :param more: further columns and what they become.
    """
    names = ["id", *(column.name for column in columns), *(name for name, _ in more)]
    values = [f"stamp.{kind} - cardinality({places[0]}) + given.number", *_select(columns, _TIME), *(value for _, value in more)]
    return f"INSERT INTO {kind}s ({', '.join(names)}) SELECT {', '.join(values)} FROM stamp, {_given(columns, places)}"


def _change(updates: Sequence[str]) -> str:
    """The part of the statement that changes commands. Which update has the result is decided on the rows as they are when their turn
    comes, as all else; another node may have committed since the statement began.

    :param updates: the places of the columns.
    """
    update_id = f"stamp.command_update - cardinality({updates[0]}) + given.number"
    logs_result = f"given.sets_result OR commands.result_update_time < stamp.server_time - {RESULT_KEPT * 1000}"
    return f"""
    UPDATE commands SET
        status = CASE WHEN given.sets_status THEN given.status ELSE commands.status END,
        folded_status = CASE WHEN given.sets_status THEN given.folded_status ELSE commands.folded_status END,
        result = CASE WHEN given.sets_result THEN given.result::json ELSE commands.result END,
        result_update = CASE WHEN {logs_result} THEN {update_id} ELSE commands.result_update END,
        result_update_time = CASE WHEN {logs_result} THEN stamp.server_time ELSE commands.result_update_time END,
        updated = true,
        update_id = {update_id},
        last_updated = greatest(stamp.server_time, commands.last_updated + 1)
    FROM stamp, {_given(UPDATE_COLUMNS, updates)}
    WHERE commands.id = given.command_id AND commands.device_id = given.device_id
    RETURNING given.number, commands.*"""


def _write_statement(name: str, has_entities: bool) -> str:
    """Make the statement that prepares another.

    :param name: of the prepared statement.
    :param has_entities: whether it changes entities too.
    """
    types, (commands, notifications, updates) = _parameters()
    changes = ""
    if has_entities:
        changes = "".join(f", {part}" for part in bulk.parts([f"${len(types) + 1 + n}" for n in range(len(bulk.TYPES))]))
        types += bulk.TYPES
    count = {"command": commands[0], "notification": notifications[0], "command_update": updates[0]}
    counters = ", ".join(f"{name} = {name} + cardinality({place})" for name, place in count.items())
    new = [
        _ARRIVED,
        ("last_updated", _TIME),
        ("updated", "false"),
        ("inserted_status", "given.status"),
        ("inserted_result", "given.result::json"),
    ]
    return f"""
PREPARE {name} ({", ".join(types)}) AS
WITH stamp AS (
    UPDATE message_counter SET {counters}, server_time = CASE WHEN server_time > $1 THEN server_time + $4 ELSE $1 END
    RETURNING command, notification, command_update, server_time
), new_commands AS (
    {_insert("command", COMMAND_COLUMNS, commands, new)}
), new_notifications AS (
    {_insert("notification", NOTIFICATION_COLUMNS, notifications, [_ARRIVED])}
), changed AS ({_change(updates)}
), logged AS (
    INSERT INTO command_updates (id, command_id, status, result, result_update, last_updated, server_time)
    SELECT changed.update_id, changed.id, changed.status,
        CASE WHEN changed.result_update = changed.update_id THEN changed.result END,
        nullif(changed.result_update, changed.update_id), changed.last_updated, stamp.server_time
    FROM stamp, changed
), woken AS MATERIALIZED (
    SELECT CASE WHEN cardinality({commands[0]}) + cardinality({notifications[0]}) + cardinality({updates[0]}) > 0
        THEN pg_notify($2, concat_ws(' ', 'messages', $3, command, notification, command_update)) END
    FROM stamp
){changes}
SELECT stamp.command, stamp.notification, stamp.command_update, server_time, number, {MESSAGE_TABLES[Command].columns}
FROM stamp CROSS JOIN woken LEFT JOIN changed ON true
"""


_VALUES = 4 + sum(map(len, _GROUPS))
PREPARE_WRITE = f"{_write_statement('write_messages', False)};{_write_statement('write_all', True)}"
WRITE = f"EXECUTE write_messages ({', '.join(['%s'] * _VALUES)})"
WRITE_ALL = f"EXECUTE write_all ({', '.join(['%s'] * (_VALUES + len(bulk.TYPES)))})"
"""The same, and entities are changed. Batches without entities do not pay for it."""


_RESTORED: dict[type[Message], tuple[Column, ...]] = {
    Command: (*COMMAND_COLUMNS, _integer("id"), _integer("arrived"), _integer("last_updated"), _flag("updated"), _integer("update_id")),
    Notification: (*NOTIFICATION_COLUMNS, _integer("id"), _integer("arrived")),
}


def restore_statement(messages: Sequence[Message]) -> Statement:
    """Make the statement that stores messages with the stamps that they have.

    :returns: SQL and its values.
    """
    parts, values = [], []
    for kind, columns in _RESTORED.items():
        rows = [message for message in messages if type(message) is kind]
        given = f"unnest({', '.join(f'%s::{column.type}' for column in columns)}) AS given ({', '.join(column.name for column in columns)})"
        names = ", ".join(column.name for column in columns)
        selected = ", ".join(_select(columns, "given.timestamp"))
        parts.append(f"restored_{kind.KIND} AS (INSERT INTO {kind.KIND}s ({names}) SELECT {selected} FROM {given})")
        values += [column.encode(list(map(column.value, rows))) for column in columns]
    last = [max((message.id for message in messages if type(message) is kind), default=0) for kind in _RESTORED]
    counted = "UPDATE message_counter SET command = greatest(command, %s), notification = greatest(notification, %s)"
    return f"WITH {', '.join(parts)} {counted}", (*values, *last)


class Heads(NamedTuple):
    """The last ids of the tables after a commit. Everything up to these ids is visible."""

    command: int
    notification: int
    command_update: int


class Operation(Protocol):
    """What a caller asks of the storage.

    :ivar outcome: the result, after the commit.
    """

    outcome: Any

    def join(self, batch: Batch) -> None:
        """Become part of a batch."""


class Batch:
    """The content of one statement.

    :ivar commands: new commands.
    :ivar notifications: new notifications.
    :ivar updates: updates of commands.
    :ivar entities: changes of entities.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.commands: list[Command] = []
        self.notifications: list[Notification] = []
        self.updates: list[UpdateCommand] = []
        self.entities: bulk.Changes = {}
        for operation in operations:
            operation.join(self)

    def statement(self, now: int, channel: str, node: str, step: int) -> Statement:
        """:data:`WRITE` or :data:`WRITE_ALL`, and its values."""
        rows_of_groups: tuple[list[Any], ...] = self.commands, self.notifications, self.updates
        groups = zip(_GROUPS, rows_of_groups, strict=True)
        columns = [column.encode(list(map(column.value, rows))) for group, rows in groups for column in group]
        values = (now, channel, node, step, *columns)
        return (WRITE_ALL, (*values, *bulk.values(self.entities))) if self.entities else (WRITE, values)

    def finish(self, rows: list[Any]) -> Heads:
        """Stamp what was stored.

        :param rows: the answer of :data:`WRITE`.
        :returns: the :class:`Heads`.
        """
        *heads, server_time = rows[0][:4]
        heads = Heads(*heads)
        _stamp(self.commands, heads.command, server_time)
        _stamp(self.notifications, heads.notification, server_time)
        for command in self.commands:
            command.last_updated = command.timestamp
        first = heads.command_update - len(self.updates)
        for number, *row in (row[4:] for row in rows):
            if number is not None:
                self.updates[number - 1].succeed(first + number, MESSAGE_TABLES[Command].message(row))
        return heads


def _stamp(messages: Sequence[Message], head: int, server_time: int) -> None:
    for message_id, message in enumerate(messages, head - len(messages) + 1):
        message.id = message_id
        message.arrived = server_time
        if message.timestamp is None:
            message.timestamp = server_time


class Append:
    """Store messages.

    :ivar outcome: the result for the caller.
    """

    outcome = None

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def join(self, batch: Batch) -> None:
        """Become part of a batch."""
        for message in self._messages:
            messages: list[Any] = batch.commands if type(message) is Command else batch.notifications
            messages.append(message)


class ChangeMany(Append):
    """Store entities, remove others, and append messages. Of several changes of one entity in a batch the last counts."""

    def __init__(self, put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message]) -> None:
        super().__init__(messages)
        self._put = put
        self._removed = removed

    def join(self, batch: Batch) -> None:
        """Become part of a batch."""
        super().join(batch)
        for entity in self._put:
            batch.entities[type(entity), entity.key] = entity
        for removed in self._removed:
            batch.entities[removed] = None


class UpdateCommand:
    """Update a command. A batch has at most one update of each command.

    :ivar outcome: the updated command; ``None`` if there is no such command.
    :ivar update_id: the id of the update in ``command_updates``.
    """

    def __init__(self, device_id: str, command_id: int, changes: dict[str, Any]) -> None:
        self.device_id = device_id
        self.command_id = command_id
        self.status = changes.get("status")
        self.result = changes.get("result")
        self.sets_status = "status" in changes
        self.sets_result = "result" in changes
        self.outcome: Command | None = None
        self.update_id = 0

    def join(self, batch: Batch) -> None:
        """Become part of a batch."""
        batch.updates.append(self)

    def succeed(self, update_id: int, command: Command) -> None:
        """Keep the result."""
        self.update_id = update_id
        self.outcome = command


class Writer:
    """Commits batches of operations, one batch at a time.

    :param reactor: gives the time.
    :param connection: the :class:`~dhtwisted.providers.postgres.connection.HealingConnection` that has run :data:`SETUP` and
        :data:`PREPARE_WRITE`.
    :param channel: on which listeners are woken.
    :param node: identifies this process; without spaces.
    :ivar listener: called as ``listener(batch, heads)`` after each commit, when the batch is stamped and before anybody is answered;
        ``None`` for no listener.
    :ivar committing: whether a commit is under way.
    """

    def __init__(self, reactor: IReactorTime, connection: HealingConnection, channel: str, node: str) -> None:
        self.listener: Callable[[Batch, Heads], object] | None = None
        self.committing = False
        self._settled: Deferred[None] | None = None
        self._reactor = reactor
        self._forward_time = ForwardTime()
        self._connection = connection
        self._channel = channel
        self._node = node

    async def commit(self, operations: list[Operation]) -> list[Any]:
        """Commit a batch, as :class:`~dhtwisted.kit.batching.Batcher` needs it.

        :returns: a list with the outcome of each operation.
        """
        batch = Batch(operations)
        self.committing = True
        try:
            now, step = int(self._reactor.seconds() * 1000), self._forward_time.step()
            rows = await self._connection.run(*batch.statement(now, self._channel, self._node, step))
            heads = batch.finish(rows)
            if self.listener is not None:
                self.listener(batch, heads)
        finally:
            self.committing = False
            if self._settled is not None:
                settled, self._settled = self._settled, None
                settled.callback(None)
        return [operation.outcome for operation in operations]

    def settled(self) -> Deferred[None]:
        """Wait for the end of the running commit, whether it succeeds or fails. One caller may wait.

        :returns: fires before the callers of the commit get their results.
        """
        settled: Deferred[None] = Deferred()
        self._settled = settled
        return settled
