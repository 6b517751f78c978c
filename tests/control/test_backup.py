"""What ``devicehive backup`` says of what it has copied; tests/system/test_backup.py runs it."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
import pytest_twisted
from zope.interface import implementer

from dhtwisted.config.settings import Settings, StorageSettings
from dhtwisted.control.backup import Backup
from dhtwisted.control.command import Context
from dhtwisted.errors import CommandError, StorageDamaged
from dhtwisted.interfaces import IBackupAdvice
from dhtwisted.model import Network, StoredBytes, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import command, notification


@pytest_twisted.async_yield_fixture
async def context(tmp_path, reactor):
    """A storage, and one of messages, with something in both."""
    paths = [tmp_path / "hive.sqlite", tmp_path / "messages.sqlite"]
    storage, messages = (FileStorage(str(path), reactor) for path in paths)
    await storage.open()
    await messages.open()
    await storage.insert(User(login="anna", password="", role=0, status=0))
    await storage.insert(Network(name="home"))
    await storage.insert(StoredBytes(id="20260102 user 1", size=5))
    await messages.append([command("a"), *(notification() for _ in range(23))])
    settings = Settings(storage=StorageSettings(provider=f"file:{paths[0]}", messages=f"file:{paths[1]}"))
    yield Context(settings, storage, messages, None, 0, SimpleNamespace(write=_ignore))
    await storage.close()
    await messages.close()


async def _ignore(data, part):
    """Take a portion."""


@pytest_twisted.ensureDeferred
async def test_it_counts_what_is_in_both_files_and_nothing_internal(context):
    line = await Backup(file="copy").run(context)
    assert line.startswith("Copied to copy, copy.messages: 1 user, 1 network, ")
    assert "1 command, 23 notifications, checked." in line
    assert "stored" not in line


@pytest_twisted.ensureDeferred
async def test_it_refuses_damaged_records_and_says_what_to_do(context, tmp_path):
    with closing(sqlite3.connect(tmp_path / "messages.sqlite")) as connection, connection:
        connection.execute("UPDATE notification SET name = 'other' WHERE id = 7")
    with pytest.raises(StorageDamaged, match="notification 7.*restore a backup, or start once with --accept-loss"):
        await Backup(file="copy").run(context)


@implementer(IBackupAdvice)
class Advising(MemoryStorage):
    backup_advice = "use mydump"


@pytest.mark.parametrize(("kind", "words"), [(Advising, "use mydump"), (MemoryStorage, "whose data end with the server; ")])
@pytest_twisted.ensureDeferred
async def test_a_storage_without_copies_says_what_to_do(reactor, kind, words):
    storage = kind(reactor)
    context = Context(Settings(storage=StorageSettings(provider="mine:x")), storage, storage, None, 0, None)
    with pytest.raises(CommandError, match=f"^the storage is mine:, {words}"):
        await Backup(file="copy").run(context)
