"""The PostgreSQL server that most tests share, and a database for each directory."""

import atexit
import os
import secrets
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from tests.support.postgres.databases import DatabaseServer
from tests.support.postgres.server import PostgresServer

GIVEN = "TESTS_OF_DHTWISTED_POSTGRES"
"""Environment variable: the connection string of a running server, whose user may create databases. Without it a server is started.
The name does not begin with ``DHTWISTED_``, since dhtwisted refuses unknown options that do."""

SCRATCH = "TESTS_OF_DHTWISTED_SCRATCH"
"""Environment variable, set here for processes that tests start: the connection string of the database with the schemas."""

_lock = RLock()


def shared_server() -> DatabaseServer:
    """The server of this test session. It is started when a test first needs it."""
    with _lock:
        return _find_server()


@cache
def _find_server() -> DatabaseServer:
    given = os.environ.get(GIVEN)
    return DatabaseServer(given) if given else PostgresServer().start()


def database_for(directory: str | Path) -> str:
    """Give a directory a database. The same directory gets the same database, also in a process that a test has started.

    It is a schema in one database. A schema takes 1 ms, a database 30 ms and 8 MB. All schemas share the channels of LISTEN and the
    advisory locks. Tests of these use the fixture ``database``.

    :returns: its connection string.
    """
    with _lock:
        connection = _connect()
        schema = "directory_" + sha256(os.fsencode(Path(directory).resolve())).hexdigest()[:16]
        connection.cursor().execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    scratch = os.environ[SCRATCH]
    options = parse_dsn(scratch).get("options", "")
    return make_dsn(scratch, options=f"{options} -c search_path={schema}".strip())


@cache
def _connect() -> Any:
    if SCRATCH not in os.environ:
        server = shared_server()
        os.environ[SCRATCH] = server.create_database(f"scratch_{secrets.token_hex(8)}")
        # Without this a server that was given would keep the database.
        atexit.register(server.drop_database, os.environ[SCRATCH])
    connection = psycopg2.connect(os.environ[SCRATCH])
    connection.autocommit = True
    return connection
