"""The process that writes the file, with a socket of the server as its standard input.

It is a process and not a thread because a commit lets go of the interpreter many times for a moment, and a busy reactor would take it back
each time. It knows nothing but SQL, imports little, and ends with the server. It has a descriptor of the lock that the server took, so
nobody else opens the file as long as somebody may still write to it, whichever of the two ends first.
"""

import os
import sqlite3
import sys
from contextlib import suppress

from dhtwisted.errors import StorageDamaged, StorageUnavailable, Unstorable
from dhtwisted.providers.sqlite.data_files import MARK, WRITTEN, DataFiles
from dhtwisted.providers.sqlite.mark import IN_USE, Mark
from dhtwisted.providers.sqlite.row_checksum import checksum_of, is_whole
from dhtwisted.providers.sqlite.steps import (
    CHANGE,
    COUNT,
    DAMAGED,
    DONE,
    INSERT,
    LENGTH,
    REFUSED,
    REQUIRE_FREE,
    RUN,
    RUN_MANY,
    TAKEN,
    UNAVAILABLE,
    content_of,
    frame,
    length_of,
)
from dhtwisted.providers.sqlite.transaction import connect, transaction, translated_errors

SERVER = 0
"""The descriptor of the socket."""

MOST_ROWS = 128
"""Rows that one statement inserts. With fourteen values each they stay below the 32,766 that SQLite takes."""

READ_SIZE = 65_536

PUT_COUNTER = "INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)"

NO_MARK = 3
"""The exit status when the mark cannot be written. What is committed cannot be taken back, and must not be acknowledged: the server finds
out what became of it, as after any other end of this process."""


class _IdTaken(Exception):
    """What ends a transaction with a message whose id is not free."""


class Database:
    """The file as it is written.

    :param path: of the file. It is opened when it is first needed, so that the server may try again when that fails.
    """

    def __init__(self, path):
        self._path = path
        self._connection = self._files = self._mark = None
        self._counters = {}
        self._statements = {}

    def answer(self, steps):
        """Do all steps, or none.

        :returns: one of the answers of :mod:`~dhtwisted.providers.sqlite.steps`.
        """
        try:
            with translated_errors():
                return DONE, self._commit(steps)
        except _IdTaken as taken:
            return TAKEN, *taken.args
        except Unstorable as error:
            return REFUSED, str(error)
        except StorageDamaged as error:
            return DAMAGED, str(error), error.lasts
        except StorageUnavailable as error:
            return UNAVAILABLE, str(error)

    def close(self):
        """Let go of the file, which is whole by itself then. The last one to do so folds the write-ahead log into it."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("DELETE FROM counter WHERE name = ?", (IN_USE,))
            self._connection.close()
            self._mark.close()

    def _open(self):
        connection = connect(self._path)
        try:
            self._counters = dict(connection.execute("SELECT name, value FROM counter WHERE name <> ?", (IN_USE,)))
            self._mark = Mark(self._path)
        except OSError as error:
            connection.close()
            raise StorageUnavailable(f"{self._path}{MARK} cannot be opened: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _commit(self, steps):
        if self._connection is None:
            self._open()
        found, counted = [], self._counters
        with transaction(self._connection):
            for sort, *arguments in steps:
                result = _DO[sort](self, *arguments)
                if sort in (RUN, CHANGE):
                    found.append(result)
                elif sort == COUNT:
                    counted = result
            self._check_files()
        if counted is not self._counters:
            self._counters = counted
            self._acknowledge()
        return found

    def _acknowledge(self):
        try:
            self._mark.acknowledge()
        except OSError:
            os._exit(NO_MARK)

    def _count(self, changed):
        """Put counters, and write them into the mark before the commit.

        :returns: all of them, as they are then.
        """
        self._connection.executemany(PUT_COUNTER, changed.items())
        counters = self._counters | changed
        try:
            self._mark.give(counters)
        except OSError as error:
            raise StorageUnavailable(f"{self._path}{MARK} cannot be written: {error.strerror}") from error
        return counters

    def _check_files(self):
        """Commit nothing into files that nobody finds any more. It takes 5 us, of 500 or more that a commit takes.

        :raises StorageUnavailable: it would be lost with this process.
        """
        if self._files is None:
            self._files = DataFiles(self._path, WRITTEN)
        problem = self._files.problem()
        if problem:
            raise StorageUnavailable(problem)

    def _insert(self, into, width, values):
        """Insert by statements for 128, 64, 32 rows and so on, which stay prepared: it takes two thirds of the time of row by row."""
        values, width = _with_checksums(values, width), width + 1
        _ease_binding(values, width)
        rows, start = len(values) // width, 0
        while rows:
            size = min(1 << rows.bit_length() - 1, MOST_ROWS)
            end = start + size * width
            self._connection.execute(self._insert_statement(into, width, size), values[start:end])
            start, rows = end, rows - size

    def _insert_statement(self, into, width, rows):
        statement = self._statements.get((into, rows))
        if statement is None:
            row = f"({', '.join('?' * width)})"
            statement = self._statements[into, rows] = f"{into} VALUES {', '.join([row] * rows)}"
        return statement

    def _run(self, sql, parameters):
        cursor = self._connection.execute(sql, parameters)
        rows = cursor.fetchall()
        return cursor.rowcount, rows

    def _change(self, select, update, put_checksum):
        before = self._connection.execute(*select).fetchone()
        if before is None:
            return 0, []
        if not is_whole(before):
            return 1, [before]
        *values, _ = self._connection.execute(*update).fetchone()
        checksum = checksum_of(tuple(values))
        self._connection.execute(put_checksum, (checksum, values[-1]))
        return 1, [(*values, checksum)]

    def _run_many(self, sql, parameters):
        self._connection.executemany(sql, parameters)

    def _require_free(self, kind, sql, parameters):
        taken = self._connection.execute(sql, parameters).fetchone()
        if taken is not None:
            raise _IdTaken(kind, taken[0])


def _with_checksums(values, width):
    """The values of rows, each with its checksum behind them."""
    found = []
    for row in zip(*[iter(values)] * width, strict=True):
        found += row
        found.append(checksum_of(row))
    return found


def _ease_binding(values, width):
    """Replace the bytes in columns without NULLs: the driver looks for adapters of each bytes object, and of no bytearray."""
    for column in range(width):
        if type(values[column]) is bytes:
            entries = values[column::width]
            if None not in entries:
                values[column::width] = map(bytearray, entries)


_DO = {
    INSERT: Database._insert,
    RUN: Database._run,
    RUN_MANY: Database._run_many,
    REQUIRE_FREE: Database._require_free,
    CHANGE: Database._change,
    COUNT: Database._count,
}


def serve(path):
    """Answer frames until the server asks for the end, or is gone.

    :returns: whether the server asked for it.
    """
    database = Database(path)
    with open(SERVER, "rb", READ_SIZE, closefd=False) as frames:
        while (body := _receive(frames)) is not None:
            if not body:
                database.close()
                return True
            if not _send(frame(database.answer(content_of(body)))):
                break
    return False


def _receive(frames):
    """The next frame's content, empty for the last one; ``None`` when the server is gone."""
    try:
        head = frames.read(LENGTH)
        length = length_of(head) if len(head) == LENGTH else 0
        body = frames.read(length)
    except ConnectionError:
        return None
    return body if len(head) == LENGTH and len(body) == length else None


def _send(data):
    """Send an answer, and say whether there is somebody who takes it."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(SERVER, rest) :]
    except ConnectionError:
        return False
    return True


def main():
    """Serve whoever is at the other end of standard input."""
    if not serve(sys.argv[1]):
        # The server was killed, and another may wait for the lock: folding the log into the file is left to that one.
        os._exit(0)
