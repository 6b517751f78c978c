"""The one PostgreSQL that most tests use, and a database for each directory."""

import atexit
import os
import secrets
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import RLock

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from tests.support.postgres.databases import DatabaseServer
from tests.support.postgres.server import PostgresServer

GIVEN = "TESTS_OF_DHTWISTED_POSTGRES"
"""Environment: the connection string of a running server, whose user may create databases; without it one is started. What begins with
DHTWISTED_ is an option of the server, which names those that it does not know."""

SCRATCH = "TESTS_OF_DHTWISTED_SCRATCH"
"""Environment, set here for processes that tests start: the connection string of the database that has the schemas."""

_lock = RLock()


def shared_server():
    """The server of this test session, started when it is first needed."""
    with _lock:
        return _find_server()


@cache
def _find_server():
    given = os.environ.get(GIVEN)
    return DatabaseServer(given) if given else PostgresServer().start()


def database_for(directory):
    """Give a directory a database of its own: the same for the same directory, also in a process that a test has started.

    It is a schema in one database, 1 ms each, where a database costs 30 ms and 8 MB. What belongs to a whole database is shared, and no
    example may rely on it: channels of LISTEN, advisory locks. Tests of these take the fixture ``database``.

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
def _connect():
    if SCRATCH not in os.environ:
        server = shared_server()
        os.environ[SCRATCH] = server.create_database(f"scratch_{secrets.token_hex(8)}")
        # With a server of our own that is no loss; one that was given keeps it otherwise.
        atexit.register(server.drop_database, os.environ[SCRATCH])
    connection = psycopg2.connect(os.environ[SCRATCH])
    connection.autocommit = True
    return connection
