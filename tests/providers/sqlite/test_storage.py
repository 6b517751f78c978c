"""The file storage: the contract, and what files can suffer."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from unittest.mock import patch

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from dhtwisted.errors import ConfigurationError, Duplicate, StorageUnavailable, Unstorable
from dhtwisted.kit import batching
from dhtwisted.model import EntityQuery, MessageQuery, Network, Notification
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.server import MemoryServer
from dhtwisted.testing.storage import (
    BackedUpStorageContract,
    DurableStorageContract,
    EntityStorageContract,
    MessageStorageContract,
)
from dhtwisted.testing.storage.base import notification, outcomes
from tests.support.writers import has_ended, writer_of

EVERYTHING = MessageQuery()


class TestFileStorage(EntityStorageContract, MessageStorageContract, DurableStorageContract, BackedUpStorageContract):
    def make_storage(self, reactor, directory):
        return FileStorage(str(directory / "data.sqlite"), reactor)

    def put_back(self, copy, directory):
        (directory / "data.sqlite").write_bytes(copy)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.sqlite")


@pytest.fixture
def storage(path, reactor):
    """A storage that a test opens itself."""
    storage = FileStorage(path, reactor)
    yield storage
    pytest_twisted.blockon(storage.close())


async def refusal(storage):
    """The one line with which a storage refuses to open."""
    with pytest.raises(ConfigurationError) as caught:
        await storage.open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_file(path, sql):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()


@pytest_twisted.ensureDeferred
async def test_keeps_its_files_to_itself(storage, path, tmp_path):
    await storage.open()
    await storage.append([notification()])
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    assert set(modes) == {"data.sqlite", "data.sqlite-wal", "data.sqlite-shm", "data.sqlite.lock", "data.sqlite.mark"}
    assert set(modes.values()) == {0o600}, "there are hashes of passwords in it"
    assert storage.state_directory == str(tmp_path)


@pytest_twisted.ensureDeferred
async def test_a_second_opener_is_refused(storage, path, reactor):
    await storage.open()
    second = FileStorage(path, reactor)
    assert f"in use by process {os.getpid()}" in await refusal(second)
    await storage.close()
    await second.open()
    await second.close()


@pytest_twisted.ensureDeferred
async def test_a_second_opener_under_another_name_is_refused(storage, path, tmp_path, reactor):
    await storage.open()
    os.symlink(path, tmp_path / "other.sqlite")
    assert "in use" in await refusal(FileStorage(str(tmp_path / "other.sqlite"), reactor))


@pytest.mark.parametrize("body", ["7b22", "ff", "7b22ff223a317d", "7b226e616d65223a22ff227d", "5b" * 100_000], ids=lambda body: body[:12])
@pytest_twisted.ensureDeferred
async def test_an_entity_that_cannot_be_read_is_told(storage, path, body):
    await storage.open()
    await storage.insert(Network(name="home"))
    await storage.close()
    change_file(path, f"UPDATE entity SET body = X'{body}'")
    assert "data.sqlite is damaged" in await refusal(storage)


@pytest_twisted.ensureDeferred
async def test_the_lock_ends_with_the_process_that_had_it(storage, path):
    code = "import sys; from dhtwisted.providers.sqlite.database import FileLock; lock = FileLock(sys.argv[1]); print(flush=True); input()"
    arguments = [sys.executable, "-c", code, path]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    ) as holder:
        await deferToThread(holder.stdout.readline)
        assert f"in use by process {holder.pid}" in await refusal(storage)
        holder.kill()
        holder.wait()
        await storage.open()


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused_and_left_alone(storage, path, reactor):
    await storage.open()
    await storage.close()
    change_file(path, "INSERT INTO schema (version) VALUES (999)")
    assert "schema 999, newer than" in await refusal(FileStorage(path, reactor))
    change_file(path, "DELETE FROM schema WHERE version = 999")
    await storage.open()


@pytest_twisted.ensureDeferred
async def test_a_schema_whose_version_is_no_number_is_refused(storage, path, reactor):
    await storage.open()
    await storage.close()
    change_file(path, "DROP TABLE schema")
    change_file(path, "CREATE TABLE schema (version)")
    change_file(path, "INSERT INTO schema (version) VALUES ('x')")
    assert "the version of its schema is not a number" in await refusal(FileStorage(path, reactor))


@pytest_twisted.ensureDeferred
async def test_what_is_no_file_is_refused(storage, path):
    os.mkfifo(path)
    assert "is no file" in await refusal(storage)


@pytest_twisted.ensureDeferred
async def test_the_database_of_another_program_is_refused_and_left_alone(storage, path):
    change_file(path, "CREATE TABLE customer (name)")
    with open(path, "rb") as file:
        content = file.read()
    assert "is the data file of another program" in await refusal(storage)
    with open(path, "rb") as file:
        assert file.read() == content


@pytest.mark.parametrize(
    "content", [b"this is no database, and long enough to be taken for one" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
@pytest_twisted.ensureDeferred
async def test_a_file_of_something_else_is_refused(storage, path, content):
    with open(path, "wb") as file:
        file.write(content)
    assert path in await refusal(storage)
    with open(path, "rb") as file:
        assert file.read() == content, "and left as it was"


@pytest_twisted.ensureDeferred
async def test_places_where_no_file_can_be(tmp_path, reactor):
    assert "there is no directory" in await refusal(FileStorage(str(tmp_path / "missing" / "data.sqlite"), reactor))
    assert str(tmp_path) in await refusal(FileStorage(str(tmp_path), reactor))


@pytest_twisted.ensureDeferred
async def test_damaged_entities_are_refused(storage, path):
    await storage.open()
    await storage.insert(Network(name="a"))
    await storage.close()
    change_file(path, "UPDATE entity SET body = '{'")
    assert "damaged" in await refusal(storage)


@pytest_twisted.ensureDeferred
async def test_a_refused_storage_may_be_closed(tmp_path, reactor):
    storage = FileStorage(str(tmp_path / "missing" / "data.sqlite"), reactor)
    await refusal(storage)
    await storage.close()


@pytest.mark.parametrize("lost", [1, 100, 5000])
@pytest_twisted.ensureDeferred
async def test_a_torn_end_of_the_log_is_dropped(storage, path, tmp_path, reactor, lost):
    """What a loss of power leaves of a commit that was not acknowledged."""
    await storage.open()
    torn = tmp_path / "torn.sqlite"
    for number in range(20):
        if number == 16:
            shutil.copy(f"{path}.mark", f"{torn}.mark")
        await storage.append([notification(str(number))])
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, f"{torn}{suffix}")
    os.truncate(f"{torn}-wal", os.stat(f"{torn}-wal").st_size - lost)
    opened = FileStorage(str(torn), reactor)
    await opened.open()
    found = [m.name for m in await opened.find_messages(Notification, EVERYTHING)]
    last = notification("last")
    await opened.append([last])
    await opened.close()
    assert 15 < len(found) < 20
    assert found == [str(number) for number in range(len(found))], "all before the tear, whole and in order"
    assert last.id == len(found) + 1


@pytest_twisted.ensureDeferred
async def test_a_barrier_leaves_the_disk_alone(storage, path):
    await storage.open()
    await storage.append([notification()])
    written = os.stat(f"{path}-wal").st_size
    for _ in range(3):
        await storage.append(())
    assert os.stat(f"{path}-wal").st_size == written
    await storage.append([notification()])
    assert os.stat(f"{path}-wal").st_size > written, "else this shows nothing"


@pytest_twisted.ensureDeferred
async def test_a_full_disk(path):
    arguments = ["-m", "tests.support.full_disk", path]
    output, errors, _ = await getProcessOutputAndValue(sys.executable, arguments, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert output, errors.decode()
    assert json.loads(output) == {
        "refusals": ["StorageUnavailable"] * 3,
        "readable": ["before"],
        "stored": [[1, "before"], [2, "after"], [3, "refused"]],
        "networks": [[1, "after"]],
        "network": 1,
    }, "refused while full, readable all the time, in order when there is space again, and no trace of what was refused"


@pytest_twisted.ensureDeferred
async def test_a_bad_operation_leaves_those_of_the_same_commit_alone(storage):
    await storage.open()
    found = await outcomes(
        storage.append([notification("first")]),
        storage.insert(Network(name="a")),
        storage.append([notification("\ud800")]),
        storage.insert(Network(name="\ud800")),
        storage.insert(Network(name="b")),
        storage.forget_messages(Notification, MessageQuery(device_ids=("\ud800",))),
        storage.append([notification("second")]),
    )
    assert [type(found[n]) for n in (2, 3, 5)] == [Unstorable] * 3
    assert [found[0], found[6]] == [None, None]
    assert [n.id for n in await storage.find(Network, EntityQuery())] == [1, 2], "no key is lost or given twice"
    assert [m.name for m in await storage.find_messages(Notification, EVERYTHING)] == ["first", "second"]


@pytest_twisted.ensureDeferred
async def test_a_refused_restore_leaves_those_of_the_same_commit_alone(storage):
    await storage.open()
    later = notification("later")
    found = await outcomes(
        storage.append([notification("first")]),
        storage.restore([notification("a", id=8, timestamp=5, arrived=5)]),
        storage.restore([notification("b", id=7, timestamp=5, arrived=5), notification("b", id=8, timestamp=5, arrived=5)]),
        storage.restore([notification("c", id=2**70, timestamp=5, arrived=5)]),
        storage.insert(Network(name="a")),
        storage.append([later]),
    )
    assert [type(outcome) for outcome in found] == [type(None), type(None), Duplicate, Unstorable, Network, type(None)]
    assert [(m.id, m.name) for m in await storage.find_messages(Notification, EVERYTHING)] == [(8, "a"), (1, "first"), (9, "later")]


@pytest_twisted.ensureDeferred
async def test_a_query_with_what_cannot_be_stored(storage):
    await storage.open()
    with pytest.raises(Unstorable):
        await storage.find_messages(Notification, MessageQuery(names=("\ud800",)))
    await storage.append([notification()])
    beyond = MessageQuery(since=-(2**70), before=2**70, after=(-(2**70), 2**70), skip=0, take=2**70)
    assert len(await storage.find_messages(Notification, beyond)) == 1, "numbers beyond those of SQLite are only large numbers"
    with pytest.raises(ValueError):
        await storage.find_messages(Notification, MessageQuery(sort="id; DROP TABLE notification"))


@pytest_twisted.ensureDeferred
async def test_a_busy_reactor_does_not_starve_the_writer(storage):
    await storage.open()
    assert sys.getswitchinterval() <= 0.0001


@pytest_twisted.ensureDeferred
async def test_times_that_clients_give_are_stored(storage, reactor):
    """They come out of requests as a class derived from int, which not every encoding takes."""
    await storage.open()
    server = await MemoryServer.open(reactor, storage=storage, real_time=True, hash_password=False)
    client = await server.client()
    await client.call("device/save", deviceId="lamp", device={})
    for time in ("2026-01-02T03:04:05.678", 1_767_323_045_678):
        for kind in ("command", "notification"):
            await client.call(f"{kind}/insert", deviceId="lamp", **{kind: {kind: "on", "timestamp": time}})
            found = await client.call(f"{kind}/list", deviceId="lamp", **{kind: "on"})
            assert found[f"{kind}s"][0]["timestamp"] == "2026-01-02T03:04:05.678"
    await server.close()


@pytest_twisted.ensureDeferred
async def test_a_writer_that_is_stopped_refuses_what_waits_and_goes_on_by_itself(storage, path, reactor):
    await storage.open()
    writer = writer_of(path)
    with patch.object(batching, "HANG_SECONDS", 0.2):
        writer.suspend()
        begun = storage.append([first := notification("first")])
        with pytest.raises(StorageUnavailable, match="has not answered"):
            await storage.append([notification("second")])
        assert "has not answered" in storage.problem()
        with pytest.raises(StorageUnavailable):
            await storage.append([notification("third")])
        writer.resume()
        await begun
        assert storage.problem() == ""
        await storage.append([notification("fourth")])
    stored = await storage.find_messages(Notification, EVERYTHING)
    assert [(message.id, message.name) for message in stored] == [(1, "first"), (2, "fourth")]
    assert first.id == 1


@pytest_twisted.ensureDeferred
async def test_closing_does_not_wait_for_a_writer_that_is_stopped(storage, path, reactor):
    await storage.open()
    writer = writer_of(path)
    with patch.object(batching, "HANG_SECONDS", 0.2):
        writer.suspend()
        begun = storage.append([notification()])
        await storage.close()
        with pytest.raises(StorageUnavailable):
            await begun
    assert has_ended(writer)
