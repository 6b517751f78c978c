"""Tries in a database what a start of the server would do, and undoes it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import psycopg2

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.schema_scripts import schema_directory, script_count
from dhtwisted.providers.postgres.errors import in_one_line
from dhtwisted.providers.postgres.migrations import apply_missing, check_made, explained
from dhtwisted.providers.postgres.rights import FOREIGN_TABLES, MISSING_RIGHTS, missing_rights
from dhtwisted.providers.postgres.statements import Values

T = TypeVar("T")


CONNECTIONS = 6
"""Of one server: one writes, four read, one is the bus."""

_LOCK_NOT_AVAILABLE = "55P03"
_IS_READ_ONLY = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
_LIMIT = """
SELECT least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1))
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database() AND NOT rolsuper
"""


def try_start(cursor: Any, version: int) -> list[str]:
    """Find what would prevent a start of the server, or its work.

    An upgrade is not tried, because it would lock tables that servers use. Only the rights are checked.

    :param cursor: of a connection in autocommit mode that has no other user.
    :param version: of the schema; 0 for none.
    :returns: a list of texts, each with what to do.
    """
    obstacle = _why_read_only(cursor)
    if obstacle is not None:
        return [obstacle]
    problems = [_attempt(cursor, version), *_lacking_connections(cursor)]
    if version:
        rows = _rows(cursor, MISSING_RIGHTS)
        problems += [missing_rights(rows)] if rows else []
        problems += _upgrade_obstacles(cursor) if version < script_count(schema_directory("dhtwisted.providers.postgres")) else []
    return [problem for problem in problems if problem is not None]


def _why_read_only(cursor: Any) -> str | None:
    ((is_standby, is_read_only),) = _rows(cursor, _IS_READ_ONLY)
    if is_standby:
        return "it is a standby, which takes no writes; name the primary too, as in host=a,b"
    if is_read_only:
        cure = "ALTER ROLE or ALTER DATABASE ... RESET default_transaction_read_only, or leave it out of postgresql.conf or the DSN"
        return f"default_transaction_read_only is on, so a server waits for a database that takes writes; {cure}"
    return None


def _attempt(cursor: Any, version: int) -> str | None:
    """Make the tables, if there are none, and listen, in a transaction that is rolled back."""

    async def run(sql: str, values: Values = None) -> list[Any]:
        return _rows(cursor, sql, values)

    cursor.execute("BEGIN")
    try:
        # A server that is making the tables just now shows that it can be done.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        _drive(check_made(run, "the database") if version else apply_missing(run, "the database"))
        cursor.execute("LISTEN dhtwisted_trial")
        ((encoding,),) = _rows(cursor, "SELECT current_setting('server_encoding')")
        return None if encoding == "UTF8" else f"it has the encoding {encoding}; make one with: createdb --encoding UTF8"
    except ConfigurationError as error:
        return str(error)
    except psycopg2.Error as error:
        return None if error.pgcode == _LOCK_NOT_AVAILABLE else str(explained(error, "the database") or in_one_line(error))
    finally:
        cursor.execute("ROLLBACK")


def _lacking_connections(cursor: Any) -> Iterator[str]:
    for (limit,) in _rows(cursor, _LIMIT):
        if limit is not None and limit < CONNECTIONS:
            yield f"{limit} connections are allowed, and a server needs {CONNECTIONS}; ALTER ROLE or ALTER DATABASE ... CONNECTION LIMIT"


def _upgrade_obstacles(cursor: Any) -> Iterator[str]:
    tables = [name for (name,) in _rows(cursor, FOREIGN_TABLES)]
    if tables:
        cure = "ALTER TABLE ... OWNER TO the role of the server, or GRANT it the role that owns them"
        yield f"{', '.join(tables)} must be changed by the next start, and belong to another role; {cure}"
    ((schema, may_create),) = _rows(cursor, "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')")
    if not may_create:
        yield f"the next start must make tables in the schema {schema}; GRANT CREATE ON SCHEMA {schema} TO the role of the server"


def _rows(cursor: Any, sql: str, values: Values = None) -> list[Any]:
    cursor.execute(sql, values)
    return cursor.fetchall() if cursor.description else []


def _drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waits for something")
