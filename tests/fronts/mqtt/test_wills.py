"""Wills (section 3.1.2.5 to 3.1.2.7, 3.1.3.2, 3.14.4)."""

import pytest

from dhtwisted.model import LOCKED_OUT, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Properties, Publish, Will

KEPT = {"clean_start": False, "session_expiry_interval": 100}


@pytest.fixture
def hearer(mqtt):
    """A client that hears everything."""
    client = mqtt.connect("hearer")
    client.subscribe("#", qos=2, retain_as_published=True)
    return client


def will(delay: int | None = None, **fields) -> Will:
    return Will("will", b"gone", **fields, properties=None if delay is None else Properties(will_delay_interval=delay))


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_lost_connection_publishes_the_will(mqtt, hearer, version, qos, retain):
    """[MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.2-14], [MQTT-3.1.2-15]: once, with its QoS and flag."""
    client = mqtt.connect("a", version=version, will=will(qos=qos, retain=retain))
    assert hearer.take(Publish) == []
    client.lose()
    client.lose()
    (packet,) = hearer.take(Publish)
    assert (packet.topic, packet.payload, packet.qos, packet.retain) == ("will", b"gone", qos, retain)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_disconnect_deletes_the_will(mqtt, hearer, version):
    """[MQTT-3.1.2-10], [MQTT-3.14.4-3]."""
    mqtt.connect("a", version=version, will=will()).disconnect()
    assert hearer.take(Publish) == []
    assert (mqtt.broker.will_count, mqtt.broker.will_size) == (0, 0)


@pytest.mark.parametrize("reason", [0x04, 0x80])
def test_a_disconnect_may_ask_for_the_will(mqtt, hearer, reason):
    """Section 3.14.2.1 and [MQTT-3.14.4-3]: only after reason 0x00 there is none."""
    mqtt.connect("a", will=will()).disconnect(reason)
    assert hearer.messages == [("will", b"gone")]


@pytest.mark.parametrize("version", [4, 5])
def test_a_violation_of_the_protocol_publishes_the_will(mqtt, hearer, version):
    """Section 3.1.2.5: the server closes because of an error."""
    client = mqtt.connect("a", version=version, will=will())
    client.send_bytes(b"\xf0\x00" if version == 5 else b"\x00\x00")
    assert client.closed
    assert hearer.messages == [("will", b"gone")]


def test_a_silent_client_publishes_its_will(mqtt, hearer):
    """Section 3.1.2.5: keep alive."""
    mqtt.connect("a", keep_alive=5, will=will())
    mqtt.pass_time(9)
    assert hearer.messages == [("will", b"gone")]


def test_a_will_waits_for_its_delay(mqtt, hearer):
    """[MQTT-3.1.2-8] and section 3.1.3.2.2."""
    mqtt.connect("a", will=will(delay=10), **KEPT).lose()
    mqtt.pass_time(9)
    assert hearer.messages == []
    mqtt.pass_time(2)
    assert hearer.messages == [("will", b"gone")]


def test_a_client_that_comes_back_in_time_cancels_its_will(mqtt, hearer):
    """[MQTT-3.1.3-9]."""
    mqtt.connect("a", will=will(delay=10), **KEPT).lose()
    mqtt.pass_time(9)
    again = mqtt.connect("a", **KEPT)
    mqtt.pass_time(20)
    again.lose()
    assert hearer.messages == []


def test_a_will_does_not_wait_for_longer_than_the_session(mqtt, hearer):
    """[MQTT-3.1.2-8]: the session ends first."""
    mqtt.connect("a", will=will(delay=1000), **KEPT).lose()
    mqtt.pass_time(99)
    assert hearer.messages == []
    mqtt.pass_time(3)
    assert hearer.messages == [("will", b"gone")]


def test_without_a_session_a_will_does_not_wait(mqtt, hearer):
    mqtt.connect("a", will=will(delay=1000)).lose()
    assert hearer.messages == [("will", b"gone")]


@pytest.mark.parametrize(
    ("delay", "clean", "is_sent"), [(None, False, True), (0, False, True), (10, False, False), (10, True, True), (None, True, True)]
)
def test_a_take_over(mqtt, hearer, delay, clean, is_sent):
    """Section 3.1.4, note on [MQTT-3.1.4-3]: the will is sent unless the session goes on and the will has a delay."""
    mqtt.connect("a", will=will(delay), **KEPT)
    mqtt.connect("a", **KEPT | {"clean_start": clean})
    assert (hearer.messages == [("will", b"gone")]) is is_sent
    mqtt.pass_time(20)
    assert hearer.messages == []


def test_each_connection_has_its_own_will(mqtt, hearer):
    mqtt.connect("a", will=will(delay=10), **KEPT).lose()
    mqtt.connect("a", will=Will("will", b"second"), **KEPT).lose()
    mqtt.pass_time(20)
    assert hearer.messages == [("will", b"second")]


def test_a_will_has_its_properties(mqtt, hearer):
    """[MQTT-3.1.3-10] and section 3.1.3.2: in their order; lifetime from the moment of its publication."""
    properties = Properties(
        will_delay_interval=5,
        message_expiry_interval=30,
        content_type="text",
        response_topic="r",
        correlation_data=b"c",
        payload_format_indicator=1,
        user_property=(("k", "v"), ("a", "1"), ("k", "w")),
    )
    mqtt.connect("a", will=Will("will", b"gone", properties=properties), **KEPT).lose()
    mqtt.pass_time(6)
    found = hearer.one(Publish).properties
    assert found == Properties(
        message_expiry_interval=30,
        content_type="text",
        response_topic="r",
        correlation_data=b"c",
        payload_format_indicator=1,
        user_property=(("k", "v"), ("a", "1"), ("k", "w")),
    )


def test_the_server_publishes_wills_when_it_stops(mqtt, hearer):
    """Section 3.1.2.5 permits to wait for the next start; nobody knows when that is."""
    client = mqtt.connect("a", will=will(retain=True))
    client.connection.shutting_down()
    assert hearer.messages == [("will", b"gone")]


def test_a_will_without_the_right_is_not_published(mqtt, hearer):
    """The client connects nevertheless: a device with a fixed will must be able to."""
    mqtt.access.silenced.add("will")
    mqtt.connect("a", will=will()).lose()
    assert hearer.messages == []
    assert mqtt.broker.counters.refused[0x87] == 1


def test_the_will_of_a_user_who_lost_their_rights_is_not_published(mqtt, hearer):
    mqtt.connect("a", user=mqtt.memory.administrator, will=will())
    at_once(mqtt.memory.server.entities.update(User, 1, {"status": LOCKED_OUT}))
    mqtt.pass_time(1)
    assert hearer.messages == []


@pytest.mark.parametrize("bound", [{"wills": 1}, {"will_bytes": 150}])
def test_wills_are_bounded(open_mqtt, bound):
    mqtt = open_mqtt(**bound)
    first = mqtt.connect("a", will=will())
    refused = mqtt.client()
    assert refused.connect("b", will=will()).reason_code == 0x97
    assert refused.closed
    assert mqtt.client().connect("b").reason_code == 0
    first.lose()
    assert mqtt.client().connect("c", will=will()).reason_code == 0
    assert mqtt.broker.counters.bounds["wills"] == 1


@pytest.mark.parametrize("version", [3, 4, 5])
def test_without_a_will_nothing_is_published(mqtt, hearer, version):
    """[MQTT-3.1.2-12] of 3.1.1: also after a connection of the same client that had one."""
    mqtt.connect("a", version=version, will=will()).disconnect()
    mqtt.connect("a", version=version).lose()
    mqtt.pass_time(10)
    assert hearer.messages == []


def test_a_server_does_not_set_the_expiry_when_it_disconnects(mqtt):
    """[MQTT-3.14.2-2]."""
    taken, late, wrong, last = (mqtt.connect(name, keep_alive=1, **KEPT) for name in ("taken", "late", "wrong", "last"))
    mqtt.connect("taken", **KEPT)
    wrong.send_bytes(b"\x36\x00")
    for _ in range(5):
        mqtt.pass_time(1)
        last.send_bytes(b"\xc0\x00")
    mqtt.broker.stop()
    ends = [client.take()[-1] for client in (taken, late, wrong, last)]
    assert [end.reason_code for end in ends] == [0x8E, 0x8D, 0x81, 0x8B]
    assert not any(end.properties and end.properties.session_expiry_interval is not None for end in ends)
