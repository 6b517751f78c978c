"""Reads a database from outside, also while servers work on it. Each attempt to write is rolled back."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.schema_scripts import schema_directory, script_count
from dhtwisted.model import Node
from dhtwisted.providers.postgres.announcement import nodes_of, nodes_statement
from dhtwisted.providers.postgres.connection import OLDEST_SERVER
from dhtwisted.providers.postgres.dsn import parse
from dhtwisted.providers.postgres.errors import in_one_line
from dhtwisted.providers.postgres.migrations import explained
from dhtwisted.providers.postgres.trial import try_start

CONNECT_SECONDS = 5


@dataclass(frozen=True)
class DatabaseFacts:
    """What is known about a database.

    :ivar release: of PostgreSQL, such as ``16.1``.
    :ivar is_old: whether this release is too old.
    :ivar settings: ``fsync``, ``full_page_writes``, ``synchronous_commit`` and ``data_checksums``, each with its value.
    :ivar version: of the schema; 0 for none yet.
    :ivar known_version: the newest schema that this program knows.
    :ivar problems: texts of what would prevent a server from starting, or from working.
    :ivar logins: of all users.
    :ivar newest: the server's time of the newest message in milliseconds since 1970 UTC; ``None`` for none.
    """

    release: str
    is_old: bool
    settings: dict[str, str]
    version: int
    known_version: int
    problems: list[str]
    logins: list[str]
    newest: int | None


def inspect_database(dsn: str) -> DatabaseFacts:
    """Connect and query. This blocks for :data:`CONNECT_SECONDS` at most for each host.

    :param dsn: as in a provider string.
    :raises ValueError: there is no connection, or no right to read; the text says why, without a password.
    """
    with _asking(dsn) as cursor:
        return _ask(cursor)


def find_nodes(dsn: str) -> list[Node]:
    """Find the servers that work on a database.

    :raises ValueError: as :func:`inspect_database`.
    """
    with _asking(dsn) as cursor:
        cursor.execute("SELECT to_regclass('store') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return []
        cursor.execute("SELECT id FROM store")
        ((store_id,),) = cursor.fetchall()
        cursor.execute(*nodes_statement(store_id))
        return nodes_of(cursor.fetchall())


@contextmanager
def _asking(dsn: str) -> Iterator[Any]:
    """A cursor in autocommit mode.

    :raises ValueError: for each database error in the block.
    """
    try:
        parameters = parse(dsn) | {"connect_timeout": str(CONNECT_SECONDS), "fallback_application_name": "devicehive doctor"}
        with closing(_connect(parameters)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
    except (psycopg2.Error, ConfigurationError) as error:
        mendable = explained(error, "the database") if isinstance(error, psycopg2.Error) else None
        raise ValueError(str(mendable) if mendable else in_one_line(error)) from error


def _connect(parameters: dict[str, str]) -> Any:
    try:
        return psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        if "read-only" not in str(error) and "standby" not in str(error):
            raise
        # The database is read-only, and a server would wait. But the database can say why it is read-only.
        return psycopg2.connect(**parameters | {"target_session_attrs": "any"})


def _ask(cursor: Any) -> DatabaseFacts:
    def value(sql: str) -> Any:
        cursor.execute(sql)
        return cursor.fetchone()[0]

    names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
    settings = {name: value(f"SELECT current_setting('{name}')") for name in names}
    version, newest = 0, None
    logins: list[str] = []
    if value("SELECT to_regclass('schema_version') IS NOT NULL"):
        version = value("SELECT coalesce(max(version), 0) FROM schema_version")
        newest = value("SELECT nullif(max(server_time), 0) FROM message_counter")
        cursor.execute("SELECT login FROM users")
        logins = [login for (login,) in cursor.fetchall()]
    return DatabaseFacts(
        release=value("SELECT current_setting('server_version')"),
        is_old=cursor.connection.server_version < OLDEST_SERVER,
        settings=settings,
        version=version,
        known_version=script_count(schema_directory("dhtwisted.providers.postgres")),
        problems=try_start(cursor, version),
        logins=logins,
        newest=newest,
    )
