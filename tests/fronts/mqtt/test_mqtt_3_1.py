"""What MQTT 3.1 has otherwise than 3.1.1, in the bytes of its clients: protocol name MQIsdp, level 3."""

import pytest

from dhtwisted.wire.mqtt.packets import Publish, Pubrec, Pubrel, Suback
from tests.support.mqtt.raw import connect, field, packet

KEPT = {"version": 3, "clean_start": False}
SUBSCRIBE = b"\0\x07" + field(b"x") + b"\x02"


def connack(client, flags=0x02, payload=b"\0\x06pump-4"):
    """The bytes that answer a CONNECT."""
    client.send_bytes(connect(3, flags, payload))
    return client.sent


def test_the_name_of_the_protocol_is_mqisdp(mqtt):
    """Section 3.1. The same name with another level is refused with return code 1; so is the new name with level 3."""
    assert connack(mqtt.client(3)) == b"\x20\x02\x00\x00"
    for name, level in ((b"MQIsdp", 4), (b"MQTT", 3)):
        refused = mqtt.client(3)
        refused.send_bytes(connect(3, name=name, level=level))
        assert (refused.sent, refused.closed) == (b"\x20\x02\x00\x01", True)


@pytest.mark.parametrize("length", [1, 23, 24, 200])
def test_a_client_id_may_be_longer_than_23_characters(mqtt, length):
    """Section 3.1 permits 1 to 23. Devices have longer ones, and other brokers take them."""
    assert connack(mqtt.client(3), payload=field(b"x" * length)) == b"\x20\x02\x00\x00"


@pytest.mark.parametrize("flags", [0x00, 0x02])
def test_a_client_has_an_id(mqtt, flags):
    """Section 3.2: return code 2, also with a clean session."""
    client = mqtt.client(3)
    assert connack(client, flags, field(b"")) == b"\x20\x02\x00\x02"
    assert client.closed


def test_connack_does_not_tell_of_a_session(mqtt):
    """Section 3.2: the byte in front of the return code is reserved. The session is there nevertheless."""
    first = mqtt.connect("pump-4", **KEPT)
    first.subscribe("x", qos=1)
    first.lose()
    mqtt.connect("b").publish("x", b"1", 1)
    again = mqtt.client(3)
    again.send_bytes(connect(3, 0x00))
    assert again.sent.startswith(b"\x20\x02\x00\x00")
    assert again.messages == [("x", b"1")]


def test_return_codes(open_mqtt):
    """Section 3.2: 3 storage does not answer, 4 wrong password, 5 no right or a limit."""
    mqtt = open_mqtt(anonymous=False, quotas={"connections": 1, "administrators": 1})
    token = mqtt.memory.token().encode()
    assert connack(mqtt.client(3)) == b"\x20\x02\x00\x05"
    assert mqtt.client(3).connect("a", user_name="dhadmin", password=b"").reason_code == 4
    first = mqtt.client(3)
    assert first.connect("a", user_name="x", password=token).reason_code == 0
    assert mqtt.client(3).connect("b", user_name="x", password=token).reason_code == 5
    first.disconnect()
    mqtt.store.is_down = True
    assert mqtt.client(3).connect("a", clean_start=False, user_name="x", password=token).reason_code == 3


@pytest.mark.parametrize("flags", [0x82, 0xC2])
def test_a_user_name_that_a_flag_promises_may_be_missing(mqtt, flags):
    """Section 3.1: the remaining length counts, for clients of older versions. It is a client without credentials."""
    assert connack(mqtt.client(3), flags) == b"\x20\x02\x00\x00"


def test_packets_that_are_sent_again_may_have_the_flag_of_a_duplicate(mqtt):
    """Section 2.1: PUBREL, SUBSCRIBE and UNSUBSCRIBE too."""
    client = mqtt.connect("a", version=3, auto=False)
    for first in (0x82, 0x8A):
        client.send_bytes(packet(first, SUBSCRIBE))
    client.send(Publish("x", b"1", 2, packet_id=5))
    assert [type(one) for one in client.take()] == [Suback, Suback, Publish, Pubrec]
    for first in (0x62, 0x6A):
        client.send_bytes(packet(first, b"\0\x05"))
    for first in (0xA2, 0xAA):
        client.send_bytes(packet(first, b"\0\x08", field(b"x")))
    assert [one.packet_id for one in client.take()] == [5, 5, 8, 8]
    assert not client.closed


def test_messages_and_pubrel_are_sent_again(mqtt):
    """Section 4.1: with DUP, when a client comes back without a clean session."""
    client = mqtt.connect("a", auto=False, **KEPT)
    client.subscribe("x", qos=2)
    other = mqtt.connect("b")
    for payload in (b"1", b"2"):
        other.publish("x", payload, 2)
    one, two = (one.packet_id for one in client.take(Publish))
    client.send(Pubrec(one))
    client.lose()
    found = mqtt.connect("a", auto=False, **KEPT).take()
    assert found[0] == Pubrel(one)
    assert [(message.packet_id, message.payload, message.dup) for message in found[1:]] == [(two, b"2", True)]


def test_a_filter_without_the_right_is_answered_as_in_3_1_1(mqtt):
    """3.1 has no answer for it. Its clients read 0x80 as a QoS that they did not ask for."""
    mqtt.access.hidden.add("secret")
    client = mqtt.connect("a", version=3)
    assert client.subscribe("secret", "x", qos=1) == [0x80, 1]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_has_its_qos_and_flag(mqtt, qos):
    hearer = mqtt.connect("hearer", version=3)
    hearer.subscribe("will", qos=2)
    client = mqtt.client(3)
    assert connack(client, 0x26 | qos << 3, field(b"pump-4") + field(b"will") + field(b"gone")) == b"\x20\x02\x00\x00"
    client.lose()
    assert [(one.payload, one.qos, one.retain) for one in hearer.take(Publish)] == [(b"gone", qos, False)]
    later = mqtt.connect("later", version=3)
    later.subscribe("will", qos=2)
    assert [(one.payload, one.qos, one.retain) for one in later.take(Publish)] == [(b"gone", qos, True)]


def test_a_second_connection_takes_over(mqtt):
    """Section 3.1: the older one is closed, without a word."""
    first, second = mqtt.connect("a", version=3), mqtt.connect("a", version=3)
    assert (first.take(), first.closed, second.closed) == ([], True, False)
