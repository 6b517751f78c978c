"""Storages as the configuration names them."""

import pytest
import pytest_twisted

from dhtwisted.config.settings import Settings, StorageSettings
from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.kit.provider import FileProvider
from dhtwisted.model import MessageQuery, Network, Notification
from dhtwisted.providers import lookup
from dhtwisted.providers.opening import data_file, open_storages


def configured(provider, messages=""):
    return Settings(storage=StorageSettings(provider=provider, messages=messages))


async def close(opened):
    for _, close_it in opened[::-1]:
        await close_it()


class Elsewhere(FileProvider):
    """Somebody else's storage, in a file that it calls by another name than its argument."""

    def data_file(self, argument):
        return f"/data/{argument}.db"


def test_the_file_of_a_storage_is_known_whoever_declares_it(monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "hive.sqlite")
    assert data_file("storage", f"file:{tmp_path}/link") == data_file("messages", f"file:{tmp_path}/x/../hive.sqlite")
    assert data_file("storage", "memory:") is data_file("storage", "nobody:x") is data_file("messages", "") is None
    mine = Elsewhere("messages", "mine", "of a test", "NAME", None, None, None)
    monkeypatch.setattr(lookup, "PROVIDERS", (*lookup.PROVIDERS, mine))
    assert (data_file("messages", "mine:x"), data_file("storage", "mine:x")) == ("/data/x.db", None)


@pytest_twisted.ensureDeferred
async def test_one_storage_is_for_everything(reactor, tmp_path):
    opened = []
    storage, messages = await open_storages(reactor, configured(f"file:{tmp_path}/a"), lambda *entry: opened.append(entry))
    assert messages is storage
    assert (await storage.insert(Network(name="a"))).id == 1
    assert [role for role, _ in opened] == ["storage"]
    await close(opened)
    with pytest.raises(StorageUnavailable):
        await storage.find_messages(Notification, MessageQuery())


@pytest_twisted.ensureDeferred
async def test_messages_may_have_one_of_their_own(reactor, tmp_path):
    opened = []
    storage, messages = await open_storages(reactor, configured("memory:", f"file:{tmp_path}/a"), lambda *entry: opened.append(entry))
    assert (storage.durability, messages.durability) == ("volatile", "durable")
    assert [role for role, _ in opened] == ["storage", "messages"]
    await close(opened)


@pytest_twisted.ensureDeferred
async def test_of_what_could_not_be_opened_the_rest_can_be_closed(reactor, tmp_path):
    opened = []
    with pytest.raises(ConfigurationError, match="there is no directory"):
        await open_storages(reactor, configured(f"file:{tmp_path}/a", f"file:{tmp_path}/b/c"), lambda *entry: opened.append(entry))
    await close(opened)
    again = []
    await open_storages(reactor, configured(f"file:{tmp_path}/a"), lambda *entry: again.append(entry))
    await close(again)
