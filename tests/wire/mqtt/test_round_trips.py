"""What is encoded is decoded to the same, for every packet, property and version; a stream may be cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import Connack, Properties
from dhtwisted.wire.mqtt.properties import PROPERTIES
from dhtwisted.wire.mqtt.reasons import return_code
from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support.mqtt.raw import connect
from tests.support.mqtt.strategies import connacks, connects, from_client, from_server

versions = st.sampled_from([3, 4, 5])


def cut(draw, stream):
    """Cut a stream into pieces at random places."""
    places = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@st.composite
def streams_of_clients(draw):
    """Packets of a client and the stream of them, in pieces."""
    version = draw(versions)
    packets = [draw(connects(version)), *draw(st.lists(from_client(version), max_size=5))]
    return packets, cut(draw, b"".join(encode(packet, version) for packet in packets))


@st.composite
def streams_of_servers(draw):
    version = draw(versions)
    packets = draw(st.lists(from_server(version), max_size=5))
    return version, packets, cut(draw, b"".join(encode(packet, version) for packet in packets))


@given(streams_of_clients())
def test_packets_of_a_client_come_out_of_a_stream_that_is_cut_anywhere(stream):
    """[MQTT-3.1.3-1] [MQTT-3.3.2-18] [MQTT-3.8.3-1] [MQTT-3.10.3-1] 3.1.1: [MQTT-3.1.3-1]"""
    packets, pieces = stream
    decoder = PacketDecoder()
    assert [packet for piece in pieces for packet in decoder.feed(piece)] == packets
    assert decoder.version == packets[0].version


@given(streams_of_servers())
def test_packets_of_the_server_can_be_decoded(stream):
    version, packets, pieces = stream
    decoder = ReplyDecoder(version)
    assert [packet for piece in pieces for packet in decoder.feed(piece)] == packets


@given(st.data(), versions)
def test_a_connack_can_be_decoded(data, version):
    """[MQTT-3.2.2-8]"""
    packet = data.draw(connacks(version))
    (decoded,) = ReplyDecoder(version).feed(encode(packet, version))
    assert decoded == (packet if version == 5 else replace(packet, reason_code=return_code(packet.reason_code)))


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4), st.sampled_from([None, 3, 4, 5]))
def test_random_bytes_raise_nothing_else(noise, places, version):
    decoder = PacketDecoder(256)
    if version is not None:
        decoder.feed(connect(version))
    places = sorted(places)
    for start, end in zip([0, *places], [*places, len(noise)], strict=True):
        try:
            decoder.feed(noise[start:end])
        except InvalidPacket as error:
            assert error.text and error.reason_code >= 0x80


@given(streams_of_clients(), st.data())
def test_a_stream_with_a_wrong_byte_raises_nothing_else(stream, data):
    """Close to what is right, so that it comes far."""
    _, pieces = stream
    whole = bytearray(b"".join(pieces))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    outcomes = [outcome([bytes(whole)]), outcome([bytes((byte,)) for byte in whole])]
    assert outcomes[0] == outcomes[1], "it depends on where the stream is cut"


def outcome(pieces):
    """What comes out of a stream: the packets, and the error if there is one."""
    decoder, packets = PacketDecoder(), []
    for piece in pieces:
        try:
            packets += decoder.feed(piece)
        except InvalidPacket as error:
            return packets + list(error.packets), (error.reason_code, error.text, error.version)
    return packets, None


def test_the_table_of_properties_has_the_order_of_the_members():
    assert [item.name for item in PROPERTIES] == list(Properties.__struct_fields__)


@pytest.mark.parametrize("version", [3, 4])
def test_mqtt_3_gets_no_properties(version):
    packet = Connack(properties=Properties(receive_maximum=5))
    assert encode(packet, version) == b"\x20\x02\0\0"
