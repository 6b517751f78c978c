"""The endpoint strings of ``server.listen`` and ``metrics.listen``: what they mean, and which are valid.

They are Twisted's, with ``tls:``, ``haproxy:`` or ``tls:haproxy:`` in front. ``tls:tcp:8443`` is ``tcp:8443`` with the certificate of
``[tls]``, which can be renewed while the server runs; the certificate of an ``ssl:`` endpoint is read once. ``haproxy:tcp:8081`` is
``tcp:8081`` for a load balancer that sends the addresses of its clients by the PROXY protocol.

:mod:`dhtwisted.service.listening` opens the sockets.
"""

import os
import re

from twisted.internet.endpoints import serverFromString

TLS_PREFIX, PROXY_PREFIX = "tls:", "haproxy:"
UNIX = re.compile(r"unix:(?:address=)?((?:[^:\\]|\\.)*)")
LONGEST_PATH = 107
"""The most bytes that the path of a Unix socket has on Linux."""

LOCALHOST = "localhost"
"""The interface that stands for the loopback addresses of IPv4 and IPv6."""

_HIGHEST_PORT = 65535
_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?(\d+)")
_SYSTEMD = re.compile(r"systemd:domain=(?:INET6?|UNIX):(?:index=\d+|name=[^:=\s]+)")


def is_tls(description: str) -> bool:
    """Whether an endpoint uses the certificate of ``[tls]``."""
    return description.startswith(TLS_PREFIX)


def uses_proxy_protocol(description: str) -> bool:
    """Whether connections to an endpoint begin with a header of the PROXY protocol."""
    return description.removeprefix(TLS_PREFIX).startswith(PROXY_PREFIX)


def without_prefixes(description: str) -> str:
    """The endpoint string of Twisted: without ``tls:`` and ``haproxy:``."""
    return description.removeprefix(TLS_PREFIX).removeprefix(PROXY_PREFIX)


def is_unencrypted(description: str) -> bool:
    """Whether passwords cross a network in the clear. They do not at a Unix socket: only programs on this machine reach it."""
    return description.removeprefix(PROXY_PREFIX).startswith(("tcp", "systemd", "fd"))


def check_endpoint(description: str) -> None:
    """Check a string without opening a socket.

    :raises ValueError: the string is not a valid endpoint. The text continues a sentence that begins with the string.
    """
    endpoint = without_prefixes(description)
    if not description.isprintable():
        raise ValueError("has a character that cannot be printed")
    unix = UNIX.match(endpoint)
    if unix is not None and len(os.fsencode(unix[1])) > LONGEST_PATH:
        raise ValueError(f"has a path of more than {LONGEST_PATH} bytes")
    port = _PORT.match(endpoint)
    if port is not None and int(port[1]) > _HIGHEST_PORT:
        raise ValueError(f"has a port above {_HIGHEST_PORT}")
    if is_tls(description) and endpoint.startswith((TLS_PREFIX, "ssl:")):
        raise ValueError("has TLS twice")
    if endpoint.startswith((TLS_PREFIX, PROXY_PREFIX)):
        raise ValueError("has haproxy: twice, or in front of tls:")
    if endpoint.startswith("systemd:"):
        _check_systemd(endpoint)
    else:
        _check_with_twisted(endpoint)


def _check_systemd(endpoint: str) -> None:
    """Check the form only: systemd passes the socket to the server's process, not to the process that checks a configuration."""
    if _SYSTEMD.fullmatch(endpoint) is None:
        raise ValueError("is not an endpoint: the form is systemd:domain=INET:name=devicehive (or INET6 or UNIX, or index=0)")


def _check_with_twisted(endpoint: str) -> None:
    try:
        serverFromString(None, endpoint)
    except Exception as error:
        # A plugin of any package may parse the endpoint, and the type of its error depends on the mistake (TypeError for a missing port).
        reason = "arguments are missing or unknown" if isinstance(error, TypeError) else " ".join(str(error).split())
        raise ValueError(f"is not an endpoint: {reason}") from error
