"""A server on a real port, its data in memory."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import deferLater

from dhtwisted.config.endpoints import uses_proxy_protocol
from dhtwisted.service.listening import open_endpoint
from dhtwisted.testing.server import MemoryServer
from dhtwisted.transports.port import PortFactory
from dhtwisted.transports.proxy_protocol import AnnouncedFactory
from tests.support import raw


class Listening:
    """A server on a port of its own.

    :ivar memory: the :class:`MemoryServer`.
    :ivar port: the port's number; ``None`` for a Unix socket.
    """

    def __init__(self, reactor, memory, factory, listener):
        self.reactor = reactor
        self.memory = memory
        self.factory = factory
        self._host = listener.getHost()
        self.port = getattr(self._host, "port", None)
        self._listener = listener
        self._stopped = False
        self._connections = []

    async def connect(self):
        endpoint = None if self.port else UNIXClientEndpoint(self.reactor, self._host.name)
        connection = await raw.connect(self.reactor, self.port, endpoint)
        self._connections.append(connection)
        return connection

    async def websocket(self, path="/api/websocket", headers="", first=b""):
        """Open a WebSocket; fails unless the server agrees.

        :param headers: further lines, each with its end.
        :param first: what a load balancer sends first.
        """
        connection = await self.connect()
        connection.write(first)
        connection.write(raw.HANDSHAKE.format(path=path, port=self.port or 80, headers=headers).encode())
        head = await connection.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return connection

    async def http(self, method, path, headers="", body=None):
        """Send one HTTP request; returns the status, headers by lower-case name, and body.

        :param headers: further lines, each with its end.
        """
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        connection = await self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n{headers}{length}\r\n"
        connection.write(head.encode() + (body or b""))
        lines, _, content = (await connection.end()).partition(b"\r\n\r\n")
        status, *lines = lines.decode().split("\r\n")
        return int(status.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, content

    async def authenticated(self, user=None, **claims):
        connection = await self.websocket()
        reply = await connection.call(action="authenticate", token=self.memory.token(user, **claims))
        assert reply["status"] == "success", reply
        return connection

    async def tick(self):
        """Let the reactor do one turn."""
        await deferLater(self.reactor, 0)

    def close_gracefully(self):
        """Begin to stop, as the service does; returns a Deferred."""
        return Deferred.fromCoroutine(self.factory.close_connections())

    async def stop(self):
        if self._stopped:
            return
        self._stopped = True
        for connection in self._connections:
            connection.transport.abortConnection()
        await self._listener.stopListening()
        await self.factory.close_connections()
        await self.memory.close()


@pytest_twisted.async_yield_fixture
async def listen(reactor):
    """A function that starts a server with the given settings."""
    servers = []

    async def start(endpoint="tcp:0:interface=127.0.0.1", wrap=lambda factory: factory, **sections):
        memory = await MemoryServer.open(reactor, real_time=True, **sections)
        factory = PortFactory(memory.server)
        wrapped = wrap(factory)
        listener = await open_endpoint(reactor, endpoint).listen(AnnouncedFactory(wrapped) if uses_proxy_protocol(endpoint) else wrapped)
        servers.append(Listening(reactor, memory, factory, listener))
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
def nothing_logged():
    """Fails the test when something unexpected was logged as a failure."""
    from twisted.logger import globalLogPublisher

    failures = []

    def observe(event):
        if event.get("log_failure") is not None or event.get("isError"):
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)
    assert not failures, [str(event.get("log_failure") or event) for event in failures]
