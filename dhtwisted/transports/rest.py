"""Plain HTTP on the server's port: ``GET .../info``, by which firmware and test tools find the WebSocket (REST reference, section 8.1)."""

from __future__ import annotations

import json

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from dhtwisted.server import API_VERSION
from dhtwisted.timestamps import format_timestamp

WELCOME = b"The DeviceHive API runs here.\n"
METHODS = b"OPTIONS, GET, POST, PUT, DELETE, HEAD"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEADERS = b"Origin, Authorization, Accept, Content-Type, Auth-DeviceID, Auth-DeviceKey"


class Locator:
    """Knows the addresses under which clients find things.

    :param settings: the ``[server]`` section.
    """

    def __init__(self, settings):
        self._public_url = settings.public_url.rstrip("/")
        self._prefixes = [prefix.rstrip("/") for prefix in settings.prefixes]
        self._websockets = {prefix + path: prefix for prefix in self._prefixes for path in ("/client", "/device", "/websocket")}
        self._info = {prefix + base: prefix for prefix in self._prefixes for base in ("", "/rest")}
        first = self._prefixes[0] if self._prefixes else ""
        self._info |= {base: first for base in ("", "/auth/rest", "/plugin/rest") if base not in self._info}

    @staticmethod
    def normal(path):
        """A path without repeated or trailing slashes and without query; the firmware asks for ``//info``."""
        return "".join("/" + part for part in path.partition("?")[0].split("/") if part)

    def is_websocket(self, path):
        """Whether clients may open a WebSocket here."""
        return self.normal(path) in self._websockets

    def info_prefix(self, path):
        """The prefix of an ``info`` resource; ``None`` when the path is none."""
        path = self.normal(path)
        return self._info.get(path.removesuffix("/info")) if path.endswith("/info") else None

    def is_base(self, path):
        """Whether this is one of the bases below which resources lie."""
        return self.normal(path) in self._info

    def rest_url(self, path, headers, secure):
        """Where a WebSocket client finds the REST API; ``secure``: it came by TLS."""
        return self._address(headers, "http", secure) + self._websockets.get(self.normal(path), "") + "/rest"

    def websocket_url(self, prefix, headers, secure):
        """Where a REST client finds the WebSocket; ``secure``: it came by TLS."""
        return self._address(headers, "ws", secure) + prefix + "/websocket"

    def _address(self, headers, scheme, secure):
        if self._public_url:
            return scheme + self._public_url.removeprefix("http")
        secure = secure or headers.get("x-forwarded-proto", "").lower() in ("https", "wss")
        return f"{scheme}{'s' if secure else ''}://{headers.get('host', 'localhost')}"


def _header(request, name):
    """A header as text, ``None`` when it is absent. Any bytes may come; twisted.web would fail at what is no UTF-8."""
    value = request.getHeader(name.encode())
    return None if value is None else value.decode("latin-1")


class RestResource(Resource):
    """Answers every path itself, since the paths are a table and not a tree."""

    isLeaf = True

    def __init__(self, server, locator):
        super().__init__()
        self._server = server
        self._locator = locator
        self._origins = server.settings.server.origins

    def render(self, request):
        self._allow_origin(request)
        path = request.path.decode("utf-8", "replace")
        prefix = self._locator.info_prefix(path)
        if prefix is None and not self._locator.is_base(path):
            return self._error(request, 404, "Not Found")
        if request.method == b"OPTIONS":
            return b""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD, OPTIONS")
            return self._error(request, 405, "Method Not Allowed")
        if prefix is None:
            return self._answer(request, b"text/plain; charset=utf-8", WELCOME)
        return self._answer(request, b"application/json", json.dumps(self._info(request, prefix)).encode())

    def _info(self, request, prefix):
        headers = {name: value for name in ("host", "x-forwarded-proto") if (value := _header(request, name))}
        return {
            "apiVersion": API_VERSION,
            "serverTimestamp": format_timestamp(self._server.now()),
            "webSocketServerUrl": self._locator.websocket_url(prefix, headers, request.isSecure()),
        }

    def _allow_origin(self, request):
        origin = _header(request, "origin")
        if not self._origins:
            request.setHeader(b"access-control-allow-origin", b"*")
        elif origin in self._origins:
            request.setHeader(b"access-control-allow-origin", origin.encode())
            request.setHeader(b"vary", b"Origin")
        request.setHeader(b"access-control-allow-methods", METHODS)
        request.setHeader(b"access-control-allow-headers", HEADERS)
        request.setHeader(b"access-control-max-age", b"0")
        request.setHeader(b"cache-control", b"no-store")

    def _error(self, request, code, message):
        request.setResponseCode(code)
        return self._answer(request, b"application/json", json.dumps({"error": code, "message": message}).encode())

    @staticmethod
    def _answer(request, content_type, body):
        request.setHeader(b"content-type", content_type)
        request.setHeader(b"content-length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body


class BoundedRequest(Request):
    """A request whose body has a limit: twisted.web itself would take any and spool it to disk."""

    _received = 0

    def gotLength(self, length):
        if self._exceeds(length or 0):
            self._refuse()
            length = 0
        super().gotLength(length)

    def handleContentChunk(self, data):
        self._received += len(data)
        if self._exceeds(self._received):
            self._refuse()
        else:
            super().handleContentChunk(data)

    def _exceeds(self, length):
        limit = self.channel.site.message_size
        return bool(limit) and length > limit

    def _refuse(self):
        self.channel.transport.write(TOO_LARGE)
        self.channel.transport.loseConnection()


class RestSite(Site):
    """The plain HTTP side of the port."""

    events = Logger()
    noisy = False
    displayTracebacks = False

    def __init__(self, server, locator):
        super().__init__(RestResource(server, locator), requestFactory=BoundedRequest, reactor=server.reactor)
        self.message_size = server.settings.limits.message_size

    def log(self, request):
        """Twisted's access log is a file of its own; ours is one event of the program's log."""
        self.events.debug("{method} {path} {code}", method=request.method, path=request.path, code=request.code)
