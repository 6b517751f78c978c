"""How much may be open at once: in all, and for each client's address, which is found out here.

Behind a trusted proxy a connection has no client's address of its own. A WebSocket counts under the address of the client that opened it.
A plain HTTP connection, which carries the requests of many, counts for nobody: each of its requests counts while it is under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from dhtwisted.core.addresses import TrustedProxies, limit_key
from dhtwisted.errors import ServiceUnavailable
from dhtwisted.transports.capacity import most_connections
from dhtwisted.transports.forwarding import read_client
from dhtwisted.transports.unnamed_proxies import UnnamedProxies

if TYPE_CHECKING:
    from dhtwisted.config.settings import Settings
    from dhtwisted.transports.forwarding import Client, Values

REFUSALS = 16
"""Connections beyond the limit that are told so at once; each has a descriptor of the reserve until it is gone."""


class Admission:
    """Counts for one server.

    :param settings: the whole configuration.
    :param refused: called with the name of the limit when one refuses something.
    :ivar open: how many connections there are, of any sort.
    :ivar proxies: a :class:`~dhtwisted.core.addresses.TrustedProxies`.
    """

    def __init__(self, settings: Settings, refused: Callable[[str], object]) -> None:
        self.open = 0
        self._unnamed = UnnamedProxies()
        self._refused = refused
        self._held: Counter[str] = Counter()
        self.set_limits(settings)

    def set_limits(self, settings: Settings) -> None:
        """Go by other settings. What is open stays open."""
        self.proxies = TrustedProxies(settings.server.trusted_proxies)
        self._limit = most_connections(settings.limits.connections)
        self._limit_per_address = settings.limits.connections_per_address

    def client_of(self, values: Values, peer: str) -> Client:
        """Find out who sent a request, as :func:`~dhtwisted.transports.forwarding.read_client` does."""
        if self._unnamed.is_watching and not self.proxies:
            self._unnamed.see(values, peer)
        return read_client(values, peer, self.proxies)

    def enter(self) -> bool:
        """Count a connection, until :meth:`leave`.

        :returns: whether there is room for it.
        """
        self.open += 1
        if self._limit and self.open > self._limit:
            self._refused("connections")
            return False
        return True

    @property
    def is_crowded(self) -> bool:
        """Whether there is no room for one more, not even to refuse it."""
        return bool(self._limit) and self.open >= self._limit + REFUSALS

    def leave(self) -> None:
        """Count a connection no longer."""
        self.open -= 1

    def hold(self, address: str) -> str:
        """Count something that is open for an address.

        :returns: what :meth:`release` takes when it has ended; limits and proxies may be others then.
        :raises ServiceUnavailable: the address has as much as it may have.
        """
        key = limit_key(address)
        if self._limit_per_address and self._held[key] >= self._limit_per_address:
            self._refused("connections_per_address")
            raise ServiceUnavailable()
        self._held[key] += 1
        return key

    def release(self, key: str) -> None:
        """Count it no longer."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
