"""What an export holds, and how it is read out of a storage."""

import json

import pytest
from twisted.internet.task import Clock

from dhtwisted.core.stored_pages import PAGE
from dhtwisted.errors import ConfigurationError, TransferError
from dhtwisted.model import Command, MessageQuery, Notification, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once
from dhtwisted.testing.storage.base import notification
from dhtwisted.transfer.unfinished import mark_unfinished
from tests.support.moving import ENTITIES, MESSAGES, NOW, exported, fill


class PagedStorage(MemoryStorage):
    """Notes how many messages each question brought."""

    def __init__(self):
        super().__init__(Clock())
        self.pages = []

    async def find_messages(self, kind, query):
        found = await super().find_messages(kind, query)
        self.pages.append((kind, len(found)))
        return found


def names(data, kind):
    lines = [json.loads(line) for line in data.splitlines()]
    return [line[kind].get("login") or line[kind]["name"] for line in lines if kind in line]


@pytest.fixture
def storage():
    return PagedStorage()


def test_everything_is_there_in_order(storage):
    at_once(fill(storage))
    data = at_once(exported(storage))
    kinds = [next(iter(json.loads(line))) for line in data.splitlines()]
    assert list(dict.fromkeys(kinds)) == [
        "format",
        "network",
        "devicetype",
        "device",
        "configuration",
        "devicetoken",
        "mqttsession",
        "retainedmessage",
        "queuedmessage",
        "receivedpacket",
        "command",
        "notification",
        "user",
        "end",
    ]
    assert len(kinds) == 2 + len(ENTITIES) + len(MESSAGES)
    assert names(data, "user") == ["anna", "Bob"], "in order of keys"
    assert names(data, "command") == ["off", "on"], "in order of time"


def test_two_exports_of_the_same_are_equal(storage):
    at_once(fill(storage))
    again = MemoryStorage(Clock())
    at_once(fill(again, entities=ENTITIES[::-1]))
    assert at_once(exported(storage)) == at_once(exported(again))


def test_messages_may_be_elsewhere(storage):
    elsewhere = MemoryStorage(Clock())
    at_once(fill(storage, elsewhere))
    assert names(at_once(exported(storage, elsewhere)), "notification") == ["t"] * 3
    assert names(at_once(exported(storage)), "notification") == []


def test_messages_are_read_in_pages(storage):
    count = 2 * PAGE + 10
    at_once(storage.append([notification(str(n), timestamp=n % 7) for n in range(count)]))
    looks = []
    data = at_once(exported(storage, report=lambda: looks.append(None)))
    assert sorted(map(int, names(data, "notification"))) == list(range(count)), "each once, also where times are equal"
    lengths = [length for kind, length in storage.pages if kind is Notification]
    assert max(lengths) <= PAGE
    assert sum(lengths) == count
    assert len(looks) >= len(lengths), "one may look up after each"


def test_pages_of_large_messages_are_short(storage):
    at_once(storage.append([notification(timestamp=n, parameters=b'"%s"' % (b"x" * 1024**2)) for n in range(60)]))
    data = at_once(exported(storage))
    lengths = [length for kind, length in storage.pages if kind is Notification and length]
    assert lengths == [1] * 60
    assert len(names(data, "notification")) == 60


def test_what_is_asked_last_is_asked_once(storage):
    at_once(fill(storage))
    at_once(exported(storage))
    assert storage.pages == [(Command, 0), (Notification, 0), (Command, 2), (Notification, 3)], "first those with a later time"


def test_an_unfinished_import_is_not_exported(storage):
    at_once(mark_unfinished(storage, "2026-01-02T03:04:05.678"))
    with pytest.raises(ConfigurationError, match="a part of the export of 2026-01-02T03:04:05.678"):
        at_once(exported(storage))


def test_it_can_be_ended(storage):
    def end():
        raise TransferError("ended")

    at_once(fill(storage))
    with pytest.raises(TransferError, match="ended"):
        at_once(exported(storage, report=end))
    assert at_once(storage.find_messages(Notification, MessageQuery())), "and nothing has changed"


@pytest.mark.parametrize("now", [0, 3, 5, 8, NOW])
def test_it_does_not_matter_what_clients_took_for_the_time(storage, now):
    at_once(fill(storage))
    assert at_once(exported(storage, now=now)) == at_once(exported(storage))


def test_what_was_there_is_in_it_and_it_ends_while_others_write(storage):
    """Each page is answered by as many new messages: dated by the storage, into the past, into the future."""
    there = [notification(str(n), timestamp=time) for n, time in enumerate([1, 5, 10**6, 10**9, None])]
    at_once(storage.append(there))
    now = there[-1].timestamp
    written = []

    def write_more():
        more = [notification("new", timestamp=time) for time in (None, 2, 10**12)] * 100
        if len(written) < 10:
            written.append(at_once(storage.append(more)))
            at_once(storage.insert(User(login=f"new-{len(written)}", password="")))

    at_once(storage.insert(User(login="there", password="")))
    data = at_once(exported(storage, report=write_more, now=now))
    assert {str(n) for n in range(5)} <= set(names(data, "notification"))
    assert names(data, "user") == ["there"], "entities are those of the beginning"
    ids = [json.loads(line)["notification"]["id"] for line in data.splitlines() if b'"notification":{' in line]
    assert len(ids) == len(set(ids))
