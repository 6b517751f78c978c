"""One SQLite file: its lock, its connections, and its schema."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from importlib.resources.abc import Traversable

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.private_files import open_or_create
from dhtwisted.kit.schema_scripts import check_scripts, check_structure, checksums, log_upgrade, missing_scripts, schema_directory
from dhtwisted.providers.sqlite.data_files import open_problem
from dhtwisted.providers.sqlite.transaction import connect, decode, transaction

_SCHEMA = schema_directory("dhtwisted.providers.sqlite")

PATIENCE = 10.0
"""Seconds in which the process that writes for a killed server must finish its last commit."""

PAUSE = 0.02
"""Seconds between two attempts to take the lock."""


class FileLock:
    """The lock on a data file, held by this process and the one that writes for it. It ends with the last of them, however they end.

    The writer of a killed server still finishes its last commit. The constructor waits for that, so it may block.

    :param path: of the data file; the lock is on ``<path>.lock``, because SQLite has its own locks on the data file, which end when
        any descriptor of that file is closed.
    :ivar descriptor: for the process that writes to inherit.
    :raises ConfigurationError: another server has the lock, or the directory does not permit it.
    """

    def __init__(self, path: str) -> None:
        lock_path = f"{path}.lock"
        reason = open_problem(path)
        if reason is not None:
            raise ConfigurationError(f"cannot use storage file {reason}")
        try:
            self.descriptor = open_or_create(lock_path, os.O_RDWR)
        except OSError as error:
            raise ConfigurationError(f"cannot use storage file {path}: {error.strerror}: {lock_path}") from error
        try:
            self._take(path)
        except BaseException:
            os.close(self.descriptor)
            raise
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, b"%d\n" % os.getpid(), 0)

    def _take(self, path: str) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                holder = os.pread(self.descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                if time.monotonic() > end or _is_alive(holder):
                    raise ConfigurationError(
                        f"storage file {path} is in use by process {holder}: stop that server, or give this one another file"
                    ) from error
            time.sleep(PAUSE)

    def release(self) -> None:
        """Release the lock. The lock file stays, because another process may just have opened it."""
        os.close(self.descriptor)


def _is_alive(process: str) -> bool:
    """Whether a process with this id, given as text, exists."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def connect_writer(path: str) -> sqlite3.Connection:
    """Open the file for writing. Create it or upgrade its schema if needed.

    :raises ConfigurationError: it is not a data file of this server, or newer than this program.
    """
    try:
        # SQLite creates its other files with the owner and mode of this one, which contains password hashes.
        os.close(open_or_create(path, os.O_RDWR))
        connection = connect(path)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"cannot open storage file {path}: {error}") from error
    try:
        _refuse_foreign(connection, path)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.NotSupportedError("its file system has no shared memory, which write-ahead logging needs")
        migrate(connection, path)
        sync_directory(path)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigurationError(f"cannot use storage file {path}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "schema" not in tables:
        raise ConfigurationError(f"storage file {path} is the data file of another program; name another file")


def connect_reader(path: str) -> sqlite3.Connection:
    """Open the file for a thread that reads, after :func:`connect_writer`."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = decode
    connection.execute("PRAGMA query_only = ON")
    # This opens the log and the shared memory. They stay the same files as long as a connection has them open.
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.create_function("casefold", 1, lambda text: text and text.casefold(), deterministic=True)
    return connection


def close_connection(connection: sqlite3.Connection | None) -> None:
    """Close a connection, if there is one."""
    if connection is not None:
        connection.close()


def migrate(connection: sqlite3.Connection, path: str, directory: Traversable = _SCHEMA) -> None:
    """Run the schema scripts that have not run yet, all or none.

    :param path: of the data, for errors.
    :param directory: contains ``0001.sql`` and so on; the number is the version of the schema.
    :raises ConfigurationError: the data have a newer schema, or were made by other scripts.
    """
    place = f"storage file {path}"
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)")
        (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()
        missing = missing_scripts(directory, version, place)
        check_made(connection, place, directory)
        for number, script in missing:
            for statement in statements(script):
                connection.execute(statement)
            connection.execute("INSERT INTO schema (version) VALUES (?)", (number,))
        if _recorded_scripts(connection):
            by_number = [(checksum, number) for number, checksum in checksums(directory).items()]
            connection.executemany("UPDATE schema SET checksum = ? WHERE version = ? AND checksum IS NULL", by_number)
    log_upgrade(place, [number for number, _ in missing])


def check_made(connection: sqlite3.Connection, place: str, directory: Traversable = _SCHEMA) -> None:
    """Make sure that this program's scripts made the data. Without checksums, check that the tables and columns exist.

    :param place: names the data in errors.
    :raises ConfigurationError: other scripts made the data.
    """
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()
    recorded = _recorded_scripts(connection)
    check_scripts(directory, recorded, place)
    if not recorded or None in recorded.values():
        found: dict[str, set[str]] = {}
        columns = "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
        for table, column in connection.execute(columns):
            found.setdefault(table, set()).add(column)
        check_structure(directory, version, found, place)


def _recorded_scripts(connection: sqlite3.Connection) -> dict[int, str | None]:
    """Read the checksums in the data: number -> checksum; empty for a schema from before there were any."""
    columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('schema')")}
    return dict(connection.execute("SELECT version, checksum FROM schema")) if "checksum" in columns else {}


def statements(script: str) -> Iterator[str]:
    """Split a script into statements. ``executescript`` would commit each of them alone."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def sync_directory(path: str) -> None:
    """Sync the directory entries: a synced file that cannot be found is lost."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
