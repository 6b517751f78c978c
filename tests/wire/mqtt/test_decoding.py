"""A decoder of a stream: sizes, pieces, memory, and what is left after an error."""

import tracemalloc

import pytest

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.decoding import SMALLEST_MAXIMUM, PacketDecoder
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import Auth, Connect, Pingreq, Puback, Publish
from tests.support.mqtt.raw import connect, field, packet

PINGREQ = packet(0xC0)


def connected(version=4, maximum=1000):
    decoder = PacketDecoder(maximum)
    decoder.feed(connect(version))
    return decoder


def publish_of(size):
    """A PUBLISH of MQTT 3.1.1 of so many bytes: 131 to 16,386, or 16,388 and more."""
    header = 1 + (2 if size < 16_387 else 3)
    data = packet(0x30, field(b"a/b"), b"x" * (size - header - 5))
    assert len(data) == size
    return data


def refusal(decoder, data):
    with pytest.raises(InvalidPacket) as refused:
        decoder.feed(data)
    return refused.value


@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_version_is_that_of_the_connect(version):
    decoder = PacketDecoder()
    assert decoder.version is None
    (first,) = decoder.feed(connect(version))
    assert (first.version, decoder.version) == (version, version)


def test_what_follows_a_connect_in_the_same_read_is_decoded_by_its_version():
    """A client need not wait for its CONNACK (both standards, section 3.1.4)."""
    packets = PacketDecoder().feed(connect(5) + packet(0x40, b"\0\x07\x10") + PINGREQ)
    assert packets == [Connect("pump-4", 5, True, 60), Puback(7, 0x10), Pingreq()]


def test_an_auth_may_have_no_body():
    """5.0, section 3.15.2.1: a remaining length of 0 means reason code 0 and no properties"""
    assert connected(5).feed(packet(0xF0)) == [Auth()]
    assert encode(Auth(), 5) == packet(0xF0)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_each_form_of_the_remaining_length_is_read(length):
    """3.1.1 and 5.0, section 2.1.4 and 2.2.3: one to four bytes"""
    decoder = connected(4, 4_000_000)
    payload = b"x" * max(0, length - 5)
    data = packet(0x30, field(b"a/b"), payload)
    expected = [Publish("a/b", payload)]
    assert decoder.feed(data + PINGREQ) == [*expected, Pingreq()]
    assert [one for cut in (data[:2], data[2:4], data[4:]) for one in decoder.feed(cut)] == expected


def test_mqtt_3_may_write_a_length_with_more_bytes_than_needed():
    assert connected(4).feed(b"\xc0\x80\x00") == [Pingreq()]


@pytest.mark.parametrize("maximum", [SMALLEST_MAXIMUM, 1000, 16_388, 20_000])
def test_a_packet_may_have_the_maximum_and_no_byte_more(maximum):
    """[MQTT-3.2.2-15]; the size is that of the whole packet (5.0, section 2.1.4)"""
    assert len(connected(4, maximum).feed(publish_of(maximum))) == 1
    error = refusal(connected(4, maximum), PINGREQ + publish_of(maximum + 1))
    assert (error.reason_code, error.packets) == (0x95, [Pingreq()])
    assert str(maximum) in error.text


@pytest.mark.parametrize("header", [b"\x30\x80\x80\x80\x01", b"\x30\xff\xff\xff\x7f", b"\x82\xe8\x07", b"\xc0\xff\xff\x03"])
def test_the_size_is_refused_as_soon_as_the_header_is_there(header):
    decoder = connected(5, 1000)
    assert decoder.feed(header[:-1]) == []
    assert refusal(decoder, header[-1:]).reason_code == 0x95


def test_a_connect_that_is_too_large_is_answered_if_it_tells_mqtt_5():
    large = [connect(version, payload=field(b"x" * 2000)) for version in (4, 5)]
    assert [refusal(PacketDecoder(1000), data).version for data in large] == [None, 5]
    assert refusal(PacketDecoder(1000), large[1][:3]).version is None


@pytest.mark.parametrize("maximum", [-1, 0, SMALLEST_MAXIMUM - 1])
def test_a_maximum_that_would_refuse_usual_packets_is_refused(maximum):
    with pytest.raises(ValueError, match="256 bytes or more"):
        PacketDecoder(maximum)


def test_a_drip_of_bytes_holds_no_more_memory_than_it_sends():
    """Nobody says how a stream is cut, so a hostile client sends single bytes."""
    data = connect(4) + publish_of(50_000)
    decoder = PacketDecoder(50_000)
    tracemalloc.start()
    try:
        for byte in data[:-1]:
            decoder.feed(bytes((byte,)))
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * len(data)
    assert most < 3 * len(data)
    assert len(decoder.feed(data[-1:])) == 1


def test_nothing_is_held_of_what_cannot_be_read():
    decoder = connected(4, 1_000_000)
    decoder.feed(packet(0x30, field(b"a/b"), b"x" * 500_000)[:-1])
    tracemalloc.start()
    try:
        with pytest.raises(InvalidPacket):
            decoder.feed(b"x" + b"\0" * 500_000)
        for _ in range(10):
            with pytest.raises(InvalidPacket):
                decoder.feed(b"x" * 100_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000


def test_after_an_error_each_call_raises_it_again_without_packets():
    decoder = connected(5)
    first = refusal(decoder, PINGREQ + packet(0x00) + PINGREQ)
    again = [refusal(decoder, data) for data in (PINGREQ, b"", PINGREQ)]
    assert first.packets == [Pingreq()]
    assert [(error.reason_code, error.text, error.version, list(error.packets)) for error in again] == [
        (first.reason_code, first.text, 5, [])
    ] * 3


def test_the_packet_before_a_wrong_one_may_have_been_cut():
    decoder = connected(5)
    assert decoder.feed(packet(0x40, b"\0\x07")[:3]) == []
    assert refusal(decoder, b"\x07" + packet(0x00)).packets == [Puback(7)]


def test_a_payload_is_bytes_of_its_own():
    """It is kept for long, and must not keep a whole read."""
    (packet_of_read,) = connected(4).feed(packet(0x30, field(b"a"), b"x" * 100))
    assert type(packet_of_read.payload) is bytes


def test_text_keeps_a_byte_order_mark():
    """[MQTT-1.5.4-3] 3.1.1: [MQTT-1.5.3-3]"""
    assert connected(4).feed(packet(0x30, field("\ufeffa".encode()))) == [Publish("\ufeffa")]


def test_the_text_of_a_connect_has_no_password():
    (first,) = PacketDecoder().feed(connect(4, 0xC2, field(b"pump-4") + field(b"user") + field(b"secret")))
    assert first.password == b"secret"
    assert "secret" not in repr(first) and "user" in repr(first)
