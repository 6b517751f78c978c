"""What the doctor says of storages, whoever made them."""

import os
import re
import shutil
import sqlite3

import pytest
import pytest_twisted

from dhtwisted.cli.doctor.providers import MESSAGES, STORAGE, examine_providers
from dhtwisted.config.settings import Settings, StorageSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.kit.schema_scripts import schema_directory, script_count
from dhtwisted.model import User
from dhtwisted.providers.postgres.inspection import inspect_database
from dhtwisted.providers.sqlite import inspection, row_search
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import notification

SCHEMA = script_count(schema_directory("dhtwisted.providers.sqlite"))


def look(provider, messages=""):
    """Level and text of each finding, and the times."""
    examined = examine_providers(Configuration(Settings(storage=StorageSettings(provider=provider, messages=messages))))
    findings = [*examined.checked, *examined.about(STORAGE, MESSAGES)]
    return [(finding.level, finding.text) for finding in findings], examined.newest


def files(directory):
    """What is there, with time and size, and when something was last made or removed.

    Of the shared memory of SQLite the time does not count: readers sign in there.
    """
    states = {path.name: path.stat() for path in directory.iterdir()}
    made = {".": directory.stat().st_mtime_ns}
    return made | {name: (name.endswith("-shm") or state.st_mtime_ns, state.st_size) for name, state in states.items()}


@pytest.fixture
def open_file(reactor):
    """A function that opens a storage in a file; what a test leaves open is closed after it."""
    opened = []

    async def open_one(path):
        opened.append(FileStorage(str(path), reactor))
        await opened[-1].open()
        return opened[-1]

    yield open_one
    for storage in opened:
        pytest_twisted.blockon(storage.close())


@pytest_twisted.ensureDeferred
async def test_a_file_before_with_and_after_a_server(tmp_path, open_file):
    path = tmp_path / "hive.sqlite"
    ((level, text),), _ = look(f"file:{path}")
    assert (level, text) == ("ok", f"{path}: is made at the first start")
    assert list(tmp_path.iterdir()) == []

    storage = await open_file(path)
    message = notification(timestamp=2**42)
    await storage.append((message,))
    before = files(tmp_path)
    findings, times = look(f"file:{path}")
    assert findings[0] == ("ok", f"{path}: schema {SCHEMA}; the server with process id {os.getpid()} works on it")
    assert times == [message.arrived], "whatever time its client gave it"
    assert files(tmp_path) == before
    await storage.append((notification(),))
    await storage.close()

    before = files(tmp_path)
    findings, times = look(f"file:{path}")
    assert findings[0] == ("ok", f"{path}: schema {SCHEMA}; no server works on it now; it has all that its mark says")
    assert len(times) == 1
    assert {level for level, _ in findings} == {"ok"}
    assert files(tmp_path) == before


@pytest_twisted.ensureDeferred
async def test_logins_that_differ_in_case_alone_are_named(tmp_path, open_file):
    storage = await open_file(tmp_path / "hive.sqlite")
    await storage.insert(User(login="anna", login_key="anna"))
    await storage.insert(User(login="berta", login_key="berta"))
    assert [level for level, _ in look(f"file:{tmp_path / 'hive.sqlite'}")[0]] == ["ok"]
    await storage.insert(User(login="Anna"))
    (_, (level, text)), _ = look(f"file:{tmp_path / 'hive.sqlite'}")
    assert level == "warning"
    assert "logins differ in case alone: Anna, anna; they go on" in text


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_and_open_rights(tmp_path, open_file):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema (version) VALUES (99)")
    connection.close()
    path.chmod(0o644)
    _, schema, rights = look("memory:", f"file:{path}")[0]
    assert schema == ("wrong", f"{path}: has schema 99, newer than schema {SCHEMA} of this program; install the newer release")
    assert rights[0] == "warning"
    assert f"chmod 600 {path}" in rights[1]


@pytest_twisted.ensureDeferred
async def test_a_damaged_file(tmp_path, open_file):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.append([notification(f"n{number}") for number in range(500)])
    await storage.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xaa" * 12_000)
    damaged = look(f"file:{path}")[0][0]
    assert damaged[0] == "wrong"
    assert "is damaged" in damaged[1] and "restore a backup" in damaged[1]


@pytest_twisted.ensureDeferred
async def test_a_large_file_is_searched_for_a_while_alone(tmp_path, open_file, monkeypatch):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.append([notification(f"n{number}") for number in range(500)])
    await storage.close()
    monkeypatch.setattr(inspection, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(inspection, "STEPS_BETWEEN_LOOKS", 1)
    assert inspection.damage_of(path) is None


@pytest_twisted.ensureDeferred
async def test_records_that_are_not_as_they_were_stored_are_named(tmp_path, open_file):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.append([notification(f"n{number}", parameters=b'{"a": 1}') for number in range(20)])
    await storage.close()
    content = path.read_bytes()
    # One byte of a payload, as a disk changes it.
    assert content.count(b'{"a": 1}') == 20
    path.write_bytes(content.replace(b'{"a": 1}', b'{"a": 7}', 1))
    before = files(tmp_path)
    (level, text), *_ = look(f"file:{path}")[0]
    assert level == "wrong"
    assert re.search(r"is damaged \(not as it was stored: notification \d+\); stop the server.* restore a backup", text)
    assert files(tmp_path) == before


@pytest_twisted.ensureDeferred
async def test_it_says_when_not_all_records_were_looked_at(tmp_path, open_file, monkeypatch):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.append([notification(f"n{number}") for number in range(20)])
    await storage.close()
    monkeypatch.setattr(row_search, "SEARCH_SECONDS", -1.0)
    (level, text), *_ = look(f"file:{path}")[0]
    assert level == "ok"
    assert "not all of its records were looked at" in text and "devicehive backup looks at all" in text


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DROP TABLE entity", "lacks the table entity"),
        ("DELETE FROM schema", "the version of its schema is not there"),
        (
            "CREATE TABLE s AS SELECT 'x' AS version; DROP TABLE schema; ALTER TABLE s RENAME TO schema",
            "the version of its schema is not there",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_file_that_lacks_what_it_must_have(tmp_path, open_file, sql, words):
    path = tmp_path / "hive.sqlite"
    await (await open_file(path)).close()
    with sqlite3.connect(path) as connection:
        connection.executescript(sql)
    connection.close()
    (level, text), *_ = look(f"file:{path}")[0]
    assert (level, words in text) == ("wrong", True)


def test_a_log_without_its_memory_is_not_passed_over(tmp_path):
    """As in a copy that was saved from a process. Without its log, the file may be empty."""
    (tmp_path / "hive.sqlite").touch(0o600)
    (tmp_path / "hive.sqlite-wal").write_bytes(b"frames")
    ((level, text),), _ = look(f"file:{tmp_path}/hive.sqlite")
    assert (level, "was not looked at" in text) == ("ok", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hive.sqlite", "hive.sqlite-wal"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "hive.sqlite")
    assert look(f"file:{tmp_path}/hive.sqlite")[0] == [("wrong", f"storage.provider: {tmp_path}/hive.sqlite: is no file; name another")]


def test_one_file_for_both(tmp_path):
    _, (level, text) = look(f"file:{tmp_path}/hive.sqlite", f"file:{tmp_path}/x/../hive.sqlite")[0]
    assert level == "wrong"
    assert "is the file of the storage" in text


def test_a_foreign_file_is_not_said_to_have_passwords(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text("#!/bin/sh\n" * 100)
    assert not any("chmod" in text for _, text in look(f"file:{path}")[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a database at all, but long enough to be looked at" * 30, "is no data file of this server; name another"),
        (b"SQLite format 3\0" + b"\1" * 200, "is no data file of this server; name another"),
    ],
)
def test_a_file_of_another_kind(tmp_path, content, words):
    path = tmp_path / "hive.sqlite"
    path.touch(0o600)
    path.write_bytes(content)
    ((level, text),), times = look(f"file:{path}")
    assert level == "wrong"
    assert words in text
    assert times == []


def test_a_directory_that_is_not_there():
    ((level, text),), _ = look("file:/nowhere/at/all/hive.sqlite")
    assert level == "wrong"
    assert "make it, or name another" in text


def test_memory_and_a_provider_that_is_not_there():
    (unknown, memory), _ = look("memory:", "mine:x")
    assert memory[0] == "warning"
    assert unknown == ("wrong", "storage.messages: there is no messages provider 'mine'; known are file: memory: postgres:")


@pytest_twisted.ensureDeferred
async def test_a_database(database, open_storage):
    (schema, *unsafe), times = look(f"postgres:{database}")
    assert schema[0] == "ok"
    assert "schema 0, which the next start brings to" in schema[1]
    # The database of the tests is allowed to lose everything in a crash, for speed.
    assert {level for level, text in unsafe if "fsync is off" in text} <= {"wrong"}
    assert times == []
    storage = await open_storage()
    message = notification(timestamp=2**42)
    await storage.append((message,))
    findings, times = look(f"postgres:{database}")
    assert "it answers" in findings[0][1]
    assert times == [message.arrived], "whatever time its client gave it"


def test_a_database_that_may_lose_what_was_acknowledged(database):
    (*_, late), _ = look(f"postgres:{database} options='-c synchronous_commit=off'")
    assert late[0] == "warning"
    assert "synchronous_commit is off" in late[1]


def test_a_database_that_does_not_notice_what_a_disk_changes(database):
    has_checksums = inspect_database(database).settings["data_checksums"] == "on"
    findings, _ = look(f"postgres:{database}")
    warned = [(level, "pg_checksums --enable" in text) for level, text in findings if "data_checksums is off" in text]
    assert warned == ([] if has_checksums else [("warning", True)])


@pytest_twisted.ensureDeferred
async def test_a_file_of_a_killed_server_that_lacks_something(tmp_path, open_file):
    path = tmp_path / "hive.sqlite"
    storage = await open_file(path)
    await storage.append((notification(),))
    crashed = tmp_path / "crashed.sqlite"
    shutil.copy(path, crashed)
    (level, text), *_ = look(f"file:{crashed}")[0]
    assert level == "wrong"
    assert f"put {crashed}.mark beside it if you have it" in text
    shutil.copy(f"{path}.mark", f"{crashed}.mark")
    (level, text), *_ = look(f"file:{crashed}")[0]
    assert level == "wrong"
    assert f"{crashed} lacks what was acknowledged last, as {crashed}.mark shows. Missing are: notifications with id 1," in text


@pytest.mark.parametrize("dsn", ["host=127.0.0.1 port=1 password=swordfish", "host=/nowhere", "=what"])
def test_a_database_out_of_reach(dsn):
    ((level, text),), _ = look(f"postgres:{dsn}")
    assert level == "wrong"
    assert "swordfish" not in text
