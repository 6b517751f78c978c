"""Transactions on an SQLite connection, and what its errors mean to us. It imports little: the process that writes is small."""

import sqlite3
from contextlib import contextmanager

from dhtwisted.errors import StorageUnavailable, Unstorable

_BAD_DATA = (UnicodeEncodeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


def connect(path):
    """Open the file so that what is committed is on the disk.

    :raises sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection):
    """Commit what the block does, or nothing of it."""
    _roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _roll_back(connection):
    """End what is left of a transaction. SQLite has done so itself after some errors, such as a full disk, and cannot after others."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def translated_errors():
    """Turn the driver's errors into ours.

    :raises Unstorable: a value does not fit.
    :raises StorageUnavailable: the file cannot be used now: disk full, input or output error.
    """
    try:
        yield
    except _BAD_DATA as error:
        raise Unstorable(f"a value cannot be kept: {type(error).__name__}") from error
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the storage file cannot be used: {error}") from error
