"""Opens the sockets of endpoints, and logs where the server listens.

:mod:`dhtwisted.config.endpoints` says what the endpoint strings mean, and checks them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from ipaddress import ip_address
from re import Match
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger

from dhtwisted.config.endpoints import LOCALHOST, is_tls, is_unencrypted, uses_proxy_protocol, without_prefixes
from dhtwisted.config.settings import Settings
from dhtwisted.errors import ConfigurationError
from dhtwisted.service.closing import ClosingStack
from dhtwisted.transports.proxy_protocol import AnnouncedFactory

if TYPE_CHECKING:
    from dhtwisted.service.tls import Certificates

BACKLOG = 4096
"""How many clients may wait to be accepted, if the kernel allows so many (``net.core.somaxconn``). When clients reconnect together, they
fill Twisted's default of 50 within milliseconds. A client that finds no room tries again after 1, 2 and 4 seconds."""

ATTEMPTS = 10
"""How many ports the server tries when the system chooses one that must be free at two addresses."""

IN_USE = "another program listens there; stop it, or choose another port (ss -ltnp shows the program)"
FORBIDDEN = (
    "this user may not listen there; choose a port from 1024 on, or use devicehive.socket, "
    "or set AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
)
_REASONS = {
    errno.EADDRINUSE: IN_USE,
    errno.EACCES: FORBIDDEN,
    errno.EADDRNOTAVAIL: "this machine does not have that address; ip address shows those that it has",
    errno.ENOENT: "that directory does not exist; create it, or name another",
}
_WITH_BACKLOG = re.compile(r"(?:tcp6?|ssl|unix):")
_AT_LOCALHOST = re.compile(rf"((?:tcp|ssl):(?:port=)?)(\d+)((?::.*)?:interface=){LOCALHOST}((?::.*)?)")

Address = tuple[str, int | None]
"""Host and port; the path and ``None`` for a Unix socket."""


class Listeners:
    """The endpoints of one server.

    :param closing: gets each endpoint that is opened.
    :ivar addresses: an :data:`Address` for each socket that clients reach.
    :ivar mqtt_addresses: the same for MQTT.
    :ivar monitor_addresses: the same for health and metrics.
    """

    log = Logger()

    def __init__(self, reactor: Any, settings: Settings, closing: ClosingStack) -> None:
        self.addresses: list[Address] = []
        self.mqtt_addresses: list[Address] = []
        self.monitor_addresses: list[Address] = []
        self._reactor = reactor
        self._settings = settings
        self._closing = closing

    @property
    def shown(self) -> list[str]:
        """The addresses of WebSocket and REST, as text."""
        return [show_address(address) for address in self.addresses]

    @property
    def shown_mqtt(self) -> list[str]:
        """Those of MQTT, as text."""
        return [show_address(address) for address in self.mqtt_addresses]

    async def open_monitor(self, site: IProtocolFactory) -> None:
        """Listen at the endpoints of ``metrics.listen``.

        :raises ConfigurationError: as for :func:`listen`.
        """
        for description in self._settings.metrics.listen:
            for port in await listen(self._reactor, description, site, "metrics.listen"):
                self._closing.add("monitor", port.stopListening)
                address = _address_of(port)
                self.monitor_addresses.append(address)
                self._log_monitor(description, address)

    async def open(self, factory: IProtocolFactory, certificates: Certificates | None) -> None:
        """Listen at the endpoints of ``server.listen``.

        :param certificates: those of ``tls:`` endpoints; ``None`` if there is no such endpoint.
        :raises ConfigurationError: as for :func:`listen`.
        """
        for description in self._settings.server.listen:
            for port in await listen(self._reactor, description, _wrapped(factory, description, certificates)):
                self._closing.add("port", port.stopListening)
                address = _address_of(port)
                self.addresses.append(address)
                self._log_address(description, address)

    async def open_mqtt(self, factory: IProtocolFactory, certificates: Certificates | None) -> None:
        """Listen at the endpoints of ``mqtt.listen``; the parameters are those of :meth:`open`."""
        for description in self._settings.mqtt.listen:
            for port in await listen(self._reactor, description, _wrapped(factory, description, certificates), "mqtt.listen"):
                self._closing.add("MQTT port", port.stopListening)
                address = _address_of(port)
                self.mqtt_addresses.append(address)
                self.log.info("MQTT at {place} ({endpoint})", place=show_address(address), endpoint=description)
                self._warn_of_clear_text(description, address)

    def _log_monitor(self, description: str, address: Address) -> None:
        self.log.info("Health and metrics at {endpoint}", endpoint=description)
        if _is_public(address):
            self.log.warn("Health and metrics at {endpoint} need no login; everybody who reaches it can read them", endpoint=description)

    def _log_address(self, description: str, address: Address) -> None:
        host, port = address
        if port is None:
            self.log.info("Listening on {path}", path=host)
            return
        place = show_address(address)
        if uses_proxy_protocol(description):
            self.log.info("Listening on {place} ({endpoint})", place=place, endpoint=description)
        else:
            rest, websocket = self._urls(description, address)
            self.log.info("Listening on {place}: {rest} and {websocket}", place=place, rest=rest, websocket=websocket, endpoint=description)
        self._warn_of_clear_text(description, address)

    def _warn_of_clear_text(self, description: str, address: Address) -> None:
        _, port = address
        if is_unencrypted(description) and _is_public(address):
            self.log.warn("Port {port} takes passwords and tokens unencrypted; use a tls: endpoint or a proxy with TLS", port=port)

    def _urls(self, description: str, address: Address) -> tuple[str, str]:
        """Where clients on this machine find the REST API and the WebSocket."""
        host, port = address
        host = LOCALHOST if ip_address(host).is_unspecified else host
        s, prefix = "" if is_unencrypted(description) else "s", self._settings.server.prefixes[0].rstrip("/")
        base = f"{show_address((host, port))}{prefix}"
        return f"http{s}://{base}/rest", f"ws{s}://{base}/websocket"


def show_address(address: Address) -> str:
    """An address as users write it: IPv6 in brackets, a Unix socket by its path."""
    host, port = address
    return host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address_of(port: IListeningPort) -> Address:
    host: Any = port.getHost()
    return (host.host, host.port) if hasattr(host, "port") else (os.fsdecode(host.name), None)


def _is_public(address: Address) -> bool:
    """Whether other machines may reach an address."""
    host, port = address
    return port is not None and not ip_address(host).is_loopback


def _wrapped(factory: IProtocolFactory, description: str, certificates: Certificates | None) -> IProtocolFactory:
    """Put before the server what an endpoint has in front: the PROXY protocol, then TLS."""
    if certificates is not None and is_tls(description):
        factory = certificates.wrap(factory)
    return AnnouncedFactory(factory) if uses_proxy_protocol(description) else factory


async def listen(reactor: Any, description: str, factory: IProtocolFactory, option: str = "server.listen") -> list[IListeningPort]:
    """Listen at an endpoint, without its TLS and PROXY protocol.

    ``tcp:8080:interface=localhost`` listens at the loopback addresses of IPv4 and IPv6 with the same port, as far as the machine has them.

    :param description: a checked endpoint string.
    :param option: the option that has the endpoint, for the error.
    :raises ConfigurationError: the server cannot listen there. The text says what to do.
    """
    at_localhost = _AT_LOCALHOST.fullmatch(without_prefixes(description))
    try:
        if at_localhost is not None:
            return await _listen_at_localhost(reactor, at_localhost, factory, option)
        return [await open_endpoint(reactor, description, option).listen(factory)]
    except (CannotListenError, OSError) as error:
        raise ConfigurationError(f"{option}: {description}: {_REASONS.get(_error_number(error)) or error}") from error


def open_endpoint(reactor: Any, description: str, option: str = "server.listen") -> IStreamServerEndpoint:
    """Make the endpoint of a checked string, without its TLS and PROXY protocol. Its backlog is :data:`BACKLOG` unless the string has one.

    :param option: the option that has the endpoint, for the error.
    :raises ConfigurationError: systemd did not pass such a socket.
    """
    text = without_prefixes(description)
    if _WITH_BACKLOG.match(text) and ":backlog=" not in text:
        text += f":backlog={BACKLOG}"
    try:
        return serverFromString(reactor, text)
    except LookupError as error:
        raise ConfigurationError(f"{option}: {text}: systemd did not pass such a socket; is devicehive.socket enabled?") from error


async def _listen_at_localhost(reactor: Any, parts: Match[str], factory: IProtocolFactory, option: str) -> list[IListeningPort]:
    """Listen at all loopback addresses. If the system chooses a port that is in use at the second address, try another."""

    async def listen_at(address: str, port: int | None) -> IListeningPort:
        kind, _, before, after = parts.groups()
        escaped = address.replace(":", r"\:")
        return await open_endpoint(reactor, f"{kind}{port}{before}{escaped}{after}", option).listen(factory)

    addresses, wanted_port = loopback_addresses(), int(parts[2])
    unusable: list[IListeningPort] = []
    try:
        while True:
            ports = [await listen_at(addresses[0], wanted_port)]
            try:
                _, chosen_port = _address_of(ports[0])
                ports += [await listen_at(address, chosen_port) for address in addresses[1:]]
                return ports
            except CannotListenError as error:
                unusable += ports
                if wanted_port or _error_number(error) != errno.EADDRINUSE or len(unusable) == ATTEMPTS:
                    raise
    finally:
        for port in unusable:
            await maybeDeferred(port.stopListening)


def loopback_addresses() -> list[str]:
    """The loopback addresses of this machine, IPv4 first."""
    found = [address for address in ("127.0.0.1", "::1") if _has_address(address)]
    return found or ["127.0.0.1"]


def _has_address(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _error_number(error: Exception) -> int:
    """The system's number of an error; 0 when it has none."""
    return getattr(getattr(error, "socketError", error), "errno", None) or 0
