"""Schema upgrades: all of them or none, once."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.resources import files

import pytest
from msgspec.structs import replace
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.schema_scripts import script_count
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.providers.sqlite import database as sqlite_database
from dhtwisted.providers.sqlite.database import FileLock, migrate, statements
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES

SCHEMA = files("dhtwisted.providers.sqlite") / "schema"


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "0001.sql").write_text("-- first; with a semicolon\nCREATE TABLE a (x);\nINSERT INTO a VALUES ('one;\ntwo');\n")
    (tmp_path / "README").write_text("no script")
    return tmp_path


def versions(connection):
    return [version for (version,) in connection.execute("SELECT version FROM schema ORDER BY version")]


@pytest.fixture
def lock(tmp_path):
    return FileLock(str(tmp_path / "data"))


@pytest.fixture
def left_alone(tmp_path, lock):
    """The path of a file of which somebody holds the lock, but not the server that took it."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    (tmp_path / "data.lock").write_text(f"{ended.pid}\n")
    return str(tmp_path / "data")


def test_the_lock_of_a_living_server_is_not_waited_for(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}: stop that server"):
        FileLock(str(tmp_path / "data"))


def test_a_writer_that_was_left_alone_is_waited_for(lock, left_alone, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: lock.release())
    FileLock(left_alone).release()


def test_a_writer_that_was_left_alone_is_not_waited_for_without_end(lock, left_alone, monkeypatch):
    monkeypatch.setattr(sqlite_database, "PATIENCE", 0.01)
    with pytest.raises(ConfigurationError, match="in use by process"):
        FileLock(left_alone)


def test_applies_each_script_once(connection, scripts):
    migrate(connection, "data", scripts)
    migrate(connection, "data", scripts)
    assert versions(connection) == [1]
    (scripts / "0002.sql").write_text("INSERT INTO a VALUES ('three');")
    migrate(connection, "data", scripts)
    assert versions(connection) == [1, 2]
    assert [x for (x,) in connection.execute("SELECT x FROM a")] == ["one;\ntwo", "three"]


def test_a_broken_upgrade_changes_nothing(connection, scripts):
    migrate(connection, "data", scripts)
    (scripts / "0002.sql").write_text("INSERT INTO a VALUES ('three');\nALTER TABLE a ADD COLUMN y;")
    (scripts / "0003.sql").write_text("CREATE TABLE b (x);\nINSERT INTO missing VALUES (1);")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, "data", scripts)
    assert versions(connection) == [1]
    assert connection.execute("SELECT * FROM a").fetchall() == [("one;\ntwo",)]


def test_a_newer_schema_is_refused(connection, scripts):
    migrate(connection, "data", scripts)
    (scripts / "0001.sql").unlink()
    with pytest.raises(ConfigurationError, match="data has schema 1, newer than schema 0"):
        migrate(connection, "data", scripts)


def test_cuts_a_script_into_statements():
    script = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\n  DELETE FROM c;\nEND;\nSELECT 1;\n-- the end\n"
    assert [statement.split()[0] for statement in statements(script)] == ["CREATE", "SELECT"]


def test_polls_for_updates_are_read_along_an_index(connection):
    migrate(connection, "data")
    query = MessageQuery(updated=True, by_update=True, since=5, after=(7, 1), take=10)
    for wanted, index in ((query, "command_by_update"), (replace(query, device_ids=("a",)), "command_update_of_device")):
        sql, parameters = MESSAGE_TABLES[Command].find(wanted)
        plan = " ".join(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
        assert index in plan
        assert "TEMP B-TREE" not in plan


def migrate_to(connection, version, directory):
    """Make the schema of an older release."""
    for number in range(1, version + 1):
        (directory / f"{number:04}.sql").write_text((SCHEMA / f"{number:04}.sql").read_text("utf-8"))
    migrate(connection, "data", directory)


def test_forgetting_is_done_along_an_index(connection):
    migrate(connection, "data")
    query = MessageQuery(before=5, take=10)
    for wanted, index in ((query, "notification_by_arrival"), (MessageQuery(device_ids=("a",), take=10), "notification_of_device")):
        sql, parameters = MESSAGE_TABLES[Notification].forget(wanted)
        plan = " ".join(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
        assert index in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("server_time", [5, 2**43])
def test_messages_of_an_older_file_arrived_at_their_own_times_at_the_latest_now(connection, tmp_path, server_time):
    migrate_to(connection, 3, tmp_path)
    connection.execute("INSERT INTO counter (name, value) VALUES ('server_time', ?)", (server_time,))
    for timestamp in (7, 2**44):
        connection.execute(
            "INSERT INTO command (name, device_id, network_id, device_type_id, timestamp, last_updated, updated)"
            " VALUES ('c', 'a', 1, 1, ?, 9, 0)",
            (timestamp,),
        )
        connection.execute(
            "INSERT INTO notification (name, device_id, network_id, device_type_id, timestamp) VALUES ('n', 'a', 1, 1, ?)", (timestamp,)
        )
    before = int(time.time()) * 1000
    migrate(connection, "data")
    for kind, table in MESSAGE_TABLES.items():
        old, dated = table.objects(connection.execute(*table.find(MessageQuery())).fetchall())
        assert (type(old), old.timestamp, old.arrived, dated.timestamp) == (kind, 7, 7, 2**44)
        if server_time > before:
            assert dated.arrived == server_time, "the clock is not set, and the server's time is known to be over"
        else:
            assert before <= dated.arrived <= int(time.time() * 1000), "when this release was first started"


def test_data_of_the_first_schema_is_upgraded(connection, tmp_path):
    migrate_to(connection, 1, tmp_path)
    connection.execute("INSERT INTO counter (name, value) VALUES ('server_time', 5)")
    migrate(connection, "data")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    assert {"command_by_update", "command_update_of_device"} <= names
    assert connection.execute("SELECT value FROM counter").fetchone() == (5,)


def test_an_upgrade_is_told_once_and_new_data_are_none(connection, tmp_path):
    lines = []
    globalLogPublisher.addObserver(lines.append)
    try:
        migrate_to(connection, 3, tmp_path)
        assert lines == []
        migrate(connection, "data")
        migrate(connection, "data")
    finally:
        globalLogPublisher.removeObserver(lines.append)
    (event,) = lines
    assert event["log_level"] is LogLevel.warn, "a command of the shell shows warnings"
    newest = script_count(SCHEMA)
    expected = f"storage file data: its schema was brought from 3 to {newest}; an older program refuses it from now on"
    assert formatEvent(event) == expected
