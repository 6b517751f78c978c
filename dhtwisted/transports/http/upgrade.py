"""The head of an HTTP request: whether it asks for a WebSocket, and whether that is valid (RFC 6455, section 4.2.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dhtwisted.errors import AccessDenied, HandshakeFault, HandshakeMethod, HttpVersionTooOld, NoSuchPath, UnknownWebSocketVersion
from dhtwisted.transports.http.headers import path_of, read_origin, single

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from twisted.web.http import Request

    from dhtwisted.transports.locator import Locator

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
VERSIONS = (b"13", b"8")
"""The versions that Autobahn supports. The second is from drafts; its frames are the same."""


class Head:
    """The parts of a request's head that decide which protocol serves it.

    :param data: bytes from the request line to the empty line.
    """

    def __init__(self, data: bytes) -> None:
        lines = data.split(b"\r\n")
        words = lines[0].split(b" ")
        self.method: bytes
        self.version: bytes
        self.method, path, self.version = words if len(words) == 3 else (b"", b"", b"")
        self.path = path_of(path.decode("latin-1"))
        self._lines = lines
        self._headers: dict[bytes, list[bytes]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            self._headers.setdefault(name.strip().lower(), []).append(value.strip())

    @classmethod
    def of_request(cls, request: Request) -> Head:
        """The head of a request that twisted.web has read."""
        headers = [b"%b: %b" % (name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]
        return cls(b"\r\n".join([b" ".join((request.method, request.uri, request.clientproto)), *headers]))

    def values(self, name: bytes) -> Sequence[bytes]:
        """The values of a header, in order of arrival.

        :param name: lower-case bytes.
        """
        return self._headers.get(name, ())

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return b"upgrade" in self._headers and self._lists(b"upgrade", b"websocket")

    def without_origin(self) -> bytes:
        """The head for Autobahn, which would refuse origins that firmware sends. The origin is checked here instead."""
        return b"\r\n".join(line for line in self._lines if not line.lower().startswith(b"origin:"))

    def check_upgrade(self, locator: Locator, origins: Collection[str]) -> None:
        """Check that Autobahn can open the request as a WebSocket.

        :param locator: a :class:`~dhtwisted.transports.locator.Locator`.
        :param origins: pages that may connect; empty for any.
        :raises ApiError: the request is invalid; the text says why, and what to do.
        """
        if not locator.is_websocket(self.path):
            raise NoSuchPath()
        origin = read_origin(self.values(b"origin"))
        if origins and origin is not None and origin not in origins:
            raise AccessDenied()
        # Autobahn would join repeated values.
        single(self.values(b"authorization"), b"authorization")
        if self.method != b"GET":
            raise HandshakeMethod()
        if self.version != b"HTTP/1.1":
            raise HttpVersionTooOld()
        if not self._lists(b"connection", b"upgrade"):
            raise HandshakeFault("The handshake lacks the header Connection: Upgrade. If a proxy is in between, it must send that.")
        versions = self.values(b"sec-websocket-version")
        if len(versions) != 1 or versions[0] not in VERSIONS:
            raise UnknownWebSocketVersion()
        if len(self.values(b"host")) != 1:
            raise HandshakeFault("The handshake must have the header Host, once.")
        keys = self.values(b"sec-websocket-key")
        if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
            raise HandshakeFault("The handshake must have the header Sec-WebSocket-Key once, with 16 bytes in base64.")

    def _lists(self, name: bytes, item: bytes) -> bool:
        return any(part.strip().lower() == item for value in self.values(name) for part in value.split(b","))
