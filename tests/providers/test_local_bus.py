"""The local bus: the contract, and that it waits for nothing."""

import pytest_twisted
from twisted.logger import globalLogPublisher

from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.testing.bus import BusContract
from dhtwisted.testing.bus.base import event


class TestLocalBus(BusContract):
    async def make_buses(self, reactor):
        return [LocalBus()]


async def nothing_changes(keys):
    raise AssertionError("there are no other nodes")


@pytest_twisted.ensureDeferred
async def test_hands_over_at_once():
    received = []
    bus = LocalBus()
    await bus.start(received.append, nothing_changes)
    events = (event(message_id=1),)
    bus.publish(events)
    assert received == [events]


@pytest_twisted.ensureDeferred
async def test_logs_what_goes_wrong_in_the_receiver():
    def fail(events):
        raise RuntimeError("broken")

    logged = []
    bus = LocalBus()
    await bus.start(fail, nothing_changes)
    globalLogPublisher.addObserver(logged.append)
    try:
        bus.publish((event(message_id=1),))
    finally:
        globalLogPublisher.removeObserver(logged.append)
    (failure,) = [entry["log_failure"] for entry in logged if "log_failure" in entry]
    assert str(failure.value) == "broken"
