"""The simple types of MQTT, read out of a packet and written (5.0, section 1.5): numbers, text, binary data."""

from __future__ import annotations

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import LONGEST

LARGEST_VARINT = 268_435_455
"""The largest variable byte integer, so the most bytes of a packet without its fixed header."""


def malformed(text: str) -> InvalidPacket:
    """Make the error about a packet that cannot be read.

    :param text: what is wrong with it. The decoder puts the name of the packet in front.
    """
    return InvalidPacket(ReasonCode.MALFORMED_PACKET, text)


def protocol_error(text: str) -> InvalidPacket:
    """Make the error about a packet that can be read, and may not be sent."""
    return InvalidPacket(ReasonCode.PROTOCOL_ERROR, text)


def no_packet_id() -> InvalidPacket:
    """Make the error about packet id 0 ([MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1])."""
    return protocol_error("its packet id is 0")


class Body:
    """A packet without its fixed header, read from its begin to its end. Each method reads one field.

    Each method takes the name of the field for the error, and raises :exc:`InvalidPacket` if the packet ends before it does.

    :ivar at: where the next field begins.
    :ivar stop: where the packet ends.
    """

    __slots__ = ("data", "at", "stop")

    def __init__(self, data: bytes, at: int, stop: int) -> None:
        self.data = data
        self.at = at
        self.stop = stop

    @property
    def is_read(self) -> bool:
        """Whether nothing is left."""
        return self.at == self.stop

    def end(self) -> None:
        """Check that nothing is left.

        :raises InvalidPacket: there is more.
        """
        if self.at != self.stop:
            raise malformed("it has bytes after its last field")

    def take(self, length: int, field: str) -> bytes:
        """Read some bytes."""
        at = self.at
        if length > self.stop - at:
            raise _cut(field)
        self.at = at + length
        return self.data[at : at + length]

    def byte(self, field: str) -> int:
        """Read a number of one byte."""
        at = self.at
        if at == self.stop:
            raise _cut(field)
        self.at = at + 1
        return self.data[at]

    def integer(self, length: int, field: str) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.take(length, field), "big")

    def packet_id(self) -> int:
        """Read a packet id."""
        number = self.integer(2, "packet id")
        if not number:
            raise no_packet_id()
        return number

    def varint(self, field: str) -> int:
        """Read a variable byte integer, which must have the fewest bytes possible ([MQTT-1.5.5-1])."""
        number = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte(field)
            number |= (byte & 127) << shift
            if byte < 128:
                if not byte and shift:
                    raise malformed(f"its {field} is written with more bytes than needed")
                return number
        raise malformed(f"its {field} has more than four bytes")

    def binary(self, field: str) -> bytes:
        """Read binary data."""
        data, at, stop = self.data, self.at + 2, self.stop
        end = at + (data[at - 2] << 8 | data[at - 1]) if at <= stop else stop + 1
        if end > stop:
            raise _cut(field)
        self.at = end
        return data[at:end]

    def text(self, field: str) -> str:
        """Read text ([MQTT-1.5.4-1], [MQTT-1.5.4-2]; 3.1.1: [MQTT-1.5.3-1], [MQTT-1.5.3-2])."""
        return text(self.binary(field), field)


def _cut(field: str) -> InvalidPacket:
    return malformed(f"it ends before its {field} does")


def text(raw: bytes, field: str) -> str:
    """Decode text. Python's UTF-8 refuses surrogates, and keeps a byte order mark ([MQTT-1.5.4-3]), as the standard asks.

    :raises InvalidPacket: it is not UTF-8, or has the character U+0000.
    """
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise malformed(f"its {field} is not UTF-8") from None
    if "\0" in decoded:
        raise malformed(f"its {field} has the character U+0000")
    return decoded


def topic_name(name: str, field: str, reason_code: ReasonCode = ReasonCode.TOPIC_NAME_INVALID) -> str:
    """Check the name of a topic, which has at least one character and no wildcard ([MQTT-4.7.3-1], [MQTT-3.3.2-2]).

    :param reason_code: of the error.
    :returns: the name.
    :raises InvalidPacket: it is no topic name.
    """
    if "+" in name or "#" in name or not name:
        raise InvalidPacket(reason_code, f"its {field} {'has a wildcard' if name else 'is empty'}")
    return name


def encode_varint(number: int) -> bytes:
    """Encode a variable byte integer.

    :raises ValueError: it is too large.
    """
    if number < 128:
        return number.to_bytes(1, "big")
    if number < 16384:
        # Most packets with a payload. The loop takes four times as long.
        return bytes((number & 127 | 128, number >> 7))
    if number > LARGEST_VARINT:
        raise ValueError(f"{number} is too large for a packet of MQTT: the most is {LARGEST_VARINT}")
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_binary(data: bytes) -> bytes:
    """Encode binary data.

    :raises ValueError: it is too long.
    """
    length = len(data)
    if length > LONGEST:
        raise ValueError(f"{length} bytes are too many for a field of MQTT: the most is {LONGEST}")
    return length.to_bytes(2, "big") + data


def encode_text(text: str) -> bytes:
    """Encode text.

    :raises ValueError: it is too long, or has lone surrogates.
    """
    return encode_binary(text.encode())
