"""The contract of a message bus, for ours and for strangers'.

Write a class ``TestMine(BusContract)`` with the method ``make_buses``, and run it with pytest and pytest-twisted. A bus of several nodes
takes ``SharedBusContract``, which asks for more, or ``NodeBusContract`` if it also carries texts. One whose store tells it of events or of
changes overrides ``store`` or ``change`` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from dhtwisted.interfaces import IMessageBus, INodeBus
from dhtwisted.model import Command, Device, Entity, Event, Network, User
from dhtwisted.testing.bus.base import PLACE, Receiver, event, has_change, some_turns


def _state(event: Event) -> tuple[str, str | None]:
    return event.action, getattr(event.message, "status", None)


class BusContract:
    """The contract of every bus. A bus for several nodes is tested as several buses, a local bus as one."""

    _numbers = count(1)

    async def make_buses(self, reactor: Any) -> Sequence[Any]:
        """Build buses that carry each other's events, none of them started.

        :param reactor: the running reactor.
        :returns: a list of :class:`~dhtwisted.interfaces.IMessageBus`; the suite starts and stops them.
        """
        raise NotImplementedError("a subclass of BusContract must build its buses in make_buses")

    async def store(self, events: Sequence[Event]) -> list[Event]:
        """Store the messages of events that are about to be published. Override it where the bus reads them from the store.

        The message of an insert has neither id nor time; stamp it in place. That of a ``command/update`` was stored by an earlier call, and
        has a new ``status``.

        :returns: the events to publish, which are those to arrive: for an update, with the command as the store has it now.
        """
        stored = []
        for each in events:
            message: Any = each.message
            number = next(self._numbers)
            if each.action == "command/update":
                message = replace(message, updated=True, last_updated=number, update_id=number)
            else:
                message.id = message.timestamp = number
            stored.append(Event(each.action, message))
        return stored

    @pytest.fixture
    def buses(self) -> Iterator[Sequence[Any]]:
        """The buses under test, not started."""
        from twisted.internet import reactor

        buses = pytest_twisted.blockon(Deferred.fromCoroutine(self.make_buses(reactor)))
        yield buses
        for bus in buses:
            pytest_twisted.blockon(maybeDeferred(bus.stop))

    async def start(self, buses: Sequence[Any], failing: Sequence[int] = ()) -> list[Receiver]:
        """Start every bus with a receiver of its own; those at the positions in ``failing`` raise.

        :returns: the receivers.
        """
        receivers = [Receiver(RuntimeError("the receiver is broken") if n in failing else None) for n in range(len(buses))]
        for bus, receiver in zip(buses, receivers, strict=True):
            await bus.start(receiver.receive, receiver.changed)
        return receivers

    async def publish(self, bus: Any, *events: Event) -> list[Event]:
        """Store and publish.

        :returns: the events as they were published.
        """
        stored = await self.store(events)
        assert bus.publish(stored) is None, "publish must return None, and at once"
        return stored

    def test_provides_the_interface(self, buses: Sequence[Any]) -> None:
        for bus in buses:
            assert verifyObject(IMessageBus, bus), "a bus must have every method of IMessageBus, with its arguments"

    @pytest_twisted.ensureDeferred
    async def test_everybody_receives_each_event_once(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses)
        published = [each.message.id for bus in buses for each in await self.publish(bus, event(), event())]
        for receiver in receivers:
            received = await receiver.expect(len(published))
            assert sorted(received) == sorted(published), "each event must arrive once at every bus, also at the one that published it"

    @pytest_twisted.ensureDeferred
    async def test_events_arrive_whole(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses)
        sent = await self.publish(buses[0], event("device-ä"))
        for receiver in receivers:
            await receiver.expect(1)
            assert receiver.events == sent, "an event must arrive as it was published, with its whole message"

    @pytest_twisted.ensureDeferred
    async def test_a_command_comes_before_its_updates(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses)
        sent = await self.publish(buses[0], Event("command/insert", Command(**PLACE, name="c", device_id="a")))
        for number in range(4):
            update = Event("command/update", replace(sent[0].message, status=str(number)))
            sent = sent + await self.publish(buses[number % len(buses)], update)
        for receiver in receivers:
            await receiver.expect(len(sent))
            assert [_state(each) for each in receiver.events] == [_state(each) for each in sent], (
                "a command must arrive first, then its updates in order"
            )
            assert receiver.events == sent, "each event must have the state that the command had at that update"

    @pytest_twisted.ensureDeferred
    async def test_the_order_of_a_device_is_kept(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses)
        for number in range(100):
            await self.publish(buses[number % len(buses)], event("ab"[number % 2]), event("ab"[number % 3 % 2]))
        for receiver in receivers:
            await receiver.expect(200)
            for device_id in "ab":
                ids = [e.message.id for e in receiver.events if e.message.device_id == device_id]
                assert ids == sorted(ids), "the events of a device must arrive in the order of publication, from whatever node"

    @pytest_twisted.ensureDeferred
    async def test_a_failing_receiver_stops_nothing(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses, failing=[0])
        published = [(await self.publish(buses[0], event()))[0].message.id for _ in range(3)]
        for receiver in receivers:
            assert await receiver.expect(3) == published, (
                "an error of a receiver must not stop its later events, or those of other receivers"
            )

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_received_after_the_stop(self, buses: Sequence[Any]) -> None:
        receivers = await self.start(buses)
        await self.publish(buses[0], event())
        for receiver in receivers:
            await receiver.expect(1)
        await buses[-1].stop()
        if len(buses) > 1:
            await self.publish(buses[0], event())
            await receivers[0].expect(2)
        await some_turns()
        assert len(receivers[-1].events) == 1, "receive must not be called after stop completes"

    @pytest_twisted.ensureDeferred
    async def test_publishing_never_raises(self, buses: Sequence[Any]) -> None:
        assert buses[0].publish([event(message_id=1)]) is None, "publish before the start must not be an error"
        assert buses[0].publish_change(Device, "a") is None, "publish_change before the start must not be an error"
        receivers = await self.start(buses)
        assert buses[0].publish([]) is None, "publish of nothing must not be an error"
        for kind, key in ((User, 1), (Network, 2**31), (Device, "device-ä")):
            assert buses[0].publish_change(kind, key) is None, "publish_change must return None, and at once"
        for bus in buses:
            await bus.stop()
        received = receivers[0].ids()
        assert buses[0].publish([event(message_id=2)]) is None, "publish after the stop must not be an error: the messages are stored"
        assert buses[0].publish_change(Device, "a") is None, "publish_change after the stop must not be an error"
        await some_turns()
        assert receivers[0].ids() == received, "events that are published after the stop must not be received"

    @pytest_twisted.ensureDeferred
    async def test_stopping_is_no_error_whatever_came_before(self, buses: Sequence[Any]) -> None:
        for bus in buses:
            await bus.stop()
            await bus.stop()


class SharedBusContract(BusContract):
    """The further contract of a bus for several nodes."""

    async def change(self, bus: Any, kind: type[Entity], key: int | str) -> None:
        """Have the node of a bus change an entity. Override it where the store tells of changes by itself: insert the entity with this key
        there, by the connection of that node if that matters, or change it when there is one.
        """
        assert bus.publish_change(kind, key) is None, "publish_change must return None, and at once"

    @pytest.fixture
    def nodes(self, buses: Sequence[Any]) -> Sequence[Any]:
        """The buses under test, of which there must be several."""
        assert len(buses) > 1, "make_buses must return at least two buses for this test"
        return buses

    @pytest_twisted.ensureDeferred
    async def test_changes_reach_every_other_node(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        for number, bus in enumerate(nodes):
            for kind, key in ((Device, f"device-{number}"), (User, 100 + number), (Network, 100 + number)):
                await self.change(bus, kind, key)
                for receiver in receivers:
                    if receiver is not receivers[number]:
                        await receiver.expect_change(kind, key)

    @pytest_twisted.ensureDeferred
    async def test_a_change_comes_before_later_events(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        for number in range(20):
            await self.change(nodes[0], Device, f"device-{number}")
            await self.publish(nodes[0], event(f"device-{number}"))
        for receiver in receivers[1:]:
            await receiver.expect(20)
            for each in receiver.events:
                before = receiver.history[: receiver.history.index(each)]
                assert has_change(before, Device, each.message.device_id), "changed must complete before later events are delivered"

    @pytest_twisted.ensureDeferred
    async def test_a_slow_account_of_a_change_holds_later_events_back(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        slow = receivers[-1]
        hold: Deferred[None] = Deferred()
        slow.hold = hold
        await self.change(nodes[0], Device, "a")
        await slow.until(lambda: slow.begun, "changed must be called when another node says so")
        published = [each.message.id for each in await self.publish(nodes[0], event(), event())]
        await receivers[0].expect(2)
        await some_turns()
        assert slow.events == [], "no event may be delivered before changed completes"
        slow.hold = None
        hold.callback(None)
        assert await slow.expect(2) == published, "after changed completes, the events must arrive, each once and in order"

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_fails_to_take_account_is_told_again(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        failing = receivers[-1]
        failing.failures = 3
        await self.change(nodes[0], Device, "a")
        await failing.until(lambda: failing.begun, "changed must be called when another node says so")
        published = [each.message.id for each in await self.publish(nodes[0], event(), event())]
        assert await failing.expect(2) == published, "events must arrive when changed has succeeded"
        assert failing.begun[1:4] == [None] * 3, "changed must be called again, with None, until it succeeds"
        assert failing.history[0] is None, "changed must succeed before anything else is delivered"
        for receiver in receivers[:-1]:
            assert await receiver.expect(2) == published, "other nodes must not wait for a node whose changed fails"

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_changed_after_the_stop(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        await nodes[-1].stop()
        begun = list(receivers[-1].begun)
        await self.change(nodes[0], Device, "a")
        await self.publish(nodes[0], event())
        await receivers[0].expect(1)
        await some_turns()
        assert receivers[-1].begun == begun, "changed must not be called after stop completes"

    @pytest_twisted.ensureDeferred
    async def test_a_stop_ends_the_calling_again(self, nodes: Sequence[Any]) -> None:
        receivers = await self.start(nodes)
        failing = receivers[-1]
        failing.failures = 10**9
        await self.change(nodes[0], Device, "a")
        await failing.until(lambda: failing.begun, "changed must be called when another node says so")
        await nodes[-1].stop()
        begun = len(failing.begun)
        await some_turns()
        assert len(failing.begun) == begun, "changed must not be called after stop completes, even if it did not succeed"


LONGEST_TEXT = 7000
"""Bytes of the longest text that a node may say."""


class NodeBusContract(SharedBusContract):
    """The further contract of a bus that provides :class:`~dhtwisted.interfaces.INodeBus`."""

    async def listen(self, nodes: Sequence[Any], failing: Sequence[int] = ()) -> list[Receiver]:
        """As :meth:`start`, and hear what is said."""
        receivers = await self.start(nodes, failing)
        for bus, receiver in zip(nodes, receivers, strict=True):
            bus.listen(receiver.hear)
        return receivers

    def test_provides_the_interface_for_texts(self, nodes: Sequence[Any]) -> None:
        for bus in nodes:
            assert verifyObject(INodeBus, bus), "the bus must have both methods of INodeBus, with their arguments"

    @pytest_twisted.ensureDeferred
    async def test_everybody_hears_what_a_node_says(self, nodes: Sequence[Any]) -> None:
        receivers = await self.listen(nodes)
        said = [["{} says {} %s \\ 'ä\n".format(*pair) for pair in ((number, 1), (number, 2))] for number in range(len(nodes))]
        for bus, texts in zip(nodes, said, strict=True):
            for text in texts:
                assert bus.tell(text) is None, "tell must return None, and at once"
        for receiver in receivers:
            await receiver.until(lambda receiver=receiver: len(receiver.texts) >= 2 * len(nodes), "each node must hear everything")  # type: ignore[misc]
            for texts in said:
                heard = [text for text in receiver.texts if text in texts]
                assert heard == texts, "each text must be heard once and unchanged, those of one node in their order"

    @pytest_twisted.ensureDeferred
    async def test_a_long_text(self, nodes: Sequence[Any]) -> None:
        receivers = await self.listen(nodes)
        text = "ä" * (LONGEST_TEXT // 2)
        nodes[0].tell(text)
        for receiver in receivers:
            await receiver.until(lambda receiver=receiver: receiver.texts == [text], "a text of 7,000 bytes must be heard")  # type: ignore[misc]

    @pytest_twisted.ensureDeferred
    async def test_a_failing_listener_stops_nothing(self, nodes: Sequence[Any]) -> None:
        receivers = await self.listen(nodes, failing=[0])
        for text in "abc":
            nodes[-1].tell(text)
        for receiver in receivers:
            await receiver.until(lambda receiver=receiver: receiver.texts == ["a", "b", "c"], "an error must not stop later texts")  # type: ignore[misc]

    @pytest_twisted.ensureDeferred
    async def test_telling_never_raises(self, nodes: Sequence[Any]) -> None:
        nodes[0].tell("before the start")
        receivers = await self.listen(nodes)
        nodes[0].tell("now")
        await receivers[0].until(lambda: "now" in receivers[0].texts, "a text must be heard")
        for bus in nodes:
            await bus.stop()
        nodes[0].tell("after the stop")
        await some_turns()
        assert receivers[0].texts[-1] == "now", "nothing must be heard after the stop"
