"""The properties of MQTT 5.0: one table of all of them, their reading and their writing (section 2.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import astuple

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.body import Body, encode_binary, encode_text, encode_varint, malformed, protocol_error, topic_name
from dhtwisted.wire.mqtt.packets import Properties
from dhtwisted.wire.mqtt.reasons import ReasonCode

WILL = "WILL"
"""Where the properties of a will stand, as the name of a packet stands for that packet's own."""


class Kind(NamedTuple):
    """A type of values: how it is read, and how it is written."""

    read: Callable[[Body, str], Any]
    encode: Callable[[Any], bytes]


def _fixed(length: int) -> Kind:
    return Kind(lambda body, field: body.integer(length, field), lambda number: number.to_bytes(length, "big"))


def _read_pair(body: Body, field: str) -> tuple[str, str]:
    return body.text(field), body.text(field)


def _encode_pair(pair: tuple[str, str]) -> bytes:
    return encode_text(pair[0]) + encode_text(pair[1])


BYTE = Kind(Body.byte, lambda number: number.to_bytes(1, "big"))
TWO_BYTES, FOUR_BYTES = _fixed(2), _fixed(4)
VARINT = Kind(Body.varint, encode_varint)
BINARY = Kind(Body.binary, encode_binary)
TEXT = Kind(Body.text, encode_text)
PAIR = Kind(_read_pair, _encode_pair)


def _flag(value: int, field: str) -> None:
    if value > 1:
        raise protocol_error(f"its {field} is neither 0 nor 1")


def _not_zero(value: int, field: str) -> None:
    if not value:
        raise protocol_error(f"its {field} is 0")


def _alias(value: int, field: str) -> None:
    if not value:
        raise InvalidPacket(ReasonCode.TOPIC_ALIAS_INVALID, f"its {field} is 0")


def _topic(value: str, field: str) -> None:
    topic_name(value, field, ReasonCode.PROTOCOL_ERROR)


class Property(NamedTuple):
    """A property.

    :ivar id: its identifier.
    :ivar name: its name in :class:`~dhtwisted.wire.mqtt.packets.Properties`.
    :ivar packets: where it may stand.
    :ivar check: refuses values that are not permitted; ``None`` if all are.
    :ivar repeats: whether it may stand several times. Its values are a tuple then.
    :ivar title: its name in errors.
    """

    id: int
    name: str
    kind: Kind
    packets: frozenset[str]
    check: Callable[[Any, str], None] | None
    repeats: bool
    title: str


def _property(
    id: int, name: str, kind: Kind, packets: str, check: Callable[[Any, str], None] | None = None, repeats: bool = False
) -> Property:
    return Property(id, name, kind, frozenset(packets.split()), check, repeats, name.replace("_", " "))


_ACKNOWLEDGEMENTS = "PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK"
_EVERYWHERE = f"CONNECT WILL CONNACK PUBLISH {_ACKNOWLEDGEMENTS} SUBSCRIBE UNSUBSCRIBE DISCONNECT AUTH"

PROPERTIES = (
    _property(0x01, "payload_format_indicator", BYTE, "PUBLISH WILL", _flag),
    _property(0x02, "message_expiry_interval", FOUR_BYTES, "PUBLISH WILL"),
    _property(0x03, "content_type", TEXT, "PUBLISH WILL"),
    _property(0x08, "response_topic", TEXT, "PUBLISH WILL", _topic),
    _property(0x09, "correlation_data", BINARY, "PUBLISH WILL"),
    _property(0x0B, "subscription_identifier", VARINT, "PUBLISH SUBSCRIBE", _not_zero, repeats=True),
    _property(0x11, "session_expiry_interval", FOUR_BYTES, "CONNECT CONNACK DISCONNECT"),
    _property(0x12, "assigned_client_identifier", TEXT, "CONNACK"),
    _property(0x13, "server_keep_alive", TWO_BYTES, "CONNACK"),
    _property(0x15, "authentication_method", TEXT, "CONNECT CONNACK AUTH"),
    _property(0x16, "authentication_data", BINARY, "CONNECT CONNACK AUTH"),
    _property(0x17, "request_problem_information", BYTE, "CONNECT", _flag),
    _property(0x18, "will_delay_interval", FOUR_BYTES, "WILL"),
    _property(0x19, "request_response_information", BYTE, "CONNECT", _flag),
    _property(0x1A, "response_information", TEXT, "CONNACK"),
    _property(0x1C, "server_reference", TEXT, "CONNACK DISCONNECT"),
    _property(0x1F, "reason_string", TEXT, f"CONNACK {_ACKNOWLEDGEMENTS} DISCONNECT AUTH"),
    _property(0x21, "receive_maximum", TWO_BYTES, "CONNECT CONNACK", _not_zero),
    _property(0x22, "topic_alias_maximum", TWO_BYTES, "CONNECT CONNACK"),
    _property(0x23, "topic_alias", TWO_BYTES, "PUBLISH", _alias),
    _property(0x24, "maximum_qos", BYTE, "CONNACK", _flag),
    _property(0x25, "retain_available", BYTE, "CONNACK", _flag),
    _property(0x26, "user_property", PAIR, _EVERYWHERE, repeats=True),
    _property(0x27, "maximum_packet_size", FOUR_BYTES, "CONNECT CONNACK", _not_zero),
    _property(0x28, "wildcard_subscription_available", BYTE, "CONNACK", _flag),
    _property(0x29, "subscription_identifier_available", BYTE, "CONNACK", _flag),
    _property(0x2A, "shared_subscription_available", BYTE, "CONNACK", _flag),
)
"""Every property of the standard (table 2-4), in the order of the members of :class:`Properties`."""

_BY_ID = {item.id: item for item in PROPERTIES}


def read_properties(body: Body, packet: str) -> Properties | None:
    """Read the properties of a packet.

    :param packet: the packet's name, or :data:`WILL`.
    :returns: ``None`` if there are none.
    :raises InvalidPacket: they cannot be read, or may not stand there.
    """
    length = body.varint("property length")
    if not length:
        return None
    if length > body.stop - body.at:
        raise malformed("it ends before its properties do")
    part = Body(body.data, body.at, body.at + length)
    body.at = part.stop
    values: dict[str, Any] = {}
    while not part.is_read:
        _read_one(part, packet, values)
    for name in ("user_property", "subscription_identifier"):
        if name in values:
            values[name] = tuple(values[name])
    return Properties(**values)


def _read_one(part: Body, packet: str, values: dict[str, Any]) -> None:
    # It is a variable byte integer, and all that exist have one byte.
    number = part.byte("property identifier")
    known = _BY_ID.get(number)
    if known is None:
        raise malformed(f"there is no property 0x{number:02X}")
    if packet not in known.packets:
        raise malformed(f"the property {known.title} may not stand in it")
    value = known.kind.read(part, known.title)
    if known.check is not None:
        known.check(value, known.title)
    # A SUBSCRIBE has one subscription identifier at most, a PUBLISH of the server one for each subscription.
    if (known.repeats and packet != "SUBSCRIBE") or known.name == "user_property":
        values.setdefault(known.name, []).append(value)
    elif known.name in values:
        raise protocol_error(f"it has the property {known.title} twice")
    else:
        values[known.name] = (value,) if known.repeats else value


NO_PROPERTIES = b"\0"
"""No properties, encoded."""


def encode_properties(properties: Properties | None) -> bytes:
    """Encode the properties of a packet, with their length in front. The caller sets only those that may stand there.

    :raises ValueError: a value is too long or too large.
    """
    if properties is None:
        return NO_PROPERTIES
    encoded = encode_property_list(properties)
    return encode_varint(len(encoded)) + encoded


def encode_property_list(properties: Properties) -> bytes:
    """Encode properties, without their length.

    :raises ValueError: a value is too long or too large.
    """
    parts: list[bytes] = []
    for item, value in zip(PROPERTIES, astuple(properties), strict=True):
        if value is not None and value != ():
            parts += [_encode_one(item, each) for each in value] if item.repeats else (_encode_one(item, value),)
    return b"".join(parts)


def _encode_one(item: Property, value: Any) -> bytes:
    try:
        return b"%c%b" % (item.id, item.kind.encode(value))
    except OverflowError:
        raise ValueError(f"{value} is too large for the property {item.title}") from None
