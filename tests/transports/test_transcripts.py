"""The conversations of ``tests/transcripts`` over real WebSockets, with Autobahn's client."""

import pytest
import pytest_twisted
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import HostnameEndpoint

from tests.transcript import Connection, transcripts
from tests.world import furnish

SECONDS = 10


class WebSocketConnection(WebSocketClientProtocol, Connection):
    """A client that keeps what comes."""

    def __init__(self):
        super().__init__()
        self.opened = Deferred()
        self.gone = Deferred()
        self._messages = DeferredQueue()

    def onOpen(self):
        self.opened.callback(None)

    def onMessage(self, payload, isBinary):
        assert not isBinary
        self._messages.put(payload.decode())

    def onClose(self, wasClean, code, reason):
        self.gone.callback(None)

    def send(self, text):
        self.sendMessage(text.encode())

    async def receive(self):
        return await self._messages.get().addTimeout(SECONDS, self.factory.reactor)

    def close(self):
        self.sendClose(1000)


@pytest.mark.parametrize("transcript", transcripts(), ids=lambda transcript: transcript.name)
@pytest_twisted.ensureDeferred
async def test_transcript(transcript, listen, nothing_logged, reactor):
    server = await listen()
    factory = WebSocketClientFactory(f"ws://127.0.0.1:{server.port}/api/websocket", reactor=reactor)
    factory.noisy = False
    factory.protocol = WebSocketConnection
    connections = []

    async def connect():
        connection = await HostnameEndpoint(reactor, "127.0.0.1", server.port).connect(factory)
        connections.append(connection)
        await connection.opened.addTimeout(SECONDS, reactor)
        return connection

    try:
        await transcript.run(connect, await furnish(server.memory))
    finally:
        for connection in connections:
            await connection.gone.addTimeout(SECONDS, reactor)
