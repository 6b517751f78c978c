"""Limits open connections: in total, and per client address. It also finds the address of a client.

A connection from a trusted proxy may serve many clients. A WebSocket counts for the address of the client that opened it. A plain HTTP
connection does not count for any address; each of its requests counts for the address of its client until it is answered.
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
"""Connections beyond the limit that get an error at the same time. Each uses a reserved descriptor until it is closed."""


class Admission:
    """Counts the open connections and requests of one server.

    :param settings: the whole configuration.
    :param refused: called with the name of the limit when one refuses something.
    :ivar open: the number of connections of any kind.
    :ivar proxies: a :class:`~dhtwisted.core.addresses.TrustedProxies`.
    """

    def __init__(self, settings: Settings, refused: Callable[[str], object]) -> None:
        self.open = 0
        self._unnamed = UnnamedProxies()
        self._refused = refused
        self._held: Counter[str] = Counter()
        self.set_limits(settings)

    def set_limits(self, settings: Settings) -> None:
        """Use these settings. Open connections stay open."""
        self.proxies = TrustedProxies(settings.server.trusted_proxies)
        self._limit = most_connections(settings.limits.connections)
        self._limit_per_address = settings.limits.connections_per_address

    def client_of(self, values: Values, peer: str) -> Client:
        """Find the client of a request, as :func:`~dhtwisted.transports.forwarding.read_client` does."""
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
        """Whether the reserve of descriptors is used up, so that one more connection cannot even be refused with an error."""
        return bool(self._limit) and self.open >= self._limit + REFUSALS

    def leave(self) -> None:
        """Stop counting a connection."""
        self.open -= 1

    def hold(self, address: str) -> str:
        """Count an open connection or request for an address.

        :returns: a key to pass to :meth:`release`. It stays valid when the settings change.
        :raises ServiceUnavailable: the address has reached its limit.
        """
        key = limit_key(address)
        if self._limit_per_address and self._held[key] >= self._limit_per_address:
            self._refused("connections_per_address")
            raise ServiceUnavailable()
        self._held[key] += 1
        return key

    def release(self, key: str) -> None:
        """Stop counting what :meth:`hold` has counted."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
