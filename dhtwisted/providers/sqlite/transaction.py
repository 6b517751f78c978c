"""Connections, transactions and errors of SQLite. This module imports little, because the process that writes must start fast."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager

from dhtwisted.errors import Overloaded, StorageDamaged, StorageUnavailable, Unstorable

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes starts faster without these modules.
    from collections.abc import Iterator

_BAD_DATA = (UnicodeEncodeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


_DAMAGE = {sqlite3.SQLITE_CORRUPT: True, sqlite3.SQLITE_NOTADB: True, sqlite3.SQLITE_IOERR: False}
"""Result codes of SQLite that mean damage -> whether it lasts; a disk may recover."""

_ESCAPES = str.maketrans({"%": "%25", "?": "%3f", "#": "%23"})


def connect(path: str) -> sqlite3.Connection:
    """Open the file so that commits are synced to the disk. The file must exist: a deleted one must not be created again, empty.

    :param path: absolute.
    :raises sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(f"file://{path.translate(_ESCAPES)}?mode=rw", uri=True, isolation_level=None)
    connection.text_factory = decode
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def decode(text: bytes) -> str:
    """Decode a text, even if it is damaged. The row's checksum detects the damage, and the error can name the row."""
    return str(text, "utf-8", "replace")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that the block does, or nothing."""
    _roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Roll back an open transaction. SQLite does so itself after some errors, such as a full disk, but not after others."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate the errors of the driver.

    :raises Unstorable: a value cannot be stored.
    :raises StorageDamaged: the file is damaged, or the disk fails.
    :raises Overloaded: the query took too long and was interrupted.
    :raises StorageUnavailable: the file cannot be used now, such as when the disk is full.
    """
    try:
        yield
    except _BAD_DATA as error:
        raise Unstorable(f"a value cannot be kept: {type(error).__name__}") from error
    except sqlite3.Error as error:
        # The driver gives no code if a text cannot be decoded.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            raise Overloaded("a question to the storage file took too long") from error
        if code in _DAMAGE:
            raise StorageDamaged(f"the storage file cannot be used: {error}", _DAMAGE[code]) from error
        raise StorageUnavailable(f"the storage file cannot be used: {error}") from error
