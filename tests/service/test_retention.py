"""Retention: what goes, how fast, and that nothing ends it."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from dhtwisted.errors import StorageUnavailable
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.service.retention import INTERVAL, PAUSE, SLICE, Retention
from dhtwisted.testing.storage.base import command, notification

HOUR = 3600


class RecordingStorage(MemoryStorage):
    """Keeps the order of deletions, and can be made to fail or to wait.

    :ivar deleted: how many went each time.
    :ivar error: raised instead, while it is not ``None``.
    :ivar gate: awaited first, while it is not ``None``.
    """

    def __init__(self, reactor):
        super().__init__(reactor)
        self.deleted = []
        self.error = None
        self.gate = None

    async def forget_messages(self, kind, query):
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        self.deleted.append(await super().forget_messages(kind, query))
        return self.deleted[-1]


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(100 * HOUR)
    return clock


@pytest.fixture
def storage(clock):
    return RecordingStorage(clock)


@pytest.fixture
def retention(clock, storage):
    retention = Retention(clock, storage, HOUR * 1000, clock.seconds)
    yield retention
    retention.stop()


async def left(storage):
    return [m.name for kind in (Command, Notification) for m in await storage.find_messages(kind, MessageQuery())]


async def store_old(clock, storage, messages):
    """Store messages that are too old when this returns, and two that are not."""
    await storage.append(messages)
    clock.advance(HOUR + 1)
    await storage.append([command("young"), notification("young")])


@pytest_twisted.ensureDeferred
async def test_deletes_what_is_too_old_at_once_and_later(clock, storage, retention):
    await store_old(clock, storage, [notification("old"), command("old")])
    retention.start()
    assert await left(storage) == ["young", "young"]
    clock.advance(HOUR)
    assert await left(storage) == ["young", "young"], "exactly as old as permitted"
    clock.advance(INTERVAL)
    assert await left(storage) == []


@pytest.mark.parametrize("time", [0, 1_700_000, 4_070_908_800_000], ids=["1970", "in seconds", "2099"])
@pytest_twisted.ensureDeferred
async def test_what_time_a_client_gave_does_not_matter(clock, storage, retention, time):
    await storage.append([notification("n", timestamp=time), command("c", timestamp=time)])
    retention.start()
    clock.pump([INTERVAL] * (HOUR // INTERVAL))
    assert await left(storage) == ["c", "n"], "it was acknowledged, and is kept as long as anything"
    clock.advance(INTERVAL)
    assert await left(storage) == [], "and no longer"


@pytest_twisted.ensureDeferred
async def test_deletes_in_slices_with_pauses(clock, storage, retention):
    await store_old(clock, storage, [notification() for _ in range(2 * SLICE + 1)])
    retention.start()
    assert storage.deleted == [0, SLICE], "commands, and one slice of notifications"
    clock.advance(PAUSE / 2)
    assert storage.deleted == [0, SLICE], "others have their turn"
    clock.advance(PAUSE)
    clock.advance(PAUSE)
    assert storage.deleted == [0, SLICE, SLICE, 1]
    clock.advance(10 * PAUSE)
    assert len(storage.deleted) == 4, "then it rests"


@pytest.mark.parametrize("error", [StorageUnavailable("disk full"), RuntimeError("defect")])
@pytest_twisted.ensureDeferred
async def test_a_failure_is_logged_and_tried_again(clock, storage, retention, error):
    await store_old(clock, storage, [notification("old")])
    storage.error = error
    logged = []
    globalLogPublisher.addObserver(logged.append)
    try:
        retention.start()
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert [str(entry.get("reason") or entry["log_failure"].value) for entry in logged] == [str(error)]
    assert await left(storage) == ["young", "old", "young"]
    storage.error = None
    clock.advance(INTERVAL)
    assert await left(storage) == ["young", "young"]


@pytest_twisted.ensureDeferred
async def test_stops_after_the_slice_under_way(clock, storage, retention):
    await store_old(clock, storage, [command() for _ in range(2 * SLICE)])
    storage.gate = Deferred()
    retention.start()
    stopped = retention.stop()
    assert not stopped.called, "a slice is under way"
    gate, storage.gate = storage.gate, None
    gate.callback(None)
    clock.advance(PAUSE)
    await stopped
    assert sum(storage.deleted) == SLICE
    clock.advance(10 * INTERVAL)
    assert sum(storage.deleted) == SLICE
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_lifetime_of_zero_keeps_for_ever(clock, storage):
    await storage.append([notification("old")])
    retention = Retention(clock, storage, 0)
    retention.start()
    clock.advance(10 * INTERVAL)
    await retention.stop()
    assert await left(storage) == ["old"]
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_clock_that_is_ahead_for_less_than_a_day_deletes_nothing(storage):
    """Nor does it when a client dated a message into the future, as if that time were over."""
    wrong = Clock()
    wrong.advance(200 * HOUR)
    steady = Clock()
    await storage.append([notification("n", timestamp=10**12)])
    retention = Retention(wrong, storage, 30 * HOUR * 1000, steady.seconds)
    logged = []
    globalLogPublisher.addObserver(logged.append)
    try:
        retention.start()
        for _ in range(23):
            steady.advance(HOUR)
            wrong.advance(HOUR)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert [entry["ahead"] for entry in logged] == ["4 days, 4:00:00"], "it is said once"
    assert await left(storage) == ["n"]
    steady.advance(HOUR)
    wrong.advance(HOUR)
    assert await left(storage) == []
    await retention.stop()


@pytest_twisted.ensureDeferred
async def test_may_be_stopped_without_a_start(clock, storage):
    await Retention(clock, storage, HOUR).stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("arrived", [253_402_300_799_000, 2**62], ids=["9999", "beyond"])
@pytest_twisted.ensureDeferred
async def test_a_message_that_was_imported_with_an_arrival_in_the_future_leaves_the_guard_on(storage, arrived):
    """Nobody could say by it that the clock, which is ahead, is right: that time is not over."""
    wrong, steady = Clock(), Clock()
    wrong.advance(200 * HOUR)
    await storage.append([notification("n")])
    await storage.restore(
        [notification("future", id=9, timestamp=5, arrived=arrived), command("c", id=9, timestamp=5, arrived=arrived, last_updated=5)]
    )
    retention = Retention(wrong, storage, 30 * HOUR * 1000, steady.seconds)
    retention.start()
    for _ in range(23):
        steady.advance(HOUR)
        wrong.advance(HOUR)
    assert sorted(await left(storage)) == ["c", "future", "n"]
    await retention.stop()
