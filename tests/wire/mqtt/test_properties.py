"""Every property of MQTT 5.0: in which packets it may stand, how often, and with which values (section 2.2.2)."""

import pytest

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.body import Body
from dhtwisted.wire.mqtt.packets import Properties
from dhtwisted.wire.mqtt.properties import PROPERTIES, encode_properties, read_properties
from tests.support.mqtt.raw import field, varint

# Table 2-4 of the standard, typed in again: identifier, name, type, packets.
TABLE = """
    01 payload_format_indicator           byte    PUBLISH WILL
    02 message_expiry_interval            four    PUBLISH WILL
    03 content_type                       text    PUBLISH WILL
    08 response_topic                     text    PUBLISH WILL
    09 correlation_data                   binary  PUBLISH WILL
    0B subscription_identifier            varint  PUBLISH SUBSCRIBE
    11 session_expiry_interval            four    CONNECT CONNACK DISCONNECT
    12 assigned_client_identifier         text    CONNACK
    13 server_keep_alive                  two     CONNACK
    15 authentication_method              text    CONNECT CONNACK AUTH
    16 authentication_data                binary  CONNECT CONNACK AUTH
    17 request_problem_information        byte    CONNECT
    18 will_delay_interval                four    WILL
    19 request_response_information       byte    CONNECT
    1A response_information               text    CONNACK
    1C server_reference                   text    CONNACK DISCONNECT
    1F reason_string                      text    CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH
    21 receive_maximum                    two     CONNECT CONNACK
    22 topic_alias_maximum                two     CONNECT CONNACK
    23 topic_alias                        two     PUBLISH
    24 maximum_qos                        byte    CONNACK
    25 retain_available                   byte    CONNACK
    26 user_property                      pair    CONNECT WILL CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH
    27 maximum_packet_size                four    CONNECT CONNACK
    28 wildcard_subscription_available    byte    CONNACK
    29 subscription_identifier_available  byte    CONNACK
    2A shared_subscription_available      byte    CONNACK
"""  # noqa: E501
ROWS = [(int(number, 16), name, kind, packets) for number, name, kind, *packets in (line.split() for line in TABLE.strip().splitlines())]
EVERYWHERE = next(packets for _, name, _, packets in ROWS if name == "user_property")
SAMPLES = {
    "byte": (b"\x01", 1),
    "two": (b"\x01\x02", 0x0102),
    "four": (b"\x01\x02\x03\x04", 0x01020304),
    "varint": (b"\x80\x01", 128),
    "text": (field("é/1".encode()), "é/1"),
    "binary": (field(b"\0\xff"), b"\0\xff"),
    "pair": (field(b"a") + field(b"b"), ("a", "b")),
}
"""Type -> its bytes, and the value that they mean."""

REPEATING = {"user_property", "subscription_identifier"}


def properties(number, value):
    return bytes((number,)) + value


def read(encoded, packet):
    """Read properties with their length in front, as the packet has them."""
    data = varint(len(encoded)) + encoded
    body = Body(data, 0, len(data))
    result = read_properties(body, packet)
    assert body.is_read
    return result


def refusal(encoded, packet):
    with pytest.raises(InvalidPacket) as refused:
        read(encoded, packet)
    return refused.value


def test_the_table_has_every_property():
    assert [(item.id, item.name, set(item.packets)) for item in PROPERTIES] == [(row[0], row[1], set(row[3])) for row in ROWS]


@pytest.mark.parametrize("number, name, kind, packets", ROWS, ids=[row[1] for row in ROWS])
def test_a_property_stands_where_it_may_and_nowhere_else(number, name, kind, packets):
    """2.2.2.2: it is a malformed packet otherwise"""
    encoded, value = SAMPLES[kind]
    expected = Properties(**{name: (value,) if name in REPEATING else value})
    for packet in EVERYWHERE:
        if packet in packets:
            assert read(properties(number, encoded), packet) == expected
            assert encode_properties(expected) == varint(len(encoded) + 1) + properties(number, encoded)
        else:
            assert refusal(properties(number, encoded), packet).reason_code == 0x81


@pytest.mark.parametrize("number, name, kind, packets", ROWS, ids=[row[1] for row in ROWS])
def test_a_property_stands_once_but_for_those_that_repeat(number, name, kind, packets):
    """[MQTT-3.1.3-10] [MQTT-3.3.2-17]: the order of user properties is kept"""
    encoded, value = SAMPLES[kind]
    for packet in packets:
        twice = properties(number, encoded) * 2
        if name == "user_property" or (name == "subscription_identifier" and packet == "PUBLISH"):
            assert getattr(read(twice, packet), name) == (value, value)
        else:
            assert refusal(twice, packet).reason_code == 0x82


@pytest.mark.parametrize("number, name, kind, packets", ROWS, ids=[row[1] for row in ROWS])
def test_a_property_that_is_cut_is_malformed(number, name, kind, packets):
    encoded, _ = SAMPLES[kind]
    for length in range(len(encoded)):
        assert refusal(properties(number, encoded[:length]), packets[0]).reason_code == 0x81


@pytest.mark.parametrize("number", sorted(set(range(256)) - {row[0] for row in ROWS}))
def test_an_unknown_property_is_malformed(number):
    """2.2.2.2"""
    assert refusal(properties(number, b"\0"), "CONNECT").reason_code == 0x81


BYTES = [row for row in ROWS if row[2] == "byte"]


@pytest.mark.parametrize("number, name, kind, packets", BYTES, ids=[row[1] for row in BYTES])
def test_a_byte_is_0_or_1(number, name, kind, packets):
    """3.1.2.11.6, 3.1.2.11.7, 3.2.2.3.4, 3.2.2.3.5, 3.3.2.3.2 and others"""
    for value in (0, 1):
        assert getattr(read(properties(number, bytes((value,))), packets[0]), name) == value
    for value in (2, 255):
        assert refusal(properties(number, bytes((value,))), packets[0]).reason_code == 0x82


@pytest.mark.parametrize(
    "number, packet, zero, reason_code",
    [
        (0x21, "CONNECT", b"\0\0", 0x82),
        (0x27, "CONNECT", b"\0\0\0\0", 0x82),
        (0x23, "PUBLISH", b"\0\0", 0x94),
        (0x0B, "SUBSCRIBE", b"\0", 0x82),
    ],
)
def test_some_may_not_be_0(number, packet, zero, reason_code):
    """[MQTT-3.3.2-8], 3.1.2.11.3, 3.1.2.11.4, 3.8.2.1.2"""
    assert refusal(properties(number, zero), packet).reason_code == reason_code


def test_the_largest_values_are_read():
    largest = Properties(
        session_expiry_interval=0xFFFFFFFF, receive_maximum=0xFFFF, maximum_packet_size=0xFFFFFFFF, topic_alias_maximum=0xFFFF
    )
    assert read(encode_properties(largest)[1:], "CONNECT") == largest
    assert read(encode_properties(Properties(subscription_identifier=(268_435_455,)))[1:], "SUBSCRIBE").subscription_identifier == (
        268_435_455,
    )


def test_user_properties_keep_their_order_and_repeat_their_names():
    """[MQTT-3.3.2-18]"""
    pairs = (("b", "1"), ("a", "2"), ("b", "3"), ("", ""))
    assert read(encode_properties(Properties(user_property=pairs))[1:], "PUBLISH").user_property == pairs


def test_no_properties_are_none():
    """[MQTT-2.2.2-1]: their length is 0"""
    assert encode_properties(None) == encode_properties(Properties()) == b"\0"
    assert read(b"", "PUBLISH") is None


def test_properties_may_be_longer_than_127_bytes():
    value = Properties(content_type="x" * 20_000, user_property=(("a", "b" * 300),))
    encoded = encode_properties(value)
    body = Body(encoded + b"rest", 0, len(encoded) + 4)
    assert read_properties(body, "PUBLISH") == value
    assert body.at == len(encoded)


@pytest.mark.parametrize(
    "wrong",
    [
        Properties(receive_maximum=0x10000),
        Properties(maximum_packet_size=1 << 32),
        Properties(maximum_qos=256),
        Properties(subscription_identifier=(268_435_456,)),
        Properties(reason_string="x" * 65_536),
        Properties(correlation_data=b"x" * 65_536),
        Properties(user_property=(("a", "\ud800"),)),
    ],
    ids=lambda wrong: next(name for name in wrong.__struct_fields__ if getattr(wrong, name) not in (None, ())),
)
def test_a_value_that_mqtt_cannot_carry_is_not_encoded(wrong):
    with pytest.raises(ValueError):
        encode_properties(wrong)
