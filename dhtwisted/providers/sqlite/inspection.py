"""Reads a data file from outside, also while a server works on it.

Nothing is changed: no lock is kept, no file is made. While a server works, SQLite notes in its shared memory that somebody reads.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dhtwisted.errors import UNREADABLE
from dhtwisted.kit.schema_scripts import schema_directory, script_count
from dhtwisted.model import User
from dhtwisted.providers.sqlite.data_files import KEPT_OPEN, identity

NEWEST = "SELECT max(value) FROM counter WHERE name = 'server_time'"
MARK = "# devicehive: writes the storage file"
"""The beginning of the code that the writing process runs, as its command line shows it."""

STANDARD_ERROR = 2
TABLES = frozenset({"entity", "counter", "command", "notification"})
BUSY_SECONDS = 5
SEARCH_SECONDS = 5.0
STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite's virtual machine between two looks at the time."""


class ForeignFile(ValueError):
    """The file belongs to another program; the text says how that was recognised."""


@dataclass(frozen=True)
class DataFacts:
    """What is known about a data file.

    :ivar version: of its schema; 0 for none yet.
    :ivar known_version: the newest schema that this program knows.
    :ivar newest: the server's time of the newest commit in milliseconds since 1970 UTC; ``None`` for none.
    """

    version: int
    known_version: int
    newest: int | None = None


def holder_of(path: str) -> str | None:
    """Find the process that works on a data file.

    :returns: its id as text, ``unknown`` if it is not written down; ``None`` for no process.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The lock is shared and released at once: a server that starts at this moment tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return None


def lost_files(path: str) -> tuple[str, str] | None:
    """Find a file that a running server has open and that no longer has its name.

    :param path: of the data file.
    :returns: the id of the server's process as text, and the suffix of the first such file; ``None`` for no such server or file, or if
        this user has no right to look.
    """
    for process in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            if not _writes(process, path):
                continue
            opened = _regular_files(process)
            server = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # It has just ended, or it belongs to another user.
        if len(opened) < len(KEPT_OPEN):
            continue  # It has just started, or it is about to end.
        for suffix in KEPT_OPEN:
            if identity(path + suffix) not in opened:
                return server, suffix
    return None


def _regular_files(process: str) -> set[tuple[int, int] | None]:
    """The identities of the files that a process has open, except for its standard streams."""
    numbers = [int(number) for number in os.listdir(f"/proc/{process}/fd")]
    opened = [f"/proc/{process}/fd/{number}" for number in numbers if number > STANDARD_ERROR]
    return {identity(name) for name in opened if os.path.isfile(name)}


def _writes(process: str, path: str) -> bool:
    """Whether a process writes a data file. Its command line has the path, even if the file was moved."""
    arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    return arguments[-2:-1] == [os.fsencode(path)] and any(argument.startswith(os.fsencode(MARK)) for argument in arguments)


def inspect_file(path: str) -> DataFacts:
    """Read the schema and the newest time of a data file.

    :param path: of a file that exists.
    :raises ForeignFile: it is not a data file of this server.
    :raises ValueError: it cannot be read; the text says why.
    """
    known = script_count(schema_directory("dhtwisted.providers.sqlite"))
    try:
        with closing(connect_for_looking(path)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "schema" not in tables:
                if tables:
                    raise ForeignFile("is the data file of another program")
                return DataFacts(0, known)
            (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()
            if not isinstance(version, int) or (not version and len(tables) > 1):
                raise ValueError("the version of its schema is not there: it is damaged")
            if version and not tables >= TABLES:
                raise ValueError(f"it lacks the table {min(TABLES - tables)}: it is damaged")
            (newest,) = connection.execute(NEWEST).fetchone() if version else (None,)
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ForeignFile("is no data file of this server") from error
        raise ValueError(str(error)) from error
    return DataFacts(version, known, newest)


def logins_of(path: str) -> list[str] | None:
    """The logins of all users in a data file; ``None`` if they cannot be read, since it is damaged or no data file."""
    logins: list[str] = []
    try:
        with closing(connect_for_looking(path)) as connection:
            for (body,) in connection.execute("SELECT body FROM entity WHERE kind = ?", (User.KIND,)):
                logins.append(msgspec.json.decode(body, type=User).login)
    except (sqlite3.Error, *UNREADABLE):
        return None  # The damage is a finding of its own.
    return logins


def damage_of(path: str, is_over: Callable[[], bool] | None = None) -> str | None:
    """Search for damage in the structure of a file and in its indexes.

    :param path: of a file that :func:`inspect_file` can read.
    :param is_over: called now and then; the search ends when it returns true. ``None`` for an end after :data:`SEARCH_SECONDS`.
    :returns: what is damaged, in a few words; ``None`` if nothing was found in that time.
    """
    end = time.monotonic() + SEARCH_SECONDS
    with closing(connect_for_looking(path)) as connection:
        connection.set_progress_handler(is_over or (lambda: time.monotonic() > end), STEPS_BETWEEN_LOOKS)
        try:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            return None if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT else f"SQLite says: {error}"
        except sqlite3.Error as error:
            return f"SQLite says: {error}"
    return None if found == "ok" else f"SQLite says: {' '.join(found.split())}"


def has_unread_log(path: str) -> bool:
    """Whether the newest data are in a write-ahead log that cannot be read without making a file beside it."""
    wal = f"{path}-wal"
    return os.path.exists(wal) and os.path.getsize(wal) > 0 and not os.path.exists(f"{path}-shm")


def connect_for_looking(path: str) -> sqlite3.Connection:
    """Open a data file without changing it or its log.

    :raises sqlite3.Error: it cannot be opened.
    """
    # SQLite needs the -shm file to read a log, or beside a server. Where there is neither, immutable=1 keeps it from making one.
    has_log = os.path.exists(f"{path}-shm") or (os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0)
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)
