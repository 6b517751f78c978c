"""The WebSocket transport on Autobahn: frames into requests, replies and events into frames (WebSocket reference, section 1).

This file, ``reading.py`` and ``writing.py`` rely on Autobahn's internals. Here:

* ``sendData`` (in ``writing.py``) and ``_closeConnection`` are overridden, so that Autobahn's output (handshake, pong, close) uses the same
  queue as our frames; a second writer could put its bytes into the middle of a frame.
* ``_fail_connection`` and ``sendCloseFrame`` close with codes that the public ``sendClose`` refuses (1003, 1008, 1012).
* ``log`` is replaced: it costs 1.5 us per read and write even when nothing is logged, and would log what clients send.
* ``onFrameBegin`` is overridden to count frames without a message; it empties ``data`` to end a flood of them.
* ``connectionMade`` replaces Autobahn's, which formats a description of the transport for a log line that is never written. It sets
  ``peer``, which Autobahn reads.
* ``_max_message_size_exceeded`` is overridden to count.
* ``requireMaskedClientFrames``, which Autobahn reads at the beginning of each frame, looks at that frame in ``data``: the ESP8266 firmware
  masks neither its pong nor its close.
* ``maxMessagePayloadSize`` would limit ``sendMessage`` too; so replies and events are framed here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from sys import intern
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.core.addresses import peer_address
from dhtwisted.errors import HandshakeFault, InternalError, Unauthorized
from dhtwisted.interfaces import IOutput
from dhtwisted.transports.connection_deadlines import ClosingConnection
from dhtwisted.transports.forwarding import Client
from dhtwisted.transports.http.answers import refusal
from dhtwisted.transports.traffic import Traffic
from dhtwisted.transports.websocket.frames import CONTROL_BIT
from dhtwisted.transports.websocket.reading import FrameReader
from dhtwisted.transports.websocket.shedding import SHARED, shed
from dhtwisted.transports.websocket.upkeep import Upkeep
from dhtwisted.transports.websocket.writing import FrameWriter
from dhtwisted.transports.writing import SLOW, EndOfTurn

if TYPE_CHECKING:
    from autobahn.websocket.types import ConnectionRequest
    from twisted.python.failure import Failure

    from dhtwisted.config.settings import LimitSettings
    from dhtwisted.core.access import Principal
    from dhtwisted.core.server import Server
    from dhtwisted.errors import ApiError
    from dhtwisted.fronts.session import SessionFactory

EMPTY_PING = b"\x89\x00"
"""The firmware answers only exactly these two bytes, not a ping with a payload."""

CLOSE_POLICY, CLOSE_UNSUPPORTED, CLOSE_INTERNAL_ERROR, CLOSE_RESTART = 1008, 1003, 1011, 1012
MISSED_INTERVALS = 3
SMALL_FRAME = 126
MAX_SMALL_FRAMES = 500
"""Pings, pongs and small fragments that a connection may send per second. Each costs 40 us, and a client could send 30 MB of them."""


OWN_OPTIONS = frozenset({"requireMaskedClientFrames"})
"""Options of Autobahn that the protocol class defines itself."""


class _Silent:
    """Replaces Autobahn's logger."""

    def _nothing(self, *args: object, **kwargs: object) -> None:
        return None

    trace = debug = info = warn = error = critical = failure = _nothing


@implementer(IOutput, IPushProducer)
class DeviceHiveProtocol(FrameReader, FrameWriter, WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn's own bases differ in two types.
    """One WebSocket connection. It gives messages to its session and is the session's output."""

    log = _Silent()
    events = Logger()
    max_small_frames: float = MAX_SMALL_FRAMES
    leaving: ClosingConnection | None = None
    _denial: ApiError | None = None
    client: Client | None = None
    transport: Any
    session: Any
    turn = 0
    number = 0

    def connectionMade(self) -> None:
        self.account = self.factory.budget.account(self._end_account)
        self.begin_output()
        self.begin_input()
        self._principal: Principal | None = None
        self.session = None
        self._small_frames = 0
        self.opened = self.factory.clock.seconds()
        if self.client is None:
            self.client = Client(peer_address(self.transport.getPeer()))
        self.address = self.peer = self.client.address
        with suppress(AttributeError, OSError):
            # Unix sockets do not have this option.
            self.transport.setTcpNoDelay(True)
        WebSocketProtocol._connectionMade(self)
        self.factory.countConnections += 1

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Read the handshake. An ``Authorization`` header authenticates the connection, or is refused with 401 (section 1.2)."""
        self.find_rest(request)
        authorization = request.headers.get("authorization")
        return None if authorization is None else Deferred.fromCoroutine(self._authenticate(authorization))

    def find_rest(self, request: ConnectionRequest) -> None:
        """Find out where REST is for the client of a handshake."""
        is_secure = ISSLTransport.providedBy(self.transport)
        # Most connections have the same.
        self.rest_url = intern(self.factory.rest_url(request.path, self.client, request.headers.get("host"), is_secure))

    async def _authenticate(self, authorization: str) -> None:
        server = self.factory.sessions.server
        # Autobahn would buffer what a client sends before it is authenticated.
        self.pause()
        try:
            self._principal = await server.authentication.by_header(authorization)
            server.quotas.check(self._principal.account, connections=1)
        except Exception as error:
            # Autobahn would send the text of an error that it does not know.
            client_error = server.client_error(error, "handshake", self)
            if server.audit.is_on and client_error.code == Unauthorized.code:
                server.audit.failed_authentication(self, client_error)
            self._deny(client_error)
        finally:
            self.resume()
        if self.state != self.STATE_CONNECTING:
            self._deny(Unauthorized())

    def _deny(self, error: ApiError) -> None:
        """Refuse the handshake by Autobahn's exception."""
        self._denial = error
        raise ConnectionDeny(error.code, error.text) from None

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Answer with an error like those of REST: Autobahn would send no body, and the reason in the status line."""
        self.wasNotCleanReason = reason
        error = self._denial
        if error is None:
            # Autobahn refused what the port accepted, or there is a defect, whose reason the client must not see.
            error = InternalError() if code == InternalError.code else HandshakeFault(reason)
            self.events.info("a WebSocket handshake failed: {reason}", reason=reason, **self._identity())
        self.sendData(refusal(error))
        self.dropConnection(abort=False)

    def succeedHandshake(self, res: Any) -> None:
        try:
            super().succeedHandshake(res)
        except Exception:
            # A Deferred would swallow the error, and the client would wait for ever.
            self.events.failure("the handshake failed", **self._identity())
            self.dropConnection(abort=True)

    def onOpen(self) -> None:
        shed(self)
        # All connections can share one set of counters.
        self.trafficStats = self.factory.autobahn_traffic
        self.session = self.factory.sessions.build(self)
        if self._principal is not None:
            self.session.begin_as(self._principal)
        self.factory.connections.add(self)
        self.factory.upkeep.add(self)
        if self.factory.is_debugging:
            self.events.debug("a WebSocket is open", **self._identity())

    def _identity(self) -> dict[str, Any]:
        """Fields that identify the connection in a log line."""
        principal = self._principal if self.session is None else self.session.principal
        return {"connection": self.number, "address": self.address} | ({} if principal is None else {"user": principal.user_id})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lose_output()
        self.account.close()
        self.take_rest()
        super().connectionLost(reason)
        self.data = b""
        # is_closed refers to this protocol: the cycle would keep both until the garbage collector runs.
        self.is_open = self.is_closed = None

    @property
    def requireMaskedClientFrames(self) -> bool:
        """Whether the frame that begins must be masked. Control frames need not be (section 1.3)."""
        return self.data[0] & CONTROL_BIT == 0

    def onFrameBegin(self) -> None:
        frame = self.current_frame
        if frame.length < SMALL_FRAME and (frame.opcode & CONTROL_BIT or not frame.fin):
            self._small_frames += 1
            self.factory.upkeep.noisy.add(self)
            if self._small_frames > self.max_small_frames:
                self._end_flood()
        super().onFrameBegin()

    def _end_flood(self) -> None:
        """Close, and drop what came. The connection is aborted when the time for the closing handshake is over."""
        if self.state == self.STATE_OPEN:
            self.factory.metrics.ended("flood")
            self.events.info("closed: a flood of frames that bring no message", **self._identity())
        self._end(CLOSE_POLICY, "too many small frames")
        self.data = b""
        self.pause()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        if isBinary:
            self._fail_connection(CLOSE_UNSUPPORTED, "text frames only")
            return
        self.factory.traffic.messages_received += 1
        try:
            self.session.receive(payload)
        except Exception:
            # Autobahn would drop the connection without a log line.
            self._session_broken()

    def _session_broken(self) -> None:
        self.events.failure("a message broke the session", **self._identity())
        self._fail_connection(CLOSE_INTERNAL_ERROR, "internal error")

    def break_off(self, what: str) -> None:
        """End a connection after an unexpected error, which must not affect others."""
        self.events.failure("{what} broke the connection", what=what, **self._identity())
        self.transport.abortConnection()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.factory.is_debugging:
            self.events.debug("the WebSocket is closed, code {code}: {reason}", code=code, reason=reason, **self._identity())
        self.drop_queue()
        self.factory.connections.discard(self)
        self.factory.upkeep.discard(self)
        if self.session is not None:
            self._close_session()
            # The reference cycle would keep both until the garbage collector runs.
            self.session = None

    def _close_session(self) -> None:
        self.session.close()

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        self.factory.metrics.refused("message_size")
        super()._max_message_size_exceeded(msg_size, max_msg_size, reason)

    # The end

    def _end_account(self, reason: str) -> None:
        """Abort: the client uses too much memory for too long. It would not read a close frame either."""
        self.factory.metrics.ended(reason)
        self.events.info("closed: the client does not read what is sent, {reason}", reason=SLOW[reason], **self._identity())
        if self.state == self.STATE_CLOSED:
            self.transport.abortConnection()
        else:
            self.wasNotCleanReason = reason
            self.dropConnection(abort=True)

    def abort(self, reason: str) -> None:
        self._end(CLOSE_INTERNAL_ERROR, reason)

    def _too_slow(self, reason: str) -> None:
        # More events arrive until the connection is closed.
        if self.state == self.STATE_OPEN:
            self.factory.metrics.ended(reason)
            self.events.info("closed: the client does not read what is sent, {reason}", reason=SLOW[reason], **self._identity())
            self._end(CLOSE_POLICY, "too slow")

    def _end(self, code: int, reason: str) -> None:
        """Try to close within a second. The queue is dropped; a client that reconnects gets the messages from the storage."""
        if self.state == self.STATE_OPEN:
            self.drop_queue()
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode())
            self.flush()

    def finish(self) -> None:
        """Accept no more requests, answer the current ones, then close."""
        self.pause()
        if self.session is None:
            self.dropConnection(abort=False)
        else:
            self.session.finish(self._finished)

    def _finished(self) -> None:
        if self.state == self.STATE_OPEN:
            # The client's close frame can only arrive when the server reads again.
            self.resume()
            self.sendCloseFrame(code=CLOSE_RESTART, reasonUtf8=b"server stops")
            self.flush()

    def _closeConnection(self, abort: bool = False) -> None:
        self.flush()
        if not abort:
            self.leave_all_to_transport()
        self.leaving = ClosingConnection(self.transport, self.factory.clock.seconds())
        self.factory.upkeep.closing.add(self)
        super()._closeConnection(abort)

    # Called by the factory's upkeep

    def check_authenticated(self) -> None:
        """End a connection that has not authenticated in time."""
        if self.session.principal is None and self.state == self.STATE_OPEN:
            self.factory.metrics.ended("unauthenticated")
            self._end(CLOSE_POLICY, "not authenticated in time")

    def check_congestion(self, now: float) -> None:
        """End a connection that is too far behind. Its account ends one that reads nothing."""
        if self._is_overfull(0):
            self._too_slow("queue_full")

    def check_closing(self, now: float) -> None:
        """Abort a closing connection in time. For Autobahn it is closed, but the transport waits for the client to read the rest."""
        leaving = self.leaving
        if leaving is None:
            return
        if leaving.is_over(now):
            leaving.abort()
        elif leaving.since == now:
            self.account.progress()

    def quiet(self) -> None:
        """Reset the count of small frames, once a second."""
        self._small_frames = 0

    def ping(self) -> None:
        """Send an empty ping. Drop a client that sent nothing for three intervals in which the server was reading."""
        if self._reading:
            self.silent_intervals += 1
        if self.silent_intervals > MISSED_INTERVALS:
            self.factory.metrics.ended("silent")
            self.wasNotCleanReason = "silent"
            self.dropConnection(abort=True)
        else:
            self.sendData(EMPTY_PING)


class WebSocketFactory(WebSocketServerFactory):
    """Makes the WebSocket protocols of one server, and has what they share.

    :param server: a :class:`~dhtwisted.core.server.Server`.
    :param authenticate_timeout: seconds in which a connection must have authenticated; 0 for any time.
    :ivar connections: the open connections.
    :ivar is_debugging: whether each connection is logged.
    :ivar upkeep: the checks that run once a second.
    :ivar traffic: counts the traffic of all connections, a :class:`Traffic`.
    :ivar flush_later: flushes the queue of a protocol at the end of this reactor turn, with one write for the whole turn.
    :ivar go_on_later: lets a protocol read on in the next reactor turn.
    :ivar autobahn_traffic: Autobahn's counters, which count only the traffic of its own parser.
    """

    noisy = False
    protocol_base = DeviceHiveProtocol

    def __init__(self, server: Server, authenticate_timeout: float = 0) -> None:
        super().__init__(server=None, reactor=server.reactor)
        limits = server.settings.limits
        self.clock = server.reactor
        self.flush_later = EndOfTurn(server.reactor, FrameWriter.flush, "writing").add
        self.go_on_later = EndOfTurn(server.reactor, FrameReader.go_on, "reading").add
        self.metrics = server.metrics
        self.budget = server.budget
        self.is_debugging = server.settings.log.level == "debug"
        self.connections: set[DeviceHiveProtocol] = set()
        self.upkeep = Upkeep(limits.ping_interval, authenticate_timeout)
        self.output_queue = limits.output_queue
        self.traffic = Traffic()
        self.autobahn_traffic = TrafficStats()
        self.trackTimings = False
        self._configure_protocol(limits.message_size)

    def set_limits(self, limits: LimitSettings, authenticate_timeout: float = 0) -> None:
        """Use these limits. The size of messages changes only for new connections."""
        self.upkeep.set_times(limits.ping_interval, authenticate_timeout, sorted(self.connections, key=attrgetter("opened")))
        self.output_queue = limits.output_queue
        self._configure_protocol(limits.message_size)

    def _configure_protocol(self, message_size: int) -> None:
        self.setProtocolOptions(
            failByDrop=False,
            maxMessagePayloadSize=message_size,
            # The port has read the whole head already; a timer per connection would be wasted.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=1,
            autoPingInterval=0,
            allowedOrigins=["*"],
            allowNullOrigin=True,
            webStatus=False,
        )
        # Autobahn copies some thirty options to each protocol and formats them for a debug line, even if it is not logged. As attributes of
        # a class they need no copy: this saves 2 KB per connection, and twice as many connections open per second.
        # One option is a function, which must not become a method.
        names = [name for name in self.protocol_base.CONFIG_ATTRS if name not in OWN_OPTIONS]
        options = {name: getattr(self, name) for name in names}
        options = {name: staticmethod(value) if callable(value) else value for name, value in options.items()}
        self.protocol: Any = type("ConfiguredProtocol", (self.protocol_base,), options | SHARED | {"CONFIG_ATTRS": ()})

    def clock_set_back(self) -> None:
        """Move times that are now in the future to now."""
        now = self.clock.seconds()
        for connection in self.connections:
            connection.opened = min(connection.opened, now)
        for connection in self.upkeep.congested:
            connection.congested_since = min(connection.congested_since, now)
        for connection in self.upkeep.closing:
            connection.leaving.since = min(connection.leaving.since, now)


class DeviceHiveFactory(WebSocketFactory):
    """Makes the protocols that speak DeviceHive's API.

    :param sessions: makes their sessions.
    :param rest_url: ``(path, client, host, secure) -> text``: the address of the REST API for a client that used this path; see
        :meth:`~dhtwisted.transports.locator.Locator.rest_url`.
    """

    def __init__(self, sessions: SessionFactory, rest_url: Callable[..., str]) -> None:
        super().__init__(sessions.server, sessions.server.settings.limits.authenticate_timeout)
        self.sessions = sessions
        self.rest_url = rest_url

    def set_limits(self, limits: LimitSettings, authenticate_timeout: float | None = None) -> None:
        super().set_limits(limits, limits.authenticate_timeout if authenticate_timeout is None else authenticate_timeout)
