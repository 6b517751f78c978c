"""Network addresses, in the form that limits, logs and settings use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""Stands for the other end of a Unix socket, which has no address."""

MAPPED = 96
"""Bits in front of an IPv4 address that is written as an IPv6 one (RFC 4291, section 2.5.5.2)."""

ONE_CLIENT = 64
"""Bits of an IPv6 address that a client cannot choose. It can usually choose all others."""


def plain_address(text: str) -> str | None:
    """Write an address the usual way: without zone, and an IPv4 address that is mapped into IPv6 as IPv4.

    :returns: ``None`` if the text is no address.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def peer_address(peer: object) -> str:
    """The address of the other end of a connection; empty for that of a Unix socket.

    :param peer: an ``IAddress`` of Twisted.
    """
    host = getattr(peer, "host", None) or ""
    return (plain_address(host) or host) if ":" in host else host


def limit_key(address: str) -> str:
    """The key of a limit per address: the address itself, or the network of an IPv6 address, since one client can have all of it."""
    return _network_of(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    try:
        return str(ip_network((address, ONE_CLIENT), strict=False))
    except ValueError:
        return address


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Read an address, or a network such as ``10.0.0.0/8``.

    :raises ValueError: it is neither.
    """
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return ip_network((int(mapped), network.prefixlen - MAPPED)) if mapped and network.prefixlen >= MAPPED else network


class TrustedProxies:
    """The proxies that are trusted to say who their clients are.

    :param entries: ``server.trusted_proxies``: addresses, networks, and :data:`UNIX`.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._with_unix = UNIX in entries
        self._networks = [parse_network(entry) for entry in entries if entry != UNIX]
        self._is_within = lru_cache(maxsize=1024)(self._look_up)

    def __bool__(self) -> bool:
        return self._with_unix or bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether a proxy is one of them.

        :param address: as :func:`peer_address` gives it.
        """
        return self._is_within(address) if address else self._with_unix

    def _look_up(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
