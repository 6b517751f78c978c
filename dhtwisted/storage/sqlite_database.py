"""One SQLite file: who may have it, how it is opened, which schema it has, and what its errors mean to us."""

import fcntl
import os
import sqlite3
from contextlib import contextmanager

from dhtwisted.errors import ConfigurationError, StorageUnavailable, Unstorable
from dhtwisted.storage.schema_files import missing_scripts, schema_directory

_SCHEMA = schema_directory("file")
_BAD_DATA = (UnicodeEncodeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class FileLock:
    """The right to use a data file, which ends with the process, however it ends.

    :param path: of the data file; the lock is on ``<path>.lock``, since SQLite has locks of its own on the file, and closing any other
        handle of the file would drop them.
    :raises ConfigurationError: another process has it, or the directory does not permit it.
    """

    def __init__(self, path):
        lock_path = f"{path}.lock"
        directory = os.path.dirname(lock_path)
        if not os.path.isdir(directory):
            raise ConfigurationError(f"cannot use storage file {path}: there is no directory {directory}: make it, or name another")
        try:
            self._descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"cannot use storage file {path}: {error.strerror}: {lock_path}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise ConfigurationError(
                f"storage file {path} is in use by process {holder}: stop that server, or give this one another file"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self):
        """Let others have the file. The lock file stays: removing it could take it from under somebody who just opened it."""
        os.close(self._descriptor)


def connect_writer(path):
    """Open the file for the one thread that writes, creating it or bringing it up to date.

    :raises ConfigurationError: it is no file of ours, or newer than this program.
    """
    try:
        # SQLite makes its own files with the mode of this one; it holds password hashes.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"cannot open storage file {path}: {error}") from error
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.NotSupportedError("its file system has no shared memory, which write-ahead logging needs")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
        sync_directory(path)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigurationError(f"cannot use storage file {path}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path):
    """Open the file, which a writer has made ready, for the thread that reads."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.create_function("casefold", 1, lambda text: text and text.casefold(), deterministic=True)
    return connection


def close_connection(connection):
    """Close a connection, if it was opened at all."""
    if connection is not None:
        connection.close()


def migrate(connection, path, directory=_SCHEMA):
    """Apply the numbered schema files that the data does not have yet, all or none.

    :param path: of the data, for the error.
    :param directory: with ``0001.sql`` and so on; the number is the version of the schema.
    :raises ConfigurationError: the data has more than there are.
    """
    with _transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)")
        (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()
        for number, script in missing_scripts(directory, version, f"storage file {path}"):
            for statement in statements(script):
                connection.execute(statement)
            connection.execute("INSERT INTO schema (version) VALUES (?)", (number,))


def statements(script):
    """Cut a script into its statements; ``executescript`` would commit each of them on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def sync_directory(path):
    """Make the directory entries durable: a file that is synced but cannot be found is lost."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _transaction(connection):
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
def write_transaction(connection):
    """Commit what the block does, or nothing of it.

    :raises Unstorable: a value does not fit.
    :raises StorageUnavailable: the file cannot be written now.
    """
    with translated_errors(), _transaction(connection):
        yield


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
