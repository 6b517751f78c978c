"""The endpoints: may this user listen there, and who does already."""

import errno
import http.client
import json
import os
import re
import socket
import ssl
import stat

from dhtwisted.cli.doctor.findings import OK, ok, warning, wrong
from dhtwisted.config.endpoints import LOCALHOST, UNIX, is_tls, is_unencrypted, uses_proxy_protocol, without_prefixes
from dhtwisted.kit.private_files import access_problem
from dhtwisted.service.listening import FORBIDDEN, IN_USE, loopback_addresses

SECONDS = 3
LOOPBACK = frozenset({"::1", LOCALHOST})
_TCP = re.compile(r"(tcp6?|ssl):(?:port=)?(\d+)(.*)")
_INTERFACE = re.compile(r":interface=((?:[^:\\]|\\.)*)")


def check_endpoints(configuration, is_running=None):
    """Look at each endpoint of ``server.listen`` and ``metrics.listen``.

    :param is_running: whether a server works on the data of these settings; ``None`` when that is not known.
    """
    findings, seen = [], set()
    for topic, description in _endpoints(configuration.settings):
        findings += _Endpoint(configuration.settings, topic, description, is_running).findings(seen)
    return findings


def check_sockets(configuration):
    """Look at the directories of Unix sockets, and at no port."""
    endpoints = (_Endpoint(configuration.settings, topic, description, None) for topic, description in _endpoints(configuration.settings))
    return [endpoint.check_socket() for endpoint in endpoints if endpoint.is_unix]


def _endpoints(settings):
    """Topic and string of each endpoint."""
    return [("port", text) for text in settings.server.listen] + [("metrics port", text) for text in settings.metrics.listen]


class _Endpoint:
    """One of them.

    :param topic: what its findings begin with.
    """

    def __init__(self, settings, topic, description, is_running):
        self._settings, self._topic, self._description, self._is_running = settings, topic, description, is_running
        endpoint = without_prefixes(description)
        self._tcp, self._unix = _TCP.match(endpoint), UNIX.match(endpoint)
        self.is_unix = self._unix is not None
        self._is_of_systemd = endpoint.startswith("systemd:")
        self._is_secure = is_tls(description) or endpoint.startswith("ssl:")

    def findings(self, seen):
        """Look at it.

        :param seen: host and port of those before, to which this one is added.
        """
        if self._tcp is not None:
            yield from self._check_tcp(seen)
        elif self.is_unix:
            yield self.check_socket()
        elif self._is_of_systemd:
            yield self._says(ok, "systemd keeps it, see: systemctl status devicehive.socket")
        else:
            yield self._says(ok, "was not looked at")

    def _says(self, level, text):
        return level(self._topic, f"{self._description}: {text}")

    def _check_tcp(self, seen):
        kind, port, arguments = self._tcp.groups()
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
        if self._topic != "port":
            yield self._says(warning, "is open to whoever reaches it, without login; listen on 127.0.0.1 or in a network of your own")
        elif is_unencrypted(self._description):
            yield self._says(warning, "takes passwords and tokens in clear; use tls: or a proxy with TLS, see docs/operation-service.md")

    def _check_bind(self, host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return self._check_taken({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
            if error.errno == errno.EACCES:
                return self._says(wrong, FORBIDDEN)
            return self._says(wrong, f"cannot be listened on ({error.strerror}); see ip address for what this machine has")
        return self._says(ok, "is free")

    def _check_taken(self, host, port):
        if self._is_running is False:
            return self._says(wrong, f"{IN_USE}; no server works on the data of this one")
        if self._topic == "port":
            prefix, asks_certificates = self._settings.server.prefixes[0], self._is_secure
            answers = is_hive(host, port, self._is_secure, prefix, uses_proxy_protocol(self._description))
        else:
            answers, asks_certificates = is_monitor(host, port), False
        if answers:
            return self._says(ok, "a DeviceHive server answers there")
        if asks_certificates and self._settings.tls.client_authority:
            level = ok if self._is_running else warning
            return self._says(level, "is taken, by whom cannot be asked without a certificate; ss -ltnp shows who it is")
        return self._says(wrong, IN_USE)

    def check_socket(self):
        """Look whether a Unix socket can be made."""
        path = os.path.abspath(_unescaped(self._unix[1]))
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            return self._says(wrong, f"there is no directory {directory}; make it, or name another")
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
            return self._says(wrong, f"{path} is there and is no socket; name another")
        reason = access_problem(directory, os.W_OK | os.X_OK)
        return self._says(wrong, reason) if reason else self._says(ok, "a socket can be made there")


def _unescaped(text):
    return re.sub(r"\\(.)", r"\1", text)


def is_hive(host, port, is_secure, prefix, announced=False):
    """Ask whoever listens who he is.

    :param is_secure: with TLS; the certificate does not matter here.
    :param prefix: of the paths.
    :param announced: with a header of the PROXY protocol.
    """
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.sock = _connect(host, port, is_secure, announced)
        connection.request("GET", f"{prefix}/rest/info")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return isinstance(answer, dict) and "apiVersion" in answer


def _connect(host, port, is_secure, announced):
    connection = socket.create_connection((host, port), SECONDS)
    if announced:
        connection.sendall(b"PROXY UNKNOWN\r\n")
    if not is_secure:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def is_monitor(host, port):
    """Ask whoever listens whether he tells of a server's health."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
