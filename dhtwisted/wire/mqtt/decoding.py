"""Packets out of the bytes that a client sends."""

from __future__ import annotations

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.bodies import CONNECT, NAMES, PUBLISH, READERS, SHORT, read_publish
from dhtwisted.wire.mqtt.body import LARGEST_VARINT, Body, malformed, no_packet_id, protocol_error
from dhtwisted.wire.mqtt.connecting import read_connect, read_version
from dhtwisted.wire.mqtt.packets import V3_1, V5, Packet
from dhtwisted.wire.mqtt.reasons import ReasonCode

SMALLEST_MAXIMUM = 256
"""Bytes. A smaller maximum would refuse usual packets; so packets with a length of one byte need no check."""

_CONNECT_5 = b"\0\4MQTT\5"


class PacketDecoder:
    """Decodes the packets of one client.

    The first packet must be the only CONNECT ([MQTT-3.1.0-1], [MQTT-3.1.0-2]); it tells the version. What depends on more than one packet
    is left to the session: packet ids in use, the largest topic alias, packets after a DISCONNECT.

    It keeps at most one unfinished packet, of which no byte is kept more than once, and nothing beyond the maximum: the size is checked as
    soon as the fixed header is there.

    :param max_packet_size: the most bytes of a packet with its fixed header; at least 256.
    :ivar version: 3, 4 or 5; ``None`` before a CONNECT.
    """

    _readers = READERS
    _from_server = False

    __slots__ = ("version", "_max_packet_size", "_unfinished", "_needed", "_failure")

    def __init__(self, max_packet_size: int = LARGEST_VARINT) -> None:
        if max_packet_size < SMALLEST_MAXIMUM:
            raise ValueError(f"the largest packet must be {SMALLEST_MAXIMUM} bytes or more, not {max_packet_size}")
        self.version: int | None = None
        self._max_packet_size = max_packet_size
        # Most of ten thousand connections have nothing unfinished: a bytearray of their own would take 64 bytes.
        self._unfinished: bytearray | bytes = b""
        self._needed = 0
        self._failure: tuple[int, str, int | None] | None = None

    @property
    def held(self) -> int:
        """Bytes of the unfinished packet that are here."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[Packet]:
        """Decode what has come.

        :param data: the next bytes of the stream, cut anywhere.
        :returns: the packets that are complete now.
        :raises InvalidPacket: the client broke the protocol. The good packets before it are in ``packets`` of the error, and must still be
            handled. From then on, each call raises the same without packets: what follows cannot be read.
        """
        if self._failure is not None:
            # A new one: the traceback of one that is kept would keep the data.
            reason_code, text, version = self._failure
            raise InvalidPacket(reason_code, text, version=version)
        if self._unfinished:
            self._unfinished += data
            if len(self._unfinished) < self._needed:
                return []
            data = bytes(self._unfinished)
            self._unfinished = b""
        packets: list[Packet] = []
        try:
            self._decode(data, packets)
        except InvalidPacket as error:
            version = error.version or self.version
            self._failure = error.reason_code, error.text, version
            raise InvalidPacket(error.reason_code, error.text, version=version, packets=packets) from None
        return packets

    def _decode(self, data: bytes, packets: list[Packet]) -> None:
        at, end, first, needed = 0, len(data), 0, 2
        append, from_server, version = packets.append, self._from_server, self.version or 0
        try:
            while end - at >= 2:
                first, length, start = data[at], data[at + 1], at + 2
                if length > 127:
                    length, start = self._read_length(data, at, end)
                    if not start:
                        needed = end - at + 1
                        break
                stop = start + length
                if stop > end:
                    self._check_begin(first)
                    needed = stop - at
                    break
                if length == 2 and version and first in SHORT:
                    packet_id = data[start] << 8 | data[start + 1]
                    if not packet_id:
                        raise no_packet_id()
                    append(SHORT[first](packet_id))
                elif first >> 4 == PUBLISH and version:
                    append(read_publish(data, start, stop, first, version, from_server))
                else:
                    append(self._read(first >> 4, first & 0x0F, Body(data, start, stop)))
                    version = self.version or 0
                at = stop
        except InvalidPacket as error:
            name = NAMES.get(first >> 4, f"type {first >> 4}")
            raise InvalidPacket(error.reason_code, f"{name}: {error.text}", version=error.version) from None
        if at < end:
            self._unfinished = bytearray(data[at:])
            self._needed = needed

    def _read_length(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Read a remaining length of several bytes (5.0, section 2.1.4), and check it.

        :returns: the length, and where the packet begins after its fixed header: 0 if the length is not complete.
        """
        length = 0
        for number in range(4):
            place = at + 1 + number
            if place == end:
                return 0, 0
            byte = data[place]
            length |= (byte & 127) << 7 * number
            if byte < 128:
                break
        else:
            raise malformed("its remaining length has more than four bytes")
        if not byte and self.version == V5:
            raise malformed("its remaining length is written with more bytes than needed")  # [MQTT-1.5.5-1]
        if place + 1 + length - at > self._max_packet_size:
            raise self._too_large(data[place + 1 : place + 8])
        return length, place + 1

    def _check_begin(self, first: int) -> None:
        """Refuse a stranger, such as a browser or a TLS client, before the rest of what looks like a packet has come."""
        if self.version is None and first >> 4 != CONNECT:
            raise _not_first()

    def _too_large(self, begin: bytes) -> InvalidPacket:
        return InvalidPacket(
            ReasonCode.PACKET_TOO_LARGE,
            f"it is larger than {self._max_packet_size} bytes",
            version=V5 if self.version is None and begin == _CONNECT_5 else None,
        )

    def _read(self, kind: int, flags: int, body: Body) -> Packet:
        if self.version is None:
            return self._read_connect(kind, flags, body)
        return self._read_other(kind, flags, body, self.version)

    def _read_connect(self, kind: int, flags: int, body: Body) -> Packet:
        if kind != CONNECT:
            raise _not_first()
        version = read_version(body)
        self.version = version
        return read_connect(body, flags, version)

    def _read_other(self, kind: int, flags: int, body: Body, version: int) -> Packet:
        reader = self._readers.get(kind)
        if reader is None:
            if kind == CONNECT:
                raise protocol_error("the client is connected already")
            raise protocol_error("only a server may send it") if kind in NAMES else malformed("there is no such type of packet")
        if flags != reader.flags and version != V3_1:
            # In 3.1 these bits are not used.
            raise malformed("a reserved bit of its fixed header is wrong")
        return reader.read(body, version)


def _not_first() -> InvalidPacket:
    return protocol_error("the first packet must be a CONNECT")
