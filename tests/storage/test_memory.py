"""The memory storage: the contract, and its bound."""

import pytest_twisted
from twisted.internet.task import Clock

from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.storage.memory import MemoryStorage
from dhtwisted.testing.storage import EntityStorageContract, MessageStorageContract
from dhtwisted.testing.storage_base import command, notification

EVERYTHING = MessageQuery()


class TestMemoryStorage(EntityStorageContract, MessageStorageContract):
    def make_storage(self, reactor, directory):
        return MemoryStorage(reactor)


async def kept(storage):
    """The names of what is left, notifications before commands."""
    return "".join([m.name for kind in (Notification, Command) for m in await storage.find_messages(kind, EVERYTHING)])


@pytest_twisted.ensureDeferred
async def test_above_the_bound_the_first_arrivals_go():
    storage = MemoryStorage(Clock(), max_messages=3)
    await storage.append([notification("a"), command("b"), notification("c", timestamp=10**12)])
    assert await kept(storage) == "acb"
    await storage.append([notification("d", timestamp=1)])
    assert await kept(storage) == "dcb", "the first of both kinds goes, not the newcomer with its old time"
    await storage.append([notification("e")])
    assert await kept(storage) == "edc"
    await storage.append([command(name) for name in "wxyz"])
    assert await kept(storage) == "xyz", "also when more come at once than there is place for"


@pytest_twisted.ensureDeferred
async def test_a_message_that_stays_does_not_pin_those_that_went():
    storage = MemoryStorage(Clock(), max_messages=10)
    await storage.append([notification("a", timestamp=10**12)])
    for _ in range(5):
        await storage.append([notification("b") for _ in range(3)])
        await storage.forget_messages(Notification, MessageQuery(before=10**11))
    assert await kept(storage) == "a"
    for _ in range(5):
        await storage.append([notification("b") for _ in range(3)])
        await storage.forget_messages(Notification, MessageQuery(before=10**11))
    assert await kept(storage) == "", "after twice as many arrivals as may be kept, even this one has had its time"


@pytest_twisted.ensureDeferred
async def test_restored_messages_go_in_the_order_of_their_arrival_too():
    storage = MemoryStorage(Clock(), max_messages=4)
    await storage.append([notification("a")])
    await storage.restore([notification("b", id=70, timestamp=9), command("c", id=5, timestamp=1, last_updated=1)])
    await storage.restore([notification("d", id=30, timestamp=10**12), notification("e", id=31, timestamp=5)])
    assert await kept(storage) == "ebdc", "the first arrival goes, whatever gaps the ids have"
    await storage.forget_messages(Notification, MessageQuery(before=6))
    await storage.append([notification("f", timestamp=10**12)])
    assert await kept(storage) == "bdfc", "a place that became free is used"
    await storage.append([notification("g", timestamp=10**12)])
    assert await kept(storage) == "dfgc", "an id below another one may arrive later, and stays longer"
    await storage.append([notification(name, timestamp=10**12) for name in "hijk"])
    assert await kept(storage) == "hijk"


@pytest_twisted.ensureDeferred
async def test_many_that_come_and_go():
    storage = MemoryStorage(Clock(), max_messages=1500)
    for number in range(4000):
        await storage.append([notification(str(number), f"d{number % 3}")])
    found = await storage.find_messages(Notification, EVERYTHING)
    assert [m.name for m in found] == [str(n) for n in range(2500, 4000)]
    assert [await storage.get_message(Notification, m.device_id, m.id) for m in found] == found
    of_device = await storage.find_messages(Notification, MessageQuery(device_ids=("d1",), descending=True, take=2))
    assert [m.name for m in of_device] == ["3997", "3994"]


@pytest_twisted.ensureDeferred
async def test_messages_are_kept_as_they_were_handed_in():
    storage = MemoryStorage(Clock())
    message = notification()
    await storage.append([message])
    assert await storage.get_message(Notification, "a", 1) is message, "no copy: the hot path makes no second object"
