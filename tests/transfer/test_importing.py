"""What an import makes of an export: the same in any storage, however often it is cut short on the way."""

import re
import sys
from itertools import count

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.errors import ConfigurationError, Duplicate, StorageUnavailable, TransferError, Unstorable
from dhtwisted.interfaces import ProviderContext
from dhtwisted.model import Command, Configuration, Device, MessageQuery, Network, Notification, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.server import at_once
from dhtwisted.testing.storage.base import StorageContract, command, notification
from dhtwisted.testing.strategies import entities, stored_messages
from dhtwisted.transfer import importing
from dhtwisted.transfer.importing import batches
from dhtwisted.transfer.stream import Entry
from dhtwisted.transfer.unfinished import find_unfinished, refuse_unfinished
from dhtwisted.wire.timestamps import parse_timestamp
from tests.support.moving import ENTITIES, MESSAGES, TIME, changed, contents, exported, fill, imported
from tests.support.packages import ROOT

sys.path.append(str(ROOT / "tests" / "example_storage"))

from dhtwisted_example_storage import journal


@pytest.fixture
def storage():
    return MemoryStorage(Clock())


@pytest.fixture
def data():
    """The export of what ``moving`` has."""
    source = MemoryStorage(Clock())
    at_once(fill(source))
    return at_once(exported(source))


def refusal(data, storage, messages=None):
    with pytest.raises(TransferError) as caught:
        at_once(imported(data, storage, messages))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class MovingContract(StorageContract):
    """Moves from one storage to another."""

    @pytest_twisted.ensureDeferred
    async def test_everything_is_as_it_was(self):
        async def example(storage, entities, stored):
            source = MemoryStorage(Clock())
            await fill(source, entities=entities, stored=stored)
            data = await exported(source)
            work = await imported(data, storage)
            assert work.found == 0
            assert await contents(storage) == await contents(source)
            assert await exported(storage) == data

        await self.for_all(example, entities=st.lists(entities, max_size=10), stored=stored_messages)

    @pytest_twisted.ensureDeferred
    async def test_keys_and_ids_go_on_above_all(self, storage):
        source = MemoryStorage(Clock())
        await fill(source)
        await imported(await exported(source), storage)
        assert (await storage.insert(Network(name="new"))).id == 10
        assert (await storage.insert(User(login="new"))).id == 7
        await storage.append(new := [command(), notification()])
        assert [message.id for message in new] == [8, 32]

    @pytest_twisted.ensureDeferred
    async def test_there_and_back(self, storage):
        await fill(storage)
        back = MemoryStorage(Clock())
        await imported(await exported(storage), back)
        assert await contents(back) == await contents(storage)


class TestMemory(MovingContract):
    def make_storage(self, reactor, directory):
        return MemoryStorage(reactor)


class TestFile(MovingContract):
    def make_storage(self, reactor, directory):
        return FileStorage(str(directory / "data.sqlite"), reactor)


@pytest_twisted.ensureDeferred
async def test_messages_go_into_a_strangers_storage(tmp_path, reactor, data):
    storage, messages = MemoryStorage(reactor), journal.open(str(tmp_path / "journal"), ProviderContext(reactor, None))
    await messages.open()
    try:
        await imported(data, storage, messages)
        assert await exported(storage, messages) == data
        assert await storage.find_messages(Notification, MessageQuery()) == []
    finally:
        await messages.close()


class FailingStorage(MemoryStorage):
    """Is unavailable after so many changes.

    :ivar left: how many are left; ``None`` for no end.
    """

    def __init__(self):
        super().__init__(Clock())
        self.left = None

    def _spend(self):
        if self.left == 0:
            raise StorageUnavailable("cut")
        if self.left is not None:
            self.left -= 1

    async def insert(self, entity):
        self._spend()
        return await super().insert(entity)

    async def delete(self, kind, key):
        self._spend()
        return await super().delete(kind, key)

    async def restore(self, messages):
        self._spend()
        await super().restore(messages)


def test_cut_short_anywhere_it_goes_on(monkeypatch, data):
    monkeypatch.setattr(importing, "MESSAGES_AT_ONCE", 2)
    monkeypatch.setattr(importing, "ENTITIES_AT_ONCE", 3)
    whole = MemoryStorage(Clock())
    at_once(imported(data, whole))
    for changes in count():
        storage = FailingStorage()
        storage.left = changes
        try:
            at_once(imported(data, storage))
            break
        except StorageUnavailable:
            storage.left = None
        there = sum(map(len, at_once(contents(storage)).values()))
        if changes:
            with pytest.raises(ConfigurationError, match="a part of the export"):
                at_once(refuse_unfinished(storage))
        assert at_once(imported(data, storage)).found == max(there - 1, 0), "all but the mark was there already"
        assert at_once(contents(storage)) == at_once(contents(whole))
        at_once(refuse_unfinished(storage))
    assert changes == 2 + len(ENTITIES) + 3, "the mark came and went; each entity was inserted, messages in three calls"


def older(data):
    """The same export as programs wrote it that knew nothing of arrivals."""
    return re.sub(rb'"arrived":[0-9]+,', b"", changed(data, b'"version":5', b'"version":2'))


EXPORTED = parse_timestamp(TIME)


@pytest.mark.parametrize("now", [0, EXPORTED + 5], ids=["with a clock that is not set", "later"])
def test_messages_of_older_exports_count_from_their_own_times_at_the_latest_from_now(storage, now):
    source = MemoryStorage(Clock())
    at_once(fill(source, stored=[notification(id=1, timestamp=5, arrived=1), notification(id=2, timestamp=2**42, arrived=1)]))
    at_once(imported(older(at_once(exported(source))), storage, now=now))
    found = at_once(storage.find_messages(Notification, MessageQuery()))
    assert [message.arrived for message in found] == [5, max(now, EXPORTED)]


def test_no_message_arrives_in_the_future(storage):
    """It would be kept for as long as that lasts, and say that a clock which is ahead is right."""
    source = MemoryStorage(Clock())
    at_once(fill(source, stored=[notification(id=1, timestamp=2**42, arrived=1), notification(id=2, timestamp=5, arrived=2**47)]))
    data = at_once(exported(source))
    at_once(imported_until(data, storage, "user"))
    at_once(imported(data, storage, now=EXPORTED + 5))
    found = at_once(storage.find_messages(Notification, MessageQuery()))
    assert {message.id: message.arrived for message in found} == {1: 1, 2: EXPORTED}


def test_an_older_export_goes_on_later(data):
    old = older(data.replace(b'"timestamp":8', b'"timestamp":4398046511104'))
    storage = MemoryStorage(Clock())
    at_once(imported_until(old, storage, "user"))
    assert at_once(imported(old, storage, now=EXPORTED + 5)).found == len(ENTITIES) - 2 + len(MESSAGES)


def test_cut_short_twice(data):
    storage = FailingStorage()
    for changes in (4, 3, None):
        storage.left = changes
        try:
            at_once(imported(data, storage))
        except StorageUnavailable:
            assert changes
    assert at_once(exported(storage)) == data


def test_a_batch_of_which_a_part_is_there(data):
    storage = MemoryStorage(Clock())
    at_once(imported_until(data, storage, "notification"))
    at_once(storage.restore([message for message in MESSAGES if isinstance(message, Notification) and message.id > 1]))
    assert at_once(imported(data, storage)).found == len(ENTITIES) - 2 + 4
    assert at_once(exported(storage)) == data


async def imported_until(data, storage, kind):
    """Put an export into a storage as far as the first object of a kind: it is read, but not stored."""
    lines = data.splitlines(keepends=True)
    end = next(n for n, line in enumerate(lines) if line.startswith(b'{"%s"' % kind.encode()))
    with pytest.raises(TransferError, match="is cut off or missing"):
        await imported(b"".join(lines[: end + 1]), storage)


def test_users_are_there_last(data, storage):
    at_once(imported_until(data, storage, "user"))
    found = at_once(contents(storage))
    assert (len(found[Command]), len(found[Notification]), found[User]) == (2, 3, [])


def test_the_mark_is_nothing_that_a_client_could_make(data, storage):
    at_once(imported_until(data, storage, "configuration"))
    marks = [device for device in at_once(contents(storage))[Device] if " " in device.id]
    assert [(mark.name, mark.network_id) for mark in marks] == [(TIME, 0)]
    assert at_once(find_unfinished(storage)) == TIME


def test_another_export_does_not_go_on(data, storage):
    at_once(imported_until(data, storage, "user"))
    other = changed(data, TIME.encode(), b"2027-01-01T00:00:00.000")
    assert f"a part of the export of {TIME}, and this file is the export of 2027" in refusal(other, storage)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            b'"description":"\xc3\x84"',
            b'"description":"B"',
            "line 2: network 3: there is a Network with id = 3 already, and it is different",
        ),
        (b'"lifetime":60', b'"lifetime":61', "line 14: command 7: there is a Command with id = 7 already, and it is different"),
    ],
)
def test_what_is_there_and_different_is_named(data, storage, old, new, words):
    at_once(imported_until(data, storage, "user"))
    before = at_once(contents(storage))
    assert refusal(changed(data, old, new), storage) == words
    assert at_once(contents(storage)) == before


@pytest.mark.parametrize("item", [*ENTITIES, *MESSAGES[:3]], ids=lambda item: item.KIND)
def test_a_storage_with_anything_in_it_is_refused(data, storage, item):
    at_once(storage.insert(item) if hasattr(item, "key") else storage.restore([item]))
    before = at_once(contents(storage))
    assert f"the storage has a {item.KIND} already: import needs an empty storage" in refusal(data, storage)
    assert at_once(contents(storage)) == before


def test_a_storage_of_messages_with_anything_in_it_is_refused(data, storage):
    elsewhere = MemoryStorage(Clock())
    at_once(elsewhere.restore(MESSAGES[:1]))
    assert "the storage has a command already" in refusal(data, storage, elsewhere)


def test_a_second_import_of_the_same_is_refused(data, storage):
    at_once(imported(data, storage))
    assert "already: import needs an empty storage" in refusal(data, storage)


def test_of_two_at_once_one_begins(data):
    class EmptyStorage(MemoryStorage):
        async def get(self, kind, key):
            return None

        async def count(self, kind, query):
            return 0

    storage = EmptyStorage(Clock())
    at_once(imported_until(data, storage, "network"))
    with pytest.raises(Duplicate, match="unfinished import"):
        at_once(imported(data, storage))


def test_two_of_one_name_are_named(data, storage):
    assert "line 3: network 9: there is a Network with name = 'home' already" in refusal(changed(data, b'"away"', b'"home"'), storage)


@pytest.mark.parametrize("messages_at_once", [1, 500])
@pytest.mark.parametrize("again", [False, True])
def test_a_message_that_comes_twice_is_named(monkeypatch, data, storage, again, messages_at_once):
    if again:
        at_once(imported_until(data, storage, "command"))
    monkeypatch.setattr(importing, "MESSAGES_AT_ONCE", messages_at_once)
    twice = changed(data, b'"updated":false,"id":2}', b'"updated":false,"id":7}')
    assert "line 15: command 7: " in refusal(twice, storage)


def test_a_message_that_cannot_be_kept_is_named(data):
    class ParticularStorage(MemoryStorage):
        async def restore(self, messages):
            if any(message.id == 30 for message in messages):
                raise Unstorable("not this one")
            await super().restore(messages)

    storage = ParticularStorage(Clock())
    assert refusal(data, storage) == "line 18: notification 30: not this one"
    assert [m.id for m in at_once(storage.find_messages(Notification, MessageQuery()))] == [1], "those of lower ids are kept"


def test_an_entity_that_cannot_be_kept_is_named(data):
    class ParticularStorage(MemoryStorage):
        async def insert(self, entity):
            if entity in ENTITIES[7:8]:
                raise Unstorable("not this one")
            return await super().insert(entity)

    storage = ParticularStorage(Clock())
    assert refusal(data, storage) == "line 19: user 5: not this one"
    assert [user.login for user in at_once(contents(storage))[User]] == ["Bob"], "its neighbours are kept"


def test_it_can_be_ended(data, storage):
    def end():
        raise TransferError("ended")

    with pytest.raises(TransferError, match="ended"):
        at_once(imported(data, storage, report=end))
    assert at_once(find_unfinished(storage)) == TIME
    at_once(imported(data, storage))
    assert at_once(exported(storage)) == data


@given(st.lists(st.tuples(st.sampled_from([Network, Configuration, Command, Notification]), st.integers(1, 600_000)), max_size=120))
def test_batches_are_of_one_kind_and_bounded(kinds):
    makers = {Network: lambda: ENTITIES[0], Configuration: lambda: ENTITIES[5], Command: command, Notification: notification}
    entries = [Entry(n, makers[kind](), size) for n, (kind, size) in enumerate(kinds)]
    found = list(batches(entries))
    assert [entry for batch in found for entry in batch] == entries
    for batch in found:
        assert len({type(entry.item) for entry in batch}) == 1
        assert sum(entry.size for entry in batch[:-1]) < importing.BATCH_SIZE
        assert len(batch) <= (50 if hasattr(batch[0].item, "key") else 500)
