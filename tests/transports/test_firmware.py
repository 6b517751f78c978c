"""The session of the ESP8266 firmware, byte by byte (WebSocket reference, sections 1.3 and 6; REST reference, section 11).

Its server URL is ``http://``: it asks for ``info`` there, reads one segment, hangs up, and opens the WebSocket at the same address and
port; of the answer it takes the path alone. It sends no request ids, and offers subprotocols that nobody has.
"""

import re

import pytest
import pytest_twisted

from tests.support import raw
from tests.support.transcript import Connection, Transcript, transcripts
from tests.support.world import furnish

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
    "Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\n\r\n"
)
EMPTY_PING = b"\x89\x00"
ITS_PONG, ITS_CLOSE = b"\x8a\x00", b"\x88\x00"
"""It masks its messages alone."""
NORMAL = (1000).to_bytes(2, "big")


class FirmwareConnection(Connection):
    """A WebSocket over which transcripts are told; it sends and answers as the firmware does.

    :ivar pings: how many it has answered.
    """

    def __init__(self, connection):
        self._connection = connection
        self.pings = 0

    def send(self, text):
        self._connection.write(raw.frame(text))

    async def receive(self, subscription_id=None):
        while True:
            opcode, payload = await self._connection.frame()
            if (opcode, payload) != (raw.PING, b""):
                assert opcode == raw.TEXT, f"expected a message, got opcode {opcode}: {payload!r}"
                return payload.decode()
            self.pong()

    def pong(self):
        self._connection.write(ITS_PONG)
        self.pings += 1

    def close(self):
        self._connection.write(ITS_CLOSE)

    async def ended(self):
        """Wait until the server has closed, as it should."""
        assert await self._connection.frame() == (raw.CLOSE, NORMAL)
        await self._connection.end()


async def discover(server, base):
    """Ask for ``info`` as the firmware does; returns the path of the WebSocket."""
    connection = await server.connect()
    connection.write(f"GET {base}/info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    # One segment is all that it reads.
    await connection.more()
    head, _, body = connection.received.partition(b"\r\n\r\n")
    connection.transport.abortConnection()
    assert re.match(rb"HTTP/1\.1 2\d\d ", head)
    url = re.search(rb'"webSocketServerUrl" *: *"([^"]+)"', body)[1].decode()
    assert url.startswith("ws://127.0.0.1/")
    return "/" + url.split("/", 3)[3]


async def upgraded(server, path="/api/websocket", base="/api/rest"):
    """Open a WebSocket as the firmware does."""
    connection = await server.connect()
    origin = f"http://127.0.0.1:{server.port}{base}"
    connection.write(UPGRADE.format(path=path, host="127.0.0.1", origin=origin).encode())
    head = (await connection.until(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 101 ")
    assert "sec-websocket-protocol" not in head
    assert "sec-websocket-extensions" not in head
    return connection


async def tell_session(server, connect):
    """Hold the server to the transcript of the firmware's session, and to its end."""
    connections = []

    async def connect_and_keep():
        connections.append(await connect())
        return connections[-1]

    transcript = next(found for found in transcripts() if found.name == "firmware")
    assert isinstance(transcript, Transcript)
    await transcript.run(connect_and_keep, await furnish(server.memory))
    for connection in connections:
        await connection.ended()
    return connections


@pytest.mark.parametrize(("base", "path"), [("/api/rest", "/api/websocket"), ("/", "/websocket"), ("", "/websocket")])
@pytest_twisted.ensureDeferred
async def test_a_session(listen, nothing_logged, base, path):
    server = await listen()
    assert await discover(server, base) == path

    async def connect():
        return FirmwareConnection(await upgraded(server, path, base))

    await tell_session(server, connect)


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_a_session_after_its_ping(listen, nothing_logged):
    """Its answer is the two bytes 8A 00 and has no mask; the session goes on."""
    server = await listen(limits={"ping_interval": 1})

    async def connect():
        connection = await upgraded(server)
        while not connection.received:
            await connection.more()
        assert connection.received == EMPTY_PING
        connection.received = b""
        firmware = FirmwareConnection(connection)
        firmware.pong()
        return firmware

    assert all(connection.pings for connection in await tell_session(server, connect))


@pytest.mark.parametrize("code", [b"", NORMAL], ids=["empty", "1000"])
@pytest_twisted.ensureDeferred
async def test_its_close(listen, code):
    server = await listen()
    connection = await upgraded(server)
    connection.write(raw.frame(code, raw.CLOSE, masked=False))
    assert await connection.frame() == (raw.CLOSE, NORMAL)
    await connection.end()
