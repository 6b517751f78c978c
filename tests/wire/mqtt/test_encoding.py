"""What the server sends: short forms, what fits a receiver, and messages for many receivers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.wire.mqtt.encoding import PublishForm, encode, encode_within, without_details
from dhtwisted.wire.mqtt.packets import (
    Auth,
    Connack,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
)
from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support.mqtt.strategies import data, packet_ids, properties, topics

DETAILS = Properties(reason_string="why", user_property=(("a", "b"),))


@pytest.mark.parametrize(
    "packet, old, new",
    [
        (Puback(7), b"\x40\2\0\7", b"\x40\2\0\7"),
        (Pubrec(7), b"\x50\2\0\7", b"\x50\2\0\7"),
        (Pubrel(7), b"\x62\2\0\7", b"\x62\2\0\7"),
        (Pubcomp(7), b"\x70\2\0\7", b"\x70\2\0\7"),
        (Puback(0xFFFF, 0x87), b"\x40\2\xff\xff", b"\x40\3\xff\xff\x87"),
        (Pubcomp(7, 0x92), b"\x70\2\0\7", b"\x70\3\0\7\x92"),
        (Puback(7, 0, Properties(reason_string="a")), b"\x40\2\0\7", b"\x40\x08\0\7\0\4\x1f\0\1a"),
        (Connack(), b"\x20\2\0\0", b"\x20\3\0\0\0"),
        (Connack(0, True), b"\x20\2\1\0", b"\x20\3\1\0\0"),
        (Connack(0x86), b"\x20\2\0\4", b"\x20\3\0\x86\0"),
        (Suback(7, [0, 2, 0x80, 0x87, 0x8F]), b"\x90\7\0\7\0\2\x80\x80\x80", b"\x90\x08\0\7\0\0\2\x80\x87\x8f"),
        (Unsuback(7, [0, 0x11]), b"\xb0\2\0\7", b"\xb0\5\0\7\0\0\x11"),
        (Pingreq(), b"\xc0\0", b"\xc0\0"),
        (Pingresp(), b"\xd0\0", b"\xd0\0"),
        (Disconnect(), b"\xe0\0", b"\xe0\0"),
        (Disconnect(0x8E), b"\xe0\0", b"\xe0\1\x8e"),
        (Disconnect(0, Properties(server_reference="a")), b"\xe0\0", b"\xe0\6\0\4\x1c\0\1a"),
        (Subscribe(7, [Subscription("a", 1, True, True, 2)]), b"\x82\6\0\7\0\1a\1", b"\x82\7\0\7\0\0\1a\x2d"),
    ],
    ids=repr,
)
def test_each_version_gets_what_it_has_in_the_fewest_bytes(packet, old, new):
    """[MQTT-2.1.3-1] [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.2.2-1], 3.4.2.1, 3.14.2.1; 3.1.1: [MQTT-2.2.2-1] [MQTT-3.9.3-2]"""
    assert [encode(packet, version) for version in (3, 4, 5)] == [old.replace(b"\x20\2\1", b"\x20\2\0"), old, new]


def test_an_auth_is_encoded():
    assert encode(Auth(0x18, Properties(authentication_method="a")), 5) == b"\xf0\6\x18\4\x15\0\1a"


@given(
    st.data(),
    st.sampled_from([3, 4, 5]),
    topics,
    data,
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    packet_ids,
)
def test_a_form_gives_the_same_as_the_packet(draw, version, topic, payload, qos, retain, dup, packet_id):
    values = draw.draw(properties("PUBLISH", 5))
    if values is not None:
        values.topic_alias = None
    form = PublishForm(topic, payload, values)
    packet = Publish(topic, payload, qos, retain, dup and qos > 0, packet_id if qos else 0, values)
    for _ in range(2):
        assert form.encode(version, qos, retain, packet_id, packet.dup) == encode(packet, version)
    other = replace(packet, qos=1, packet_id=packet_id)
    assert form.encode(version, 1, retain, packet_id, packet.dup) == encode(other, version)


@given(
    st.data(),
    topics,
    data,
    st.integers(0, 2),
    packet_ids,
    st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple),
    st.integers(0, 65535),
    st.booleans(),
)
def test_a_form_can_have_what_differs_by_receiver(draw, topic, payload, qos, packet_id, identifiers, alias, with_topic):
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5] [MQTT-3.3.2-12]"""
    values = draw.draw(properties("PUBLISH", 5)) or Properties()
    values.topic_alias = None
    encoded = PublishForm(topic, payload, values).encode_for(
        qos, False, packet_id, subscription_identifiers=identifiers, topic_alias=alias, with_topic=with_topic or not alias
    )
    expected = replace(values, subscription_identifier=identifiers, topic_alias=alias or None)
    (packet,) = ReplyDecoder(5).feed(encoded)
    assert packet == Publish(
        topic if with_topic or not alias else "",
        payload,
        qos,
        packet_id=packet_id if qos else 0,
        properties=None if expected == Properties() else expected,
    )


def test_receivers_with_qos_0_share_the_bytes():
    form = PublishForm("a/b", b"x" * 1000)
    assert form.encode(4) is form.encode(4)
    assert form.encode(5) is form.encode(5)


@pytest.mark.parametrize(
    "bare",
    [
        Connack(0x87),
        Puback(7, 0x87),
        Pubrec(7, 0x87),
        Pubrel(7, 0x92),
        Pubcomp(7, 0x92),
        Suback(7, [0x87]),
        Unsuback(7, [0x87]),
        Disconnect(0x87),
        Auth(0x18, Properties(authentication_method="a")),
    ],
    ids=lambda packet: type(packet).__name__,
)
@pytest.mark.parametrize("details", [{"reason_string": "why" * 50}, {"user_property": DETAILS.user_property}], ids=" ".join)
def test_what_exceeds_the_receivers_maximum_loses_its_details_first(bare, details):
    """Reason strings and user properties: [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
    [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
    [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
    """
    packet = replace(bare, properties=replace(bare.properties or Properties(), **details))
    full, short = encode(packet, 5), encode(bare, 5)
    assert encode_within(packet, 5, len(full)) == full
    assert encode_within(packet, 5, len(full) - 1) == encode_within(packet, 5, len(short)) == short
    assert encode_within(packet, 5, len(short) - 1) is None


@pytest.mark.parametrize("packet", [Pingresp(), Pingreq(), Puback(7), Disconnect(0x82), Connack(0x82)], ids=repr)
def test_what_has_no_details_is_sent_whole_or_not_at_all(packet):
    """[MQTT-3.1.2-24]"""
    size = len(encode(packet, 5))
    assert encode_within(packet, 5, size) == encode(packet, 5)
    assert encode_within(packet, 5, size - 1) is None


def test_a_message_keeps_its_user_properties_or_is_not_sent():
    """[MQTT-3.1.2-24] [MQTT-3.3.2-17]"""
    packet = Publish("a", b"", properties=Properties(user_property=(("a", "b"),)))
    assert encode_within(packet, 5, len(encode(packet, 5)) - 1) is None


def test_details_can_be_left_out_for_a_client_that_does_not_want_them():
    """[MQTT-3.1.2-29]"""
    packet = Puback(7, 0x87, replace(DETAILS))
    assert without_details(packet) == Puback(7, 0x87, Properties())
    assert packet.properties == DETAILS
    assert encode(without_details(packet), 5) == encode(Puback(7, 0x87), 5)
    assert without_details(Puback(7)) == Puback(7)


@pytest.mark.parametrize(
    "packet",
    [
        Publish("x" * 65_536),
        Publish("\ud800"),
        Publish("a", b"x", 1, packet_id=65_536),
        Puback(65_536),
        Puback(-1),
        Subscribe(1, [Subscription("x" * 65_536)]),
    ],
    ids=["topic", "surrogate", "packet id", "acknowledged id", "negative id", "filter"],
)
def test_what_mqtt_cannot_carry_is_not_encoded(packet):
    for version in (4, 5):
        with pytest.raises(ValueError):
            encode(packet, version)


def test_a_packet_that_is_too_large_for_mqtt_is_not_encoded():
    """2.1.4: 268,435,455 bytes"""
    payload = bytes(268_435_455)
    with pytest.raises(ValueError, match="too large for a packet"):
        PublishForm("a", payload).encode(4)


@pytest.mark.parametrize(("version", "expected"), [(3, b"\x30\4\0\1ax"), (4, b"\x30\4\0\1ax"), (5, b"\x30\5\0\1a\0x")])
def test_a_message_with_qos_0_has_no_packet_id(version, expected):
    """[MQTT-2.2.1-2]"""
    assert encode(Publish("a", b"x", packet_id=7), version) == expected
    assert PublishForm("a", b"x").encode(version) == expected
