"""Copies the SQLite file while the process that writes works on it.

SQLite copies all pages within one read transaction. So the copy is of one moment, and nobody waits for it. Meanwhile the write-ahead log
cannot be merged into the file, and grows by what is written.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

from dhtwisted.errors import StorageDamaged, StorageUnavailable
from dhtwisted.kit.private_files import open_or_create
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS
from dhtwisted.providers.sqlite.mark import IN_USE
from dhtwisted.providers.sqlite.row_search import check_rows, describe_rows
from dhtwisted.providers.sqlite.transaction import translated_errors

PAGES = 256
"""Pages of 4 KiB that are copied at once. After each megabyte the copy is synced, and pauses for as long as that took. Otherwise a commit,
which syncs the same disk, would wait for hundreds of megabytes."""

ROOM = 64 * 1024**2
"""Bytes that must stay free on the disk for what clients send."""

LOOK_SECONDS = 0.01
"""How long rows are checked without a pause. Meanwhile the thread that serves clients waits for the interpreter lock."""

PORTION = 256 * 1024
_DAMAGED = "the copy is damaged, and so is what was copied ({})"
_COUNT_ENTITIES = "SELECT kind, count(*) FROM entity GROUP BY kind"
_STEPS_BETWEEN_LOOKS = 1_000_000
_LEFT = ("", "-journal", "-wal", "-shm")


class Copy:
    """One copy, made in a thread of its own.

    :param path: of the data file. The copy is in the same directory, where the server certainly may write.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._target = f"{path}.backup"
        self._is_stopped = False
        self._file: Any = None

    def stop(self) -> None:
        """Stop the copy, from any thread."""
        self._is_stopped = True

    def make(self) -> dict[str, int]:
        """Copy, then check the copy: its structure, the number of objects, and each row.

        :returns: name of a kind -> number of objects.
        :raises StorageUnavailable: there is no room, the disk fails, or the copy is not complete.
        """
        self._check_room()
        remove_copy(self._path)
        try:
            with translated_errors():
                # Only this user may read it, from its first moment.
                self._file = open(open_or_create(self._target, os.O_RDWR), "rb")  # noqa: SIM115 - until close
                counts = self._copy()
                self._check(counts)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageUnavailable(f"the copy {self._target} cannot be written: {error.strerror}") from error
        return counts

    def read(self) -> bytes:
        """Read the next bytes of the copy; empty at its end."""
        return self._file.read(PORTION)

    def close(self) -> None:
        """Close the copy and delete it."""
        if self._file is not None:
            self._file.close()
        remove_copy(self._path)

    def _check_room(self) -> None:
        needed, free = os.path.getsize(self._path) + ROOM, shutil.disk_usage(os.path.dirname(self._path)).free
        if free < needed:
            raise StorageUnavailable(
                f"a copy lies beside the data at first, and there are {free // 1024**2} MiB free on that disk: make room for "
                f"{needed // 1024**2}, or use devicehive export"
            )

    def _copy(self) -> dict[str, int]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as source, closing(self._connect()) as target:
            source.execute("PRAGMA query_only = ON")
            # The copy contains nothing that is committed after this.
            source.execute("BEGIN")
            counts = _counts(source)
            self._step_began = time.monotonic()
            source.backup(target, pages=PAGES, progress=self._pace)
        return counts

    def _connect(self) -> sqlite3.Connection:
        target = sqlite3.connect(self._target, isolation_level=None)
        # An unfinished copy is deleted, so it need not be durable.
        target.execute("PRAGMA synchronous = OFF")
        return target

    def _pace(self, status: int, remaining: int, total: int) -> None:
        self._check_stopped()
        os.fdatasync(self._file.fileno())
        self._rest()

    def _rest(self) -> None:
        """Pause for as long as the step took."""
        time.sleep(time.monotonic() - self._step_began)
        self._step_began = time.monotonic()

    def _check(self, counts: dict[str, int]) -> None:
        with closing(self._connect()) as copy:
            # The copy is one file, without a log, and can be used anywhere.
            copy.execute("DELETE FROM counter WHERE name = ?", (IN_USE,))
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.set_progress_handler(lambda: self._is_stopped, _STEPS_BETWEEN_LOOKS)
            (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise StorageDamaged(_DAMAGED.format(found), lasts=True)
            if _counts(copy) != counts:
                raise StorageUnavailable(f"the copy of {self._path} has not all that is there; try again")
            names = list(self._damaged_rows(copy))
            if names:
                raise StorageDamaged(_DAMAGED.format(describe_rows(names)), lasts=True)

    def _damaged_rows(self, copy: sqlite3.Connection) -> Iterator[str]:
        self._step_began = time.monotonic()
        for name in check_rows(copy):
            if name is not None:
                yield name
            if time.monotonic() - self._step_began > LOOK_SECONDS:
                self._check_stopped()
                self._rest()

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise StorageUnavailable("the copy was ended")


def remove_copy(path: str) -> None:
    """Delete the rest of a copy whose process ended.

    :param path: of the data file.
    """
    for suffix in _LEFT:
        with suppress(FileNotFoundError):
            os.unlink(f"{path}.backup{suffix}")


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    found = dict(connection.execute(_COUNT_ENTITIES))
    counts = {kind: found.get(kind, 0) for kind in ENTITY_KINDS}
    return counts | {kind: connection.execute(f"SELECT count(*) FROM {kind}").fetchone()[0] for kind in MESSAGE_KINDS}
