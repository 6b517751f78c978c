"""A WebSocket client that sends the bytes that a test gives it, right or wrong."""

import json
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from tests.support import strict_json

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x11\x22\x33\x44"


def frame(payload: str | bytes, opcode: int = TEXT, fin: bool = True, masked: bool = True, rsv: int = 0, mask: bytes = MASK) -> bytes:
    """One frame as a client sends it."""
    if isinstance(payload, str):
        payload = payload.encode()
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, mask_bit | len(payload)))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    if mask == bytes(4):
        return head + mask + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class RawConnection(Protocol):
    """A TCP connection that keeps what it receives.

    :ivar received: the bytes that have come and that no method has taken yet.
    :ivar closed: true when the connection has ended.
    """

    transport: Connection

    def __init__(self) -> None:
        self.received = b""
        self.closed = False
        self._waiting: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def more(self) -> None:
        """Wait for more bytes, or the end."""
        assert not self.closed, f"the connection has ended; left: {self.received[:200]!r}"
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        await deferred

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.transport.write(data)

    async def until(self, mark: bytes) -> bytes:
        """Take everything up to the end of a mark."""
        while mark not in self.received:
            await self.more()
        head, _, self.received = self.received.partition(mark)
        return head + mark

    async def end(self) -> bytes:
        """Wait until the other side has closed. Returns the bytes that nobody has taken."""
        while not self.closed:
            await self.more()
        return self.received

    async def frame(self) -> tuple[int, bytes]:
        """Take one frame: its opcode and its payload. The server must not mask or fragment."""
        while True:
            taken = self._take_frame()
            if taken is not None:
                return taken
            await self.more()

    def _take_frame(self) -> tuple[int, bytes] | None:
        data = self.received
        if len(data) < 2:
            return None
        assert data[0] & 0xF0 == 0x80, "a fragmented frame, or one with reserved bits"
        assert not data[1] & 0x80, "a masked frame from a server"
        length, start = data[1], 2
        if length > 125:
            size = 2 if length == 126 else 8
            if len(data) < 2 + size:
                return None
            length, start = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
        if len(data) < start + length:
            return None
        self.received = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    async def message(self) -> Any:
        """Take one text message, decoded. Pings are skipped."""
        while True:
            opcode, payload = await self.frame()
            if opcode != PING:
                assert opcode == TEXT, f"expected a message, got opcode {opcode}: {payload!r}"
                return strict_json.read(payload)

    async def close_code(self) -> int:
        """Take frames up to the close frame. Returns its code."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0]

    def send(self, **members: Any) -> None:
        """Send a request."""
        self.write(frame(json.dumps(members)))

    async def call(self, **members: Any) -> Any:
        """Send a request, and take the next message as its reply."""
        self.send(**members)
        return await self.message()


async def connect(reactor: Any, port: int, endpoint: IStreamClientEndpoint | None = None) -> RawConnection:
    """Open a TCP connection to a port of 127.0.0.1, or a connection to an endpoint."""
    return await connectProtocol(endpoint or HostnameEndpoint(reactor, "127.0.0.1", port), RawConnection())
