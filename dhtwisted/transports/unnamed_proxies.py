"""Warns once when all clients seem to come through a proxy that is not in ``server.trusted_proxies``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.logger import Logger

from dhtwisted.core.addresses import UNIX, TrustedProxies
from dhtwisted.errors import UnclearForwarding
from dhtwisted.transports.forwarding import FOR, FORWARDED, read_client

if TYPE_CHECKING:
    from dhtwisted.transports.forwarding import Values

MOST_PROXIES = 4
"""If more addresses than this send the header, clients send it themselves."""

ENOUGH_CLIENTS = 2
"""A single one could be a test on somebody's own machine."""


class UnnamedProxies:
    """Watches requests until it is clear whether there is a proxy.

    There is one if forwarding headers name at least :data:`ENOUGH_CLIENTS` clients, if at most :data:`MOST_PROXIES` peers send them, and if
    every request from another machine had such a header.

    :ivar is_watching: whether :meth:`see` needs more requests.
    """

    log = Logger()

    def __init__(self) -> None:
        self.is_watching = True
        self._peers: set[str] = set()
        self._clients: set[str] = set()

    def see(self, values: Values, peer: str) -> None:
        """Watch a request.

        :param values: as of :func:`~dhtwisted.transports.forwarding.read_client`.
        :param peer: the address of the other end of the connection.
        """
        if not (values(FOR) or values(FORWARDED)):
            self.is_watching = _is_local(peer)
            return
        self._peers.add(peer)
        self._clients.add(_named_by(values, peer))
        self._clients.discard(peer)
        if len(self._peers) > MOST_PROXIES:
            self.is_watching = False
        elif len(self._clients) >= ENOUGH_CLIENTS:
            self.is_watching = False
            self.log.warn(
                "{peers} names clients and is not in server.trusted_proxies: if it is a proxy, they share the limits of one address",
                peers=", ".join(sorted(address or UNIX for address in self._peers)),
            )


def _named_by(values: Values, peer: str) -> str:
    """The client that a peer names; the peer itself if it names no client."""
    try:
        return read_client(values, peer, TrustedProxies([peer or UNIX])).address
    except (UnclearForwarding, ValueError):
        return peer


def _is_local(peer: str) -> bool:
    """Whether a peer is on this machine, such as a health check."""
    return not peer or ip_address(peer).is_loopback
