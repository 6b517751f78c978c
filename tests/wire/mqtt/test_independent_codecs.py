"""The codec agrees with codecs that others wrote: mqtt5 (in Rust; MQTT 5.0), zmqtt (3.1.1 and 5.0), and what paho-mqtt sends (all three).

What one encodes, the other decodes to packets that mean the same, both ways, for every packet and property.
"""

from socket import socket

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions
from zmqtt._internal.packets import codec as zmqtt

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.decoding import PacketDecoder
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import Connack, Connect, Properties, Publish, Subscribe, Subscription, Unsubscribe, Will
from dhtwisted.wire.mqtt.reasons import return_code
from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support.mqtt.raw import connect
from tests.support.mqtt.strategies import connacks, connects, from_client, from_server
from tests.support.mqtt.translation import from_mqtt5, from_zmqtt, without_defaults

ZMQTT_VERSIONS = {4: "3.1.1", 5: "5.0"}


def decode(version, data, is_reply):
    """Decode one packet with our codec."""
    if is_reply:
        decoder = ReplyDecoder(version)
    else:
        decoder = PacketDecoder()
        if data[0] >> 4 != 1:
            decoder.feed(connect(version))
    (packet,) = decoder.feed(data)
    return packet


@st.composite
def packets(draw, versions):
    """A version, a packet of it, and whether the server sends it."""
    version = draw(st.sampled_from(versions))
    is_reply = draw(st.booleans())
    kinds = (connacks, from_server) if is_reply else (connects, from_client)
    return version, draw(draw(st.sampled_from(kinds))(version)), is_reply


@given(packets([5]))
def test_mqtt5_agrees(case):
    _, packet, is_reply = case
    data = encode(packet, 5)
    theirs, length = mqtt5.read(memoryview(data))
    assert length == len(data)
    assert from_mqtt5(theirs) == without_defaults(packet)
    assert without_defaults(decode(5, theirs.write(), is_reply)) == without_defaults(packet)


def has_several_identifiers(packet):
    """Whether zmqtt cannot hold the packet."""
    return packet.__class__ is Publish and packet.properties is not None and len(packet.properties.subscription_identifier) > 1


@given(packets([4, 5]).filter(lambda case: not has_several_identifiers(case[1])))
def test_zmqtt_agrees(case):
    version, packet, is_reply = case
    data = encode(packet, version)
    theirs, length = zmqtt.decode(data, version=ZMQTT_VERSIONS[version])
    assert length == len(data)
    expected = without_defaults(packet)
    if packet.__class__ is Connack and version == 4:
        expected.reason_code = return_code(packet.reason_code)
    assert from_zmqtt(theirs, version) == expected
    assert without_defaults(decode(version, zmqtt.encode(theirs, version=ZMQTT_VERSIONS[version]), is_reply)) == expected


@given(packets([5]), st.data())
def test_what_is_accepted_here_mqtt5_can_read(case, data):
    """A good packet with a wrong byte: if we can read it, so can mqtt5, and finds the same in it."""
    _, packet, is_reply = case
    if is_reply:
        return
    encoded = bytearray(encode(packet, 5))
    encoded[data.draw(st.integers(2, max(2, len(encoded) - 1))) % len(encoded)] = data.draw(st.integers(0, 255))
    try:
        ours = decode(5, bytes(encoded), False)
    except (InvalidPacket, ValueError):
        return
    theirs, _ = mqtt5.read(memoryview(encoded))
    assert from_mqtt5(theirs) == without_defaults(ours)


class Recorder(paho.Client):
    """paho's client, of which only the packets that it would send are used."""

    def __init__(self, version, **options):
        super().__init__(paho.CallbackAPIVersion.VERSION2, client_id="pump-4", protocol=version, **options)
        self.sent = []
        # It sends nothing without one, and closes it.
        self._sock = socket()

    def _packet_queue(self, command, packet, mid, qos, info=None):
        self.sent.append(bytes(packet))
        return paho.MQTT_ERR_SUCCESS


def recorder(version):
    client = Recorder(version, **({} if version == 5 else {"clean_session": False}))
    client.username_pw_set("user", "secret")
    return client


def paho_properties(packet, **values):
    """Properties of paho, by its names."""
    properties = PahoProperties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def test_a_connect_of_paho_is_understood():
    for version in (3, 4):
        client = recorder(version)
        client.will_set("will/topic", b"gone", 2, True)
        client._send_connect(60)
        (packet,) = PacketDecoder().feed(*client.sent)
        assert packet == Connect("pump-4", version, False, 60, "user", b"secret", Will("will/topic", b"gone", 2, True))


def test_a_connect_of_paho_with_mqtt_5_is_understood():
    client = recorder(5)
    client.will_set("will/topic", b"gone", 1, properties=paho_properties("WILLMESSAGE", WillDelayInterval=5, ContentType="text/plain"))
    client._connect_properties = paho_properties(
        "CONNECT", SessionExpiryInterval=60, ReceiveMaximum=7, UserProperty=[("a", "b"), ("a", "c")]
    )
    client._clean_start = True
    client._send_connect(60)
    (packet,) = PacketDecoder().feed(*client.sent)
    will = Will("will/topic", b"gone", 1, properties=Properties(will_delay_interval=5, content_type="text/plain"))
    properties = Properties(session_expiry_interval=60, receive_maximum=7, user_property=(("a", "b"), ("a", "c")))
    assert packet == Connect("pump-4", 5, True, 60, "user", b"secret", will, properties)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos, packet_id, dup", [(0, 0, False), (1, 7, False), (2, 7, True)])
def test_a_publish_of_paho_is_understood_and_ours_is_the_same(version, qos, packet_id, dup):
    client = recorder(version)
    properties = paho_properties("PUBLISH", MessageExpiryInterval=60, UserProperty=("a", "b")) if version == 5 else None
    client._send_publish(packet_id, "tele/é/1".encode(), b"payload" * 30, qos, True, dup, None, properties)
    ours = Properties(message_expiry_interval=60, user_property=(("a", "b"),)) if version == 5 else None
    packet = Publish("tele/é/1", b"payload" * 30, qos, True, dup, packet_id, ours)
    assert decode(version, client.sent[0], False) == packet
    assert encode(packet, version) == client.sent[0]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_subscriptions_of_paho_are_understood_and_ours_are_the_same(version):
    client = recorder(version)
    requests = [Subscription("a/+", 1), Subscription("b/#", 2)]
    if version == 5:
        requests[1] = Subscription("b/#", 2, True, True, 1)
        client._send_subscribe(False, [(b"a/+", SubscribeOptions(1)), (b"b/#", SubscribeOptions(2, True, True, 1))])
    else:
        client._send_subscribe(False, [(b"a/+", 1), (b"b/#", 2)])
    client._send_unsubscribe(False, [b"a/+", b"b/#"])
    subscribe, unsubscribe = (decode(version, data, False) for data in client.sent)
    assert subscribe == Subscribe(subscribe.packet_id, requests)
    assert unsubscribe == Unsubscribe(unsubscribe.packet_id, ["a/+", "b/#"])
    assert [encode(packet, version) for packet in (subscribe, unsubscribe)] == client.sent
