"""What keeps a server from working with a database: the doctor says it beforehand, and a start says the same."""

import pytest
import pytest_twisted
from psycopg2.extensions import make_dsn

from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.postgres.inspection import inspect_database
from dhtwisted.providers.postgres.rights import TABLES
from dhtwisted.providers.postgres.storage import PostgresStorage

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

PASSWORD = "only for this test"
MAKE_ROLE = f"CREATE ROLE hive LOGIN PASSWORD '{PASSWORD}'"
OLD = "DELETE FROM schema_version WHERE version = (SELECT max(version) FROM schema_version)"
ALL = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hive"

EMPTY = {
    "no right to make tables": ([], {}, "permission denied for schema public; let the role own"),
    "no schema": (["GRANT CREATE ON SCHEMA public TO hive"], {"options": "-c search_path=nowhere"}, "no schema has been selected"),
    "a table of another program": (
        ["GRANT CREATE ON SCHEMA public TO hive", "CREATE TABLE users (name text)"],
        {},
        'it has tables of another program: relation "users" already exists; give this server a database of its own',
    ),
    "versions of another program": (
        [
            "GRANT CREATE ON SCHEMA public TO hive",
            "CREATE TABLE schema_version (installed_rank int)",
            "GRANT ALL ON schema_version TO hive",
        ],
        {},
        'it has tables of another program: column "version" does not exist',
    ),
}
"""Of a database in which no server has worked: statements of its owner, parameters, and what is said."""

USED = {
    "no rights at all": ([], "permission denied for table schema_version; let the role own"),
    "reading alone": (["GRANT SELECT ON ALL TABLES IN SCHEMA public TO hive"], " INSERT and UPDATE and DELETE on commands, "),
    "one right missing": ([ALL, "REVOKE DELETE ON devices FROM hive"], "the role may not DELETE on devices; GRANT SELECT,"),
}
"""Of one in which a server of another role has."""


@pytest.fixture
def server(own_postgres):
    """A server with a role that may do nothing, ``hive``."""
    own_postgres.execute(MAKE_ROLE)
    return own_postgres


def hives(server, **parameters):
    return make_dsn(server.address, user="hive", password=PASSWORD, **parameters)


def problems(dsn):
    """What the doctor says, also when it cannot read."""
    try:
        return inspect_database(dsn).problems
    except ValueError as error:
        return [str(error)]


async def start(dsn, reactor):
    """Start once, and stop.

    :returns: what was said.
    """
    storage = PostgresStorage(dsn, reactor)
    try:
        await storage.open()
    except ConfigurationError as error:
        return str(error)
    finally:
        await storage.close()
    return ""


@pytest.mark.parametrize("case", EMPTY)
@pytest_twisted.ensureDeferred
async def test_an_empty_database_that_cannot_be_used(server, reactor, case):
    statements, parameters, words = EMPTY[case]
    for statement in statements:
        server.execute(statement)
    dsn = hives(server, **parameters)
    (said,) = problems(dsn)
    assert words in said
    assert words in await start(dsn, reactor)


@pytest.mark.parametrize("case", USED)
@pytest_twisted.ensureDeferred
async def test_tables_of_somebody_else(server, reactor, case):
    statements, words = USED[case]
    assert await start(server.address, reactor) == ""
    for statement in statements:
        server.execute(statement)
    (said,) = problems(hives(server))
    assert words in said
    assert words in await start(hives(server), reactor)


@pytest_twisted.ensureDeferred
async def test_an_upgrade_of_somebody_elses_tables(server, reactor):
    await start(server.address, reactor)
    server.execute(ALL)
    server.execute(OLD)
    foreign, schema = problems(hives(server))
    assert "must be changed by the next start, and belong to another role" in foreign
    assert "commands" in foreign
    assert "GRANT CREATE ON SCHEMA public" in schema
    assert "let the role own the database and its tables" in await start(hives(server), reactor)


@pytest_twisted.ensureDeferred
async def test_tables_of_somebody_else_will_do_with_all_rights(server, reactor):
    await start(server.address, reactor)
    server.execute(ALL)
    assert problems(hives(server)) == []
    assert await start(hives(server), reactor) == ""


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_a_trial(server, reactor):
    server.execute("GRANT CREATE ON SCHEMA public TO hive")
    assert problems(hives(server)) == []
    assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert await start(hives(server), reactor) == ""
    assert problems(hives(server)) == []


@pytest.mark.parametrize("parameters", [{}, {"options": "-c default_transaction_read_only=on"}])
def test_transactions_that_are_read_only(server, parameters):
    server.execute("ALTER ROLE hive SET default_transaction_read_only = on")
    (said,) = problems(hives(server, **parameters))
    assert "default_transaction_read_only is on" in said


def test_a_standby(server):
    server.stop()
    (server.socket_directory / "data" / "standby.signal").touch()
    server.start()
    (said,) = problems(hives(server))
    assert "it is a standby" in said


def test_too_few_connections(server):
    server.execute("GRANT CREATE ON SCHEMA public TO hive")
    server.execute("ALTER ROLE hive CONNECTION LIMIT 5")
    (said,) = problems(hives(server))
    assert "5 connections are allowed, and a server needs 6" in said


def test_another_encoding(server):
    server.execute("CREATE DATABASE latin OWNER hive TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    (said,) = problems(hives(server, dbname="latin"))
    assert "it has the encoding LATIN1" in said


@pytest_twisted.ensureDeferred
async def test_all_tables_are_known(server, reactor):
    await start(server.address, reactor)
    made = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    assert [name for (name,) in made] == TABLES
