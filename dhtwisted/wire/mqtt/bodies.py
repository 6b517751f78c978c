"""The bodies of the packets that a client sends after its CONNECT, read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.body import Body, malformed, no_packet_id, protocol_error, text, topic_name
from dhtwisted.wire.mqtt.packets import (
    V3_1,
    V5,
    Acknowledgement,
    Auth,
    Disconnect,
    Packet,
    Pingreq,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from dhtwisted.wire.mqtt.properties import read_properties
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import SHARE

PINGREQ = Pingreq()

_RECEIVED = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))
_RELEASED = frozenset((0x00, 0x92))
_DISCONNECTED = frozenset((0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99))
"""The reason codes that a client may send in a DISCONNECT (section 3.14.2.1)."""

_AUTHENTICATING = frozenset((0x18, 0x19))


def read_publish(data: bytes, start: int, stop: int, first: int, version: int, from_server: bool = False) -> Publish:
    """Read a PUBLISH out of a stream. This is the hot path: it makes two objects besides the packet.

    :param start: where the packet begins, after its fixed header.
    :param stop: where it ends.
    :param first: the first byte of its fixed header.
    :param from_server: whether it may have subscription identifiers ([MQTT-3.3.4-6]).
    :raises InvalidPacket: it breaks a rule.
    """
    at = start + 2
    end_of_topic = at + (data[start] << 8 | data[start + 1]) if stop >= at else stop + 1
    if end_of_topic > stop:
        raise malformed("it ends before its topic name does")
    topic = _topic(data[at:end_of_topic])
    at, packet_id, properties = end_of_topic, 0, None
    if first & 0x06:
        if stop - at < 2:
            raise malformed("it ends before its packet id does")
        packet_id = data[at] << 8 | data[at + 1]
        at += 2
        _check_delivery(first, packet_id)
    elif first & 0x08 and version != V3_1:
        raise malformed("it has QoS 0 and the flag of a duplicate")  # [MQTT-3.3.1-2]
    if version == V5:
        if at < stop and not data[at]:
            at += 1
        else:
            properties, at = _publish_properties(data, at, stop, from_server)
    if not topic and (properties is None or properties.topic_alias is None):
        raise _without_topic(version)
    return Publish(topic, data[at:stop], first >> 1 & 3, first & 1 == 1, first & 8 == 8, packet_id, properties)


def _topic(raw: bytes) -> str:
    """Decode the topic of a PUBLISH, which is empty if the packet has an alias."""
    try:
        topic = raw.decode()
    except UnicodeDecodeError:
        return text(raw, "topic name")
    if "+" in topic or "#" in topic or "\0" in topic:
        return topic_name(text(raw, "topic name"), "topic name")
    return topic


def _without_topic(version: int) -> InvalidPacket:
    if version == V5:
        return protocol_error("it has neither a topic name nor a topic alias")  # Section 3.3.2.1.
    return InvalidPacket(ReasonCode.TOPIC_NAME_INVALID, "its topic name is empty")  # 3.1.1: [MQTT-4.7.3-1]


def _publish_properties(data: bytes, at: int, stop: int, from_server: bool) -> tuple[Properties | None, int]:
    body = Body(data, at, stop)
    properties = read_properties(body, "PUBLISH")
    if properties is not None and properties.subscription_identifier and not from_server:
        raise protocol_error("it has a subscription identifier, which only a server may send")
    return properties, body.at


def _check_delivery(first: int, packet_id: int) -> None:
    if first & 0x06 == 0x06:
        raise malformed("its QoS is 3")  # [MQTT-3.3.1-4]
    if not packet_id:
        raise no_packet_id()


def _acknowledgement(kind: type[Acknowledgement], reason_codes: frozenset[int]) -> Callable[[Body, int], Acknowledgement]:
    name = kind.__name__.upper()

    def read(body: Body, version: int) -> Acknowledgement:
        packet = kind(body.packet_id())
        if version == V5 and not body.is_read:
            packet.reason_code, packet.properties = _reason(body, name, reason_codes)
        body.end()
        return packet

    return read


def _reason(body: Body, packet: str, permitted: frozenset[int]) -> tuple[int, Properties | None]:
    """Read a reason code and properties, which may be left out from the end on."""
    reason_code = body.byte("reason code")
    if reason_code not in permitted:
        raise protocol_error("a client may not send its reason code in it")  # [MQTT-3.4.2-1] and its likes
    return reason_code, None if body.is_read else read_properties(body, packet)


def read_subscribe(body: Body, version: int) -> Subscribe:
    """Read a SUBSCRIBE. Wildcards in wrong places are left to the session, since a SUBACK can refuse each filter."""
    packet_id = body.packet_id()
    properties = read_properties(body, "SUBSCRIBE") if version == V5 else None
    if body.is_read:
        raise protocol_error("it has no topic filter")  # [MQTT-3.8.3-2], 3.1.1: [MQTT-3.8.3-3]
    read_options = _read_options if version == V5 else _read_qos
    subscriptions = []
    while not body.is_read:
        subscriptions.append(read_options(_filter(body), body.byte("subscription options"), version))
    return Subscribe(packet_id, subscriptions, properties)


def _filter(body: Body) -> str:
    filter = body.text("topic filter")
    if not filter:
        raise protocol_error("it has an empty topic filter")  # [MQTT-4.7.3-1]
    return filter


def _read_qos(filter: str, options: int, version: int) -> Subscription:
    if version == V3_1:
        options &= 0x03  # The other bits mean nothing in 3.1.
    if options > 2:
        raise malformed("it has a QoS above 2, or reserved bits of it are set")  # 3.1.1: [MQTT-3-8.3-4]
    return Subscription(filter, options)


def _read_options(filter: str, options: int, version: int) -> Subscription:
    if options & 0xC0:
        raise malformed("reserved bits of its subscription options are set")  # [MQTT-3.8.3-5]
    subscription = Subscription(filter, options & 0x03, options & 0x04 != 0, options & 0x08 != 0, options >> 4)
    if subscription.qos == 3:
        raise protocol_error("it has a maximum QoS of 3")
    if subscription.retain_handling == 3:
        raise protocol_error("it has a retain handling of 3")
    if subscription.no_local and filter.startswith(SHARE):
        raise protocol_error("it has a shared subscription with the option no local")  # [MQTT-3.8.3-4]
    return subscription


def read_unsubscribe(body: Body, version: int) -> Unsubscribe:
    """Read an UNSUBSCRIBE."""
    packet_id = body.packet_id()
    properties = read_properties(body, "UNSUBSCRIBE") if version == V5 else None
    if body.is_read:
        raise protocol_error("it has no topic filter")  # [MQTT-3.10.3-2]
    filters = []
    while not body.is_read:
        filters.append(_filter(body))
    return Unsubscribe(packet_id, filters, properties)


def read_pingreq(body: Body, version: int) -> Pingreq:
    """Read a PINGREQ."""
    body.end()
    return PINGREQ


def read_disconnect(body: Body, version: int) -> Disconnect:
    """Read a DISCONNECT of a client. A session expiry interval that is not 0, after one of 0 in CONNECT, is left to the session."""
    packet = Disconnect()
    if version == V5 and not body.is_read:
        packet.reason_code, packet.properties = _reason(body, "DISCONNECT", _DISCONNECTED)
    body.end()
    return packet


def read_auth(body: Body, version: int) -> Auth:
    """Read an AUTH of a client. Without a body its reason code is 0 (3.15.2.1)."""
    if version != V5:
        raise malformed("it is a packet of MQTT 5.0")
    if body.is_read:
        return Auth()
    reason_code, properties = _reason(body, "AUTH", _AUTHENTICATING)
    body.end()
    if properties is None or properties.authentication_method is None:
        raise protocol_error("it has no authentication method")
    return Auth(reason_code, properties)


class Reader(NamedTuple):
    """How packets of a type are read.

    :ivar name: the packet's name in the standard.
    :ivar flags: the bits that its fixed header must have ([MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-2]).
    """

    name: str
    flags: int
    read: Callable[[Body, int], Packet]


CONNECT, PUBLISH = 1, 3

READERS = {
    4: Reader("PUBACK", 0, _acknowledgement(Puback, _RECEIVED)),
    5: Reader("PUBREC", 0, _acknowledgement(Pubrec, _RECEIVED)),
    6: Reader("PUBREL", 2, _acknowledgement(Pubrel, _RELEASED)),
    7: Reader("PUBCOMP", 0, _acknowledgement(Pubcomp, _RELEASED)),
    8: Reader("SUBSCRIBE", 2, read_subscribe),
    10: Reader("UNSUBSCRIBE", 2, read_unsubscribe),
    12: Reader("PINGREQ", 0, read_pingreq),
    14: Reader("DISCONNECT", 0, read_disconnect),
    15: Reader("AUTH", 0, read_auth),
}
"""Type of packet -> how it is read, for all that a client may send after its CONNECT, but PUBLISH."""

SHORT: dict[int, type[Acknowledgement]] = {0x40: Puback, 0x50: Pubrec, 0x62: Pubrel, 0x70: Pubcomp}
"""First byte of a fixed header -> the packet, if it has two bytes more, which are its packet id."""

NAMES = {CONNECT: "CONNECT", 2: "CONNACK", PUBLISH: "PUBLISH", 9: "SUBACK", 11: "UNSUBACK", 13: "PINGRESP"} | {
    number: reader.name for number, reader in READERS.items()
}
"""Type of packet -> its name."""
