"""The endpoint strings of ``server.listen``: those of Twisted, and ``tls:`` in front of one.

``tls:tcp:8443`` is ``tcp:8443`` with the certificate of ``[tls]``, which can be renewed while the server runs; the one of an ``ssl:``
endpoint is read once.
"""

import errno
import os
import re

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from dhtwisted.errors import ConfigurationError

TLS_PREFIX = "tls:"
BACKLOG = 4096
"""Clients that may wait to be accepted, if the kernel allows so many (``net.core.somaxconn``). Twisted's 50 are there within some
milliseconds when clients come back together, and each that finds no room comes again after a second, then two, then four.
"""
_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?(\d+)")
UNIX = re.compile(r"unix:(?:address=)?((?:[^:\\]|\\.)*)")
LONGEST_PATH = 107
"""Bytes of the path of a Unix socket, which Linux has no more room for."""
_BACKLOGGED = re.compile(r"(?:tcp6?|ssl|unix):")
TAKEN = "another program listens there; end it, or take another port (ss -ltnp shows who it is)"
FORBIDDEN = (
    "this user may not listen there; take a port from 1024 on, devicehive.socket, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
)
_REASONS = {
    errno.EADDRINUSE: TAKEN,
    errno.EACCES: FORBIDDEN,
    errno.EADDRNOTAVAIL: "this machine has no such address; see: ip address",
    errno.ENOENT: "there is no such directory; make it, or name another",
}
_SYSTEMD = re.compile(r"systemd:domain=(?:INET6?|UNIX):(?:index=\d+|name=[^:=\s]+)")


def is_tls(description):
    """Whether an endpoint is to have the certificate of ``[tls]``."""
    return description.startswith(TLS_PREFIX)


def is_clear(description):
    """Whether passwords pass in clear at an endpoint; not at one that a program on this machine alone can reach by a file."""
    return description.startswith(("tcp", "systemd", "fd"))


def check_endpoint(description):
    """Check a string without listening.

    :raises ValueError: it is no endpoint; the text goes on after the string.
    """
    plain = description.removeprefix(TLS_PREFIX)
    if not description.isprintable():
        raise ValueError("has a character that cannot be printed")
    unix = UNIX.match(plain)
    if unix is not None and len(os.fsencode(unix[1])) > LONGEST_PATH:
        raise ValueError(f"has a path of more than {LONGEST_PATH} bytes")
    port = _PORT.match(plain)
    if port is not None and int(port[1]) > 65535:
        raise ValueError("has a port above 65535")
    if is_tls(description) and plain.startswith((TLS_PREFIX, "ssl:")):
        raise ValueError("has TLS twice")
    if plain.startswith("systemd:"):
        # Only the process that systemd starts is given the socket, and whoever checks a configuration is another.
        if _SYSTEMD.fullmatch(plain) is None:
            raise ValueError("is no endpoint: the form is systemd:domain=INET:name=devicehive (or INET6 or UNIX, or index=0)")
        return
    try:
        serverFromString(None, plain)
    except Exception as error:
        # The parser of an endpoint may be anybody's plugin, and what it raises depends on the mistake (TypeError for a missing port).
        reason = "arguments are missing or unknown" if isinstance(error, TypeError) else " ".join(str(error).split())
        raise ValueError(f"is no endpoint: {reason}") from error


def open_endpoint(reactor, description, option="server.listen"):
    """The ``IStreamServerEndpoint`` of a checked string, without its TLS; :data:`BACKLOG` clients may wait there unless it says otherwise.

    :param option: where it is configured, for the error.
    :raises ConfigurationError: systemd has passed no such socket.
    """
    plain = description.removeprefix(TLS_PREFIX)
    if _BACKLOGGED.match(plain) and ":backlog=" not in plain:
        plain += f":backlog={BACKLOG}"
    try:
        return serverFromString(reactor, plain)
    except LookupError as error:
        raise ConfigurationError(f"{option}: {plain}: systemd has passed no such socket; is devicehive.socket enabled?") from error


async def listen(reactor, description, factory, option="server.listen"):
    """Listen at the endpoint of a checked string, without its TLS.

    :param option: where it is configured, for the error.
    :returns: the ``IListeningPort``.
    :raises ConfigurationError: that cannot be; the text says how to mend it.
    """
    endpoint = open_endpoint(reactor, description, option)
    try:
        return await endpoint.listen(factory)
    except (CannotListenError, OSError) as error:
        number = getattr(getattr(error, "socketError", error), "errno", None)
        raise ConfigurationError(f"{option}: {description}: {_REASONS.get(number) or error}") from error
