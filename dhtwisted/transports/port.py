"""One port for WebSocket and plain HTTP, since the firmware derives the address of one from the other.

A connection begins with the head of an HTTP request. :class:`Port` reads it and gives the connection to Autobahn (an upgrade on a WebSocket
path) or to twisted.web (everything else). Upgrades do not pass twisted.web: its channel and request would cost 4 KB for each connection and
most of the time to open it. Only an upgrade after other requests does; then twisted.web gives the connection back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.core.addresses import peer_address
from dhtwisted.errors import ApiError, HandshakeMethod, HeadTooLarge, MalformedHttp, RequestTimeout, ServiceUnavailable
from dhtwisted.fronts.session import SessionFactory
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.transports.connection_deadlines import DroppedConnection
from dhtwisted.transports.http.answers import refusal
from dhtwisted.transports.http.site import RestSite
from dhtwisted.transports.http.upgrade import Head
from dhtwisted.transports.locator import Locator
from dhtwisted.transports.mqtt.protocol import MqttFactory
from dhtwisted.transports.mqtt.websocket import MqttWebSocketFactory
from dhtwisted.transports.open_connections import OpenConnections
from dhtwisted.transports.proxy_protocol import is_announced
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory, WebSocketFactory

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from dhtwisted.config.settings import Settings
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.broker import MqttBroker

MAX_HEAD = 16384
TICK = 1.0
ALLOW = b"Allow: GET\r\n"
DECISION_SECONDS = 1.0
DECISION_PAUSE = 0.05


@implementer(IHandshakeListener)
class Port(Protocol):
    """One connection. Its first bytes decide which protocol serves it; this class then passes everything on."""

    transport: Any

    def __init__(self, factory: PortFactory) -> None:
        self.factory = factory
        self._peer = ""
        self._is_announced = False
        self._held: str | None = None
        self._received = b""
        self._target: Any = None
        self._follows_requests = False
        self._can_speak = True
        self.number = factory.open.next_number()

    def connectionMade(self) -> None:
        self._can_speak = not ISSLTransport.providedBy(self.transport)
        self._peer = peer_address(self.transport.getPeer())
        self._is_announced = is_announced(self.transport)
        self._debug("a connection is open")
        self.factory.open.all.add(self)
        self.factory.undecided.add(self)
        if not self.factory.admission.enter():
            self._refuse(ServiceUnavailable())
        elif self._is_announced or self._hold(self._peer):
            self.await_head()

    def handshakeCompleted(self) -> None:
        """The TLS handshake is complete, so the server can write."""
        self._can_speak = True

    def await_head(self) -> None:
        """Start the deadline for the head. It includes the time for TLS and for a load balancer's header."""
        self.factory.deadlines.set(self, self.factory.handshake_timeout, self.drop)

    def _hold(self, address: str) -> bool:
        """Count the connection for an address, unless it is a trusted proxy, which serves many clients.

        :returns: whether the connection may stay open.
        """
        admission = self.factory.admission
        try:
            if not admission.proxies.trusts(address):
                self._held = admission.hold(address)
        except ServiceUnavailable as error:
            self._refuse(error)
            return False
        return True

    def _know_peer(self) -> bool:
        """Read the client's address from the PROXY header, which comes before the first bytes."""
        self._is_announced = False
        self._peer = peer_address(self.transport.getPeer())
        return self._hold(self._peer)

    def dataReceived(self, data: bytes) -> None:
        if self._is_announced and not self._know_peer():
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end >= 0:
            head = Head(self._received[:end])
            self._decide(head, self._received[end:])
        elif len(self._received) > MAX_HEAD:
            self._refuse(HeadTooLarge())

    def _decide(self, head: Head, rest: bytes) -> None:
        factory = self.factory
        if not head.is_upgrade:
            self._give_to(factory.site, self._received, port=self)
            return
        try:
            head.check_upgrade(factory.locator, factory.origins)
            client = factory.admission.client_of(head.values, self._peer)
        except ApiError as error:
            self._refuse(error)
            return
        if self._held is not None or self._hold(client.address):
            data = head.without_origin() + rest
            self._give_to(factory.websockets_at(head.path), data, client=client, follows_requests=self._follows_requests)

    def open_websocket(self, head: Head, rest: bytes) -> None:
        """Open a WebSocket on a connection that served plain HTTP before.

        :param head: the :class:`~dhtwisted.transports.http.upgrade.Head` that asks for it.
        :param rest: the bytes after the head.
        """
        self._target = None
        self._follows_requests = True
        del self.dataReceived
        self._decide(head, b"\r\n\r\n" + rest)

    def _give_to(self, factory: Any, data: bytes, **members: Any) -> None:
        self.factory.undecided.discard(self)
        self.factory.deadlines.forget(self)
        self._received = b""
        self._target = factory.buildProtocol(self.transport.getPeer())
        for name, value in members.items():
            setattr(self._target, name, value)
        self._target.number = self.number
        self._target.makeConnection(self.transport)
        # From here on the transport calls the target directly.
        self.dataReceived = self._target.dataReceived  # type: ignore[method-assign]
        self._target.dataReceived(data)

    def _debug(self, line: str, **fields: object) -> None:
        if self.factory.is_debugging:
            self.factory.log.debug(line, connection=self.number, address=self._peer, **fields)
        elif self.factory.server.trace is not None:
            self.factory.server.trace.connection(line, self._peer, connection=self.number, **fields)

    def _refuse(self, error: ApiError) -> None:
        self._debug("the connection is refused: {reason}", reason=error.text)
        self.factory.undecided.discard(self)
        self.dataReceived = lambda data: None  # type: ignore[method-assign]
        if self._can_speak:
            self.transport.write(refusal(error, ALLOW if isinstance(error, HandshakeMethod) else b""))
            self.close()
        else:
            # A write before the end of the TLS handshake would wait for it, and so would the close.
            self.transport.abortConnection()

    def close(self) -> None:
        """Close, and abort if the client does not let the close complete in time."""
        self.transport.loseConnection()
        self.factory.deadlines.ensure_closed(self, self.transport)

    def drop(self) -> None:
        """Refuse a connection that did not send its head in time."""
        self.factory.refused("handshake_timeout")
        self._refuse(RequestTimeout())

    def finish(self) -> None:
        """Answer the current requests and close: the server stops."""
        if self._target is None:
            self.close()
        else:
            self._target.finish()

    def __conform__(self, interface: object) -> object:
        """Support half-closed connections, which Twisted asks for when a client closes its side: HTTP does, WebSockets do not."""
        if interface is not IHalfCloseableProtocol:
            return None
        return self if self._target is None else IHalfCloseableProtocol(self._target, None)

    def readConnectionLost(self) -> None:
        """Close: the client has closed its side before its head was complete."""
        if self in self.factory.undecided and self._received:
            self._refuse(MalformedHttp())
        else:
            self.close()

    def writeConnectionLost(self) -> None:
        """Do nothing: the server never closes only one side."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._debug("the connection has ended")
        self.factory.undecided.discard(self)
        self.factory.deadlines.forget(self)
        self.factory.admission.leave()
        if self._held is not None:
            self.factory.admission.release(self._held)
        if self._target is not None:
            self._target.connectionLost(reason)
            # The reference cycle would keep both until the garbage collector runs.
            self._target = None
        self.factory.open.discard(self)


@implementer(IProtocolNegotiationFactory)
class PortFactory(Factory):
    """Serves every endpoint of ``server.listen``.

    :param server: a started :class:`~dhtwisted.core.server.Server`.
    :param broker: a started :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`; ``None`` for a server without MQTT.
    :ivar open: all open connections, of any kind: an :class:`~dhtwisted.transports.open_connections.OpenConnections`.
    :ivar admission: that of ``open``, and ``deadlines`` too.
    :ivar mqtt: serves every endpoint of ``mqtt.listen``; ``None`` without a broker.
    :ivar mqtt_websockets: serves MQTT over WebSocket; ``None`` if there is none.
    :ivar undecided: the connections that have not sent their head yet.
    :ivar refused: called with the name of a limit that refused a connection or request.
    :ivar is_debugging: whether each connection is logged.
    """

    noisy = False
    log = Logger()

    def __init__(self, server: Server, broker: MqttBroker | None = None) -> None:
        self.server = server
        self.clock = server.reactor
        self.locator = Locator(server.settings.server, broker is not None and server.settings.mqtt.has_websocket)
        self.refused = server.metrics.refused
        self.open = OpenConnections(server)
        self.admission, self.deadlines = self.open.admission, self.open.deadlines
        self._set_limits(server.settings)
        self.site = RestSite(server, self.locator, self.admission, self.deadlines)
        self.websockets = DeviceHiveFactory(SessionFactory(server), self.locator.rest_url)
        self.mqtt = None if broker is None else MqttFactory(server, broker, self.open, self.locator.public_rest_url)
        self.mqtt_websockets: MqttWebSocketFactory | None = None
        if self.mqtt is not None and server.settings.mqtt.has_websocket:
            self.mqtt_websockets = MqttWebSocketFactory(self.mqtt.broker, self.mqtt.pings, self.locator.rest_url)
        self.undecided: set[Port] = set()
        self._ports = 0
        self._ticked_at = server.reactor.seconds()
        # A timer for each connection would cost memory, and a heap operation per message.
        self._timer = RepeatedWork(
            server.reactor, "watching connections", self._look_at_clock, self._tick_deadlines, self._tick_budget, self._tick_clients
        )

    def _set_limits(self, settings: Settings) -> None:
        self.is_debugging = settings.log.level == "debug"
        self.origins = frozenset(settings.server.origins)
        self.handshake_timeout = settings.limits.handshake_timeout

    def reloadable(self, settings: Settings) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`. All clients stay connected, also those that the new limits would
        refuse.
        """

        def take() -> None:
            self.admission.set_limits(settings)
            self._set_limits(settings)
            for port in self.undecided:
                port.await_head()
            self.site.set_limits(settings)
            for websockets in self._all_websockets():
                websockets.set_limits(settings.limits)
                websockets.is_debugging = self.is_debugging
            if self.mqtt is not None:
                self.mqtt.set_limits(settings)

        return take

    def websockets_at(self, path: str) -> WebSocketFactory:
        """What serves the WebSockets of a path."""
        return self.mqtt_websockets if self.mqtt_websockets is not None and self.locator.is_mqtt(path) else self.websockets

    def _all_websockets(self) -> list[WebSocketFactory]:
        return [self.websockets] if self.mqtt_websockets is None else [self.websockets, self.mqtt_websockets]

    # Each endpoint starts and stops the factory; the timers and the HTTP side run from the first start to the last stop.

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN over TLS. Without them, Twisted refuses clients that use ALPN, such as browsers and curl."""
        return [b"http/1.1"]

    def doStart(self) -> None:
        super().doStart()
        self._ports += 1
        if self._ports == 1:
            self.site.doStart()
            for websockets in self._all_websockets():
                websockets.doStart()
            self._timer.start(TICK)

    def doStop(self) -> None:
        super().doStop()
        self._ports -= 1
        if not self._ports:
            for websockets in self._all_websockets():
                websockets.doStop()
            self.site.doStop()

    def buildProtocol(self, addr: object) -> Protocol:
        if self.admission.is_crowded:
            self.refused("connections")
            return DroppedConnection()
        return Port(self)

    @property
    def open_connections(self) -> int:
        """The number of open connections of any kind."""
        return self.admission.open

    @property
    def congested_connections(self) -> int:
        """The number of connections whose client does not read what is sent."""
        count = sum(len(websockets.upkeep.congested) for websockets in self._all_websockets())
        return count if self.mqtt is None else count + len(self.mqtt.upkeep.congested)

    # Once a second

    def _look_at_clock(self) -> None:
        before, self._ticked_at = self._ticked_at, self.clock.seconds()
        if self._ticked_at < before:
            self._clock_set_back(self._ticked_at - before)

    def _tick_deadlines(self) -> None:
        self.deadlines.tick(self._ticked_at)

    def _tick_budget(self) -> None:
        self.server.budget.tick(self._ticked_at)

    def _tick_clients(self) -> None:
        for websockets in self._all_websockets():
            websockets.upkeep.tick(self._ticked_at)
        if self.mqtt is not None:
            self.mqtt.tick()

    def _clock_set_back(self, step: float) -> None:
        """Adjust times that are now in the future: otherwise their connections would get that time in addition. What began after the step
        keeps its time; otherwise it would expire at once.
        """
        self.deadlines.clock_set_back(step)
        for websockets in self._all_websockets():
            websockets.clock_set_back()
        if self.mqtt is not None:
            self.mqtt.clock_set_back()
        self.server.budget.clock_set_back()

    async def close_connections(self) -> None:
        """Answer the current requests, close all connections (WebSockets with 1012), and wait until they are closed."""
        await self._let_decide()
        # This ends polls that are about to wait, too.
        self.server.polls.end_all()
        await self.open.finish()
        self._timer.stop()

    async def _let_decide(self) -> None:
        """Wait up to a second for connections without a head. So, with socket activation, a restart refuses no connected client."""
        limit = self.clock.seconds() + DECISION_SECONDS
        while self.undecided and self.clock.seconds() < limit:
            await deferLater(self.clock, DECISION_PAUSE)
