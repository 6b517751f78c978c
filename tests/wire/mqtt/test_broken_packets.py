"""What breaks the standard is refused with the standard's reason code. The cases name the statements that they show."""

import re

import pytest

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.packets import Connect, Pingreq
from tests.support.mqtt.broken import BROKEN_CONNECTS, BROKEN_PACKETS, UNKNOWN_VERSIONS, every
from tests.support.mqtt.raw import connect, packet

PINGREQ = packet(0xC0)


def parameters(cases):
    return [pytest.param(version, case, id=f"{case.name}, {version}") for version, case in every(cases)]


def refusal(decoder, data):
    with pytest.raises(InvalidPacket) as refused:
        decoder.feed(data)
    return refused.value


@pytest.mark.parametrize("version, case", parameters(BROKEN_CONNECTS))
def test_a_connect_that_breaks_the_standard_is_refused(version, case):
    """[MQTT-3.1.4-1] [MQTT-4.13.2-1] 3.1.1: [MQTT-3.1.4-1]"""
    error = refusal(PacketDecoder(), case.of(version) + PINGREQ)
    assert error.reason_code == case.reason_code, error.text
    assert re.match("CONNECT: .*[a-z0-9]$", error.text)
    assert error.packets == []


@pytest.mark.parametrize("version, case", [pytest.param(4, one, id=one.name) for one in BROKEN_CONNECTS if one.name == "no body"])
def test_no_version_is_known_of_a_connect_that_does_not_tell_it(version, case):
    assert refusal(PacketDecoder(), case.of(version)).version is None


@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_version_of_a_broken_connect_is_known_for_the_answer(version):
    """[MQTT-3.1.4-1] 3.1.1: [MQTT-3.1.4-1]"""
    assert refusal(PacketDecoder(), connect(version, payload=b"")).version == version


@pytest.mark.parametrize("version, case", parameters(UNKNOWN_VERSIONS))
def test_a_version_that_the_server_does_not_speak_is_refused_in_a_form_that_the_client_reads(version, case):
    """[MQTT-3.1.2-1] [MQTT-3.1.2-2]"""
    error = refusal(PacketDecoder(), case.of(version))
    assert (error.reason_code, error.version) == (case.reason_code, version)


@pytest.mark.parametrize("version, case", parameters(BROKEN_PACKETS))
def test_a_packet_that_breaks_the_standard_is_refused(version, case):
    """[MQTT-4.13.1-1] 3.1.1: [MQTT-2.2.2-2] [MQTT-4.8.0-1]"""
    decoder = PacketDecoder()
    decoder.feed(connect(version))
    error = refusal(decoder, PINGREQ + case.of(version) + PINGREQ)
    assert error.reason_code == case.reason_code, error.text
    assert re.match("([A-Z]+|type [0-9]+): .*[a-z0-9]$", error.text)
    assert error.version == version
    assert error.packets == [Pingreq()]


@pytest.mark.parametrize("version, case", parameters(BROKEN_PACKETS))
def test_it_is_refused_byte_by_byte_too(version, case):
    decoder = PacketDecoder()
    decoder.feed(connect(version))
    with pytest.raises(InvalidPacket) as refused:
        for byte in case.of(version) + PINGREQ:
            assert decoder.feed(bytes((byte,))) == []
    assert refused.value.reason_code == case.reason_code


@pytest.mark.parametrize("first", [first for first in range(0x100) if first >> 4 != 1])
def test_the_first_packet_must_be_a_connect(first):
    """[MQTT-3.1.0-1]. A browser or a TLS client is refused before it has sent what its first bytes promise."""
    for data in (bytes((first, 100, 0)), bytes((first, 0)), connect(5, first=first)):
        error = refusal(PacketDecoder(), data)
        assert (error.reason_code, error.version) == (0x82, None)


@pytest.mark.parametrize("field", ["user name", "password"])
def test_mqtt_3_1_may_leave_out_what_a_flag_promises(field):
    """MQTT 3.1, section 3.1, which keeps clients of older versions"""
    (packet,) = PacketDecoder().feed(connect(3, 0x80 if field == "user name" else 0x40))
    assert isinstance(packet, Connect)
    assert (packet.user_name, packet.password) == (None, None)


@pytest.mark.parametrize("flags", [0x03, 0x0A, 0x22])
def test_mqtt_3_1_ignores_flags_without_a_meaning(flags):
    (packet,) = PacketDecoder().feed(connect(3, flags, first=0x1F))
    assert packet == Connect("pump-4", 3, True, 60)


@pytest.mark.parametrize("data", [packet(0x83, b"\0\1\0\1a\4"), packet(0x8A, b"\0\1\0\1a\0"), packet(0x40, b"\0\1"), packet(0x6A, b"\0\1")])
def test_mqtt_3_1_ignores_bits_of_the_fixed_header(data):
    """MQTT 3.1 sends SUBSCRIBE, UNSUBSCRIBE and PUBREL again with the flag of a duplicate."""
    decoder = PacketDecoder()
    decoder.feed(connect(3))
    assert len(decoder.feed(data)) == 1


def test_errors_never_repeat_what_the_client_sent():
    for version, case in every(BROKEN_CONNECTS):
        text = refusal(PacketDecoder(), case.of(version)).text
        assert "pump-4" not in text and "secret" not in text
