"""Packets into bytes, for all three versions. What goes to many receivers has a form of its own, :class:`PublishForm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from dhtwisted.wire.mqtt.body import encode_binary, encode_text, encode_varint
from dhtwisted.wire.mqtt.packets import (
    V3_1,
    V5,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
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
    Unsubscribe,
    Will,
)
from dhtwisted.wire.mqtt.properties import NO_PROPERTIES, encode_properties, encode_property_list
from dhtwisted.wire.mqtt.reasons import FAILURE, ReturnCode, return_code

_SUBSCRIPTION_IDENTIFIER, _TOPIC_ALIAS = b"\x0b", b"\x23"


def encode(packet: Packet, version: int) -> bytes:
    """Encode a packet.

    MQTT 3.x has no properties, so they are left out. It has no reason codes but in CONNACK and SUBACK, which get its own codes. The caller
    does not send it what it does not have: an AUTH, a DISCONNECT of the server, a CONNACK for which
    :func:`~dhtwisted.wire.mqtt.reasons.return_code` has nothing.

    :param version: 3, 4 or 5.
    :raises ValueError: a member is too long or too large for MQTT.
    """
    return _ENCODERS[packet.__class__](packet, version)


def encode_within(packet: Packet, version: int, maximum: int) -> bytes | None:
    """Encode a packet for a receiver with a largest size, which its reason string and user properties must not exceed.

    They are left out if needed ([MQTT-3.2.2-19], [MQTT-3.2.2-20], and the same of the other packets).

    :param maximum: bytes.
    :returns: ``None`` if the packet is too large all the same; it must not be sent then ([MQTT-3.1.2-24]).
    """
    encoded = encode(packet, version)
    if len(encoded) > maximum and not isinstance(packet, (Publish, Pingreq, Pingresp)) and packet.properties is not None:
        encoded = encode(without_details(packet), version)
    return encoded if len(encoded) <= maximum else None


def without_details(packet: Any) -> Any:
    """Copy a packet without its reason string and user properties, for a client that does not want them ([MQTT-3.1.2-29])."""
    if packet.properties is None:
        return packet
    return replace(packet, properties=replace(packet.properties, reason_string=None, user_property=()))


def _packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"%c%b%b" % (first, encode_varint(len(body)), body)


def _properties(properties: Properties | None, version: int) -> bytes:
    return encode_properties(properties) if version == V5 else b""


def _id(packet_id: int) -> bytes:
    try:
        return packet_id.to_bytes(2, "big")
    except OverflowError:
        raise ValueError(f"{packet_id} is no packet id: it must be 1 to 65535") from None


def _encode_connect(packet: Connect, version: int) -> bytes:
    will, user_name, password = packet.will, packet.user_name, packet.password
    flags = packet.clean_start << 1 | (password is not None) << 6 | (user_name is not None) << 7
    parts = [encode_text(packet.client_id)]
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        parts.append(_encode_will(will, version))
    if user_name is not None:
        parts.append(encode_text(user_name))
    if password is not None:
        parts.append(encode_binary(password))
    name = b"MQIsdp" if version == V3_1 else b"MQTT"
    head = encode_binary(name) + bytes((version, flags)) + packet.keep_alive.to_bytes(2, "big")
    return _packet(0x10, head, _properties(packet.properties, version), *parts)


def _encode_will(will: Will, version: int) -> bytes:
    return _properties(will.properties, version) + encode_text(will.topic) + encode_binary(will.payload)


def _encode_connack(packet: Connack, version: int) -> bytes:
    code = packet.reason_code
    if version != V5:
        known = return_code(code)
        code = ReturnCode.SERVER_UNAVAILABLE if known is None else known
    # 3.1 reserves the byte of the session's presence.
    present = packet.session_present and version != V3_1
    return _packet(0x20, bytes((present, code)), _properties(packet.properties, version))


def _encode_publish(packet: Publish, version: int) -> bytes:
    first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
    packet_id = _id(packet.packet_id) if packet.qos else b""
    return _packet(first, encode_text(packet.topic), packet_id, _properties(packet.properties, version), packet.payload)


def _acknowledgement(first: int) -> Callable[[Any, int], bytes]:
    form = b"%c\2%%b" % first

    def encode_one(packet: Any, version: int) -> bytes:
        if version != V5 or (not packet.reason_code and packet.properties is None):
            return form % _id(packet.packet_id)
        return _packet(first, _id(packet.packet_id), _reason(packet, version))

    return encode_one


def _reason(packet: Any, version: int) -> bytes:
    """Encode a reason code and properties, of which what says nothing is left out."""
    if version != V5:
        return b""
    properties = encode_properties(packet.properties)
    if properties != NO_PROPERTIES:
        return b"%c%b" % (packet.reason_code, properties)
    return b"%c" % packet.reason_code if packet.reason_code else b""


def _encode_subscribe(packet: Subscribe, version: int) -> bytes:
    parts = [encode_text(one.filter) + _options(one, version) for one in packet.subscriptions]
    return _packet(0x82, _id(packet.packet_id), _properties(packet.properties, version), *parts)


def _options(one: Subscription, version: int) -> bytes:
    options = one.qos | one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
    return bytes((options if version == V5 else one.qos,))


def _encode_suback(packet: Suback, version: int) -> bytes:
    codes = packet.reason_codes if version == V5 else [min(code, FAILURE) for code in packet.reason_codes]
    return _packet(0x90, _id(packet.packet_id), _properties(packet.properties, version), bytes(codes))


def _encode_unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    return _packet(0xA2, _id(packet.packet_id), _properties(packet.properties, version), *map(encode_text, packet.filters))


def _encode_unsuback(packet: Unsuback, version: int) -> bytes:
    codes = bytes(packet.reason_codes) if version == V5 else b""
    return _packet(0xB0, _id(packet.packet_id), _properties(packet.properties, version), codes)


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    Connect: _encode_connect,
    Connack: _encode_connack,
    Publish: _encode_publish,
    Puback: _acknowledgement(0x40),
    Pubrec: _acknowledgement(0x50),
    Pubrel: _acknowledgement(0x62),
    Pubcomp: _acknowledgement(0x70),
    Subscribe: _encode_subscribe,
    Suback: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    Unsuback: _encode_unsuback,
    Pingreq: lambda packet, version: b"\xc0\0",
    Pingresp: lambda packet, version: b"\xd0\0",
    Disconnect: lambda packet, version: _packet(0xE0, _reason(packet, version)),
    Auth: lambda packet, version: _packet(0xF0, _reason(packet, version)),
}


class PublishForm:
    """A message for many receivers: its topic, properties and payload are encoded once.

    All receivers with QoS 0 get the same bytes, the others these with a packet id.

    :param topic: at least one character, no wildcard.
    :param properties: without subscription identifiers and topic alias, which differ by receiver.
    :raises ValueError: the topic or a property is too long.
    """

    __slots__ = ("_topic", "_properties", "_payload", "_encoded")

    def __init__(self, topic: str, payload: bytes, properties: Properties | None = None) -> None:
        self._topic = encode_text(topic)
        self._properties = b"" if properties is None else encode_property_list(properties)
        self._payload = payload
        self._encoded: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def encode(self, version: int, qos: int = 0, retain: bool = False, packet_id: int = 0, dup: bool = False) -> bytes:
        """Encode it for a receiver without subscription identifiers and topic alias.

        :raises ValueError: it is too large for MQTT.
        """
        first = 0x30 | dup << 3 | qos << 1 | retain
        halves = self._encoded.get((version, first)) or self._encode(version, first)
        if not qos:
            return halves[0]
        head, tail = halves
        return b"%b%b%b" % (head, packet_id.to_bytes(2, "big"), tail)

    def _encode(self, version: int, first: int) -> tuple[bytes, bytes]:
        """Encode what stands before the packet id, and what stands after it. Without an id, all is in the first."""
        properties = encode_varint(len(self._properties)) + self._properties if version == V5 else b""
        tail = properties + self._payload
        with_id = first & 0x06 != 0
        head = b"%c%b%b" % (first, encode_varint(len(self._topic) + 2 * with_id + len(tail)), self._topic)
        halves = self._encoded[version, first] = (head, tail) if with_id else (head + tail, b"")
        return halves

    def encode_for(
        self,
        qos: int = 0,
        retain: bool = False,
        packet_id: int = 0,
        dup: bool = False,
        *,
        subscription_identifiers: tuple[int, ...] = (),
        topic_alias: int = 0,
        with_topic: bool = True,
    ) -> bytes:
        """Encode it for a receiver of MQTT 5.0 with subscription identifiers, a topic alias or both.

        :param topic_alias: 0 for none.
        :param with_topic: ``False`` if the receiver knows the alias.
        :raises ValueError: it is too large for MQTT.
        """
        properties = self._properties + b"".join(_SUBSCRIPTION_IDENTIFIER + encode_varint(one) for one in subscription_identifiers)
        if topic_alias:
            properties += _TOPIC_ALIAS + topic_alias.to_bytes(2, "big")
        return _packet(
            0x30 | dup << 3 | qos << 1 | retain,
            self._topic if with_topic else b"\0\0",
            packet_id.to_bytes(2, "big") if qos else b"",
            encode_varint(len(properties)),
            properties,
            self._payload,
        )
