"""Everything in one file: the storage of a single server that must not forget.

SQLite in its write-ahead mode. One thread writes, commit by commit, each synced to the disk before anybody is told; another reads. Entities
are few and are looked up in memory, so only messages are ever read from the file while the server runs.
"""

import os
import sys

from twisted.internet.defer import fail, inlineCallbacks
from zope.interface import implementer

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IStorage
from dhtwisted.storage.batching import Batcher
from dhtwisted.storage.sqlite_database import FileLock, close_connection, connect_reader, translated_errors
from dhtwisted.storage.sqlite_messages import MESSAGE_TABLES, is_integer_of_sqlite
from dhtwisted.storage.sqlite_writer import Append, ChangeEntity, ForgetMessages, Restore, UpdateCommand, Writer, open_for_writing
from dhtwisted.storage.worker import Worker

SWITCH_INTERVAL = 0.0001
"""Seconds after which a busy thread is asked to let another run. A commit lets go of the interpreter many times for a moment; with Python's
5 ms, a busy reactor thread takes it back each time before the writer notices, and one-row commits fell from 2,500 to 1 per second."""


@implementer(IStorage)
class FileStorage:
    """Keeps entities and messages in an SQLite file, beside which ``-wal``, ``-shm`` and ``.lock`` files appear.

    :param path: of the file; its directory must exist.
    :param reactor: gives the time, and takes answers from the threads.
    """

    durability = "durable"

    def __init__(self, path, reactor):
        self._path = os.path.realpath(path)
        self._reactor = reactor
        self._open = False
        self._write_connection = self._read_connection = None
        self.state_directory = os.path.dirname(self._path)

    @inlineCallbacks
    def open(self):
        """Lock the file, create it or bring its schema up to date, and read the entities."""
        sys.setswitchinterval(min(SWITCH_INTERVAL, sys.getswitchinterval()))
        self._lock = FileLock(self._path)
        self._writing = Worker(self._reactor, "storage writer")
        self._reading = Worker(self._reactor, "storage reader")
        try:
            self._write_connection, self._tables, counters = yield self._writing.call(open_for_writing, self._path)
            self._read_connection = yield self._reading.call(connect_reader, self._path)
        except BaseException:
            yield self._let_go()
            raise
        self._batcher = Batcher(Writer(self._reactor, self._writing, self._write_connection, self._tables, counters).commit)
        self._open = True

    @inlineCallbacks
    def close(self):
        """Finish what was accepted, fold the log into the file, and end both threads."""
        if self._open:
            self._open = False
            # What was to be written is promised; who still waits for a list would only make others wait.
            self._reading.drop()
            yield self._batcher.drain()
            yield self._let_go()

    @inlineCallbacks
    def _let_go(self):
        yield self._reading.stop(close_connection, self._read_connection)
        # The last connection to be closed folds the write-ahead log into the file and removes it.
        yield self._writing.stop(close_connection, self._write_connection)
        self._lock.release()

    async def get(self, kind, key):
        """Find one entity, or ``None``."""
        return self._table(kind).entities.get(key)

    async def find(self, kind, query):
        """List entities."""
        return self._table(kind).find(query)

    async def count(self, kind, query):
        """Count entities."""
        return self._table(kind).count(query)

    def insert(self, entity):
        """Add an entity, and give it back with its key."""
        return self._write(ChangeEntity("insert", entity))

    def update(self, kind, key, changes):
        """Replace some fields of an entity, and give it back."""
        return self._write(ChangeEntity("update", kind, key, changes))

    def delete(self, kind, key):
        """Remove an entity, and say whether there was one."""
        return self._write(ChangeEntity("delete", kind, key))

    def append(self, messages):
        """Store messages, in one commit with whatever else is waiting."""
        return self._write(Append(messages), len(messages))

    def update_command(self, device_id, command_id, changes):
        """Record what became of a command."""
        return self._write(UpdateCommand(device_id, command_id, changes))

    def forget_messages(self, kind, query):
        """Delete messages, the oldest first, and say how many."""
        return self._write(ForgetMessages(kind, query))

    def restore(self, messages):
        """Store messages as they are."""
        return self._write(Restore(messages), len(messages))

    async def get_message(self, kind, device_id, message_id):
        """Find one message, or ``None``."""
        if not is_integer_of_sqlite(message_id):
            self._check_open()
            return None
        found = await self._read(kind, *MESSAGE_TABLES[kind].get(device_id, message_id))
        return found[0] if found else None

    async def find_messages(self, kind, query):
        """List messages."""
        return await self._read(kind, *MESSAGE_TABLES[kind].find(query))

    def _check_open(self):
        if not self._open:
            raise StorageUnavailable("the storage is closed")

    def _table(self, kind):
        self._check_open()
        return self._tables[kind]

    def _write(self, operation, rows=1):
        try:
            self._check_open()
            return self._batcher.submit(operation, rows)
        except StorageUnavailable:
            return fail()

    def _read(self, kind, sql, parameters):
        self._check_open()
        return self._reading.call(_select, self._read_connection, MESSAGE_TABLES[kind], sql, parameters)


def _select(connection, table, sql, parameters):
    with translated_errors():
        return [table.message(row) for row in connection.execute(sql, parameters)]
