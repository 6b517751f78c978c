"""The memory storage: the contract, and its bound."""

import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.providers.builtin import memory
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once
from dhtwisted.testing.storage import EntityStorageContract, ExaminableStorageContract, MessageStorageContract
from dhtwisted.testing.storage.base import command, notification

EVERYTHING = MessageQuery()


class TestMemoryExamination(ExaminableStorageContract):
    provider = memory

    def make_argument(self, directory):
        return ""


class TestMemoryStorage(EntityStorageContract, MessageStorageContract):
    def make_storage(self, reactor, directory):
        return MemoryStorage(reactor)


async def kept(storage):
    """The names of what is left, notifications before commands."""
    return "".join([m.name for kind in (Notification, Command) for m in await storage.find_messages(kind, EVERYTHING)])


new_messages = st.builds(
    lambda make, device_id, timestamp: lambda: make(device_id=device_id, timestamp=timestamp),
    st.sampled_from([command, notification, notification, notification]),
    st.sampled_from("ab"),
    st.sampled_from([None, None, 4000]),
)
appends = st.lists(st.tuples(st.lists(new_messages, min_size=1, max_size=5), st.integers(-1, 2)), min_size=2, max_size=8)


@given(appends, st.none() | st.integers(0, 4000))
def test_messages_that_come_together_are_stored_like_those_that_come_alone(appends, restored):
    found = []
    for is_together in (True, False):
        clock = Clock()
        storage = MemoryStorage(clock, max_messages=12)
        storage._forward_time._monotonic = lambda: 0.0
        if restored is not None:
            at_once(storage.restore([notification(id=1, timestamp=restored, arrived=restored)]))
        for makers, seconds in appends:
            clock.rightNow = max(0, clock.rightNow + seconds)
            messages = [make() for make in makers]
            for some in [messages] if is_together or not messages else [[message] for message in messages]:
                at_once(storage.append(some))
        queries = [EVERYTHING, MessageQuery(by_arrival=True), *(MessageQuery(device_ids=(device_id,)) for device_id in "ab")]
        found.append([at_once(storage.find_messages(kind, query)) for kind in (Notification, Command) for query in queries])
    assert found[0] == found[1]


@pytest_twisted.ensureDeferred
async def test_above_the_bound_the_first_arrivals_go():
    clock = Clock()
    storage = MemoryStorage(clock, max_messages=3)
    for message in (notification("a"), command("b"), notification("c", timestamp=10**12)):
        await storage.append([message])
        clock.advance(1)
    assert await kept(storage) == "acb"
    await storage.append([notification("d", timestamp=1)])
    assert await kept(storage) == "dcb", "the first of both kinds goes, not the newcomer with its old time"
    await storage.append([notification("e")])
    assert await kept(storage) == "dec"
    clock.advance(1)
    await storage.append([command(name) for name in "wxyz"])
    assert await kept(storage) == "xyz", "also when more come at once than there is place for"


@pytest_twisted.ensureDeferred
async def test_those_that_were_forgotten_make_room():
    storage = MemoryStorage(Clock(), max_messages=10)
    await storage.append([notification("a")])
    for _ in range(10):
        await storage.append([notification("b", device_id="b") for _ in range(3)])
        await storage.forget_messages(Notification, MessageQuery(device_ids=("b",)))
    assert await kept(storage) == "a"


@pytest_twisted.ensureDeferred
async def test_restored_messages_go_when_they_are_the_first_arrivals():
    storage = MemoryStorage(Clock(), max_messages=4)
    await storage.restore([notification("b", id=70, timestamp=9, arrived=-3), command("c", id=5, timestamp=1, arrived=-5, last_updated=1)])
    await storage.append([notification("a")])
    await storage.restore([notification("d", id=30, timestamp=10**12, arrived=-4), notification("e", id=31, timestamp=5, arrived=-6)])
    assert await kept(storage) == "abdc", "the first arrival goes, whatever its id and its time"
    await storage.append([notification("f", timestamp=10**12)])
    assert await kept(storage) == "abdf"
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
