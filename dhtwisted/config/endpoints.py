"""The endpoint strings of ``server.listen``: those of Twisted, with ``tls:``, ``haproxy:`` or ``tls:haproxy:`` in front of one.

``tls:tcp:8443`` is ``tcp:8443`` with the certificate of ``[tls]``, which can be renewed while the server runs; the one of an ``ssl:``
endpoint is read once. ``haproxy:tcp:8081`` is ``tcp:8081`` for a load balancer that tells its clients' addresses by the PROXY protocol,
which ``dhtwisted.transports.proxy_protocol`` reads.
"""

import errno
import os
import re
import socket

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from dhtwisted.errors import ConfigurationError

TLS_PREFIX, PROXY_PREFIX = "tls:", "haproxy:"
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
LOCALHOST = "localhost"
_LOCALHOST = re.compile(rf"((?:tcp|ssl):(?:port=)?)(\d+)((?::.*)?:interface=){LOCALHOST}((?::.*)?)")
ATTEMPTS = 10
"""How many numbers are tried where the system chooses one that must be free at two addresses."""
_SYSTEMD = re.compile(r"systemd:domain=(?:INET6?|UNIX):(?:index=\d+|name=[^:=\s]+)")


def is_tls(description):
    """Whether an endpoint is to have the certificate of ``[tls]``."""
    return description.startswith(TLS_PREFIX)


def is_announced(description):
    """Whether connections to an endpoint begin with a header of the PROXY protocol."""
    return description.removeprefix(TLS_PREFIX).startswith(PROXY_PREFIX)


def plain(description):
    """An endpoint without what is in front of it."""
    return description.removeprefix(TLS_PREFIX).removeprefix(PROXY_PREFIX)


def is_clear(description):
    """Whether passwords pass in clear at an endpoint; not at one that a program on this machine alone can reach by a file."""
    return description.removeprefix(PROXY_PREFIX).startswith(("tcp", "systemd", "fd"))


def check_endpoint(description):
    """Check a string without listening.

    :raises ValueError: it is no endpoint; the text goes on after the string.
    """
    endpoint = plain(description)
    if not description.isprintable():
        raise ValueError("has a character that cannot be printed")
    unix = UNIX.match(endpoint)
    if unix is not None and len(os.fsencode(unix[1])) > LONGEST_PATH:
        raise ValueError(f"has a path of more than {LONGEST_PATH} bytes")
    port = _PORT.match(endpoint)
    if port is not None and int(port[1]) > 65535:
        raise ValueError("has a port above 65535")
    if is_tls(description) and endpoint.startswith((TLS_PREFIX, "ssl:")):
        raise ValueError("has TLS twice")
    if endpoint.startswith((TLS_PREFIX, PROXY_PREFIX)):
        raise ValueError("has haproxy: twice, or not behind tls:")
    if endpoint.startswith("systemd:"):
        # Only the process that systemd starts is given the socket, and whoever checks a configuration is another.
        if _SYSTEMD.fullmatch(endpoint) is None:
            raise ValueError("is no endpoint: the form is systemd:domain=INET:name=devicehive (or INET6 or UNIX, or index=0)")
        return
    try:
        serverFromString(None, endpoint)
    except Exception as error:
        # The parser of an endpoint may be anybody's plugin, and what it raises depends on the mistake (TypeError for a missing port).
        reason = "arguments are missing or unknown" if isinstance(error, TypeError) else " ".join(str(error).split())
        raise ValueError(f"is no endpoint: {reason}") from error


def open_endpoint(reactor, description, option="server.listen"):
    """The ``IStreamServerEndpoint`` of a checked string, without TLS and PROXY protocol.

    :data:`BACKLOG` clients may wait there unless it says otherwise.

    :param option: where it is configured, for the error.
    :raises ConfigurationError: systemd has passed no such socket.
    """
    text = plain(description)
    if _BACKLOGGED.match(text) and ":backlog=" not in text:
        text += f":backlog={BACKLOG}"
    try:
        return serverFromString(reactor, text)
    except LookupError as error:
        raise ConfigurationError(f"{option}: {text}: systemd has passed no such socket; is devicehive.socket enabled?") from error


async def listen(reactor, description, factory, option="server.listen"):
    """Listen at the endpoint of a checked string, without TLS and PROXY protocol.

    ``tcp:8080:interface=localhost`` is at the loopback addresses of both families, where this machine has them, with one port number.

    :param option: where it is configured, for the error.
    :returns: a list of ``IListeningPort``.
    :raises ConfigurationError: that cannot be; the text says how to mend it.
    """
    local = _LOCALHOST.fullmatch(plain(description))
    try:
        if local is not None:
            return await _listen_at_localhost(reactor, local, factory, option)
        return [await open_endpoint(reactor, description, option).listen(factory)]
    except (CannotListenError, OSError) as error:
        raise ConfigurationError(f"{option}: {description}: {_REASONS.get(_number_of(error)) or error}") from error


async def _listen_at_localhost(reactor, local, factory, option):
    """A number that the system gives at the first address may be taken at the second: then another is tried."""

    def listen_at(address, number):
        kind, _, before, after = local.groups()
        escaped = address.replace(":", r"\:")
        return open_endpoint(reactor, f"{kind}{number}{before}{escaped}{after}", option).listen(factory)

    addresses, given = loopback_addresses(), int(local[2])
    unusable = []
    try:
        while True:
            ports = [await listen_at(addresses[0], given)]
            try:
                ports += [await listen_at(address, ports[0].getHost().port) for address in addresses[1:]]
                return ports
            except CannotListenError as error:
                unusable += ports
                if given or _number_of(error) != errno.EADDRINUSE or len(unusable) == ATTEMPTS:
                    raise
    finally:
        for port in unusable:
            await maybeDeferred(port.stopListening)


def loopback_addresses():
    """The loopback addresses that this machine has, of IPv4 first."""
    found = [address for address in ("127.0.0.1", "::1") if _has_address(address)]
    return found or ["127.0.0.1"]


def _has_address(address):
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _number_of(error):
    return getattr(getattr(error, "socketError", error), "errno", None)
