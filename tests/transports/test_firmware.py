"""The session of the ESP8266 firmware, byte by byte (WebSocket reference, sections 1.3 and 6; REST reference, section 11).

Its server URL is ``http://``: it asks for ``info`` there, reads one segment, hangs up, and opens the WebSocket at the same address and
port; of the answer it takes the path alone. It sends no request ids, and offers subprotocols that nobody has.
"""

import json
import re

import pytest
import pytest_twisted

from tests.transcript import Connection, Transcript, transcripts
from tests.transports import raw
from tests.world import furnish

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
    "Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\n\r\n"
)
EMPTY_PING = b"\x89\x00"


class FirmwareConnection(Connection):
    """A WebSocket over which transcripts are told."""

    def __init__(self, connection):
        self._connection = connection

    def send(self, text):
        self._connection.write(raw.frame(text))

    async def receive(self, subscription_id=None):
        return json.dumps(await self._connection.message())

    def close(self):
        pass


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


@pytest.mark.parametrize(("base", "path"), [("/api/rest", "/api/websocket"), ("/", "/websocket"), ("", "/websocket")])
@pytest_twisted.ensureDeferred
async def test_a_session(listen, nothing_logged, base, path):
    server = await listen()
    assert await discover(server, base) == path

    async def connect():
        connection = await server.connect()
        origin = f"http://127.0.0.1:{server.port}{base}"
        connection.write(UPGRADE.format(path=path, host="127.0.0.1", origin=origin).encode())
        head = (await connection.until(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 101 ")
        assert "sec-websocket-protocol" not in head
        assert "sec-websocket-extensions" not in head
        return FirmwareConnection(connection)

    transcript = next(found for found in transcripts() if found.name == "firmware")
    assert isinstance(transcript, Transcript)
    await transcript.run(connect, await furnish(server.memory))


@pytest_twisted.ensureDeferred
async def test_its_ping(listen):
    server = await listen(limits={"ping_interval": 1})
    connection = await server.websocket()
    while EMPTY_PING not in connection.received:
        await connection.more()
    assert connection.received == EMPTY_PING
    connection.write(raw.frame(b"", raw.PONG))
