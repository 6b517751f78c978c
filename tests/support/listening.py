"""A server on a real port, with its data in memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from zope.interface import implementer

from dhtwisted.config.endpoints import uses_proxy_protocol
from dhtwisted.model import User
from dhtwisted.service.listening import open_endpoint
from dhtwisted.testing.server import MemoryServer
from dhtwisted.transports.port import PortFactory
from dhtwisted.transports.proxy_protocol import AnnouncedFactory
from tests.support import raw


class Listening:
    """A server that listens on a port or a Unix socket.

    :ivar memory: the :class:`MemoryServer`.
    :ivar port: the port's number; ``None`` for a Unix socket.
    """

    def __init__(self, reactor: Any, memory: MemoryServer, factory: PortFactory, listener: IListeningPort) -> None:
        self.reactor = reactor
        self.memory = memory
        self.factory = factory
        host: Any = listener.getHost()
        self.port: int | None = getattr(host, "port", None)
        self._path = getattr(host, "name", None)
        self._listener = listener
        self._stopped = False
        self._connections: list[raw.RawConnection] = []

    async def connect(self) -> raw.RawConnection:
        endpoint = None if self.port else UNIXClientEndpoint(self.reactor, self._path)
        connection = await raw.connect(self.reactor, self.port or 0, endpoint)
        self._connections.append(connection)
        return connection

    async def websocket(self, path: str = "/api/websocket", headers: str = "", first: bytes = b"") -> raw.RawConnection:
        """Open a WebSocket. It fails unless the server accepts the handshake.

        :param headers: further lines, each with its end.
        :param first: what a load balancer sends first.
        """
        connection = await self.connect()
        connection.write(first)
        connection.write(raw.HANDSHAKE.format(path=path, port=self.port or 80, headers=headers).encode())
        head = await connection.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return connection

    async def http(self, method: str, path: str, headers: str = "", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        """Send one HTTP request.

        :param headers: further lines, each with its end.
        :returns: the status, the headers by lower-case name, and the body.
        """
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        connection = await self.connect()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n{headers}{length}\r\n"
        connection.write(head.encode() + (body or b""))
        top, _, content = (await connection.end()).partition(b"\r\n\r\n")
        status, *lines = top.decode().split("\r\n")
        return int(status.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, content

    async def authenticated(self, user: User | None = None, **claims: Any) -> raw.RawConnection:
        connection = await self.websocket()
        reply = await connection.call(action="authenticate", token=self.memory.token(user, **claims))
        assert reply["status"] == "success", reply
        return connection

    async def tick(self) -> None:
        """Let the reactor do one turn."""
        await deferLater(self.reactor, 0)

    def close_gracefully(self) -> Deferred[None]:
        """Begin to stop, as the service does."""
        return Deferred.fromCoroutine(self.factory.close_connections())

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for connection in self._connections:
            connection.transport.abortConnection()
        await maybeDeferred(self._listener.stopListening)
        await self.factory.close_connections()
        await self.memory.close()


@pytest_twisted.async_yield_fixture
async def listen(reactor: Any) -> AsyncIterator[Callable[..., Awaitable[Listening]]]:
    """A function that starts a server with the given settings."""
    servers: list[Listening] = []

    async def start(
        endpoint: str = "tcp:0:interface=127.0.0.1", wrap: Callable[[PortFactory], Any] = lambda factory: factory, **sections: Any
    ) -> Listening:
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
def nothing_logged() -> Iterator[list[dict[str, Any]]]:
    """Fail the test when something logs a failure. Tests take expected failures out of the list."""
    from twisted.logger import ILogObserver, globalLogPublisher

    failures: list[dict[str, Any]] = []

    @implementer(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        if event.get("log_failure") is not None or event.get("isError"):
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)
    assert not failures, [str(event.get("log_failure") or event) for event in failures]
