"""Clients that say nothing, or nearly nothing, for ever (Access 5): dropped in time, and nobody else notices."""

import socket
import ssl
import time
from contextlib import suppress
from functools import partial

import pytest

from dhtwisted.transports.admission import REFUSALS
from tests.support.attacks.measures import open_files, raise_own_file_limit, resident, slowest_answer
from tests.support.certificates import write_certificate
from tests.support.waiting import wait_until

SILENT, SLOW = 2000, 100
HANDSHAKE_SECONDS = 2
BYTES = b"GET /api/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.fixture
def server(start):
    return start("--storage", "memory:", DHTWISTED_LIMITS_HANDSHAKE_TIMEOUT=f"{HANDSHAKE_SECONDS}s")


def is_ended(connection):
    """Whether the server has ended a connection."""
    connection.setblocking(False)
    try:
        while data := connection.recv(4096):
            assert data.startswith(b"HTTP/1.1 408"), data
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def test_two_thousand_that_say_nothing(server):
    if raise_own_file_limit() < SILENT + 500:
        pytest.skip(f"{SILENT} connections need a higher limit of open files (ulimit -n)")
    files, memory = open_files(server), resident(server)
    silent = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(SILENT)]
    assert slowest_answer(server, HANDSHAKE_SECONDS + 1) < 1
    wait_until(lambda: all(map(is_ended, silent)), "they are not dropped")
    wait_until(lambda: open_files(server) <= files + 5, "their descriptors stay")
    assert resident(server) - memory < 30
    assert "Traceback" not in server.log


def test_those_that_send_a_byte_from_time_to_time(server):
    slow = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(SLOW)]
    for place in range(len(BYTES)):
        left = [connection for connection in slow if not is_ended(connection)]
        if not left:
            break
        for connection in left:
            try:
                connection.sendall(BYTES[place : place + 1])
            except ConnectionError:
                continue
        assert slowest_answer(server, 0.1) < 1
    assert not left, "bytes put the end off"
    assert "Traceback" not in server.log


SECURED = {"endpoint": "tls:tcp:0:interface=127.0.0.1"}


@pytest.fixture
def secured(start, tmp_path):
    """A function that starts a server with TLS and fifty connections at most."""
    certificate = str(write_certificate(tmp_path / "server.pem"))
    limits = {"DHTWISTED_LIMITS_HANDSHAKE_TIMEOUT": f"{HANDSHAKE_SECONDS}s", "DHTWISTED_LIMITS_CONNECTIONS": "50"}
    return partial(start, "--storage", "memory:", DHTWISTED_TLS_CERTIFICATE=certificate, **SECURED, **limits)


@pytest.mark.parametrize("part", [slice(0), slice(100), slice(None)], ids=["nothing", "half a hello", "a hello"])
def test_those_who_do_not_finish_tls(secured, part):
    server = secured()
    files, hello = open_files(server), client_hello()
    silent = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(300)]
    for connection in silent:
        with suppress(ConnectionError):
            connection.sendall(hello[part])
    assert open_files(server) <= files + 50 + REFUSALS + 1, "and the one that is being accepted"
    wait_until(lambda: open_files(server) <= files + 1, "they are not dropped")
    assert "Traceback" not in server.log


def test_who_does_not_agree_to_the_close_of_tls(secured):
    server = secured()
    files = open_files(server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    open_still = []
    for _ in range(20):
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), 30))
        connection.sendall(b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        open_still.append(connection)
    begun = time.monotonic()
    wait_until(lambda: open_files(server) <= files, "they are not cut off")
    assert time.monotonic() - begun < 4
    for connection in open_still:
        assert connection.recv(100).startswith(b"HTTP/1.1 200 "), "what was sent is lost"


def client_hello():
    """The first bytes of a client of TLS."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
