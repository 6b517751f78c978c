"""The files of a storage that is open: deleted, moved or replaced, which loses nothing in silence; and damaged."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.errors import ConfigurationError, StorageDamaged, StorageUnavailable
from dhtwisted.interfaces import ISelfCheck
from dhtwisted.model import Command, EntityQuery, MessageQuery, Network, Notification
from dhtwisted.providers.sqlite.data_files import LOCK, WRITTEN, open_problem
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import command, notification, outcomes
from tests.support.writers import has_ended, writer_of

EVERYTHING = MessageQuery()


@pytest.fixture
def path(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "hive.sqlite"


@pytest.fixture
def storage(path, reactor):
    """A storage that is open, with a notification ``before``."""
    storage = FileStorage(str(path), reactor)
    pytest_twisted.blockon(storage.open())
    pytest_twisted.blockon(Deferred.fromCoroutine(_append(storage, "before")))
    yield storage
    pytest_twisted.blockon(storage.close())


async def _append(storage, name):
    await storage.append([notification(name)])


async def stored(path, reactor):
    """Names of all notifications that another storage finds."""
    storage = FileStorage(str(path), reactor)
    await storage.open()
    try:
        return [message.name for message in await storage.find_messages(Notification, EVERYTHING)]
    finally:
        await storage.close()


def delete(file):
    file.unlink()


def replace(file):
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.rename(file)


def move_away(file):
    file.rename(file.with_name("elsewhere"))


def test_a_storage_that_is_well_has_no_problem(storage):
    assert ISelfCheck.providedBy(storage)
    assert storage.problem() == ""


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("deed", [delete, replace, move_away])
@pytest_twisted.ensureDeferred
async def test_nothing_is_acknowledged_that_would_be_lost(storage, path, suffix, deed):
    deed(path.with_name(path.name + suffix))
    for refused in await outcomes(storage.append([notification("refused")]), storage.insert(Network(name="refused"))):
        assert isinstance(refused, StorageUnavailable)
        assert f"{path}{suffix}: was deleted, moved or replaced while the server works on it" in str(refused)
    assert storage.problem() == str(refused)
    assert await storage.count(Network, EntityQuery()) == 0
    assert [message.name for message in await storage.find_messages(Notification, EVERYTHING)] == ["before"]


@pytest_twisted.ensureDeferred
async def test_the_whole_directory(storage, path):
    shutil.rmtree(path.parent)
    (refused,) = await outcomes(storage.append([notification("refused")]))
    assert isinstance(refused, StorageUnavailable)
    assert "do not stop the server before you have saved what it has" in storage.problem()


@pytest_twisted.ensureDeferred
async def test_a_lock_that_is_gone_is_told_and_stops_nothing(storage, path):
    path.with_name(path.name + LOCK).unlink()
    await _append(storage, "after")
    assert storage.problem() == (
        f"{path}.lock: was deleted, moved or replaced while the server works on it; "
        "restart the server, since another could start on the same data"
    )


@pytest_twisted.ensureDeferred
async def test_a_file_that_comes_back_is_written_again(storage, path):
    elsewhere = path.rename(path.with_name("elsewhere"))
    (refused,) = await outcomes(storage.append([notification("refused")]))
    assert isinstance(refused, StorageUnavailable)
    elsewhere.rename(path)
    assert storage.problem() == ""
    await _append(storage, "after")
    names = [(message.id, message.name) for message in await storage.find_messages(Notification, EVERYTHING)]
    assert names == [(1, "before"), (2, "after")]


@pytest.mark.parametrize("suffix", WRITTEN[1:])
@pytest_twisted.ensureDeferred
async def test_a_stop_saves_all_when_the_log_or_the_memory_is_gone(storage, path, reactor, suffix):
    """As the message about it says."""
    path.with_name(path.name + suffix).unlink()
    await storage.close()
    assert await stored(path, reactor) == ["before"]


@pytest_twisted.ensureDeferred
async def test_what_was_deleted_can_be_saved_from_the_process(storage, path, reactor):
    """As the operator's guide says."""
    path.unlink()
    await outcomes(storage.append([notification("refused")]))
    writer = writer_of(path)
    saved = path.with_name("saved.sqlite")
    shutil.copy(f"{path}.mark", f"{saved}.mark")
    for number in os.listdir(f"/proc/{writer.pid}/fd"):
        target = os.readlink(f"/proc/{writer.pid}/fd/{number}").removesuffix(" (deleted)")
        for suffix in WRITTEN[:2]:
            if target == f"{path}{suffix}":
                shutil.copy(f"/proc/{writer.pid}/fd/{number}", f"{saved}{suffix}")
    assert await stored(saved, reactor) == ["before"]


@pytest.mark.parametrize("deed", [delete, replace])
@pytest_twisted.ensureDeferred
async def test_a_process_that_is_replaced_opens_no_other_file(storage, path, deed, reactor):
    deed(path)
    writer = writer_of(path)
    writer.kill()
    while not has_ended(writer):
        await _turn(reactor)
    before = sorted(os.listdir(path.parent))
    for _ in range(2):
        (refused,) = await outcomes(storage.append([notification("refused")]))
        assert isinstance(refused, StorageUnavailable)
    assert sorted(os.listdir(path.parent)) == before


def _turn(reactor):
    done = Deferred()
    reactor.callLater(0.01, done.callback, None)
    return done


@pytest_twisted.ensureDeferred
async def test_the_files_stay_the_same_when_the_process_is_replaced(storage, path, reactor):
    writer_of(path).kill()
    await outcomes(storage.append([notification("perhaps")]))
    await outcomes(storage.append([notification("after")]))
    assert storage.problem() == ""


@pytest_twisted.ensureDeferred
async def test_a_data_file_that_is_gone_is_not_begun_anew_beside_its_log(path, reactor):
    path.with_name(path.name + "-wal").write_bytes(b"frames")
    storage = FileStorage(str(path), reactor)
    with pytest.raises(ConfigurationError, match="is gone, but .*-wal has what was stored last; restore a backup"):
        await storage.open()
    assert sorted(os.listdir(path.parent)) == ["hive.sqlite-wal"]
    assert "is gone" in open_problem(str(path))


def damage(path, pages):
    """Overwrite pages of a table, but for the first; they must be in the file, and in nobody's memory."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:
        for page in range(pages, os.path.getsize(path) // size):
            file.seek(page * size)
            file.write(os.urandom(size))


@pytest_twisted.ensureDeferred
async def test_damaged_pages(storage, path):
    await storage.append([notification(f"n{number}") for number in range(3000)])
    damage(path, 12)
    (read,) = await outcomes(storage.find_messages(Notification, EVERYTHING))
    assert isinstance(read, StorageDamaged)
    assert storage.problem().startswith(f"{path}: the storage file cannot be used: database disk image is malformed; stop the server")
    # Some pages are whole, and it is damaged all the same.
    await outcomes(storage.get_message(Command, "nobody", 1), storage.append([command("c")]))
    assert "malformed" in storage.problem()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_and_does_its_work_again(storage, monkeypatch):
    from dhtwisted.providers.sqlite import reader as sqlite_reader

    real, failing = sqlite_reader._select, sqlite3.OperationalError("disk I/O error")
    failing.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ

    def fail(*arguments):
        with sqlite_reader.translated_errors():
            raise failing

    monkeypatch.setattr(sqlite_reader, "_select", fail)
    (read,) = await outcomes(storage.find_messages(Notification, EVERYTHING))
    assert isinstance(read, StorageDamaged)
    assert storage.problem().endswith("disk I/O error; look at the disk")
    await _append(storage, "another deed")
    assert "disk I/O error" in storage.problem()
    monkeypatch.setattr(sqlite_reader, "_select", real)
    await storage.find_messages(Notification, EVERYTHING)
    assert storage.problem() == ""
