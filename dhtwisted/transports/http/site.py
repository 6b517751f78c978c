"""REST on the server's port: the HTTP part around :mod:`dhtwisted.fronts.rest` (REST reference, sections 1, 2 and 10).

It uses Twisted's HTTP parser without twisted.web's tree of resources. Paths are a table, a body stays in memory up to
``limits.message_size`` and is never parsed as a form, and every error has a body that clients can read.
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
"""Names of the document that describes the API. Clients of the reference server use the second."""


@implementer(IHalfCloseableProtocol)
class RestChannel(BoundedChannel):
    """One connection of REST."""

    requestFactory = HttpRequest
    rate: RateLimit | None = None
    number = 0
    port: Any = None
    _has_all = False

    def open_websocket(self, request: HttpRequest, head: Head) -> None:
        """Give the connection back to the port: a client asks for a WebSocket after other requests."""
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
        """Answer an invalid or too large request with an error, and close."""
        self.transport.write(refusal(error))
        self.loseConnection()

    def readConnectionLost(self) -> None:
        """Answer the requests of a client that has closed its side, then close. A client that is gone looks the same, so a waiting poll is
        answered at once. Twisted calls this again each time it resumes reading.
        """
        self._has_all = True
        if self.requests and self._handlingRequest:
            self.requests[0].end_waiting()
        self._close_after_all()

    def writeConnectionLost(self) -> None:
        """Do nothing: the server never closes only one side."""

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
        # Without an answer, clients see a broken connection and try again.
        self.refuse(HeadTooLarge())


class RestSite(HTTPFactory):
    """Serves plain HTTP on the port."""

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
        """Use these settings. Open connections use them from their next request on."""
        # A poll counts as a request, however long it waits.
        self.idle_timeout = settings.limits.idle_timeout
        self.head_timeout = settings.limits.handshake_timeout
        self.message_size = settings.limits.message_size
        self.body_timeout = settings.limits.body_timeout
        self._per_second = settings.limits.requests_per_second
        self._origins = settings.server.origins

    def startFactory(self) -> None:
        """Do not start Twisted's access log, which has its own file and timer."""

    def stopFactory(self) -> None:
        """Do nothing: nothing was started."""

    def log(self, request: Request) -> None:
        """Log nothing for an answer: clients that poll ask ten times a second. Failures are logged where they happen."""

    def headers(self, request: HttpRequest) -> bytes:
        """The header lines of every answer (REST reference, section 2)."""
        if not self._origins:
            return ANY_ORIGIN + COMMON_HEADERS
        origin = read_origin(request.requestHeaders.getRawHeaders(b"origin", ()))
        allowed = b"Access-Control-Allow-Origin: %b\r\n" % origin.encode() if origin in self._origins else b""
        return allowed + b"Vary: Origin\r\n" + COMMON_HEADERS

    def process(self, request: HttpRequest) -> None:
        """Answer a request; a client over its rate limit waits. Or open a WebSocket: proxies that reuse connections may ask for one after
        plain requests.
        """
        if request.requestHeaders.hasHeader(b"upgrade") and (head := Head.of_request(request)).is_upgrade:
            # After this turn the channel has buffered what came with the request.
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
        """Begin a request when there is memory for its answer. Refuse it if that takes too long."""
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
        """The rate limit of the connection; behind a trusted proxy that of the client, since many share a connection."""
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
            # Twisted would log it without the client's address, and drop the connection.
            self.events.failure("an HTTP request failed", connection=request.channel.number, address=request.address)
            if not request.startedWriting:
                request.answer_error(InternalError())

    def _route(self, request: HttpRequest) -> None:
        target, _, query = request.uri.partition(b"?")
        path = path_of(target.decode("latin-1"))
        prefix, base, segments = self._locator.resource(path)
        # Some paths serve both, such as /api/device.
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
        """The OpenAPI document of a base. It is made at the first request, which takes some milliseconds."""
        if base not in self._documents:
            self._documents[base] = json.dumps(openapi(base or "/", API_VERSION)).encode()
        return self._documents[base]


def _allow(methods: list[str]) -> bytes:
    return b"Allow: %b\r\n" % ", ".join(methods).encode()


def _method(request: HttpRequest) -> str:
    """The method, or the one that overrides a POST (REST reference, section 10)."""
    method = request.method.decode("latin-1")
    override = (request.header("x-http-method-override") or "").upper()
    return override if method == "POST" and override in OVERRIDES else method


def _parameters(query: bytes) -> dict[str, list[str]]:
    """Parse a query: name -> list of texts.

    :raises BadRequest: the query is not UTF-8, or has too many parameters.
    """
    if not query:
        return {}
    try:
        return parse_qs(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise BadRequest(detail=f"the query must be UTF-8, percent-encoded, with at most {MOST_PARAMETERS} parameters") from None
