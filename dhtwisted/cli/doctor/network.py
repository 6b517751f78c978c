"""The endpoints: whether this user may listen there, and which program does already."""

import errno
import http.client
import json
import os
import re
import socket
import ssl
import stat
from collections.abc import Callable, Iterator

from dhtwisted.cli.doctor.findings import OK, Finding, ok, warning, wrong
from dhtwisted.config.endpoints import LOCALHOST, UNIX, is_tls, is_unencrypted, uses_proxy_protocol, without_prefixes
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from dhtwisted.kit.private_files import access_problem
from dhtwisted.service.listening import FORBIDDEN, IN_USE, loopback_addresses
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import V5, Connect

CONNACK = b"\x20"
"""The first byte of the answer to a CONNECT."""

SECONDS = 3
"""How long another program may take to accept a connection, and to answer."""

LOOPBACK = frozenset({"::1", LOCALHOST})
PORT, MQTT_PORT, METRICS_PORT = "port", "MQTT port", "metrics port"
_TCP = re.compile(r"(tcp6?|ssl):(?:port=)?(\d+)(.*)")
_INTERFACE = re.compile(r":interface=((?:[^:\\]|\\.)*)")


def check_endpoints(configuration: Configuration, is_running: bool | None = None) -> list[Finding]:
    """Check each endpoint of ``server.listen``, ``mqtt.listen`` and ``metrics.listen``.

    :param is_running: whether a server works on the data of these settings; ``None`` when that is not known.
    """
    findings: list[Finding] = []
    seen: set[tuple[str, int]] = set()
    for topic, description in _endpoints(configuration.settings):
        findings += _Endpoint(configuration.settings, topic, description, is_running).findings(seen)
    return findings


def check_sockets(configuration: Configuration) -> list[Finding]:
    """Check the directories of Unix sockets, but no port."""
    endpoints = (_Endpoint(configuration.settings, topic, description, None) for topic, description in _endpoints(configuration.settings))
    return [endpoint.check_socket() for endpoint in endpoints if endpoint.is_unix]


def _endpoints(settings: Settings) -> list[tuple[str, str]]:
    """The topic and the description of each endpoint."""
    lists = ((PORT, settings.server.listen), (MQTT_PORT, settings.mqtt.listen), (METRICS_PORT, settings.metrics.listen))
    return [(topic, text) for topic, texts in lists for text in texts]


class _Endpoint:
    """One endpoint.

    :param topic: of its findings.
    :param description: as in the configuration.
    :param is_running: as for :func:`check_endpoints`.
    """

    def __init__(self, settings: Settings, topic: str, description: str, is_running: bool | None) -> None:
        self._settings, self._topic, self._description, self._is_running = settings, topic, description, is_running
        endpoint = without_prefixes(description)
        self._tcp, self._unix = _TCP.match(endpoint), UNIX.match(endpoint)
        self.is_unix = self._unix is not None
        self._is_of_systemd = endpoint.startswith("systemd:")
        self._is_secure = is_tls(description) or endpoint.startswith("ssl:")

    def findings(self, seen: set[tuple[str, int]]) -> Iterator[Finding]:
        """Check the endpoint.

        :param seen: host and port of each earlier endpoint. Those of this one are added.
        """
        if self._tcp is not None:
            yield from self._check_tcp(self._tcp, seen)
        elif self._unix is not None:
            yield self.check_socket()
        elif self._is_of_systemd:
            yield self._says(ok, "systemd keeps it, see: systemctl status devicehive.socket")
        else:
            yield self._says(ok, "was not looked at")

    def _says(self, level: Callable[[str, str], Finding], text: str) -> Finding:
        return level(self._topic, f"{self._description}: {text}")

    def _check_tcp(self, parts: re.Match[str], seen: set[tuple[str, int]]) -> Iterator[Finding]:
        kind, port, arguments = parts.groups()
        given = _INTERFACE.search(arguments)
        host = _unescaped(given[1]) if given else ("::" if kind == "tcp6" else "0.0.0.0")
        hosts = loopback_addresses() if host == LOCALHOST else [host]
        places = {(each, int(port)) for each in hosts}
        if places & seen and int(port):
            yield self._says(wrong, "stands here twice; remove one")
            return
        seen |= places
        found = [self._check_bind(*place) for place in sorted(places)]
        yield next((finding for finding in found if finding.level != OK), found[0])
        if host.startswith("127.") or host in LOOPBACK:
            return
        if self._topic == METRICS_PORT:
            yield self._says(warning, "needs no login from anybody who can reach it; listen on 127.0.0.1 or in a private network")
        elif is_unencrypted(self._description):
            yield self._says(warning, "takes passwords and tokens unencrypted; use tls: or a proxy with TLS, see docs/operation-service.md")

    def _check_bind(self, host: str, port: int) -> Finding:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return self._check_in_use({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
            if error.errno == errno.EACCES:
                return self._says(wrong, FORBIDDEN)
            return self._says(wrong, f"cannot be listened on ({error.strerror}); see ip address for what this machine has")
        return self._says(ok, "is free")

    def _check_in_use(self, host: str, port: int) -> Finding:
        if self._is_running is False:
            return self._says(wrong, f"{IN_USE}; no server works on the data of this one")
        asks_certificates = self._is_secure and self._topic != METRICS_PORT
        if self._topic == PORT:
            prefix = self._settings.server.prefixes[0]
            answers = is_hive(host, port, self._is_secure, prefix, uses_proxy_protocol(self._description))
        elif self._topic == MQTT_PORT:
            answers = is_mqtt(host, port, self._is_secure, uses_proxy_protocol(self._description))
        else:
            answers = is_monitor(host, port)
        if answers:
            return self._says(ok, f"{'an MQTT' if self._topic == MQTT_PORT else 'a DeviceHive'} server answers there")
        if asks_certificates and self._settings.tls.client_authority:
            level = ok if self._is_running else warning
            return self._says(level, "is taken, by whom cannot be asked without a certificate; ss -ltnp shows who it is")
        return self._says(wrong, IN_USE)

    def check_socket(self) -> Finding:
        """Check whether a Unix socket can be made. Only for an endpoint that :attr:`is_unix`."""
        assert self._unix is not None
        path = os.path.abspath(_unescaped(self._unix[1]))
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            return self._says(wrong, f"there is no directory {directory}; make it, or name another")
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
            return self._says(wrong, f"{path} is there and is no socket; name another")
        reason = access_problem(directory, os.W_OK | os.X_OK)
        return self._says(wrong, reason) if reason else self._says(ok, "a socket can be made there")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def is_hive(host: str, port: int, is_secure: bool, prefix: str, with_proxy_header: bool = False) -> bool:
    """Ask the program that listens whether it is a DeviceHive server.

    :param is_secure: ask with TLS. The certificate is not checked.
    :param prefix: of the paths.
    :param with_proxy_header: begin with a header of the PROXY protocol.
    """
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.sock = _connect(host, port, is_secure, with_proxy_header)
        connection.request("GET", f"{prefix}/rest/info")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and "apiVersion" in answer


def is_mqtt(host: str, port: int, is_secure: bool, with_proxy_header: bool = False) -> bool:
    """Ask the program that listens whether it speaks MQTT. It need not let us in. The parameters are those of :func:`is_hive`."""
    try:
        with _connect(host, port, is_secure, with_proxy_header) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(encode(Connect(client_id="devicehive-doctor"), V5))
            return connection.recv(1) == CONNACK
    except OSError:
        return False


def _connect(host: str, port: int, is_secure: bool, with_proxy_header: bool) -> socket.socket:
    connection = socket.create_connection((host, port), SECONDS)
    if with_proxy_header:
        connection.sendall(b"PROXY UNKNOWN\r\n")
    if not is_secure:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def is_monitor(host: str, port: int) -> bool:
    """Ask the program that listens whether it has the pages of a server's health."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
