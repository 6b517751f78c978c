"""The conversations of ``tests/transcripts`` over real sockets: WebSockets with Autobahn's client on a data file, and REST."""

import pytest
import pytest_twisted
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import HostnameEndpoint

from dhtwisted.actions import ACTIONS
from dhtwisted.providers.sqlite.storage import FileStorage
from tests.support.rest_client import RestConnection
from tests.support.transcript import Connection, transcripts
from tests.support.world import furnish

SECONDS = 10

WEBSOCKET_ALONE = {"authenticate", "command-unsubscribe", "envelope", "notification-unsubscribe", "subscription-list"}
"""Transcripts about what REST does not have: an identity that lasts, an envelope, subscriptions to be listed and ended."""


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

    async def receive(self, subscription_id=None):
        return await self._messages.get().addTimeout(SECONDS, self.factory.reactor)

    def close(self):
        self.sendClose(1000)


@pytest_twisted.async_yield_fixture
async def file_storage(reactor, tmp_path):
    """An opened storage whose data are in a file, which takes no other types than JSON has."""
    storage = FileStorage(str(tmp_path / "hive.sqlite"), reactor)
    await storage.open()
    yield storage
    await storage.close()


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("transcript", transcripts(), ids=lambda transcript: transcript.name)
@pytest_twisted.ensureDeferred
async def test_over_websocket(transcript, listen, nothing_logged, reactor, file_storage):
    server = await listen(storage=file_storage)
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


@pytest.mark.parametrize(
    "transcript", [found for found in transcripts() if found.name not in WEBSOCKET_ALONE], ids=lambda transcript: transcript.name
)
@pytest_twisted.ensureDeferred
async def test_over_rest(transcript, listen, nothing_logged):
    server = await listen()
    connections = []

    async def connect():
        connections.append(RestConnection(server))
        return connections[-1]

    await transcript.run(connect, await furnish(server.memory))
    told = set().union(*(connection.told for connection in connections))
    named = {name: action for name, action in ACTIONS.items() if name.replace("/", "-") == transcript.name and action.routes}
    assert {(name, "success") for name in named} <= told, "REST was told nothing of this action"
