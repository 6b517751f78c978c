"""The program of the process that writes the file. Its standard input is a socket of the server.

It is a process and not a thread, because a commit releases the interpreter lock many times for a moment, and a busy reactor would take the
lock each time. The program knows only SQL, imports little, and ends with the server. It inherits the server's lock on the file. So nobody
else opens the file while somebody may still write to it, whichever of the two processes ends first.
"""

from __future__ import annotations

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

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes starts faster without these modules.
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO

    from dhtwisted.providers.sqlite.steps import Answer, Statement, Step

SERVER = 0
"""The descriptor of the socket."""

MOST_ROWS = 128
"""The most rows that one statement inserts. A row has at most 16 values, and SQLite permits 32,766 in a statement."""

INSERT_ROWS = "INSERT OR ROLLBACK"
"""If one row cannot be inserted, the whole transaction is rolled back. So SQLite does not copy each page that the statement changes into a
temporary file, to undo the statement alone. Rows of many devices are on as many pages of the index of devices, and copying these took a
third of the time of a commit."""

CACHE = 16 * 1024
"""KiB of pages of the file that SQLite keeps in memory. The upper levels of the trees of ten million messages do not fit into its 2 MB, and
each row would read them again."""

READ_SIZE = 65_536

PUT_COUNTER = "INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)"

NO_MARK = 3
"""The exit status when the mark cannot be written after a commit. The commit cannot be undone, and must not be acknowledged. The
server finds out that it was done, as after any other end of this process."""


class _IdTaken(Exception):
    """Ends a transaction because the id of a message is taken."""


class Database:
    """Writes the file.

    :param path: of the file. It is opened at the first use, so that the server can try again if that fails.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: Any = None  # Any: a check for each statement would cost time. _commit opens it.
        self._files: DataFiles | None = None
        self._mark: Any = None
        self._counters: dict[str, int] = {}
        self._statements: dict[tuple[str, int], str] = {}

    def answer(self, steps: list[Step]) -> Answer:
        """Execute all steps, or none.

        :returns: one of the answers in :mod:`~dhtwisted.providers.sqlite.steps`.
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

    def close(self) -> None:
        """Close the file. If this is the last connection, SQLite merges the write-ahead log into the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("DELETE FROM counter WHERE name = ?", (IN_USE,))
            self._connection.close()
            self._mark.close()

    def _open(self) -> None:
        connection = connect(self._path)
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE}")
            self._counters = dict(connection.execute("SELECT name, value FROM counter WHERE name <> ?", (IN_USE,)))
            self._mark = Mark(self._path)
        except OSError as error:
            connection.close()
            raise StorageUnavailable(f"{self._path}{MARK} cannot be opened: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _commit(self, steps: list[Step]) -> list[tuple[int, list[Any]]]:
        if self._connection is None:
            self._open()
        found: list[tuple[int, list[Any]]] = []
        counted = self._counters
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

    def _acknowledge(self) -> None:
        try:
            self._mark.acknowledge()
        except OSError:
            os._exit(NO_MARK)

    def _count(self, changed: dict[str, int]) -> dict[str, int]:
        """Store counters, and write them into the mark before the commit.

        :returns: all counters.
        """
        self._connection.executemany(PUT_COUNTER, changed.items())
        counters = self._counters | changed
        try:
            self._mark.give(counters)
        except OSError as error:
            raise StorageUnavailable(f"{self._path}{MARK} cannot be written: {error.strerror}") from error
        return counters

    def _check_files(self) -> None:
        """Make sure that the files still have their names. This takes 5 us; a commit takes 500 or more.

        :raises StorageUnavailable: a file was moved or deleted. The commit would be lost with this process.
        """
        if self._files is None:
            self._files = DataFiles(self._path, WRITTEN)
        problem = self._files.problem()
        if problem:
            raise StorageUnavailable(problem)

    def _insert(self, into: str, width: int, values: list[Any]) -> None:
        """Insert by prepared statements for 128, 64, 32 rows and so on. This takes two thirds of the time of single rows."""
        values, width = _with_checksums(values, width), width + 1
        _ease_binding(values, width)
        rows, start = len(values) // width, 0
        while rows:
            size = min(1 << rows.bit_length() - 1, MOST_ROWS)
            end = start + size * width
            self._connection.execute(self._insert_statement(into, width, size), values[start:end])
            start, rows = end, rows - size

    def _insert_statement(self, into: str, width: int, rows: int) -> str:
        statement = self._statements.get((into, rows))
        if statement is None:
            row = f"({', '.join('?' * width)})"
            statement = self._statements[into, rows] = f"{INSERT_ROWS} {into} VALUES {', '.join([row] * rows)}"
        return statement

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[int, list[Any]]:
        cursor = self._connection.execute(sql, parameters)
        rows = cursor.fetchall()
        return cursor.rowcount, rows

    def _change(self, select: Statement, update: Statement, put_checksum: str) -> tuple[int, list[Any]]:
        before = self._connection.execute(*select).fetchone()
        if before is None:
            return 0, []
        if not is_whole(before):
            return 1, [before]
        *values, _ = self._connection.execute(*update).fetchone()
        checksum = checksum_of(tuple(values))
        self._connection.execute(put_checksum, (checksum, values[-1]))
        return 1, [(*values, checksum)]

    def _run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(sql, parameters)

    def _require_free(self, kind: str, sql: str, parameters: Sequence[Any]) -> None:
        taken = self._connection.execute(sql, parameters).fetchone()
        if taken is not None:
            raise _IdTaken(kind, taken[0])


def _with_checksums(values: list[Any], width: int) -> list[Any]:
    """Add to the values of each row its checksum."""
    found: list[Any] = []
    for row in zip(*[iter(values)] * width, strict=True):
        found += row
        found.append(checksum_of(row))
    return found


def _ease_binding(values: list[Any], width: int) -> None:
    """Replace bytes by bytearrays in columns without NULLs. The driver searches an adapter for each bytes object, not for bytearrays."""
    for column in range(width):
        if type(values[column]) is bytes:
            entries = values[column::width]
            if None not in entries:
                values[column::width] = map(bytearray, entries)


_DO: dict[str, Callable[..., Any]] = {
    INSERT: Database._insert,
    RUN: Database._run,
    RUN_MANY: Database._run_many,
    REQUIRE_FREE: Database._require_free,
    CHANGE: Database._change,
    COUNT: Database._count,
}


def serve(path: str) -> bool:
    """Answer frames until the server asks to stop, or has ended.

    :returns: whether the server asked to stop.
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


def _receive(frames: BinaryIO) -> bytes | None:
    """Read the content of the next frame. It is empty for the last frame, and ``None`` if the server has ended."""
    try:
        head = frames.read(LENGTH)
        length = length_of(head) if len(head) == LENGTH else 0
        body = frames.read(length)
    except ConnectionError:
        return None
    return body if len(head) == LENGTH and len(body) == length else None


def _send(data: bytes) -> bool:
    """Send an answer, and return whether the server takes it."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(SERVER, rest) :]
    except ConnectionError:
        return False
    return True


def main() -> None:
    """Serve the server at the other end of standard input."""
    if not serve(sys.argv[1]):
        # The server was killed, and another may wait for the lock. The next server merges the log into the file.
        os._exit(0)
