"""REST on the server's port: what HTTP asks for, around :mod:`dhtwisted.rest` (REST reference, sections 1, 2 and 10).

Twisted's HTTP parser is used without twisted.web's tree of resources: paths are a table here, a body stays in memory within
``limits.message_size`` and is never taken for a form, and every error has a body that clients can read.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, HTTPFactory, Request
from zope.interface import implementer

from dhtwisted.addresses import limit_key, peer_address
from dhtwisted.errors import (
    ApiError,
    BadRequest,
    BodyTooLarge,
    HeadTooLarge,
    InternalError,
    MalformedHttp,
    MethodNotAllowed,
    NoSuchPath,
    RequestTimeout,
    UpgradeRequired,
)
from dhtwisted.reference import openapi
from dhtwisted.rest import Call, Caller, RestApi, error_answer, retry_line
from dhtwisted.server import API_VERSION
from dhtwisted.throttle import RateLimit, RateLimits
from dhtwisted.transports.answers import JSON, TEXT, answer_head, refusal
from dhtwisted.transports.headers import path_of, read_origin, single
from dhtwisted.transports.upgrade import Head

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


class HttpRequest(Request):
    """One request. Its body is gathered in memory, within the limit and in time."""

    _refused = False
    _received = 0
    _length = None
    _timer = None
    _caller = None
    _held = None
    address = ""

    # What the channel calls; Twisted's own methods would spool bodies to disk, read forms, and look for a resource.

    def gotLength(self, length):
        self._body = []
        self._length = length
        if self._exceeds(length or 0):
            self._refuse(BodyTooLarge(self.channel.factory.message_size))

    def handleContentChunk(self, data):
        self._received += len(data)
        if self._refused:
            return
        if self._exceeds(self._received):
            self._refuse(BodyTooLarge(self.channel.factory.message_size))
            return
        self._body.append(data)
        seconds = self.channel.factory.body_timeout
        if self._timer is None and seconds and self._received != self._length:
            self._timer = self.channel.factory.reactor.callLater(seconds, self._refuse, RequestTimeout())

    def requestReceived(self, command, path, version):
        self._stop_timer()
        if self._refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.channel.factory.process(self)

    def connectionLost(self, reason):
        self._stop_timer()
        super().connectionLost(reason)
        self._release()
        self.end_waiting()

    def end_waiting(self):
        """Answer a poll now, with what it has."""
        if self._caller is not None:
            self._caller.close()

    def _exceeds(self, length):
        limit = self.channel.factory.message_size
        return bool(limit) and length > limit

    def _refuse(self, error):
        """Answer without having read it all, and close: what is left cannot be told from a next request."""
        self._refused = True
        self.channel.factory.metrics.refused("body_timeout" if isinstance(error, RequestTimeout) else "message_size")
        self.channel.refuse(error)

    def _stop_timer(self):
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    # What the factory calls

    def header(self, name):
        """A header as text, which may hold any bytes; ``None`` when it is absent.

        :raises BadRequest: it is repeated, so that it cannot be said what was meant.
        """
        encoded = name.encode()
        return single(self._values(encoded), encoded)

    @property
    def body(self):
        """All of the body."""
        return b"".join(self._body)

    def admit(self, admission):
        """Find out whose request it is. One that comes from a trusted proxy counts as a connection of its client's.

        :param admission: an :class:`~dhtwisted.transports.admission.Admission`.
        :raises UnclearForwarding: a trusted proxy leaves open whose it is.
        :raises ServiceUnavailable: the client has as much under way as it may have.
        """
        peer = self.address = peer_address(self.client)
        self._sender = admission.client_of(self._values, peer)
        self.address = self._sender.address
        if admission.proxies.trusts(peer):
            self._held = admission.hold(self.address)
            self._admission = admission

    @property
    def is_held(self):
        """Whether it comes from a trusted proxy, and has not been answered yet."""
        return self._held is not None

    def _release(self):
        if self._held is not None:
            self._admission.release(self._held)
            self._held = None

    def _values(self, name):
        return self.requestHeaders.getRawHeaders(name, ())

    def caller(self, locator, prefix):
        """Who asks, for the handlers; told when the connection is lost."""
        websocket_url = locator.websocket_url(prefix, self._sender, self.header("host"), self.isSecure())
        self._caller = Caller(self.address, websocket_url, self.channel.number)
        return self._caller

    def answer_error(self, error, headers=b""):
        """Answer with an error.

        :param error: an :class:`~dhtwisted.errors.ApiError`.
        :param headers: as of :meth:`answer`.
        """
        self.answer(*error_answer(error), retry_line(error) + headers)

    def answer(self, status, body, headers=b"", content_type=JSON):
        """Send the whole answer in one go: the firmware reads no further than one segment.

        The head is written here, since Twisted's way through a table of headers takes as long as all else that an answer needs.

        :param body: ``None`` for none at all.
        :param headers: further lines, each with its end.
        """
        if self._disconnected:
            return
        self._caller = None
        self._release()
        self.code = status
        head = answer_head(status, body, content_type) + self.channel.factory.headers(self) + headers
        if not self.channel.persistent:
            head += b"Connection: close\r\n"
        self.startedWriting = 1
        self.channel.write(head + b"\r\n" + (b"" if body is None or self.method == b"HEAD" else body))
        self.finish()


@implementer(IHalfCloseableProtocol)
class HttpChannel(HTTPChannel):
    """One connection."""

    requestFactory = HttpRequest
    rate = None
    number = 0
    port = None
    _has_all = False

    def open_websocket(self, request, head):
        """Give the connection back to the port, for a WebSocket that is asked for after other requests."""
        if request._disconnected:
            return
        rest = b"".join(self._dataBuffer)
        self.requests, self._dataBuffer = [], []
        self.setTimeout(None)
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        self.port.open_websocket(head, rest)

    def refuse(self, error):
        """Answer what is no request, or too large a one, and close."""
        self.transport.write(refusal(error))
        self.loseConnection()

    def readConnectionLost(self):
        """The client has closed its side: what it has asked is still answered, then the connection closes. Whoever is gone altogether looks
        the same, so a poll that waits is answered at once. Twisted calls it again whenever it resumes reading.
        """
        self._has_all = True
        if self._handlingRequest:
            self.requests[0].end_waiting()
        else:
            self._close_after_all()

    def writeConnectionLost(self):
        """Never: the server does not close one side."""

    def requestDone(self, request):
        super().requestDone(request)
        if self._has_all and not self._handlingRequest:
            self._close_after_all()

    def _close_after_all(self):
        if self.requests or self.clearLineBuffer():
            self.refuse(MalformedHttp())
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self):
        # Twisted answers broken HTTP without a body, and every error of this API has one.
        self.refuse(MalformedHttp())

    def lineLengthExceeded(self, line):
        # Without any answer clients take it for a broken connection, and try again.
        self.refuse(HeadTooLarge())


class RestSite(HTTPFactory):
    """The plain HTTP side of the port."""

    protocol: Any = HttpChannel
    noisy = False
    events = Logger()

    def __init__(self, server, locator, admission):
        super().__init__(reactor=server.reactor)
        self._rates = RateLimits(server.reactor)
        self.set_limits(server.settings)
        self.metrics = server.metrics
        self._locator = locator
        self._admission = admission
        self._api = RestApi(server)
        self._documents = {}

    def set_limits(self, settings):
        """Go by other settings, also for connections that are open; but they are closed after the time that held when they were opened.

        :param settings: the whole configuration.
        """
        # A poll counts as a request, however long it waits.
        self.timeOut = settings.limits.idle_timeout or None
        self.message_size = settings.limits.message_size
        self.body_timeout = settings.limits.body_timeout
        self._per_second = settings.limits.requests_per_second
        self._origins = settings.server.origins

    def startFactory(self):
        """Without Twisted's access log, which has a file and a timer of its own."""

    def stopFactory(self):
        """Nothing was started."""

    def log(self, request):
        """No line for each answer: clients that poll ask ten times a second. What fails is logged where it fails."""

    def headers(self, request):
        """The lines that every answer has (REST reference, section 2)."""
        if not self._origins:
            return ANY_ORIGIN + COMMON_HEADERS
        origin = read_origin(request.requestHeaders.getRawHeaders(b"origin", ()))
        allowed = b"Access-Control-Allow-Origin: %b\r\n" % origin.encode() if origin in self._origins else b""
        return allowed + b"Vary: Origin\r\n" + COMMON_HEADERS

    def process(self, request):
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
            if self._per_second:
                self._take_turn(request)
            else:
                self._process(request)

    def _take_turn(self, request):
        rate = self._rate_of(request)
        if rate.take():
            self._process(request)
        else:
            self.metrics.refused("requests_per_second")
            self.reactor.callLater(rate.delay, self._take_turn, request)

    def _rate_of(self, request):
        """The limit is one of connections; but those of a trusted proxy carry the requests of many clients."""
        if request.is_held:
            return self._rates.of(limit_key(request.address), self._per_second)
        channel = request.channel
        if channel.rate is None:
            channel.rate = RateLimit(self.reactor, self._per_second)
        return channel.rate

    def _process(self, request):
        if request._disconnected:
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

    def _route(self, request):
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

    def _call(self, request, method, prefix, segments, parameters):
        caller = request.caller(self._locator, prefix)
        content_type, authorization = request.header("content-type"), request.header("authorization")
        call = Call(method, segments, parameters, request.body, content_type, authorization, caller, request.header)

        def done(status, body, headers=b""):
            request.answer(status, body, headers + (_allow(self._api.methods(segments)) if status == 405 else b""))

        self._api.handle(call, done)

    def _tell_methods(self, request, segments):
        methods = self._api.methods(segments)
        if methods is None:
            raise NoSuchPath()
        request.answer(200, b"", _allow(methods), TEXT)

    @staticmethod
    def _give(request, method, content, content_type):
        allow = _allow(["GET", "HEAD", "OPTIONS"])
        if method in ("GET", "HEAD"):
            request.answer(200, content, content_type=content_type)
        elif method == "OPTIONS":
            request.answer(200, b"", allow, TEXT)
        else:
            request.answer_error(MethodNotAllowed(), allow)

    def _document(self, base):
        """The OpenAPI document of a base, made when it is first asked for: that takes some milliseconds."""
        if base not in self._documents:
            self._documents[base] = json.dumps(openapi(base or "/", API_VERSION)).encode()
        return self._documents[base]


def _allow(methods):
    return b"Allow: %b\r\n" % ", ".join(methods).encode()


def _method(request):
    """The method, or the one that a POST asks to be taken for (REST reference, section 10)."""
    method = request.method.decode("latin-1")
    override = (request.header("x-http-method-override") or "").upper()
    return override if method == "POST" and override in OVERRIDES else method


def _parameters(query):
    """Name -> list of texts.

    :raises BadRequest: it is no text, or too much.
    """
    if not query:
        return {}
    try:
        return parse_qs(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise BadRequest(detail=f"the query must be UTF-8, percent-encoded, with at most {MOST_PARAMETERS} parameters") from None
