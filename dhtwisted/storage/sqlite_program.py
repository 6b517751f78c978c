"""The process that writes the file, with a socket of the server as its standard input.

It is a process and not a thread because a commit lets go of the interpreter many times for a moment, and a busy reactor would take it back
each time. It knows nothing but SQL, imports little, and ends with the server. It has a descriptor of the lock that the server took, so
nobody else opens the file as long as somebody may still write to it, whichever of the two ends first.
"""

import os
import sys

from dhtwisted.errors import StorageDamaged, StorageUnavailable, Unstorable
from dhtwisted.storage.data_files import WRITTEN, DataFiles
from dhtwisted.storage.sqlite_steps import (
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
from dhtwisted.storage.sqlite_transaction import connect, transaction, translated_errors

SERVER = 0
"""The descriptor of the socket."""

MOST_ROWS = 128
"""Rows that one statement inserts. With fourteen values each they stay below the 32,766 that SQLite takes."""

READ_SIZE = 65_536


class _IdTaken(Exception):
    """What ends a transaction with a message whose id is not free."""


class Database:
    """The file as it is written.

    :param path: of the file. It is opened when it is first needed, so that the server may try again when that fails.
    """

    def __init__(self, path):
        self._path = path
        self._connection = self._files = None
        self._statements = {}

    def answer(self, steps):
        """Do all steps, or none.

        :returns: one of the answers of :mod:`~dhtwisted.storage.sqlite_steps`.
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
        """Let go of the file. The last one to do so folds the write-ahead log into it."""
        if self._connection is not None:
            self._connection.close()

    def _commit(self, steps):
        if self._connection is None:
            self._connection = connect(self._path)
        found = []
        with transaction(self._connection):
            for sort, *arguments in steps:
                result = _DO[sort](self, *arguments)
                if sort == RUN:
                    found.append(result)
            self._check_files()
        return found

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

    def _run_many(self, sql, parameters):
        self._connection.executemany(sql, parameters)

    def _require_free(self, kind, sql, parameters):
        taken = self._connection.execute(sql, parameters).fetchone()
        if taken is not None:
            raise _IdTaken(kind, taken[0])


def _ease_binding(values, width):
    """Replace the bytes in columns without NULLs: the driver looks for adapters of each bytes object, and of no bytearray."""
    for column in range(width):
        if type(values[column]) is bytes:
            entries = values[column::width]
            if None not in entries:
                values[column::width] = map(bytearray, entries)


_DO = {INSERT: Database._insert, RUN: Database._run, RUN_MANY: Database._run_many, REQUIRE_FREE: Database._require_free}


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
