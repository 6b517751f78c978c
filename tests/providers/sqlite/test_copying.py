"""Copies of the data file: whole, checked, for nobody else's eyes, and what stands in their way."""

import os
import shutil
import sqlite3
import stat
from collections import namedtuple

import pytest
import pytest_twisted

from dhtwisted.errors import StorageDamaged, StorageUnavailable
from dhtwisted.providers.sqlite import copying as sqlite_copy
from dhtwisted.providers.sqlite.data_files import KEPT_OPEN
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import notification

Usage = namedtuple("Usage", "total used free")


@pytest_twisted.async_yield_fixture
async def storage(tmp_path, reactor):
    """A storage with some megabytes, so that a copy takes several steps."""
    storage = FileStorage(str(tmp_path / "data.sqlite"), reactor)
    await storage.open()
    await storage.append([notification(parameters=b'"%s"' % (b"x" * 10_000)) for _ in range(500)])
    yield storage
    await storage.close()


def names(directory):
    return {path.name for path in directory.iterdir()} - {f"data.sqlite{suffix}" for suffix in KEPT_OPEN}


async def ignore(data):
    """Take a portion."""


@pytest_twisted.ensureDeferred
async def test_it_lies_beside_the_data_for_this_user_alone_until_it_is_taken(storage, tmp_path):
    before, modes = os.umask(0), []

    async def look(data):
        modes.extend(stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path))

    try:
        await storage.back_up(look)
    finally:
        os.umask(before)
    assert set(modes) == {0o600}
    assert names(tmp_path) == set()


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_told_before_it_is_full(storage, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**40, 2**40, 2**20))
    with pytest.raises(StorageUnavailable, match="there are 1 MiB free on that disk: make room for 6"):
        await storage.back_up(ignore)
    await storage.append([notification()])


@pytest_twisted.ensureDeferred
async def test_a_copy_with_less_than_there_is_is_refused(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_copy, "_counts", counts := _Counts())
    with pytest.raises(StorageUnavailable, match="has not all that is there"):
        await storage.back_up(ignore)
    assert counts.asked == 2
    assert names(tmp_path) == set()


class _Counts:
    """Another count each time."""

    asked = 0

    def __call__(self, connection):
        self.asked += 1
        return {"notification": self.asked}


@pytest_twisted.ensureDeferred
async def test_a_copy_of_a_damaged_file_is_refused(storage, tmp_path, reactor):
    await storage.close()
    with open(tmp_path / "data.sqlite", "r+b") as file:
        connection = sqlite3.connect(tmp_path / "data.sqlite")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'notification'").fetchone()
        connection.close()
        file.seek((page - 1) * 4096 + 8)
        file.write(b"\xff" * 64)
    damaged = FileStorage(str(tmp_path / "data.sqlite"), reactor)
    await damaged.open()
    try:
        with pytest.raises(StorageDamaged):
            await damaged.back_up(ignore)
        assert "restore a backup" in damaged.problem()
    finally:
        await damaged.close()


@pytest_twisted.ensureDeferred
async def test_two_at_once_and_what_a_killed_one_has_left(storage, tmp_path, reactor):
    async def again(data):
        with pytest.raises(StorageUnavailable, match="another backup is running"):
            await storage.back_up(ignore)

    await storage.back_up(again)
    await storage.close()
    (tmp_path / "data.sqlite.backup").write_text("left")
    (tmp_path / "data.sqlite.backup-journal").write_text("left")
    other = FileStorage(str(tmp_path / "data.sqlite"), reactor)
    await other.open()
    assert names(tmp_path) == set()
    await other.close()


@pytest_twisted.ensureDeferred
async def test_closing_the_storage_ends_it(storage, tmp_path):
    async def close(data):
        await storage.close()
        raise StorageUnavailable("closed")

    with pytest.raises(StorageUnavailable):
        await storage.back_up(close)
    assert names(tmp_path) == set()


@pytest_twisted.ensureDeferred
async def test_what_has_the_name_of_the_data_now_is_not_copied(storage, tmp_path):
    os.rename(tmp_path / "data.sqlite", tmp_path / "moved.sqlite")
    shutil.copy(tmp_path / "moved.sqlite", tmp_path / "data.sqlite")
    with pytest.raises(StorageUnavailable, match="was deleted, moved or replaced"):
        await storage.back_up(ignore)
    os.rename(tmp_path / "moved.sqlite", tmp_path / "data.sqlite")
