"""The PROXY protocol of load balancers, versions 1 and 2, for endpoints with ``haproxy:`` in front.

A connection begins with a header that has the client's address. The client's bytes follow, TLS included. Twisted's own reader is not used:
it closes the connection at HAProxy's ``PROXY UNKNOWN`` and at a header that arrives in parts, and raises at an invalid port.
The format is described in https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import re
import struct
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from dhtwisted.core.addresses import plain_address

LONGEST_LINE = 107
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED = len(SIGNATURE) + 4
LOCAL, PROXY = 0, 1
_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r]*)?|(?:TCP4|TCP6) (\S+) \S+ (\d{1,5}) \d{1,5})\r\n")
_FAMILIES = {0x11: ("!4s4xH", 12), 0x21: ("!16s16xH", 36)}
"""Family and transport -> the format of the source in a header of version 2, and the length of all addresses."""


Header = tuple[tuple[str, int] | None, int]


class ProxyHeaderError(Exception):
    """The connection does not begin with a PROXY header."""


def read_header(data: bytes) -> Header | None:
    """Read the header at the beginning of a connection.

    :returns: ``((address, port), length of the header)``. The first is ``None`` for the balancer's own connection, or if it does not know
        the client. ``None`` alone means that more bytes are needed.
    :raises ProxyHeaderError: the bytes are not a header.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_binary(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _read_line(data)
    raise ProxyHeaderError()


def _read_line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise ProxyHeaderError()
        return None
    line = _LINE.fullmatch(data[: end + 2])
    if line is None:
        raise ProxyHeaderError()
    if line[1] is None:
        return None, end + 2
    host = plain_address(line[1].decode("latin-1"))
    if host is None or int(line[2]) > 65535:
        raise ProxyHeaderError()
    return (host, int(line[2])), end + 2


def _read_binary(data: bytes) -> Header | None:
    if len(data) < FIXED:
        return None
    version, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    if version >> 4 != 2 or version & 15 not in (LOCAL, PROXY):
        raise ProxyHeaderError()
    if len(data) < FIXED + length:
        return None
    source: Any = None
    if version & 15 == PROXY and family in _FAMILIES:
        form, needed = _FAMILIES[family]
        if length < needed:
            raise ProxyHeaderError()
        packed, port = struct.unpack_from(form, data, FIXED)
        source = plain_address(str(ip_address(packed))), port
    return source, FIXED + length


class AnnouncedProtocol(ProtocolWrapper):
    """One connection. Its peer is the client in the header."""

    log = Logger()
    transport: Any
    wrappedProtocol: Any

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._received = b""
        self._peer: IPv4Address | IPv6Address | None = None
        self._is_read = False

    def dataReceived(self, data: bytes) -> None:
        if self._is_read:
            self.wrappedProtocol.dataReceived(data)
            return
        self._received += data
        try:
            header = read_header(self._received)
        except ProxyHeaderError:
            self.log.warn("A connection to a haproxy: endpoint does not begin with a PROXY header; does the balancer send it?")
            self.transport.abortConnection()
            return
        if header is not None:
            self._read(*header)

    def _read(self, source: tuple[str, int] | None, length: int) -> None:
        rest, self._received, self._is_read = self._received[length:], b"", True
        if source is not None:
            self._peer = (IPv6Address if ":" in source[0] else IPv4Address)("TCP", *source)
        if rest:
            self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> Any:
        return self._peer or self.transport.getPeer()

    def __conform__(self, interface: object) -> object:
        """Support half-closed connections if the wrapped protocol does. TLS does not, and it asks its transport, this class, for interfaces
        that it lacks.
        """
        if interface is not IHalfCloseableProtocol or isinstance(self.wrappedProtocol, ProtocolWrapper):
            return None
        return None if IHalfCloseableProtocol(self.wrappedProtocol, None) is None else self

    def readConnectionLost(self) -> None:
        """The client has closed its side."""
        self.wrappedProtocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Do nothing: the server never closes only one side."""


class AnnouncedFactory(WrappingFactory):
    """Reads the header of each connection before another factory serves it."""

    protocol = AnnouncedProtocol
    noisy = False


def is_announced(transport: Any) -> bool:
    """Whether a connection begins with a PROXY header, also below TLS."""
    while transport is not None and not isinstance(transport, AnnouncedProtocol):
        transport = vars(transport).get("transport")
    return transport is not None
