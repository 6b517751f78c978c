"""The contract of a message bus, for ours and for strangers'.

Write a class ``TestMine(BusContract)`` with the method ``make_buses``, and run it with pytest and pytest-twisted.
"""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from dhtwisted.interfaces import IMessageBus
from dhtwisted.model import Event, Notification

PATIENCE = 30
"""Seconds until what was published must have arrived."""


class Receiver:
    """Keeps what a bus hands over, and lets a test wait for it.

    :ivar events: all events so far, in the order of arrival.
    :ivar error: raised by every call, after the events are kept.
    """

    def __init__(self, error=None):
        self.events = []
        self.error = error
        self._waiting = []

    def __call__(self, events):
        self.events.extend(events)
        ready = [waiter for count, waiter in self._waiting if len(self.events) >= count]
        self._waiting = [(count, waiter) for count, waiter in self._waiting if len(self.events) < count]
        for waiter in ready:
            waiter.callback(None)
        if self.error is not None:
            raise self.error

    async def expect(self, count):
        """Wait for so many events in all.

        :returns: the ids of their messages.
        """
        from twisted.internet import reactor

        if len(self.events) < count:
            waiter = Deferred()
            self._waiting.append((count, waiter))
            await waiter.addTimeout(PATIENCE, reactor)
        return self.ids()

    def ids(self):
        """The ids of the messages of all events so far."""
        return [event.message.id for event in self.events]


def event(message_id, device_id="a"):
    """An event of a stored notification."""
    message = Notification(name="n", device_id=device_id, network_id=1, device_type_id=1, parameters=b"{}", timestamp=5, id=message_id)
    return Event("notification/insert", message)


class BusContract:
    """What the server relies on. A bus of several nodes is tested as several buses, one that is alone as one."""

    async def make_buses(self, reactor):
        """Build buses that carry each other's events, none of them started.

        :param reactor: the running reactor.
        :returns: a list of :class:`~dhtwisted.interfaces.IMessageBus`; the suite starts and stops them.
        """
        raise NotImplementedError("a subclass of BusContract says which bus is meant")

    async def store(self, events):
        """Store the messages of events that are about to be published. Override it where the bus reads them from the store."""

    @pytest.fixture
    def buses(self):
        """The buses under test, not started."""
        from twisted.internet import reactor

        buses = pytest_twisted.blockon(Deferred.fromCoroutine(self.make_buses(reactor)))
        yield buses
        for bus in buses:
            pytest_twisted.blockon(maybeDeferred(bus.stop))

    async def start(self, buses, failing=()):
        """Start every bus with a receiver of its own; those at the positions in ``failing`` raise.

        :returns: the receivers.
        """
        receivers = [Receiver(RuntimeError("the receiver is broken") if n in failing else None) for n in range(len(buses))]
        for bus, receiver in zip(buses, receivers, strict=True):
            await bus.start(receiver)
        return receivers

    async def publish(self, bus, *events):
        """Store and publish."""
        await self.store(events)
        assert bus.publish(events) is None, "publish answers nothing, and at once"

    def test_provides_the_interface(self, buses):
        for bus in buses:
            assert verifyObject(IMessageBus, bus), "every method of IMessageBus, with its arguments"

    @pytest_twisted.ensureDeferred
    async def test_everybody_receives_each_event_once(self, buses):
        receivers = await self.start(buses)
        for number, bus in enumerate(buses):
            await self.publish(bus, event(2 * number + 1), event(2 * number + 2))
        expected = list(range(1, 2 * len(buses) + 1))
        for receiver in receivers:
            assert sorted(await receiver.expect(len(expected))) == expected, "each event arrives at every bus, its own included, once"

    @pytest_twisted.ensureDeferred
    async def test_events_arrive_whole(self, buses):
        receivers = await self.start(buses)
        sent = event(7, "device-ä")
        await self.publish(buses[0], sent)
        for receiver in receivers:
            await receiver.expect(1)
            assert receiver.events == [sent], "an event arrives as it was published, with its whole message"

    @pytest_twisted.ensureDeferred
    async def test_the_order_of_a_device_is_kept(self, buses):
        receivers = await self.start(buses)
        for number in range(1, 101):
            await self.publish(buses[0], event(number, "ab"[number % 2]))
        for receiver in receivers:
            await receiver.expect(100)
            for device_id in "ab":
                ids = [e.message.id for e in receiver.events if e.message.device_id == device_id]
                assert ids == sorted(ids), "events of a device arrive in the order of publication"

    @pytest_twisted.ensureDeferred
    async def test_a_failing_receiver_stops_nothing(self, buses):
        receivers = await self.start(buses, failing=[0])
        for number in (1, 2, 3):
            await self.publish(buses[0], event(number))
        for receiver in receivers:
            assert await receiver.expect(3) == [1, 2, 3], "an error of a receiver stops neither its own later events nor those of others"

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_received_after_the_stop(self, buses):
        receivers = await self.start(buses)
        await self.publish(buses[0], event(1))
        for receiver in receivers:
            await receiver.expect(1)
        await buses[-1].stop()
        if len(buses) > 1:
            await self.publish(buses[0], event(2))
            await receivers[0].expect(2)
        assert receivers[-1].ids() == [1], "receive is not called after stop completes"

    @pytest_twisted.ensureDeferred
    async def test_publishing_never_raises(self, buses):
        from twisted.internet import reactor

        assert buses[0].publish([event(1)]) is None, "publish before the start is no error"
        receivers = await self.start(buses)
        assert buses[0].publish([]) is None, "publish of nothing is no error"
        for bus in buses:
            await bus.stop()
        received = receivers[0].ids()
        assert buses[0].publish([event(2)]) is None, "publish after the stop is no error: the messages are stored"
        await deferLater(reactor, 0)
        assert receivers[0].ids() == received, "and what is published then is not received"
