"""Writing to the SQLite file: operations, prepared in the reactor thread, committed together in the writer's.

A batch is prepared when it is handed to the writer: at that moment nothing else is under way, so keys, uniqueness, ids and times are
decided against what is committed plus what the batch did before. After the commit the batch is applied to memory; when the commit
fails it is forgotten. So the order of commits is the one order of everything, and a failed commit leaves no trace.
"""

import sqlite3

import msgspec
from twisted.internet.defer import succeed
from twisted.python.failure import Failure

from dhtwisted.errors import ConfigurationError, Duplicate, StorageError, Unstorable
from dhtwisted.model import ENTITY_KINDS, Command
from dhtwisted.storage.entities import Transaction, entity_tables
from dhtwisted.storage.sqlite_database import connect_writer, write_transaction
from dhtwisted.storage.sqlite_messages import MESSAGE_TABLES, is_integer_of_sqlite

_PUT_ENTITY = "INSERT OR REPLACE INTO entity (kind, key, body) VALUES (?, ?, ?)"
_DELETE_ENTITY = "DELETE FROM entity WHERE kind = ? AND key = ?"
_PUT_COUNTER = "INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)"
_BODY = msgspec.json.Encoder()


class Batch:
    """What one commit will do.

    :ivar now: server time in milliseconds; never before that of an earlier batch.
    :ivar counters: all counters as they will be.
    :ivar entities: the :class:`~dhtwisted.storage.entities.Transaction` of the batch.
    :ivar bodies: ``(kind, key)`` -> JSON of the entity as it will be.
    :ivar rows: kind of message -> rows to insert.
    :ivar steps: operations that have more to do in the writer's thread.
    """

    def __init__(self, tables, counters, now):
        self.now = max(now, counters.get("server_time", 0))
        self.counters = {**counters, "server_time": self.now}
        self.entities = Transaction(tables, self.counters, self._encode)
        self.bodies = {}
        self.rows = {kind: [] for kind in MESSAGE_TABLES}
        self.steps = []

    @property
    def changes_nothing(self):
        """Whether there is nothing to write but the time."""
        return not (self.steps or self.entities.changes or any(self.rows.values()))

    def _encode(self, entity):
        try:
            self.bodies[type(entity), entity.key] = _BODY.encode(entity)
        except (UnicodeEncodeError, OverflowError) as error:
            raise Unstorable(f"a {type(entity).__name__} cannot be kept: {type(error).__name__}") from error


class Append:
    """Store messages. They are stamped when the commit is done, and left alone when it fails: the caller may try again.

    Without messages it is a barrier: its turn comes when all before it are visible, and server time goes on from there.
    """

    def __init__(self, messages):
        self._messages = messages

    def prepare(self, batch):
        """Give ids and times."""
        self._stamps = []
        for message in self._messages:
            kind = type(message)
            message_id = batch.counters[kind.KIND] = batch.counters.get(kind.KIND, 0) + 1
            timestamp = batch.now if message.timestamp is None else message.timestamp
            batch.rows[kind].append(MESSAGE_TABLES[kind].row(message, timestamp, message_id))
            self._stamps.append((timestamp, message_id))

    def finish(self):
        """Stamp the messages."""
        for message, (timestamp, message_id) in zip(self._messages, self._stamps, strict=True):
            message.id = message_id
            message.timestamp = timestamp
            if type(message) is Command:
                message.last_updated = timestamp


class Restore:
    """Store messages as they are."""

    def __init__(self, messages):
        self._messages = {kind: [message for message in messages if type(message) is kind] for kind in set(map(type, messages))}

    def prepare(self, batch):
        """Have later ids lie above these."""
        for kind, messages in self._messages.items():
            batch.counters[kind.KIND] = max(batch.counters.get(kind.KIND, 0), *(message.id for message in messages))
        batch.steps.append(self)

    def execute(self, connection):
        """Insert the rows, unless an id is taken: then nothing of the batch is done, and its operations are tried one by one."""
        for kind, messages in self._messages.items():
            taken = connection.execute(*MESSAGE_TABLES[kind].taken([message.id for message in messages])).fetchone()
            if taken is not None:
                raise Duplicate(kind, "id", taken[0])
            connection.executemany(MESSAGE_TABLES[kind].insert, map(MESSAGE_TABLES[kind].restored_row, messages))

    def finish(self):
        """Nothing to tell."""


class UpdateCommand:
    """Record what became of a command."""

    def __init__(self, device_id, command_id, changes):
        self._arguments = device_id, command_id
        self._changes = changes
        self._row = None

    def prepare(self, batch):
        """Give the time."""
        if is_integer_of_sqlite(self._arguments[1]):
            self._statement = MESSAGE_TABLES[Command].change(*self._arguments, batch.now, self._changes)
            batch.steps.append(self)

    def execute(self, connection):
        """Change the row."""
        self._row = connection.execute(*self._statement).fetchone()

    def finish(self):
        """The command as it is now."""
        return self._row and MESSAGE_TABLES[Command].message(self._row)


class ForgetMessages:
    """Delete the oldest messages."""

    def __init__(self, kind, query):
        self._statement = MESSAGE_TABLES[kind].forget(query)

    def prepare(self, batch):
        """Take a turn."""
        batch.steps.append(self)

    def execute(self, connection):
        """Delete the rows."""
        self._count = connection.execute(*self._statement).rowcount

    def finish(self):
        """How many there were."""
        return self._count


class ChangeEntity:
    """Insert, update or delete an entity.

    :param method: the name of a method of :class:`~dhtwisted.storage.entities.Transaction`.
    """

    def __init__(self, method, *arguments):
        self._method = method
        self._arguments = arguments

    def prepare(self, batch):
        """Decide what happens."""
        self._result = getattr(batch.entities, self._method)(*self._arguments)

    def finish(self):
        """What the transaction answered."""
        return self._result


class Writer:
    """Commits batches of operations, one batch at a time.

    :param reactor: gives the time.
    :param worker: the :class:`~dhtwisted.storage.worker.Worker` whose thread has the connection.
    :param connection: from :func:`~dhtwisted.storage.sqlite_database.connect_writer`.
    :param tables: kind -> :class:`~dhtwisted.storage.entities.EntityTable`, as committed.
    :param counters: name -> value, as committed.
    """

    def __init__(self, reactor, worker, connection, tables, counters):
        self._reactor = reactor
        self._worker = worker
        self._connection = connection
        self._tables = tables
        self._counters = counters
        self._time = 0

    def commit(self, operations):
        """Do what :class:`~dhtwisted.storage.batching.Batcher` asks.

        :returns: a Deferred of a list: the result of each operation, or a ``Failure``.
        """
        batch = Batch(self._tables, self._counters, max(self._time, int(self._reactor.seconds() * 1000)))
        errors = [_prepare(operation, batch) for operation in operations]
        self._time = batch.now
        if all(errors) or batch.changes_nothing:
            return succeed(_outcomes(operations, errors))
        changed = [(name, value) for name, value in batch.counters.items() if self._counters.get(name) != value]
        done = self._worker.call(_commit, self._connection, batch, changed)
        return done.addCallback(self._apply, batch, operations, errors)

    def _apply(self, _, batch, operations, errors):
        self._counters = batch.counters
        batch.entities.apply()
        return _outcomes(operations, errors)


def open_for_writing(path):
    """Open the file and read what is kept in memory.

    :returns: the connection, the tables of entities, and the counters.
    :raises ConfigurationError: the file cannot be used.
    """
    connection = connect_writer(path)
    tables = entity_tables()
    try:
        for name, body in connection.execute("SELECT kind, body FROM entity"):
            entity = msgspec.json.decode(body, type=ENTITY_KINDS[name])
            tables[type(entity)].put(entity.key, entity)
        counters = dict(connection.execute("SELECT name, value FROM counter"))
    except (sqlite3.Error, msgspec.MsgspecError, KeyError) as error:
        connection.close()
        raise ConfigurationError(f"storage file {path} is damaged: {error!r}: restore it from a backup") from error
    return connection, tables, counters


def _prepare(operation, batch):
    try:
        operation.prepare(batch)
    except StorageError:
        return Failure()
    return None


def _outcomes(operations, errors):
    return [error or operation.finish() for operation, error in zip(operations, errors, strict=True)]


def _commit(connection, batch, counters):
    with write_transaction(connection):
        for kind, rows in batch.rows.items():
            if rows:
                connection.executemany(MESSAGE_TABLES[kind].insert, rows)
        for step in batch.steps:
            step.execute(connection)
        for (kind, key), entity in batch.entities.changes.items():
            if entity is None:
                connection.execute(_DELETE_ENTITY, (kind.KIND, str(key)))
            else:
                connection.execute(_PUT_ENTITY, (kind.KIND, str(key), batch.bodies[kind, key]))
        connection.executemany(_PUT_COUNTER, counters)
