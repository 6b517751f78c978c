"""The WebSocket transport on Autobahn: frames into requests, replies and events into frames (WebSocket reference, section 1).

This file, ``reading.py`` and ``writing.py`` rely on Autobahn's internals. Here:

* ``sendData`` (in ``writing.py``) and ``_closeConnection`` are overridden, so that everything that Autobahn writes (handshake, pong, close)
  goes through the same queue as our frames; a second writer could put its bytes into the middle of a frame.
* ``_fail_connection`` and ``sendCloseFrame`` close with codes that the public ``sendClose`` refuses (1003, 1008, 1012).
* ``log`` is silenced: it costs 1.5 us for each read and write even when nothing is logged, and would print what strangers send.
* ``onFrameBegin`` is overridden to count frames that bring no message; to end a flood of them it empties ``data``.
* ``connectionMade`` takes the place of Autobahn's, which describes the transport at length, and itself in colours for a log line that is
  not written, at each connection that is opened. It leaves ``peer``, which Autobahn reads.
* ``_max_message_size_exceeded`` is overridden to count.
* ``requireMaskedClientFrames``, which Autobahn asks at the beginning of each frame, looks at that frame in ``data``: the ESP8266 firmware
  masks neither its pong nor its close.
* ``maxMessagePayloadSize`` would limit ``sendMessage`` too; replies and events are framed here instead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
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
from dhtwisted.core.budget import NOT_READING, SLOW_SECONDS, USED_UP
from dhtwisted.errors import HandshakeFault, InternalError, Unauthorized
from dhtwisted.interfaces import IOutput
from dhtwisted.transports.connection_deadlines import ClosingConnection
from dhtwisted.transports.forwarding import Client
from dhtwisted.transports.http.answers import refusal
from dhtwisted.transports.websocket.frames import CONTROL_BIT
from dhtwisted.transports.websocket.reading import FrameReader
from dhtwisted.transports.websocket.upkeep import Upkeep
from dhtwisted.transports.websocket.writing import FrameWriter

if TYPE_CHECKING:
    from autobahn.websocket.types import ConnectionRequest
    from twisted.python.failure import Failure

    from dhtwisted.config.settings import LimitSettings
    from dhtwisted.core.access import Principal
    from dhtwisted.errors import ApiError
    from dhtwisted.fronts.session import SessionFactory

EMPTY_PING = b"\x89\x00"
"""The firmware answers exactly these two bytes, and no ping with a payload."""

CLOSE_POLICY, CLOSE_UNSUPPORTED, CLOSE_INTERNAL_ERROR, CLOSE_RESTART = 1008, 1003, 1011, 1012
SLOW = {
    "queue_full": "its queue is full",
    NOT_READING: f"for {SLOW_SECONDS} seconds",
    USED_UP: "it holds most of what limits.output_total is used up by",
}
"""How a client is too slow: as it is counted -> as the log says it."""

MISSED_INTERVALS = 3
SMALL_FRAME = 126
MAX_SMALL_FRAMES = 500
"""Pings, pongs and small fragments that one connection may send in a second. Each costs 40 us, and a client could send 30 MB of them."""


OWN_OPTIONS = frozenset({"requireMaskedClientFrames"})
"""Options of Autobahn's that the protocol answers itself."""


class _Silent:
    """Replaces Autobahn's logger."""

    def _nothing(self, *args: object, **kwargs: object) -> None:
        return None

    trace = debug = info = warn = error = critical = failure = _nothing


@implementer(IOutput, IPushProducer)
class DeviceHiveProtocol(FrameReader, FrameWriter, WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn's own bases differ in two types.
    """One WebSocket connection; hands messages to its session and is the session's output."""

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
            # Unix sockets have no such thing.
            self.transport.setTcpNoDelay(True)
        WebSocketProtocol._connectionMade(self)
        self.factory.countConnections += 1

    def onConnect(self, request: ConnectionRequest) -> Any:
        """Read the handshake. An ``Authorization`` header authenticates, or is refused with 401 (section 1.2)."""
        is_secure = ISSLTransport.providedBy(self.transport)
        self.rest_url = self.factory.rest_url(request.path, self.client, request.headers.get("host"), is_secure)
        authorization = request.headers.get("authorization")
        return None if authorization is None else Deferred.fromCoroutine(self._authenticate(authorization))

    async def _authenticate(self, authorization: str) -> None:
        server = self.factory.sessions.server
        # Autobahn would gather whatever a stranger sends meanwhile.
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
        """Refuse the handshake, with Autobahn's means."""
        self._denial = error
        raise ConnectionDeny(error.code, error.text) from None

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        """Say what is wrong as REST does: Autobahn would answer without a body, with the reason in the status line."""
        self.wasNotCleanReason = reason
        error = self._denial
        if error is None:
            # What the port lets through and Autobahn does not, or a defect, of which nothing is told.
            error = InternalError() if code == InternalError.code else HandshakeFault(reason)
            self.events.info("a WebSocket handshake failed: {reason}", reason=reason, **self._identity())
        self.sendData(refusal(error))
        self.dropConnection(abort=False)

    def succeedHandshake(self, res: Any) -> None:
        try:
            super().succeedHandshake(res)
        except Exception:
            # It would vanish into a Deferred, and the client would wait for ever.
            self.events.failure("the handshake failed", **self._identity())
            self.dropConnection(abort=True)

    def onOpen(self) -> None:
        # What the handshake and chopped writes needed, 3 KB for each connection. The counters can be one set for all connections.
        autobahn: Any = self
        autobahn.http_headers = autobahn.http_request_data = autobahn.http_response_data = autobahn.http_request_params = (
            autobahn.http_status_line
        ) = None
        autobahn._transport_details = autobahn.send_queue = self.client = None
        self.trafficStats = self.factory.autobahn_traffic
        self.session = self.factory.sessions.build(self)
        if self._principal is not None:
            self.session.begin_as(self._principal)
        self.factory.connections.add(self)
        self.factory.upkeep.add(self)
        if self.factory.is_debugging:
            self.events.debug("a WebSocket is open", **self._identity())

    def _identity(self) -> dict[str, Any]:
        """Fields of a log line that say whose connection it is."""
        principal = self._principal if self.session is None else self.session.principal
        return {"connection": self.number, "address": self.address} | ({} if principal is None else {"user": principal.user_id})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lose_output()
        self.account.close()
        self.take_rest()
        super().connectionLost(reason)
        self.data = b""
        # The second holds its protocol as its result, and both would wait for the garbage collector.
        self.is_open = self.is_closed = None

    @property
    def requireMaskedClientFrames(self) -> bool:
        """Whether the frame that now begins must be masked: control frames need not be (section 1.3)."""
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
        """Close, and read no more of what came: it is dropped when the time for the closing handshake is over."""
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
            # Autobahn would drop the connection without a word.
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
            self.session.close()
            # They hold each other, and would wait for the garbage collector.
            self.session = None

    def _max_message_size_exceeded(self, msg_size: int, max_msg_size: int, reason: str) -> None:
        self.factory.metrics.refused("message_size")
        super()._max_message_size_exceeded(msg_size, max_msg_size, reason)

    # The end

    def _end_account(self, reason: str) -> None:
        """Abort, since what is held for this client is too much for too long: it would not read a close either."""
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
        # Events go on arriving until the connection is gone.
        if self.state == self.STATE_OPEN:
            self.factory.metrics.ended(reason)
            self.events.info("closed: the client does not read what is sent, {reason}", reason=SLOW[reason], **self._identity())
            self._end(CLOSE_POLICY, "too slow")

    def _end(self, code: int, reason: str) -> None:
        """Try to close within a second; what is queued is lost, and is in storage for the client that comes again."""
        if self.state == self.STATE_OPEN:
            self.drop_queue()
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode())
            self.flush()

    def finish(self) -> None:
        """Answer what is under way, accept no more, close."""
        self.pause()
        if self.session is None:
            self.dropConnection(abort=False)
        else:
            self.session.finish(self._finished)

    def _finished(self) -> None:
        if self.state == self.STATE_OPEN:
            # The client's closing frame can only come when we read again.
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

    # What the factory's upkeep calls

    def check_authenticated(self) -> None:
        """End a connection that has had its time to authenticate."""
        if self.session.principal is None and self.state == self.STATE_OPEN:
            self.factory.metrics.ended("unauthenticated")
            self._end(CLOSE_POLICY, "not authenticated in time")

    def check_congestion(self, now: float) -> None:
        """End a connection that has fallen too far behind. One that takes nothing is ended by its account."""
        if self._is_overfull(0):
            self._too_slow("queue_full")

    def check_closing(self, now: float) -> None:
        """End a connection that to Autobahn is closed, and to the transport when the client has taken the rest, which may be never."""
        leaving = self.leaving
        if leaving is None:
            return
        if leaving.is_over(now):
            leaving.abort()
        elif leaving.since == now:
            self.account.progress()

    def quiet(self) -> None:
        """A second is over: count small frames from 0 again."""
        self._small_frames = 0

    def ping(self) -> None:
        """Send an empty ping; drop a peer of which nothing came for three intervals, unless it is we who do not read."""
        if self._reading:
            self.silent_intervals += 1
        if self.silent_intervals > MISSED_INTERVALS:
            self.factory.metrics.ended("silent")
            self.wasNotCleanReason = "silent"
            self.dropConnection(abort=True)
        else:
            self.sendData(EMPTY_PING)


class Traffic:
    """Counters of one server, of WebSocket connections alone."""

    __slots__ = ("messages_received", "octets_received", "octets_sent")

    def __init__(self) -> None:
        self.messages_received = self.octets_received = self.octets_sent = 0


class DeviceHiveFactory(WebSocketServerFactory):
    """Makes the protocols of one server, and has what they share.

    :param rest_url: ``(path, client, host, secure) -> text``: where a client that came by this path finds the REST API; see
        :meth:`~dhtwisted.transports.locator.Locator.rest_url`.
    :ivar connections: those that are open, a set.
    :ivar is_debugging: whether the log takes lines about each connection.
    :ivar upkeep: what is checked once a second.
    :ivar traffic: what all connections have sent and received, a :class:`Traffic`.
    :ivar autobahn_traffic: Autobahn's counters, which know only what its own parser reads and writes.
    """

    noisy = False
    protocol_base = DeviceHiveProtocol

    def __init__(self, sessions: SessionFactory, rest_url: Callable[..., str]) -> None:
        server = sessions.server
        super().__init__(server=None, reactor=server.reactor)
        limits = server.settings.limits
        self.sessions = sessions
        self.rest_url = rest_url
        self.clock = server.reactor
        self.metrics = server.metrics
        self.budget = server.budget
        self.is_debugging = server.settings.log.level == "debug"
        self.connections: set[DeviceHiveProtocol] = set()
        self.upkeep = Upkeep(limits.ping_interval, limits.authenticate_timeout)
        self.output_queue = limits.output_queue
        self._dirty: list[DeviceHiveProtocol] = []
        self._interrupted: dict[DeviceHiveProtocol, None] = {}
        self.traffic = Traffic()
        self.autobahn_traffic = TrafficStats()
        self.trackTimings = False
        self._configure_protocol(limits.message_size)

    def set_limits(self, limits: LimitSettings) -> None:
        """Take on other limits. The size of messages changes only for new connections."""
        self.upkeep.set_times(limits.ping_interval, limits.authenticate_timeout, sorted(self.connections, key=attrgetter("opened")))
        self.output_queue = limits.output_queue
        self._configure_protocol(limits.message_size)

    def _configure_protocol(self, message_size: int) -> None:
        self.setProtocolOptions(
            failByDrop=False,
            maxMessagePayloadSize=message_size,
            # The port has waited for the whole head already; a timer for each connection would only cost.
            openHandshakeTimeout=0,
            closeHandshakeTimeout=1,
            autoPingInterval=0,
            allowedOrigins=["*"],
            allowNullOrigin=True,
            webStatus=False,
        )
        # Autobahn copies some thirty options to each protocol and formats them for a debug line, logged or not. As attributes of a class
        # of this factory's own they are found without that: 2 KB less for each connection, and twice as many opened per second.
        # One of them is a function, which must not become a method.
        names = [name for name in self.protocol_base.CONFIG_ATTRS if name not in OWN_OPTIONS]
        options = {name: getattr(self, name) for name in names}
        options = {name: staticmethod(value) if callable(value) else value for name, value in options.items()}
        self.protocol: Any = type("ConfiguredProtocol", (self.protocol_base,), options | {"CONFIG_ATTRS": ()})

    def flush_later(self, protocol: DeviceHiveProtocol) -> None:
        """Flush a protocol's queue at the end of this reactor turn: one write for all that a turn brings."""
        if not self._dirty:
            self.clock.callLater(0, self._flush)
        self._dirty.append(protocol)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for protocol in dirty:
            try:
                protocol.flush()
            except Exception:
                protocol.break_off("writing")

    def go_on_later(self, protocol: DeviceHiveProtocol) -> None:
        """Have a protocol go on in the next reactor turn."""
        if not self._interrupted:
            self.clock.callLater(0, self._go_on)
        self._interrupted[protocol] = None

    def _go_on(self) -> None:
        interrupted, self._interrupted = self._interrupted, {}
        for protocol in interrupted:
            try:
                protocol.go_on()
            except Exception:
                protocol.break_off("reading")
