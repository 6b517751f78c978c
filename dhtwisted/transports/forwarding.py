"""The address of a client behind proxies, and the address at which the client reached the server.

Both fronts read them here, from ``Forwarded`` (RFC 7239) and ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Port``. These headers count
only if the connection comes from a trusted proxy. Each proxy appends the address of its client, so the lists are read from the end: the
first address that is not a trusted proxy is the client's. What stands before it came from the client and is not trusted.
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

# Values that lack their quotes, such as for=192.0.2.1:4711, are accepted too.
_PAIR = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]+))""")
_SPACE = re.compile(r"[ \t]*")
_NODE = re.compile(r"\[([^\]]*)\](?::.*)?|(\d+\.\d+\.\d+\.\d+)(?::.*)?|(.*)", re.DOTALL | re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)
_HAS_PORT = re.compile(r":\d+$", re.ASCII)
_PORT = re.compile(r"\d{1,5}", re.ASCII)


Values = Callable[[bytes], Sequence[bytes]]
"""Lower-case name of a header -> its values, in order of arrival."""


class Client(NamedTuple):
    """The client of a request.

    :ivar address: its network address, for limits and logs; empty on a Unix socket.
    :ivar scheme: ``http`` or ``https``, as the client used it at the first proxy; ``None`` if no trusted proxy names it.
    :ivar host: the host that the client used, perhaps with a port; ``None`` likewise.
    :ivar port: the port that the client used; ``None`` likewise.
    """

    address: str
    scheme: str | None = None
    host: str | None = None
    port: int | None = None


def read_client(values: Values, peer: str, proxies: TrustedProxies) -> Client:
    """Find the client of a request.

    :param values: see :data:`Values`.
    :param peer: the address of the other end of the connection, from :func:`~dhtwisted.core.addresses.peer_address`.
    :param proxies: a :class:`~dhtwisted.core.addresses.TrustedProxies`.
    :returns: a :class:`Client`.
    :raises UnclearForwarding: a trusted proxy passes on an invalid ``Forwarded``, or one that names another client than
        ``X-Forwarded-For``. Then the client has written one of the two, and the server cannot know which.
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
    """The scheme, host and port at which a client reaches the server.

    :param host: the header ``Host``; empty or ``None`` if absent.
    :param secure: whether the connection itself uses TLS.
    :returns: ``http`` or ``https``, and the host, with the port if it is not the scheme's default.
    """
    scheme = client.scheme or ("https" if secure else "http")
    host = client.host or host or "localhost"
    if client.port is not None and client.port != DEFAULT_PORTS[scheme] and not _HAS_PORT.search(host):
        host = f"{host}:{client.port}"
    return scheme, host


def forwarded_elements(line: str) -> list[dict[str, str]]:
    """Parse one line of ``Forwarded``.

    :returns: one dict for each proxy, lower-case name -> value without quotes.
    :raises UnclearForwarding: the line is invalid. A client could leave a quote open to hide the element of a proxy.
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
    """The client's address and its index in the list.

    If a proxy does not name its client, the proxy's own address counts; the nodes before it are not trusted.
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
    """The address of a node, without port and brackets; ``None`` for ``unknown``, an obfuscated name or anything else."""
    match = _NODE.fullmatch(text.strip().strip('"'))
    assert match is not None, "the pattern matches anything"
    bracketed, dotted, other = match.groups()
    return plain_address(next(part for part in (bracketed, dotted, other) if part is not None))


def _items(lines: Sequence[bytes]) -> list[str]:
    """The items of a list, which may come in several lines."""
    return [item for line in lines for item in map(str.strip, line.decode("latin-1").split(",")) if item]


def _first(lines: Sequence[bytes]) -> str:
    """The first item of a list, from the proxy next to the client; empty if there is none.

    A client that forges it misleads only itself: the value is used only in answers to this client.
    """
    return next(iter(_items(lines)), "").strip('"')
