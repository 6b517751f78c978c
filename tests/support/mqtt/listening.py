"""A server with MQTT on real ports, with its data in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater

from dhtwisted.config.endpoints import uses_proxy_protocol
from dhtwisted.fronts.mqtt.broker import MqttBroker
from dhtwisted.model import User
from dhtwisted.service.listening import open_endpoint
from dhtwisted.testing.server import MemoryServer
from dhtwisted.transports.port import PortFactory
from dhtwisted.transports.proxy_protocol import AnnouncedFactory
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import V5, Connack, Connect, Packet
from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support import raw
from tests.support.mqtt.clients import Access, Store


class MqttPeer:
    """A client on a socket: it sends packets or bytes, and takes packets.

    :ivar raw: the connection.
    """

    def __init__(self, connection: raw.RawConnection, version: int = V5) -> None:
        self.raw = connection
        self.version = version
        self._decoder = ReplyDecoder(version)
        self._packets: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        """Send packets in one piece."""
        self.raw.write(b"".join(encode(packet, self.version) for packet in packets))

    async def packet(self) -> Any:
        """The next packet."""
        while not self._packets:
            self._take()
            if not self._packets:
                await self.raw.more()
        return self._packets.pop(0)

    async def until_closed(self) -> list[Any]:
        """The packets up to the end of the connection."""
        while not self.raw.closed:
            await self.raw.more()
        self._take()
        return self._packets

    def _take(self) -> None:
        data, self.raw.received = self.raw.received, b""
        self._packets += self._decoder.feed(data)

    async def connect(self, client_id: str = "pump", **fields: Any) -> Connack:
        """Send CONNECT, and take its answer."""
        self.send(Connect(version=self.version, client_id=client_id, **fields))
        answer = await self.packet()
        assert isinstance(answer, Connack), answer
        return answer


class MqttServer:
    """A server with MQTT.

    :ivar mqtt_port: the number of the port of MQTT; ``port`` that of the other.
    """

    def __init__(self, reactor: Any, memory: MemoryServer, broker: MqttBroker, factory: PortFactory, ports: list[IListeningPort]) -> None:
        self.reactor, self.memory, self.broker, self.factory = reactor, memory, broker, factory
        self._ports = ports
        self.port, self.mqtt_port = (getattr(port.getHost(), "port", 0) for port in ports)
        self._connections: list[raw.RawConnection] = []
        self._is_stopped = False

    async def raw(self, port: int = 0) -> raw.RawConnection:
        """Open a connection that sends nothing by itself."""
        connection = await raw.connect(self.reactor, port or self.mqtt_port)
        self._connections.append(connection)
        return connection

    async def peer(self, version: int = V5) -> MqttPeer:
        """A client that has sent nothing yet."""
        return MqttPeer(await self.raw(), version)

    async def connected(self, client_id: str = "pump", version: int = V5, user: User | None = None, **fields: Any) -> MqttPeer:
        """A client that is connected; as a user if one is given."""
        peer = await self.peer(version)
        if user is not None:
            fields |= {"user_name": "token", "password": self.memory.token(user).encode()}
        answer = await peer.connect(client_id, **fields)
        assert answer.reason_code == 0, answer
        return peer

    async def turns(self, condition: Callable[[], object]) -> None:
        """Let the reactor do one turn, and more until a condition holds."""
        while True:
            await deferLater(self.reactor, 0)
            if condition():
                return

    def stop_gracefully(self) -> Deferred[None]:
        """Begin to stop, as the service does."""
        return Deferred.fromCoroutine(self.factory.close_connections())

    async def stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        for connection in self._connections:
            connection.transport.abortConnection()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self.factory.close_connections()
        self.broker.stop()
        await self.memory.close()


Start = Callable[..., Awaitable[MqttServer]]


@pytest_twisted.async_yield_fixture
async def serve_mqtt(reactor: Any) -> AsyncIterator[Start]:
    """A function that starts a server with the given settings of ``[mqtt]`` and other sections."""
    servers: list[MqttServer] = []

    async def start(
        endpoint: str = "tcp:0:interface=127.0.0.1",
        wrap: Callable[[Any], Any] = lambda factory: factory,
        mqtt: dict[str, Any] | None = None,
        **sections: Any,
    ) -> MqttServer:
        section = {"listen": (endpoint,), "plain_topics": True, "anonymous": True} | (mqtt or {})
        memory = await MemoryServer.open(reactor, real_time=True, mqtt=section, **sections)
        broker = MqttBroker(memory.server, Access(), Store())
        broker.start()
        factory = PortFactory(memory.server, broker)
        wrapped = wrap(factory.mqtt)
        wrapped = AnnouncedFactory(wrapped) if uses_proxy_protocol(endpoint) else wrapped
        ports = [await open_endpoint(reactor, "tcp:0:interface=127.0.0.1").listen(factory)]
        ports.append(await open_endpoint(reactor, endpoint).listen(wrapped))
        servers.append(MqttServer(reactor, memory, broker, factory, ports))
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()
