"""Clients that say nothing, or nearly nothing, for ever (Access 5): dropped in time, and nobody else notices."""

import socket

import pytest

from tests.faults.measures import open_files, raise_own_file_limit, resident, slowest_answer
from tests.waiting import wait_until

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
