"""Schema upgrades: all of them or none, once, whoever comes at the same time."""

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.errors import ConfigurationError
from dhtwisted.postgres.connection import NO_LIMIT, HealingConnection
from dhtwisted.postgres.dsn import parse
from dhtwisted.postgres.migrations import migrate
from dhtwisted.postgres.outage import Outage
from dhtwisted.testing.storage_base import results


@pytest.fixture
def runs(database, reactor):
    """Three functions that run statements, each on a connection of its own."""
    connections = [HealingConnection(reactor, parse(database), Outage("the database"), NO_LIMIT) for _ in range(3)]
    for connection in connections:
        connection.open()
        pytest_twisted.blockon(Deferred.fromCoroutine(connection.wait()))
    yield [connection.run for connection in connections]
    for connection in connections:
        pytest_twisted.blockon(connection.close())


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "0001.sql").write_text("CREATE TABLE a (x text); -- 100 %\nINSERT INTO a VALUES ('one;two');")
    (tmp_path / "README").write_text("no script")
    return tmp_path


async def versions(run):
    return [version for (version,) in await run("SELECT version FROM schema_version ORDER BY version")]


@pytest_twisted.ensureDeferred
async def test_applies_each_script_once(runs, scripts):
    await migrate(runs[0], "the database", scripts)
    await migrate(runs[0], "the database", scripts)
    (scripts / "0002.sql").write_text("INSERT INTO a VALUES ('three')")
    await results(*(migrate(run, "the database", scripts) for run in runs))
    assert await versions(runs[0]) == [1, 2]
    assert await runs[0]("SELECT x FROM a") == [("one;two",), ("three",)]


@pytest_twisted.ensureDeferred
async def test_a_broken_upgrade_changes_nothing(runs, scripts):
    await migrate(runs[0], "the database", scripts)
    (scripts / "0002.sql").write_text("INSERT INTO a VALUES ('three'); ALTER TABLE a ADD COLUMN y text;")
    (scripts / "0003.sql").write_text("CREATE TABLE b (x text); INSERT INTO missing VALUES (1);")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        await migrate(runs[0], "the database", scripts)
    assert await versions(runs[0]) == [1]
    assert await runs[1]("SELECT * FROM a") == [("one;two",)]


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused(runs, scripts):
    await migrate(runs[0], "the database", scripts)
    (scripts / "0001.sql").unlink()
    with pytest.raises(ConfigurationError, match="the database has schema 1, newer than schema 0"):
        await migrate(runs[0], "the database", scripts)
    assert await versions(runs[0]) == [1], "and the connection is good for more"
