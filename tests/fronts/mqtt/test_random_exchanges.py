"""Random exchanges of two clients over connections that break: nothing is lost with QoS 1, and nothing comes twice with QoS 2."""

from collections import Counter
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from dhtwisted.fronts.mqtt import in_flight
from dhtwisted.wire.mqtt.packets import Connect, Properties, Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.support.mqtt.clients import Mqtt

FIELDS = {4: {"clean_start": False}, 5: {"clean_start": False, "session_expiry_interval": 1000}}


class Peer:
    """A client that keeps its own side of the protocol over connections, as sections 4.3 and 4.4 want it.

    :ivar heard: payloads that were handed to its application.
    """

    def __init__(self, mqtt, client_id, version, receive_maximum=None):
        self.mqtt, self.client_id, self.version = mqtt, client_id, version
        self.more = {"receive_maximum": receive_maximum} if version == 5 and receive_maximum else {}
        self.heard = []
        self.unanswered = {}
        self.released = {}
        self.known = set()
        self.sent = 0
        self.client = None

    def connect(self):
        if self.client is not None:
            return
        self.client = self.mqtt.connect(self.client_id, version=self.version, auto=False, **FIELDS[self.version], **self.more)
        for packet in list(self.unanswered.values()):
            packet.dup = True
            self.client.send(packet)
        for packet_id in list(self.released):
            self.client.send(Pubrel(packet_id))

    def lose(self):
        """Lose the connection, and all that was not looked at."""
        if self.client is not None:
            self.client.packets.clear()
            self.client.lose()
            self.client = None

    def publish(self, topic, qos):
        self.sent += 1
        free = [packet_id for packet_id in range(1, 60) if packet_id not in self.unanswered and packet_id not in self.released]
        packet = Publish(topic, b"%s %d" % (self.client_id.encode(), self.sent), qos, packet_id=free[0])
        self.unanswered[free[0]] = packet
        if self.client is not None:
            self.client.send(packet)
        return packet.payload

    def work(self, most):
        """Handle some of the packets that have come."""
        for _ in range(most):
            if self.client is None or not self.client.packets:
                return
            self._handle(self.client.packets.pop(0))

    def _handle(self, packet):
        kind = type(packet)
        if kind is Publish:
            assert packet.packet_id
            if packet.qos == 1:
                self.heard.append(packet.payload)
                self.client.send(Puback(packet.packet_id))
            else:
                if packet.packet_id not in self.known:
                    self.known.add(packet.packet_id)
                    self.heard.append(packet.payload)
                self.client.send(Pubrec(packet.packet_id))
        elif kind is Pubrel:
            self.known.discard(packet.packet_id)
            self.client.send(Pubcomp(packet.packet_id))
        elif kind is Puback:
            self.unanswered.pop(packet.packet_id, None)
        elif kind is Pubrec:
            assert packet.reason_code < 0x80
            if self.unanswered.pop(packet.packet_id, None) is not None:
                self.released[packet.packet_id] = True
            self.client.send(Pubrel(packet.packet_id))
        elif kind is Pubcomp:
            self.released.pop(packet.packet_id, None)


PEER = st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), PEER, st.sampled_from([1, 2])),
        st.tuples(st.just("publish"), PEER, st.just(2)),
        st.tuples(st.just("work"), PEER, st.integers(1, 3)),
        st.tuples(st.just("work"), PEER, st.integers(1, 3)),
        st.tuples(st.just("lose"), PEER, st.just(0)),
        st.tuples(st.just("connect"), PEER, st.just(0)),
        st.tuples(st.just("take over"), PEER, st.just(0)),
        st.tuples(st.just("release"), st.just(0), st.just(0)),
        st.tuples(st.just("slow"), st.just(0), st.booleans()),
        st.tuples(st.just("congest"), PEER, st.booleans()),
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([4, 5]), st.sampled_from([4, 5]), st.sampled_from([1, 2, 50]), st.sampled_from([1, 128]))
def test_nothing_is_lost_and_with_qos_2_nothing_comes_twice(steps, one_version, other_version, receive_maximum, most_queued):
    """In both versions [MQTT-4.3.2-1] to [MQTT-4.3.2-5], [MQTT-4.3.3-1] to [MQTT-4.3.3-6], [MQTT-4.3.3-8], [MQTT-4.3.3-10] to
    [MQTT-4.3.3-12], [MQTT-4.4.0-1], [MQTT-4.6.0-1] to [MQTT-4.6.0-6].
    """
    from tests.support.mqtt.clients import Nobody

    mqtt = Mqtt.open(Nobody())
    peers = [Peer(mqtt, "one", one_version, receive_maximum), Peer(mqtt, "two", other_version, receive_maximum)]
    for peer in peers:
        peer.connect()
        peer.client.subscribe("x", qos=2)
    sent = []
    with patch.object(in_flight, "MOST_QUEUED", most_queued):
        for what, which, value in steps:
            _step(mqtt, peers[which], what, value, sent)
    mqtt.store.is_slow = False
    for _ in range(200):
        mqtt.store.release()
        for peer in peers:
            peer.connect()
            if peer.client.congested:
                peer.client.drain()
            peer.work(50)
        mqtt.memory.clock.advance(0)
    for peer in peers:
        assert (peer.unanswered, peer.released, peer.known) == ({}, {}, set())
        heard = Counter(peer.heard)
        for payload, qos in sent:
            assert heard[payload] >= 1
            assert qos == 1 or heard[payload] == 1
        _check_order(peer.heard, sent)
    assert mqtt.store.names() == {"session": 2}
    assert all(
        not session.outgoing.count and not session.outgoing.size and not session.received for session in mqtt.broker.sessions.values()
    )


def _step(mqtt, peer, what, value, sent):
    if what == "publish" and len(peer.unanswered) + len(peer.released) < 50:
        sent.append((peer.publish("x", value), value))
    elif what == "work":
        peer.work(value)
    elif what == "lose":
        peer.lose()
    elif what == "connect" and not mqtt.store.is_slow:
        peer.connect()
    elif what == "take over" and peer.client is not None:
        _take_over(mqtt, peer)
    elif what == "release":
        mqtt.store.release()
    elif what == "slow":
        mqtt.store.is_slow = value
        if not value:
            mqtt.store.release()
    elif what == "congest" and peer.client is not None:
        if value:
            peer.client.congested = True
        elif peer.client.congested:
            peer.client.drain()


def _take_over(mqtt, peer):
    """Connect again without the end of the old connection. Its batch may still wait for the storage."""
    old, peer.client = peer.client, None
    if mqtt.store.is_slow:
        mqtt.memory.clock.callLater(0, mqtt.store.release)
        mqtt.store.is_slow = False
        waiting = mqtt.client(peer.version)
        waiting.auto = False
        properties = Properties(session_expiry_interval=1000) if peer.version == 5 else None
        waiting.send(Connect(peer.client_id, peer.version, False, properties=properties))
        mqtt.store.release()
        waiting.lose()
    old.packets.clear()
    peer.connect()
    old.lose()


def _check_order(heard, sent):
    """The first copies of what one client has sent with one QoS come in its order ([MQTT-4.6.0-5])."""
    first = list(dict.fromkeys(heard))
    for who in (b"one", b"two"):
        for qos in (1, 2):
            ours = [payload for payload, sent_qos in sent if sent_qos == qos and payload.startswith(who)]
            assert [payload for payload in first if payload in set(ours)] == ours
