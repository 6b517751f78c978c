"""Packets byte by byte, so that they can be wrong."""

NAMES = {3: b"MQIsdp", 4: b"MQTT", 5: b"MQTT"}


def varint(number: int) -> bytes:
    """Write a variable byte integer."""
    encoded = b""
    while number > 127:
        encoded += bytes((number & 127 | 128,))
        number >>= 7
    return encoded + bytes((number,))


def field(data: bytes) -> bytes:
    """Write binary data or text: its length in two bytes, then itself."""
    return len(data).to_bytes(2, "big") + data


def packet(first: int, *parts: bytes) -> bytes:
    """Write a packet with the right length."""
    body = b"".join(parts)
    return bytes((first,)) + varint(len(body)) + body


def connect(
    version: int = 5,
    flags: int = 0x02,
    payload: bytes = field(b"pump-4"),
    *,
    first: int = 0x10,
    name: bytes | None = None,
    level: int | None = None,
    properties: bytes = b"",
    keep_alive: int = 60,
) -> bytes:
    """Write a CONNECT.

    :param payload: what stands behind the properties: client id, will, user name, password.
    :param name: the protocol name, if it is not that of the version.
    :param level: the protocol level, if it is not the version.
    :param properties: without their length.
    :param keep_alive: seconds.
    """
    level = version if level is None else level
    head = field(NAMES[version] if name is None else name) + bytes((level, flags)) + keep_alive.to_bytes(2, "big")
    return packet(first, head, varint(len(properties)) + properties if version == 5 else b"", payload)


def publish(version: int = 5, first: int = 0x30, topic: bytes = b"a/b", packet_id: bytes = b"", properties: bytes = b"") -> bytes:
    """Write a PUBLISH. ``packet_id`` is two bytes, or none with QoS 0."""
    return packet(first, field(topic), packet_id, varint(len(properties)) + properties if version == 5 else b"", b"payload")


def with_id(version: int, first: int, *parts: bytes, packet_id: bytes = b"\0\x01", properties: bytes = b"") -> bytes:
    """Write a SUBSCRIBE or UNSUBSCRIBE: a packet id, in 5.0 properties, and the rest."""
    return packet(first, packet_id, varint(len(properties)) + properties if version == 5 else b"", *parts)
