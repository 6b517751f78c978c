"""Events that wait in memory for a client that is a little behind: in order, none missed, none twice, and no more than may wait."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from dhtwisted.fronts.mqtt import streams, waiting_events
from dhtwisted.fronts.mqtt.event_messages import EventMessage
from dhtwisted.fronts.mqtt.waiting_events import MOST_BYTES, MOST_BYTES_OF_ALL, MOST_EVENTS, WaitingEvent, WaitingEvents, WaitingRoom
from dhtwisted.model import Command, Device, Notification, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Subscription
from dhtwisted.wire.mqtt.reasons import ReasonCode
from tests.support.mqtt.devices import Hive, parameters, topics

LAMP = "dh/notification///lamp/temperature"
HOUR = {"clean_start": False, "session_expiry_interval": 3600}


def send(client, *numbers, topic=LAMP):
    for number in numbers:
        client.publish(topic, b"%d" % number)


def acknowledge(client, most=1000):
    """Acknowledge what has come, and all that follows.

    :returns: the parameters of the events.
    """
    found = []
    while len(found) < most:
        packets = client.take(Publish)
        if not packets:
            break
        for packet in packets:
            event = json.loads(packet.payload)
            found.append((event.get("notification") or event["command"])["parameters"])
            client.send(Puback(packet.packet_id))
    return found


class Reads:
    """Watches and slows down the reading of messages of a server.

    :ivar count: how many there were.
    :ivar is_slow: whether they wait for :meth:`release`.
    """

    def __init__(self, hive):
        self.count = 0
        self.is_slow = False
        self._waiting = []
        messages = hive.memory.server.messages
        self._find, messages.find_messages = messages.find_messages, self.find_messages

    async def find_messages(self, kind, query):
        self.count += 1
        found = await self._find(kind, query)
        if self.is_slow:
            waiting = Deferred()
            self._waiting.append(waiting)
            await waiting
        return found

    def release(self):
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
        return len(waiting)


@pytest.fixture
def behind(open_hive):
    """A server, a client with a receive maximum of 2 that does not acknowledge, and another client."""
    hive = open_hive(receive_maximum=2)
    client = hive.admin(auto=False, **HOUR)
    client.subscribe("dh/notification/#", qos=1, retain_handling=2)
    return hive, client, hive.admin("other")


def test_a_client_that_is_a_little_behind_costs_no_reading(behind):
    hive, client, other = behind
    reads = Reads(hive)
    send(other, *range(500))
    found = acknowledge(client)
    send(other, 500)
    assert found + acknowledge(client) == list(range(501))
    assert reads.count == 0
    assert hive.broker.device_topics.waiting_room.left == MOST_BYTES_OF_ALL


def test_more_than_may_wait_is_read_many_at_once(behind):
    hive, client, other = behind
    reads = Reads(hive)
    send(other, *range(2 * MOST_EVENTS))
    assert acknowledge(client, 3 * MOST_EVENTS) == list(range(2 * MOST_EVENTS))
    assert 0 < reads.count < MOST_EVENTS / 20
    reads.count = 0
    send(other, 1, 2, 3, 4)
    assert acknowledge(client) == [1, 2, 3, 4]
    assert reads.count == 0


def test_large_events_are_bounded_by_their_bytes(behind):
    hive, client, other = behind
    room = hive.broker.device_topics.waiting_room
    for _ in range(20):
        other.publish(LAMP, b'"%s"' % (b"x" * 50_000))
    assert 0 < MOST_BYTES_OF_ALL - room.left <= MOST_BYTES
    assert len(acknowledge(client)) == 20
    assert room.left == MOST_BYTES_OF_ALL


def test_what_waits_for_all_clients_is_bounded(behind):
    hive, client, other = behind
    room = hive.broker.device_topics.waiting_room
    room.left = 1000
    send(other, *range(30))
    assert room.left < 1000
    assert acknowledge(client) == list(range(30))
    assert room.left == 1000


def test_what_waits_in_memory_when_the_connection_ends_comes_from_the_storage(behind):
    hive, client, other = behind
    send(other, *range(9))
    assert len(client.take(Publish)) == 2
    client.lose()
    assert hive.broker.device_topics.waiting_room.left == MOST_BYTES_OF_ALL
    assert parameters(hive.admin(**HOUR)) == list(range(9))


def test_rights_that_end_while_events_wait(open_hive):
    hive = open_hive(receive_maximum=2)
    client, other = hive.connect("a", user=hive.anna, auto=False), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1, retain_handling=2)
    send(other, 1, 2, 3, 4)
    at_once(hive.memory.server.entities.update(User, hive.anna.id, {"network_ids": frozenset({2})}))
    send(other, 5, topic="dh/notification///pump/t")
    assert acknowledge(client) == [1, 2, 5]


def test_a_device_that_moves_while_its_events_wait(behind):
    """The topic says where it is now."""
    hive, client, other = behind
    send(other, 1, 2, 3)
    at_once(hive.memory.server.entities.update(Device, "lamp", {"network_id": 2}))
    client.auto = True
    for packet in list(client.packets):
        client.send(Puback(packet.packet_id))
    assert topics(client) == ["dh/notification/1/1/lamp/temperature"] * 2 + ["dh/notification/2/1/lamp/temperature"]


def test_a_device_that_is_deleted_while_its_events_wait(behind):
    hive, client, other = behind
    send(other, 1, 2, 3)
    at_once(hive.memory.server.entities.delete(Device, "lamp"))
    send(other, 4, topic="dh/notification///pump/t")
    assert acknowledge(client) == [1, 2, 4]


def test_a_filter_that_ends_while_its_events_wait(behind):
    """[MQTT-3.10.4-2] permits what is on its way, and nothing new."""
    _, client, other = behind
    send(other, 1, 2, 3)
    client.subscribe("dh/notification///pump/+", qos=1, retain_handling=2)
    client.unsubscribe("dh/notification/#")
    send(other, 4, topic="dh/notification///pump/t")
    assert acknowledge(client) == [1, 2, 4]


def test_the_last_filter_that_ends_while_its_events_wait(behind):
    hive, client, other = behind
    send(other, 1, 2, 3)
    client.unsubscribe("dh/notification/#")
    assert hive.broker.device_topics.waiting_room.left == MOST_BYTES_OF_ALL
    assert acknowledge(client) == [1, 2]


@pytest.mark.parametrize("has_room", [False, True])
def test_a_filter_that_is_replaced_while_its_events_wait(behind, has_room):
    """[MQTT-3.8.4-4]: nothing is lost, also if there is room at once."""
    _, client, other = behind
    client.congested = has_room
    send(other, 1, 2, 3, 4, 5)
    client.congested = False
    client.subscribe("dh/notification/#", qos=1, identifier=7, retain_handling=2)
    assert acknowledge(client) == [1, 2, 3, 4, 5]


def test_a_command_whose_lifetime_ends_while_it_waits(open_hive):
    hive = open_hive(receive_maximum=1)
    client, other = hive.admin(auto=False), hive.admin("other")
    client.subscribe("dh/command/#", qos=1)
    other.publish("dh/command///lamp/on", b"1")
    other.publish("dh/command///lamp/on", b'{"command": {"parameters": 2, "lifetime": 10}}')
    other.publish("dh/command///lamp/on", b"3")
    hive.memory.clock.advance(20)
    client.auto = True
    client.send(Puback(client.packets[0].packet_id))
    assert parameters(client) == [1, 3]


def test_many_updates_of_commands(open_hive):
    """More than may wait in memory."""
    hive = open_hive(receive_maximum=5)
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/command_update/#", qos=1)
    client.lose()
    for number in range(1200):
        other.publish("dh/command///lamp/on", b"%d" % number)
    for command in hive.stored(Command):
        hive.memory.clock.advance(0.1)
        other.publish("dh/command_update///lamp/on", b'{"id":%d,"status":"a"}' % command.id)
    assert acknowledge(hive.admin(auto=False, **HOUR), 1200) == list(range(1200))


def test_what_comes_while_a_page_is_being_read(behind):
    hive, client, other = behind
    reads = Reads(hive)
    client.lose()
    send(other, 1, 2, 3)
    reads.is_slow = True
    again = hive.admin(auto=False, **HOUR)
    send(other, 4, 5)
    assert again.take(Publish) == []
    while reads.release():
        pass
    send(other, 6)
    assert acknowledge(again) == [1, 2, 3, 4, 5, 6]


def test_a_connection_that_ends_while_a_page_is_being_read(behind):
    hive, client, other = behind
    reads = Reads(hive)
    client.lose()
    send(other, *range(9))
    reads.is_slow = True
    hive.admin(auto=False, **HOUR).lose()
    again = hive.admin(auto=False, **HOUR)
    reads.is_slow = False
    while reads.release():
        pass
    assert acknowledge(again) == list(range(9))


# Bounds and random play


def event(size):
    message = EventMessage("t", b"x" * size, 2)
    return WaitingEvent(1, Notification(device_id="lamp", network_id=1, device_type_id=1, name="n"), None, message, 1, ())


def test_the_bytes_of_what_waits_are_given_back():
    room = WaitingRoom()
    one, other = WaitingEvents(room), WaitingEvents(room)
    assert one.append(event(10)) and one.append(event(1000)) and other.append(event(20))
    assert not other.append(event(MOST_BYTES))
    one.drop_first()
    assert len(one) == 1 and len(one.first.message.payload) == 1000
    assert len(one.clear()) == 1 and not one
    other.clear()
    assert room.left == MOST_BYTES_OF_ALL


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 12)),
        st.tuples(st.just("acknowledge"), st.integers(1, 6)),
        st.tuples(st.sampled_from(["lose", "connect", "slow", "release", "fast", "full", "empty", "subscribe", "move"]), st.just(0)),
    ),
    max_size=40,
)


class Play:
    """A client that is behind, loses its connection, and changes its filter, while events come."""

    def __init__(self, reactor, qos):
        self.hive = Hive.open(reactor, receive_maximum=3)
        self.reads = Reads(self.hive)
        self.qos, self.sent, self.heard, self.released = qos, 0, [], Counter()
        self.other = self.hive.admin("other")
        self.client = None
        self.connect()
        self.subscribe()

    def play(self, step, count):
        if step == "send":
            for _ in range(count):
                self.sent += 1
                send(self.other, self.sent)
        elif step == "acknowledge":
            for _ in range(count):
                self.acknowledge()
        else:
            getattr(self, step)()

    def connect(self):
        if self.client is None:
            self.client = self.hive.admin(auto=False, **HOUR)

    def lose(self):
        if self.client is not None:
            self.client.packets.clear()
            self.client.lose()
            self.client = None

    def slow(self):
        self.reads.is_slow = True

    def release(self):
        return self.reads.release()

    def fast(self):
        self.reads.is_slow = False
        while self.reads.release():
            self.hive.memory.clock.advance(0)

    def full(self):
        if self.client is not None:
            self.client.congested = True

    def empty(self):
        if self.client is not None:
            self.client.drain()

    def subscribe(self):
        if self.client is not None:
            # The answer of a client that does not read comes later.
            self.client.send(Subscribe(self.client.next_id(), [Subscription("dh/notification/#", self.qos, retain_handling=2)]))

    def move(self):
        device = at_once(self.hive.memory.server.entities.get(Device, "lamp"))
        at_once(self.hive.memory.server.entities.update(Device, "lamp", {"network_id": 3 - device.network_id}))

    def acknowledge(self):
        """Handle the next packet."""
        self.hive.memory.clock.advance(0)
        if self.client is None or not self.client.packets:
            return False
        packet = self.client.packets.pop(0)
        if type(packet) is Publish:
            number = json.loads(packet.payload)["notification"]["parameters"]
            if self.qos == 1:
                self.heard.append(number)
                self.client.send(Puback(packet.packet_id))
            else:
                if not self.released[packet.packet_id]:
                    self.heard.append(number)
                    self.released[packet.packet_id] = 1
                self.client.send(Pubrec(packet.packet_id))
        elif type(packet) is Pubrel:
            self.released[packet.packet_id] = 0
            self.client.send(Pubcomp(packet.packet_id))
        return True

    def finish(self):
        self.fast()
        self.connect()
        self.empty()
        while self.acknowledge():
            pass
        self.hive.memory.clock.advance(waiting_events.MOST_EVENTS)
        while self.acknowledge():
            pass
        room = self.hive.broker.device_topics.waiting_room
        at_once(self.hive.close())
        return room


@pytest.mark.parametrize("qos", [1, 2])
def test_random_play(reactor, monkeypatch, qos):
    """Each event comes; with QoS 2 once. What is new comes in order."""
    monkeypatch.setattr(waiting_events, "MOST_EVENTS", 6)
    monkeypatch.setattr(streams, "PAGE", 5)
    monkeypatch.setattr(streams, "MOST_EARLY", 4)

    @settings(max_examples=150, deadline=None)
    @given(STEPS)
    def run(steps):
        play = Play(reactor, qos)
        for step, count in steps:
            play.play(step, count)
        room = play.finish()
        assert list(dict.fromkeys(play.heard)) == list(range(1, play.sent + 1))
        if qos == 2:
            assert len(play.heard) == play.sent
        assert room.left == MOST_BYTES_OF_ALL

    run()


def test_a_client_that_never_acknowledges_one_event_is_ended(behind, monkeypatch):
    """What the server remembers of the later ones would grow for ever."""
    hive, client, other = behind
    monkeypatch.setattr(streams, "MOST_GIVEN", 300)
    send(other, 0)
    client.take()
    ends = []
    for number in range(1, 1000):
        send(other, number)
        packets = client.take()
        ends += [packet.reason_code for packet in packets if type(packet) is Disconnect]
        client.send(*(Puback(packet.packet_id) for packet in packets if type(packet) is Publish))
    assert ends == [ReasonCode.QUOTA_EXCEEDED]
    assert client.closed
    again = hive.admin(auto=False, **HOUR)
    found = acknowledge(again)
    assert found[0] == 0
    assert found[-1] == 999
    assert len(set(found)) == len(found) < 700
