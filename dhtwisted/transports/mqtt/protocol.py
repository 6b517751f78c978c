"""MQTT on TCP, TLS and Unix sockets.

There may be ten thousand idle connections, so each is small: no attributes but slots, and no timers.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol, IProtocolNegotiationFactory, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.core.addresses import peer_address
from dhtwisted.errors import ServiceUnavailable
from dhtwisted.fronts.mqtt.interfaces import IMqttOutput
from dhtwisted.transports.connection_deadlines import DroppedConnection, socket_of
from dhtwisted.transports.mqtt.reading import FRONT, PacketReader, RefusingReader
from dhtwisted.transports.proxy_protocol import is_announced
from dhtwisted.transports.traffic import Traffic
from dhtwisted.transports.websocket.upkeep import Upkeep
from dhtwisted.transports.writing import FLUSH_AT, SLOW, EndOfTurn, QueuedWriter
from dhtwisted.wire.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from dhtwisted.config.settings import Settings
    from dhtwisted.core.budget import Account
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.transports.open_connections import OpenConnections

READ_SIZE = 16 * 1024
"""Bytes that are read at once: with more, one client's small packets would keep the others waiting."""

REFUSAL_SECONDS = 1.0
"""A client that is not let in has so long for its CONNECT: it uses a reserved descriptor."""


@implementer(IProtocol, IMqttOutput, IPushProducer)
class MqttProtocol(QueuedWriter):
    """One connection.

    :param factory: an :class:`MqttFactory`.
    """

    log = Logger()

    __slots__ = ("_address_key", "_is_announced", "_reader", "account", "address", "ended", "factory", "number", "transport")

    account: Account

    def __init__(self, factory: MqttFactory) -> None:
        self.factory: MqttFactory = factory
        self.number = factory.open.next_number()
        self.address = ""
        self.ended = False
        self._address_key: str | None = None
        self._reader: PacketReader | RefusingReader | None = None

    # Called by the transport

    @property
    def rest_url(self) -> str:
        """See :class:`~dhtwisted.interfaces.IOutput`."""
        return self.factory.rest_url

    def makeConnection(self, transport: Any) -> None:
        self.transport: Any = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        factory, transport = self.factory, self.transport
        socket_of(transport).bufferSize = READ_SIZE
        with suppress(AttributeError, OSError):
            # Unix sockets do not have this option.
            transport.setTcpNoDelay(True)
        self.address = peer_address(transport.getPeer())
        self._is_announced = is_announced(transport)
        self.account = factory.server.budget.account(self._end_account)
        self.begin_output()
        factory.open.all.add(self)
        self._debug("a connection is open")
        if not factory.open.admission.enter():
            self._refuse(ReasonCode.SERVER_BUSY, "the server has as many connections as it may")
        elif self._is_announced or self._hold_address():
            self._reader = PacketReader(factory.broker, self, factory.pings)

    def _hold_address(self) -> bool:
        """Count the connection for its address, unless it is that of a trusted proxy, which serves many clients.

        :returns: whether the connection may stay open.
        """
        admission = self.factory.open.admission
        try:
            if not admission.proxies.trusts(self.address):
                self._address_key = admission.hold(self.address)
        except ServiceUnavailable:
            self._refuse(ReasonCode.QUOTA_EXCEEDED, "the address has as many connections as it may")
            return False
        return True

    def _refuse(self, reason_code: int, text: str) -> None:
        self._debug("the connection is refused: {reason}", reason=text)
        if self._reader is not None:
            self._reader.lost()
        self._reader = RefusingReader(self.factory.broker, self, reason_code, text)
        self.factory.open.deadlines.set(self, REFUSAL_SECONDS, self.close)

    def dataReceived(self, data: bytes) -> None:
        self.factory.traffic.octets_received += len(data)
        if self.ended or self._reader is None:
            return
        try:
            if self._is_announced:
                self._know_peer()
            self._reader.feed(data)
        except Exception:
            # Twisted would close the connection without its address in the log.
            self.break_off("reading")

    def _know_peer(self) -> None:
        """Read the client's address from the PROXY header, which comes before the first bytes."""
        self._is_announced = False
        self.address = peer_address(self.transport.getPeer())
        if type(self._reader) is PacketReader:
            self._hold_address()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        factory = self.factory
        self._debug("the connection has ended")
        self.ended = True
        self.lose_output()
        self.drop_queue()
        self.account.close()
        factory.upkeep.congested.discard(self)
        factory.open.deadlines.forget(self)
        factory.open.admission.leave()
        if self._address_key is not None:
            factory.open.admission.release(self._address_key)
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.lost()
        factory.open.discard(self)

    # Called by the front

    def write(self, data: bytes) -> None:
        if self.ended:
            return
        if not self._queue:
            self.factory.flush_later(self)
        self._queue.append(data)
        self.queued = queued = self.queued + len(data)
        if queued > FLUSH_AT:
            self.flush()

    def close(self) -> None:
        if self.ended:
            return
        self.ended = True
        self.factory.open.deadlines.ensure_closed(self, self.transport)
        self.flush()
        if not (self._queue or self.congested):
            self._say_end()
        # What comes is dropped, but the end of the client must be seen, and what is not read would have TCP discard our last packets.
        self.transport.resumeProducing()

    def _say_end(self) -> None:
        """Tell the client that nothing follows, and let it speak on: it may not have read the last packet."""
        transport = self.transport
        if not self._is_direct:
            transport.unregisterProducer()
        if ISSLTransport.providedBy(transport):
            transport.loseConnection()
        else:
            transport.loseWriteConnection()

    def abort(self, reason: str) -> None:
        self._debug("the connection is aborted: {reason}", reason=reason)
        self.ended = True
        self.transport.abortConnection()

    def pause(self) -> None:
        if type(self._reader) is PacketReader:
            self._reader.pause(FRONT)

    def resume(self) -> None:
        if type(self._reader) is PacketReader:
            self._reader.resume(FRONT)

    # Called by the reader and the writer

    def stop_reading(self) -> None:
        """Read nothing more from the socket."""
        if not self.ended:
            self.transport.pauseProducing()

    def start_reading(self) -> None:
        """Read again."""
        if not self.ended:
            self.transport.resumeProducing()

    def has_room(self) -> None:
        if self.ended:
            self._say_end()
        elif self._reader is not None:
            self._reader.writable()

    def finish(self) -> None:
        """Answer what has come, then close: the server stops."""
        if self._reader is None:
            self.close()
        else:
            self._reader.finish()

    def _end_account(self, reason: str) -> None:
        """Abort: the client uses too much memory for too long. It would not read a DISCONNECT either."""
        self.factory.server.metrics.ended(reason)
        self.log.info("closed: the client does not read what is sent, {reason}", reason=SLOW[reason], **self._identity())
        self.abort(SLOW[reason])

    def break_off(self, what: str) -> None:
        """End the connection after an unexpected error, which must not affect others."""
        self.log.failure("{what} broke the connection", what=what, **self._identity())
        self.ended = True
        self.transport.abortConnection()

    def _identity(self) -> dict[str, Any]:
        reader = self._reader
        return reader.connection.identity() if type(reader) is PacketReader else {"connection": self.number, "address": self.address}

    def _debug(self, line: str, **fields: object) -> None:
        factory = self.factory
        if factory.is_debugging:
            self.log.debug(line, connection=self.number, address=self.address, **fields)
        elif factory.server.trace is not None:
            factory.server.trace.connection(line, self.address, connection=self.number, **fields)


@implementer(IProtocolNegotiationFactory)
class MqttFactory(Factory):
    """Serves every endpoint of ``mqtt.listen``.

    :param broker: a started :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :param open_connections: all open connections of the server.
    :param rest_url: where clients find the REST API, for ``server/info``; empty if that is not known.
    :ivar upkeep: knows the connections whose client does not read.
    :ivar traffic: counts bytes.
    :ivar pings: connection -> PINGREQs in this second, as far as they were counted.
    """

    noisy = False

    def __init__(self, server: Server, broker: MqttBroker, open_connections: OpenConnections, rest_url: str) -> None:
        self.server = server
        self.rest_url = rest_url
        self.broker = broker
        self.open = open_connections
        self.clock = server.reactor
        self.upkeep = Upkeep(0, 0)
        self.traffic = Traffic()
        broker.system_topics.traffic.append(self.traffic)
        self.pings: Counter[Any] = Counter()
        self.flush_later = EndOfTurn(server.reactor, QueuedWriter.flush, "writing").add
        self.set_limits(server.settings)

    def set_limits(self, settings: Settings) -> None:
        """Use these settings."""
        self.is_debugging = settings.log.level == "debug"

    def acceptableProtocols(self) -> list[bytes]:
        """The protocols for ALPN over TLS."""
        return [b"mqtt"]

    def buildProtocol(self, addr: object) -> Any:
        if self.open.admission.is_crowded:
            self.server.metrics.refused("connections")
            return DroppedConnection()
        return MqttProtocol(self)

    def tick(self) -> None:
        """Count PINGREQs anew; to be called once a second."""
        self.pings.clear()

    def clock_set_back(self) -> None:
        """Move times that are now in the future to now."""
        now = self.clock.seconds()
        for connection in self.upkeep.congested:
            connection.congested_since = min(connection.congested_since, now)
