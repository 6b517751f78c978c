"""Schema upgrades: all of them or none, once, whoever comes at the same time."""

import time

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.schema_scripts import check_structure, checksums, schema_directory, script_count
from dhtwisted.model import Command, EntityQuery, MessageQuery, Network, Notification, User
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.counters import _ENTITIES
from dhtwisted.providers.postgres.dsn import parse
from dhtwisted.providers.postgres.entities import ENTITY_TABLES
from dhtwisted.providers.postgres.messages import MESSAGE_TABLES
from dhtwisted.providers.postgres.migrations import migrate
from dhtwisted.providers.postgres.outage import Outage
from dhtwisted.providers.postgres.rights import TABLES
from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.testing.storage.base import command, notification, results

SCHEMA = schema_directory("dhtwisted.providers.postgres")


@pytest.fixture
def runs(database, reactor):
    """Three functions that run statements, each on a connection of its own."""
    connections = [HealingConnection(reactor, parse(database), Outage("the database"), 60) for _ in range(3)]
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


@pytest.fixture
def caught_lines():
    """The events of the log from now on."""
    caught = []
    globalLogPublisher.addObserver(caught.append)
    yield caught
    globalLogPublisher.removeObserver(caught.append)


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


INSERT_OLD = {
    Command: "INSERT INTO commands (id, name, device_id, network_id, device_type_id, timestamp, last_updated, updated)"
    " VALUES (%s, 'c', 'a', 1, 1, %s, 9, false)",
    Notification: "INSERT INTO notifications (id, name, device_id, network_id, device_type_id, timestamp) VALUES (%s, 'n', 'a', 1, 1, %s)",
}


@pytest.mark.parametrize("server_time", [5, 2**43])
@pytest_twisted.ensureDeferred
async def test_messages_of_an_older_database_arrived_at_their_own_times_at_the_latest_now(runs, tmp_path, server_time):
    for number in (1, 2):
        (tmp_path / f"{number:04}.sql").write_text((SCHEMA / f"{number:04}.sql").read_text("utf-8"))
    run = runs[0]
    await migrate(run, "the database", tmp_path)
    await run("UPDATE message_counter SET server_time = %s", (server_time,))
    for statement in INSERT_OLD.values():
        await run(statement, (1, 7))
        await run(statement, (2, 2**44))
    before = int(time.time() * 1000)
    await results(*(migrate(run, "the database") for run in runs))
    for kind, statement in INSERT_OLD.items():
        # As a node of that release does that goes on.
        await run(statement, (3, 2**45))
        old, dated, late = [MESSAGE_TABLES[kind].message(row) for row in await run(*MESSAGE_TABLES[kind].find(MessageQuery()))]
        assert (type(old), old.timestamp, old.arrived, dated.timestamp) == (kind, 7, 7, 2**44)
        if server_time > before:
            assert dated.arrived == server_time, "the clock is not set, and the server's time is known to be over"
        else:
            assert before <= dated.arrived <= int(time.time() * 1000), "when this release was first started"
        assert before <= late.arrived <= int(time.time() * 1000)


@pytest_twisted.ensureDeferred
async def test_users_of_an_older_database_keep_their_logins(runs, tmp_path):
    for number in range(1, 6):
        (tmp_path / f"{number:04}.sql").write_text((SCHEMA / f"{number:04}.sql").read_text("utf-8"))
    run = runs[0]
    await migrate(run, "the database", tmp_path)
    insert = (
        "INSERT INTO users (id, login, password, role, status, intro_reviewed, all_device_types_available, network_ids, device_type_ids)"
        " VALUES (%s, %s, '', 1, 0, false, true, '{}', '{}')"
    )
    for number, login in enumerate(("Anna", "anna", "berta", "ÄNNA"), 1):
        await run(insert, (number, login))
    await migrate(run, "the database")
    table = ENTITY_TABLES[User]
    users = [table.entity(row) for row in await run(*table.find(EntityQuery()))]
    assert [(user.login, user.login_key, user.known_addresses) for user in users] == [
        ("Anna", "anna", ()),
        ("anna", None, ()),
        ("berta", "berta", ()),
        ("ÄNNA", None, ()),
    ], "of two the first has the key; the server knows that of the last, and gives it at its start"
    # As a node of that release does that goes on.
    await run(insert, (5, "dora"))


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused(runs, scripts):
    await migrate(runs[0], "the database", scripts)
    (scripts / "0001.sql").unlink()
    with pytest.raises(ConfigurationError, match="the database has schema 1, newer than schema 0"):
        await migrate(runs[0], "the database", scripts)
    assert await versions(runs[0]) == [1], "and the connection is good for more"


@pytest_twisted.ensureDeferred
async def test_a_database_of_an_edited_script_is_refused(runs, scripts):
    (scripts / "0002.sql").write_text("ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS checksum text;")
    await migrate(runs[0], "the database", scripts)
    await migrate(runs[0], "the database", scripts)
    assert dict(await runs[0]("SELECT version, checksum FROM schema_version")) == checksums(scripts)
    (scripts / "0001.sql").write_text("CREATE TABLE a (\n    x text,\n    y text\n);")
    with pytest.raises(ConfigurationError, match=r"the database was made by another script 0001\.sql .* devicehive export"):
        await migrate(runs[0], "the database", scripts)


@pytest_twisted.ensureDeferred
async def test_a_database_of_before_there_were_checksums_is_looked_at_once(runs):
    """As they are made by the scripts of releases before, one of which was edited in place between two of them."""
    run, directory = runs[0], SCHEMA
    await migrate(run, "the database")
    assert dict(await run("SELECT version, checksum FROM schema_version")) == checksums(directory)
    await run("ALTER TABLE schema_version DROP COLUMN checksum")
    await run("DELETE FROM schema_version WHERE version >= 9")
    await run("DROP TABLE mqtt_sessions, mqtt_retained, mqtt_queued, mqtt_received")
    await run("ALTER TABLE device_tokens RENAME TO elsewhere")
    with pytest.raises(ConfigurationError, match=r"the database lacks the table device_tokens, which script 0002\.sql"):
        await migrate(run, "the database")
    await run("ALTER TABLE elsewhere RENAME TO device_tokens")
    await migrate(run, "the database")
    assert dict(await run("SELECT version, checksum FROM schema_version")) == checksums(directory)
    found = {}
    for table, column in await run("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"):
        found.setdefault(table, set()).add(column)
    for table in set(TABLES) - {"schema_version"}:
        with pytest.raises(ConfigurationError, match=f"lacks the table {table},"):
            check_structure(directory, script_count(directory), {name: found[name] for name in set(found) - {table}}, "it")


@pytest_twisted.ensureDeferred
async def test_a_counter_behind_its_table_is_lifted_and_told(runs, database, reactor, caught_lines):
    storage = PostgresStorage(database, reactor)
    await storage.open()
    messages = [command("c"), *(notification(str(n)) for n in range(3))]
    await storage.append(messages)
    network = await storage.insert(Network(name="n"))
    assert await runs[0]("SELECT kind FROM entity_counter ORDER BY kind") == [(kind,) for kind in sorted(_ENTITIES)]
    await storage.close()
    await runs[0]("UPDATE message_counter SET notification = 1")
    await runs[0]("UPDATE entity_counter SET last_id = 0 WHERE kind = 'network'")
    storage = PostgresStorage(database, reactor)
    await storage.open()
    later = notification("later")
    await storage.append([later])
    assert later.id == messages[-1].id + 1
    assert (await storage.insert(Network(name="m"))).id == network.id + 1
    await storage.close()
    assert [event["kind"] for event in caught_lines if "behind its table" in event["log_format"]] == ["notification", "network"]
