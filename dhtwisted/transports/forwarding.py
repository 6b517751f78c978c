"""The address of a client behind proxies, and the address at which it found the server.

``Forwarded`` (RFC 7239) and ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Port`` tell it, and both fronts read them here. They count
only when the connection comes from a trusted proxy. Each proxy appends the address of whom it serves, so the lists are read from their end:
the first address there that is no trusted proxy is the client's. What stands before it was sent by the client, and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dhtwisted.core.addresses import plain_address
from dhtwisted.errors import UnclearForwarding

if TYPE_CHECKING:
    from dhtwisted.core.addresses import TrustedProxies

FOR, PROTO, HOST, PORT = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"
FORWARDED = b"forwarded"
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
DEFAULT_PORTS = {"http": 80, "https": 443}

# Values that should be quoted and are not, such as for=192.0.2.1:4711, are taken as well.
_PAIR = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+))""")
_SPACE = re.compile(r"[ \t]*")
_NODE = re.compile(r"\[([^\]]*)\](?::.*)?|(\d+\.\d+\.\d+\.\d+)(?::.*)?|(.*)", re.DOTALL | re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)
_HAS_PORT = re.compile(r":\d+$", re.ASCII)
_PORT = re.compile(r"\d{1,5}", re.ASCII)


Values = Callable[[bytes], Sequence[bytes]]
"""Gives the values of a header, by its lower-case name, in the order in which they came."""


class Client(NamedTuple):
    """Who sent a request.

    :ivar address: its network address, for limits and logs; empty for one on a Unix socket.
    :ivar scheme: ``http`` or ``https``, by which it came to the first proxy; ``None`` where no trusted proxy says so.
    :ivar host: the host that it asked for, perhaps with a port; ``None`` likewise.
    :ivar port: the port that it came to; ``None`` likewise.
    """

    address: str
    scheme: str | None = None
    host: str | None = None
    port: int | None = None


def read_client(values: Values, peer: str, proxies: TrustedProxies) -> Client:
    """Find out who sent a request.

    :param values: gives the values of a header, ``bytes -> [bytes]``, by its lower-case name and in the order in which they came.
    :param peer: the address of the other end of the connection, as :func:`~dhtwisted.core.addresses.peer_address` gives it.
    :param proxies: a :class:`~dhtwisted.core.addresses.TrustedProxies`.
    :returns: a :class:`Client`.
    :raises UnclearForwarding: a trusted proxy passes on ``Forwarded`` that cannot be read, or that names another client than
        ``X-Forwarded-For``. One of the two is then the client's own, and which one cannot be known.
    """
    if not proxies.trusts(peer):
        return Client(peer)
    elements = [element for line in values(FORWARDED) for element in forwarded_elements(line.decode("latin-1"))]
    nodes = [_node(element.get("for", "")) for element in elements]
    hops = [_node(item) for item in _items(values(FOR))]
    address, element = _last_untrusted(hops, peer, proxies)[0], elements[0] if elements else {}
    if any("for" in each for each in elements):
        named, index = _last_untrusted(nodes, peer, proxies)
        if hops and named != address:
            raise UnclearForwarding()
        address, element = named, elements[index]
    scheme = SCHEMES.get((element.get("proto") or _first(values(PROTO))).lower())
    host = element.get("host") or _first(values(HOST))
    port = _first(values(PORT))
    is_port = _PORT.fullmatch(port) is not None and 0 < int(port) < 2**16
    return Client(address, scheme, host if _HOST.fullmatch(host) else None, int(port) if is_port else None)


def public_authority(client: Client, host: str | None, secure: bool) -> tuple[str, str]:
    """By which scheme, host and port a client reaches the server.

    :param host: the header ``Host``; empty or ``None`` for none.
    :param secure: whether the connection itself has TLS.
    :returns: ``http`` or ``https``, and a host, with its port where that is not the scheme's own.
    """
    scheme = client.scheme or ("https" if secure else "http")
    host = client.host or host or "localhost"
    if client.port is not None and client.port != DEFAULT_PORTS[scheme] and not _HAS_PORT.search(host):
        host = f"{host}:{client.port}"
    return scheme, host


def forwarded_elements(line: str) -> list[dict[str, str]]:
    """Take one line of ``Forwarded`` apart.

    :returns: a list of dicts, lower-case name -> value without quotes, one for each proxy.
    :raises UnclearForwarding: it has another form. A client could leave a quote open, in which a proxy's own element would vanish.
    """
    elements, element, position = [], {}, 0
    while True:
        position = _end_of_space(line, position)
        pair = _PAIR.match(line, position)
        if pair is not None:
            name = pair[1].lower()
            if name in element:
                raise UnclearForwarding()
            element[name] = pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
            position = _end_of_space(line, pair.end())
        end = line[position : position + 1]
        if end not in ("", ",", ";"):
            raise UnclearForwarding()
        if end != ";":
            elements += [element] if element else []
            element = {}
        if not end:
            return elements
        position += 1


def _end_of_space(line: str, position: int) -> int:
    space = _SPACE.match(line, position)
    assert space is not None, "the pattern matches anything"
    return space.end()


def _last_untrusted(nodes: list[str | None], peer: str, proxies: TrustedProxies) -> tuple[str, int]:
    """The client's address, and where in the list it stands.

    When a proxy does not say whom it serves, it is the proxy's own address that counts; what stands before that is not believed.
    """
    address, index = peer, len(nodes)
    while index and proxies.trusts(address):
        index -= 1
        node = nodes[index]
        if node is None:
            break
        address = node
    return address, index


def _node(text: str) -> str | None:
    """The address of a node, without port and brackets; ``None`` for ``unknown``, an obfuscated name, and anything else."""
    match = _NODE.fullmatch(text.strip().strip('"'))
    assert match is not None, "the pattern matches anything"
    bracketed, dotted, other = match.groups()
    return plain_address(next(part for part in (bracketed, dotted, other) if part is not None))


def _items(lines: Sequence[bytes]) -> list[str]:
    """The items of a list, which may come in several lines."""
    return [item for line in lines for item in map(str.strip, line.decode("latin-1").split(",")) if item]


def _first(lines: Sequence[bytes]) -> str:
    """The first item of a list, which the proxy next to the client has written; empty when there is none.

    A client that writes it itself misleads nobody but itself: it steers only what this client is told.
    """
    return next(iter(_items(lines)), "").strip('"')
