"""REST on the server's port: what HTTP asks for, around :mod:`dhtwisted.fronts.rest` (REST reference, sections 1, 2 and 10).

Twisted's HTTP parser is used without twisted.web's tree of resources: paths are a table here, a body stays in memory within
``limits.message_size`` and is never taken for a form, and every error has a body that clients can read.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.web.http import HTTPFactory
from zope.interface import implementer

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.budget import NOT_READING, SLOW_SECONDS
from dhtwisted.core.server import API_VERSION
from dhtwisted.core.throttle import RateLimit, RateLimits
from dhtwisted.errors import (
    ApiError,
    BadRequest,
    HeadTooLarge,
    InternalError,
    MalformedHttp,
    MethodNotAllowed,
    NoSuchPath,
    RequestTimeout,
    ServiceOverloaded,
    UpgradeRequired,
)
from dhtwisted.fronts.rest.api import RestApi
from dhtwisted.fronts.rest.caller import Call
from dhtwisted.reference import openapi
from dhtwisted.transports.http.answers import JSON, TEXT, refusal
from dhtwisted.transports.http.channel import BoundedChannel
from dhtwisted.transports.http.headers import path_of, read_origin
from dhtwisted.transports.http.request import HttpRequest
from dhtwisted.transports.http.upgrade import Head

if TYPE_CHECKING:
    from twisted.web.http import Request

    from dhtwisted.config.settings import Settings
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.rest.answers import Body
    from dhtwisted.transports.admission import Admission
    from dhtwisted.transports.connection_deadlines import ConnectionDeadlines
    from dhtwisted.transports.locator import Locator

WELCOME = b"The DeviceHive API runs here.\n"
ANY_ORIGIN = b"Access-Control-Allow-Origin: *\r\n"
COMMON_HEADERS = (
    b"Access-Control-Allow-Methods: OPTIONS, GET, POST, PUT, DELETE, HEAD\r\n"
    b"Access-Control-Allow-Headers: Origin, Authorization, Accept, Content-Type, Auth-DeviceID, Auth-DeviceKey, X-Requested-With, "
    b"X-Refresh-Token\r\n"
    b"Access-Control-Expose-Headers: X-Access-Token, X-Refresh-Token, Retry-After\r\n"
    b"Access-Control-Max-Age: 0\r\n"
    b"Cache-Control: no-store\r\n"
)
UPGRADE = b"Connection: Upgrade\r\n"
OVERRIDES = frozenset({"PUT", "DELETE", "HEAD", "OPTIONS"})
MOST_PARAMETERS = 1000
DOCUMENTS = frozenset({"openapi.json", "swagger.json"})
"""Names of the document that describes the API; the second is where clients of the reference server look."""


@implementer(IHalfCloseableProtocol)
class RestChannel(BoundedChannel):
    """One connection of REST."""

    requestFactory = HttpRequest
    rate: RateLimit | None = None
    number = 0
    port: Any = None
    _has_all = False

    def open_websocket(self, request: HttpRequest, head: Head) -> None:
        """Give the connection back to the port, for a WebSocket that is asked for after other requests."""
        if not request.is_open:
            return
        rest = b"".join(self._dataBuffer) + self._buffer
        self.requests, self._dataBuffer, self._buffer = [], [], b""
        self.factory.deadlines.forget(self)
        self.account.close()
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        self.port.open_websocket(head, rest)

    def refuse(self, error: ApiError) -> None:
        """Answer what is no request, or too large a one, and close."""
        self.transport.write(refusal(error))
        self.loseConnection()

    def readConnectionLost(self) -> None:
        """The client has closed its side: what it has asked is still answered, then the connection closes. Whoever is gone altogether looks
        the same, so a poll that waits is answered at once. Twisted calls it again whenever it resumes reading.
        """
        self._has_all = True
        if self.requests and self._handlingRequest:
            self.requests[0].end_waiting()
        self._close_after_all()

    def writeConnectionLost(self) -> None:
        """Never: the server does not close one side."""

    def _has_read(self) -> None:
        super()._has_read()
        self._close_after_all()

    def _read_on(self) -> None:
        super()._read_on()
        self._close_after_all()

    def _close_after_all(self) -> None:
        if not self._has_all or self._is_closing:
            return
        if self._handlingRequest or self._busyReceiving or (self.paused and self._buffer):
            return
        if self.requests or self.clearLineBuffer():
            self.refuse(MalformedHttp())
        else:
            self.loseConnection()

    def finish(self) -> None:
        if self.requests and self._handlingRequest:
            self.requests[0].end_waiting()
        super().finish()

    def head_late(self) -> None:
        self.factory.metrics.refused("handshake_timeout")
        self.refuse(RequestTimeout())

    def body_late(self) -> None:
        self.requests[-1].body_late()

    def _ended(self, reason: str) -> None:
        self.factory.metrics.ended(reason)
        words = "it does not read its answers" if reason == NOT_READING else "the memory for all clients is used up"
        self.events.info("an HTTP connection is ended: {words}", words=words, connection=self.number)
        super()._ended(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted answers broken HTTP without a body, and every error of this API has one.
        self.refuse(MalformedHttp())

    def lineLengthExceeded(self, line: bytes) -> None:
        # Without any answer clients take it for a broken connection, and try again.
        self.refuse(HeadTooLarge())


class RestSite(HTTPFactory):
    """The plain HTTP side of the port."""

    protocol: Any = RestChannel
    noisy = False
    events = Logger()
    timeOut = None

    def __init__(self, server: Server, locator: Locator, admission: Admission, deadlines: ConnectionDeadlines) -> None:
        super().__init__(timeout=cast(int, None), reactor=server.reactor)
        self.deadlines = deadlines
        self.budget = server.budget
        self._rates = RateLimits(server.reactor)
        self.set_limits(server.settings)
        self.metrics = server.metrics
        self._locator = locator
        self._admission = admission
        self._api = RestApi(server)
        self._documents: dict[str, bytes] = {}

    def set_limits(self, settings: Settings) -> None:
        """Take on other settings, also for open connections from their next request on."""
        # A poll counts as a request, however long it waits.
        self.idle_timeout = settings.limits.idle_timeout
        self.head_timeout = settings.limits.handshake_timeout
        self.message_size = settings.limits.message_size
        self.body_timeout = settings.limits.body_timeout
        self._per_second = settings.limits.requests_per_second
        self._origins = settings.server.origins

    def startFactory(self) -> None:
        """Without Twisted's access log, which has a file and a timer of its own."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def log(self, request: Request) -> None:
        """Log nothing for an answer: clients that poll ask ten times a second. Failures are logged where they happen."""

    def headers(self, request: HttpRequest) -> bytes:
        """The lines that every answer has (REST reference, section 2)."""
        if not self._origins:
            return ANY_ORIGIN + COMMON_HEADERS
        origin = read_origin(request.requestHeaders.getRawHeaders(b"origin", ()))
        allowed = b"Access-Control-Allow-Origin: %b\r\n" % origin.encode() if origin in self._origins else b""
        return allowed + b"Vary: Origin\r\n" + COMMON_HEADERS

    def process(self, request: HttpRequest) -> None:
        """Answer a request, at its turn when its client asks too often; or open a WebSocket: proxies that keep their connections to a
        server ask for one where plain requests went before.
        """
        if request.requestHeaders.hasHeader(b"upgrade") and (head := Head.of_request(request)).is_upgrade:
            # Only after this turn the channel has put aside what came with the request.
            self.reactor.callLater(0, request.channel.open_websocket, request, head)
            return
        try:
            request.admit(self._admission)
        except ApiError as error:
            request.answer_error(error)
        else:
            if self.budget.is_used_up:
                self._wait_for_budget(request)
            else:
                self._begin(request)

    def _begin(self, request: HttpRequest) -> None:
        if self._per_second:
            self._take_turn(request)
        else:
            self._process(request)

    def _wait_for_budget(self, request: HttpRequest) -> None:
        """Begin a request when there is memory for its answer, or refuse it when that takes too long."""
        channel = request.channel
        self.metrics.refused("output_total")
        self.deadlines.set(channel, SLOW_SECONDS, partial(self._give_up, request))

        def go_on() -> None:
            if request.is_open:
                if self.budget.is_used_up:
                    self.budget.wait(go_on)
                else:
                    self.deadlines.clear(channel)
                    self._begin(request)

        self.budget.wait(go_on)

    @staticmethod
    def _give_up(request: HttpRequest) -> None:
        if request.is_open:
            request.answer_error(ServiceOverloaded())

    def _take_turn(self, request: HttpRequest) -> None:
        rate = self._rate_of(request)
        if rate.take():
            self._process(request)
        else:
            self.metrics.refused("requests_per_second")
            self.reactor.callLater(rate.delay, self._take_turn, request)

    def _rate_of(self, request: HttpRequest) -> RateLimit:
        """The limit is one of connections; but those of a trusted proxy carry the requests of many clients."""
        if request.is_held:
            return self._rates.of(limit_key(request.address), self._per_second)
        channel = request.channel
        if channel.rate is None:
            channel.rate = RateLimit(self.reactor, self._per_second)
        return channel.rate

    def _process(self, request: HttpRequest) -> None:
        if not request.is_open:
            return
        try:
            self._route(request)
        except ApiError as error:
            request.answer_error(error)
        except Exception:
            # Twisted would log it without a word of whose request it was, and drop the connection.
            self.events.failure("an HTTP request failed", connection=request.channel.number, address=request.address)
            if not request.startedWriting:
                request.answer_error(InternalError())

    def _route(self, request: HttpRequest) -> None:
        target, _, query = request.uri.partition(b"?")
        path = path_of(target.decode("latin-1"))
        prefix, base, segments = self._locator.resource(path)
        # Some paths are of both, such as /api/device.
        if self._locator.is_websocket(path) and self._api.methods(segments) is None:
            request.answer_error(UpgradeRequired(), UPGRADE)
            return
        method = _method(request)
        if not segments:
            self._give(request, method, WELCOME, TEXT)
        elif len(segments) == 1 and segments[0] in DOCUMENTS:
            self._give(request, method, self._document(base), JSON)
        elif method == "OPTIONS":
            self._tell_methods(request, segments)
        else:
            self._call(request, "GET" if method == "HEAD" else method, prefix, segments, _parameters(query))

    def _call(self, request: HttpRequest, method: str, prefix: str, segments: list[str], parameters: dict[str, list[str]]) -> None:
        caller = request.caller(self._locator, prefix)
        content_type, authorization = request.header("content-type"), request.header("authorization")
        call = Call(method, segments, parameters, request.body, content_type, authorization, caller, request.header)

        def done(status: int, body: Body, headers: bytes = b"") -> None:
            request.answer(status, body, headers + (_allow(self._api.methods(segments) or []) if status == 405 else b""))

        self._api.handle(call, done)

    def _tell_methods(self, request: HttpRequest, segments: list[str]) -> None:
        methods = self._api.methods(segments)
        if methods is None:
            raise NoSuchPath()
        request.answer(200, b"", _allow(methods), TEXT)

    @staticmethod
    def _give(request: HttpRequest, method: str, content: bytes, content_type: bytes) -> None:
        allow = _allow(["GET", "HEAD", "OPTIONS"])
        if method in ("GET", "HEAD"):
            request.answer(200, content, content_type=content_type)
        elif method == "OPTIONS":
            request.answer(200, b"", allow, TEXT)
        else:
            request.answer_error(MethodNotAllowed(), allow)

    def _document(self, base: str) -> bytes:
        """The OpenAPI document of a base, made when it is first asked for: that takes some milliseconds."""
        if base not in self._documents:
            self._documents[base] = json.dumps(openapi(base or "/", API_VERSION)).encode()
        return self._documents[base]


def _allow(methods: list[str]) -> bytes:
    return b"Allow: %b\r\n" % ", ".join(methods).encode()


def _method(request: HttpRequest) -> str:
    """The method, or the one that a POST asks to be taken for (REST reference, section 10)."""
    method = request.method.decode("latin-1")
    override = (request.header("x-http-method-override") or "").upper()
    return override if method == "POST" and override in OVERRIDES else method


def _parameters(query: bytes) -> dict[str, list[str]]:
    """Name -> list of texts.

    :raises BadRequest: it is no text, or too much.
    """
    if not query:
        return {}
    try:
        return parse_qs(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise BadRequest(detail=f"the query must be UTF-8, percent-encoded, with at most {MOST_PARAMETERS} parameters") from None
