"""The bus of several servers in one process: the contract, and what tests rely on besides."""

import pytest_twisted
from twisted.internet.task import Clock

from dhtwisted.model import Device
from dhtwisted.testing.bus import NodeBusContract
from dhtwisted.testing.bus.base import Receiver, event
from dhtwisted.testing.bus.shared import Hub


class TestSharedBus(NodeBusContract):
    async def make_buses(self, reactor):
        hub = Hub(reactor)
        return [hub.bus() for _ in range(3)]


async def nodes(clock, count, **options):
    """Buses that are started, and what they hand over to."""
    hub, receivers = Hub(clock, **options), [Receiver() for _ in range(count)]
    buses = [hub.bus() for _ in receivers]
    for bus, receiver in zip(buses, receivers, strict=True):
        await bus.start(receiver.receive, receiver.changed)
    return buses, receivers


@pytest_twisted.ensureDeferred
async def test_only_the_publisher_has_its_events_at_once():
    (bus, _), (own, other) = await nodes(Clock(), 2)
    bus.publish((event(message_id=1),))
    assert (own.ids(), other.ids()) == ([1], [])


@pytest_twisted.ensureDeferred
async def test_own_events_stay_behind_what_is_on_its_way():
    clock = Clock()
    (first, second), (_, receiver) = await nodes(clock, 2, delay=2)
    first.publish((event(message_id=1),))
    second.publish((event(message_id=2),))
    clock.advance(1.9)
    assert receiver.ids() == []
    clock.advance(0.1)
    assert receiver.ids() == [1, 2]


@pytest_twisted.ensureDeferred
async def test_a_node_that_was_cut_off_is_told_so():
    (bus, _), (receiver, other) = await nodes(Clock(), 2)
    bus.cut()
    assert (receiver.history, other.history) == ([None], [])


@pytest_twisted.ensureDeferred
async def test_what_was_on_its_way_to_a_node_that_stops_leaves_nothing_behind():
    clock = Clock()
    (first, second), (own, _) = await nodes(clock, 2, delay=2)
    first.publish_change(Device, "a")
    first.publish((event(message_id=1),))
    await first.stop()
    await second.stop()
    assert clock.getDelayedCalls() == []
    assert own.history == []


@pytest_twisted.ensureDeferred
async def test_a_node_that_stops_is_not_told_again():
    clock = Clock()
    (bus, _), (receiver, _) = await nodes(clock, 2)
    receiver.failures = 10
    bus.cut()
    assert (len(receiver.begun), len(clock.getDelayedCalls())) == (1, 1)
    await bus.stop()
    assert (len(receiver.begun), clock.getDelayedCalls()) == (1, [])
