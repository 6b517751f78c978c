"""What breaks the protocol: the named reason code, a closed connection, and others are served (sections 1.5.4, 4.13)."""

import pytest

from dhtwisted.wire.mqtt.packets import Auth, Disconnect, Pingreq, Pingresp, Publish, Pubrel, Suback, Subscribe, Subscription
from tests.support.mqtt.raw import connect as raw_connect
from tests.support.mqtt.raw import field, packet, with_id


@pytest.fixture
def hearer(mqtt):
    """Somebody else, who must be served."""
    client = mqtt.connect("hearer")
    client.subscribe("#", qos=2)
    return client


BROKEN = {
    "a type that is reserved": (packet(0x00), 0x81),
    "PINGREQ with a body": (packet(0xC0, b"x"), 0x81),
    "QoS 3": (packet(0x36, field(b"x"), b"\0\1", b"\0"), 0x81),
    "DUP with QoS 0": (packet(0x38, field(b"x"), b"\0"), 0x81),
    "packet id 0": (packet(0x32, field(b"x"), b"\0\0", b"\0"), 0x82),
    "a topic that is no UTF-8": (packet(0x30, field(b"\xff\xfe"), b"\0"), 0x81),
    "a topic with NUL": (packet(0x30, field(b"a\0b"), b"\0"), 0x81),
    "a topic with a surrogate": (packet(0x30, field(b"\xed\xa0\x80"), b"\0"), 0x81),
    "a wildcard in a topic": (packet(0x30, field(b"a/+"), b"\0"), 0x90),
    "an unknown property": (packet(0x30, field(b"x"), b"\2\x7f\0"), 0x81),
    "a property twice": (packet(0x30, field(b"x"), b"\4\1\0\1\0"), 0x82),
    "a subscription identifier of a client": (packet(0x30, field(b"x"), b"\2\x0b\1"), 0x82),
    "alias 0": (packet(0x30, field(b"x"), b"\3\x23\0\0"), 0x94),
    "SUBSCRIBE without a filter": (with_id(5, 0x82), 0x82),
    "SUBSCRIBE with wrong flags": (with_id(5, 0x80, field(b"x"), b"\0"), 0x81),
    "SUBSCRIBE with packet id 0": (with_id(5, 0x82, field(b"x"), b"\0", packet_id=b"\0\0"), 0x82),
    "SUBSCRIBE with QoS 3": (with_id(5, 0x82, field(b"x"), b"\3"), None),
    "SUBSCRIBE with retain handling 3": (with_id(5, 0x82, field(b"x"), b"\x30"), 0x82),
    "SUBSCRIBE with reserved bits": (with_id(5, 0x82, field(b"x"), b"\xc0"), 0x81),
    "UNSUBSCRIBE without a filter": (with_id(5, 0xA2), 0x82),
    "PUBREL with wrong flags": (packet(0x60, b"\0\1"), 0x81),
    "a length of five bytes": (b"\x30\xff\xff\xff\xff\x01", 0x81),
    "CONNACK": (packet(0x20, b"\0\0\0"), 0x82),
    "SUBACK": (packet(0x90, b"\0\1\0\0"), 0x82),
    "PINGRESP": (packet(0xD0), 0x82),
    "a second CONNECT": (raw_connect(5), 0x82),
    "AUTH": (packet(0xF0), 0x82),
    "AUTH with a reason": (packet(0xF0, b"\x18\0"), 0x82),
    "a session expiry out of nothing": (packet(0xE0, b"\0", b"\5\x11\0\0\0\1"), 0x82),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_packet_ends_its_connection_alone(mqtt, hearer, name):
    """[MQTT-4.13.1-1], [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-2.1.3-1], [MQTT-3.3.1-4], [MQTT-3.8.1-1] and others, as the cases say."""
    data, code = BROKEN[name]
    client = mqtt.connect("a")
    client.send_bytes(data)
    assert client.closed
    assert client.reason == code if code is not None else client.reason in (0x81, 0x82)
    # Nothing follows the end.
    client.packets.clear()
    client.connection.receive([Publish("x", b"late"), Pingreq()])
    assert (client.take(), hearer.messages) == ([], [])
    hearer.publish("x", b"still here")
    assert hearer.messages == [("x", b"still here")]


@pytest.mark.parametrize("name", [name for name in BROKEN if "property" not in name and "alias" not in name])
def test_3_1_1_is_only_closed(mqtt, name):
    """[MQTT-4.8.0-1] of 3.1.1: there is no DISCONNECT of the server."""
    data, _ = BROKEN[name]
    client = mqtt.connect("a", version=4)
    client.send_bytes(data)
    assert client.packets == []
    assert client.closed or name in ("DUP with QoS 0", "a session expiry out of nothing", "a subscription identifier of a client")


def test_good_packets_before_a_broken_one_are_handled(mqtt, hearer):
    """Section 4.13.1: what came before it is good."""
    client = mqtt.connect("a")
    client.send_bytes(packet(0x30, field(b"x"), b"\0", b"1") + packet(0x36))
    assert hearer.messages == [("x", b"1")]
    assert client.reason == 0x81


def test_a_broken_packet_waits_for_those_before_it(mqtt, hearer):
    client = mqtt.connect("a")
    mqtt.store.is_slow = True
    client.publish("x", b"1", 1, retain=True)
    client.send_bytes(packet(0x36))
    assert client.reason is None
    mqtt.store.release()
    assert client.reason == 0x81
    assert [type(one).__name__ for one in client.take()] == ["Puback", "Disconnect"]
    assert hearer.messages == [("x", b"1")]


def test_a_packet_that_is_too_large_ends_the_connection(open_mqtt):
    """[MQTT-3.2.2-15] note: 0x95."""
    client = open_mqtt(packet_size=1000).connect("a")
    client.send_bytes(b"\x30\xe9\x07")
    assert client.reason == 0x95


def test_the_reason_is_told(mqtt):
    """Section 3.14.2.2.3."""
    client = mqtt.connect("a")
    client.send(Auth())
    (packet,) = client.take(Disconnect)
    assert "AUTH" in packet.properties.reason_string


@pytest.mark.parametrize("version", [4, 5])
def test_after_a_disconnect_nothing_is_handled(mqtt, hearer, version):
    """[MQTT-3.14.4-1], [MQTT-3.14.4-2]."""
    client = mqtt.connect("a", version=version)
    client.send(Disconnect(), Publish("x", b"late"))
    assert (client.closed, hearer.messages) == (True, [])


@pytest.mark.parametrize("version", [4, 5])
def test_pingreq_is_answered(mqtt, version):
    """[MQTT-3.12.4-1]."""
    client = mqtt.connect("a", version=version)
    client.send(Pingreq(), Pingreq())
    assert client.take() == [Pingresp(), Pingresp()]


def test_a_flood_of_pings_is_not_answered_while_nothing_is_read(mqtt):
    client = mqtt.connect("a")
    client.congested = True
    client.send(*[Pingreq()] * 1000)
    assert (client.sent.count(b"\xd0\x00"), client.paused) == (0, True)


def test_a_pubrel_in_the_middle_of_nothing_does_no_harm(mqtt, hearer):
    client = mqtt.connect("a")
    client.send(Pubrel(1), Subscribe(1, [Subscription("x")]))
    assert [type(one) for one in client.take()][-1] is Suback
