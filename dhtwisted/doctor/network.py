"""The endpoints: may this user listen there, and who does already."""

import errno
import http.client
import json
import os
import re
import socket
import ssl

from dhtwisted.doctor.findings import ok, warning, wrong
from dhtwisted.endpoints import TLS_PREFIX, is_clear, is_tls

SECONDS = 3
_TCP = re.compile(r"(tcp6?|ssl):(?:port=)?(\d+)(.*)")
_INTERFACE = re.compile(r":interface=((?:[^:\\]|\\.)*)")
_UNIX = re.compile(r"unix:(?:address=)?((?:[^:\\]|\\.)*)")


def check_endpoints(settings):
    """Look at each endpoint of ``server.listen``."""
    findings = []
    for description in settings.server.listen:
        plain = description.removeprefix(TLS_PREFIX)
        tcp, unix = _TCP.match(plain), _UNIX.match(plain)
        if tcp is not None:
            findings += _check_tcp(settings, description, *tcp.groups())
        elif unix is not None:
            findings.append(_check_directory(description, os.path.dirname(os.path.abspath(re.sub(r"\\(.)", r"\1", unix[1])))))
        elif plain.startswith("systemd:"):
            findings.append(ok("port", f"{description}: systemd keeps it, see: systemctl status devicehive.socket"))
        else:
            findings.append(ok("port", f"{description}: was not looked at"))
    return findings


def _check_tcp(settings, description, kind, port, arguments):
    port = int(port)
    given = _INTERFACE.search(arguments)
    host = re.sub(r"\\(.)", r"\1", given[1]) if given else ("::" if kind == "tcp6" else "0.0.0.0")
    is_secure = kind == "ssl" or is_tls(description)
    yield _check_bind(settings, description, host, port, is_secure)
    if is_clear(description) and not host.startswith("127.") and host != "::1":
        yield warning(
            "port", f"{description}: takes passwords and tokens in clear; use tls: or a proxy with TLS, see docs/operation-service.md"
        )


def _check_bind(settings, description, host, port, is_secure):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _check_taken(settings, description, host, port, is_secure)
        if error.errno == errno.EACCES:
            cure = "take a port from 1024 on, devicehive.socket, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
            return wrong("port", f"{description}: this user may not listen there; {cure}")
        return wrong("port", f"{description}: cannot be listened on ({error.strerror}); see ip address for what this machine has")
    return ok("port", f"{description}: is free")


def _check_taken(settings, description, host, port, is_secure):
    where = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if is_hive(where, port, is_secure, settings.server.prefixes[0]):
        return ok("port", f"{description}: a DeviceHive server answers there")
    return wrong("port", f"{description}: another program listens there; end it, or take another port (ss -ltnp shows who it is)")


def is_hive(host, port, is_secure, prefix):
    """Ask whoever listens who he is. With certificates of clients, a server that does not answer this one is taken for another program.

    :param is_secure: with TLS; the certificate does not matter here.
    :param prefix: of the paths.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    connection = kind(host, port, timeout=SECONDS, **({"context": context} if is_secure else {}))
    try:
        connection.request("GET", f"{prefix}/rest/info")
        return "apiVersion" in json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_directory(description, directory):
    if not os.access(directory, os.W_OK | os.X_OK):
        return wrong("port", f"{description}: this user may make no socket in {directory}; make the directory, or chown it")
    return ok("port", f"{description}: a socket can be made there")
