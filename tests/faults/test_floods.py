"""Frames that bring nothing, never end, or say that they are immense: closed with a code, in little memory (Access 5, Messages 4 and 5)."""

import select
import socket
import zlib
from contextlib import suppress

import pytest

from tests.support.attacks.client import Wire
from tests.support.attacks.corpus import CLOSE, MASK, PING, TEXT, frame
from tests.support.attacks.measures import resident, slowest_answer
from tests.support.servers.process import PASSWORD
from tests.support.waiting import wait_until

MEGABYTES = 30
"""By which the server may grow meanwhile: some buffers, and what Python keeps."""

MESSAGE_SIZE = 1024**2
POLICY, TOO_LARGE, PROTOCOL_ERROR = 1008, 1009, 1002
ENDLESS = 2 * 1024**3
"""Bytes. Of an ended connection the server drops what comes for another second, and that may be much."""


@pytest.fixture
def server(start):
    server = start("--storage", "memory:")
    client = server.connect()
    client.close()
    yield server
    assert server.process.poll() is None
    assert "Traceback" not in server.log
    server.connect().close()


def pour(wire, data, most=ENDLESS):
    """Send the same again and again until the server ends the connection; returns how much it took."""
    taken = 0
    wire.socket.settimeout(20)
    with suppress(ConnectionError, TimeoutError):
        while taken < most:
            wire.socket.sendall(data)
            taken += len(data)
    return taken


@pytest.mark.parametrize(
    ("flood", "codes"),
    # The close itself may be lost in what is still being sent.
    [
        (frame(b"", PING) * 10_000, {POLICY, None}),
        (frame(b"x" * 125, PING) * 1000, {POLICY, None}),
        (frame(b"", 0, 0) * 10_000, {POLICY, None}),
        (frame(b"y" * 60_000, 0, 0), {TOO_LARGE, None}),
    ],
    ids=["empty pings", "large pings", "empty fragments", "endless fragments"],
)
def test_a_flood_ends(server, flood, codes):
    memory, wire = resident(server), Wire(server.port)
    if flood[0] & 0x0F == 0:
        wire.socket.sendall(frame(b"{", TEXT, 0))
    taken = pour(wire, flood)
    assert taken < ENDLESS, "it is taken for ever"
    assert wire.close_code() in codes
    assert slowest_answer(server, 0.3) < 1
    assert resident(server) - memory < MEGABYTES


@pytest.mark.parametrize(
    ("length", "code"),
    [(MESSAGE_SIZE + 1, TOO_LARGE), (2**32, TOO_LARGE), (2**63 - 1, TOO_LARGE), (2**63, PROTOCOL_ERROR), (2**64 - 1, PROTOCOL_ERROR)],
)
def test_a_length_that_nobody_waits_for(server, length, code):
    memory, wire = resident(server), Wire(server.port)
    wire.socket.sendall(frame(b"{", length=length))
    assert wire.close_code() == code
    assert resident(server) - memory < MEGABYTES


def test_compression_is_not_agreed_to_and_a_bomb_is_not_opened(server):
    wire = Wire(server.port, more="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
    assert b"extensions" not in wire.head.lower()
    memory = resident(server)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(bytes(500 * 1024**2)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    wire.socket.sendall(frame(bomb, TEXT, 0xC0))
    assert wire.close_code() == PROTOCOL_ERROR
    assert resident(server) - memory < MEGABYTES


def test_who_asks_and_does_not_read_is_not_read(server):
    """Its requests wait in the kernel, and its replies are bounded."""
    memory, wire = resident(server), Wire(server.port)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.socket.settimeout(2)
    taken = 0
    request = frame(b'{"action":"server/info","requestId":"%b"}' % (b"x" * 1000)) * 50
    with suppress(TimeoutError, ConnectionError):
        while taken < ENDLESS:
            wire.socket.sendall(request)
            taken += len(request)
    assert taken < ENDLESS / 20
    assert slowest_answer(server, 0.3) < 1
    assert resident(server) - memory < MEGABYTES


def test_a_mask_or_close_of_every_sort_is_answered(server):
    for data in (frame(b"{}", masked=False), frame(b"\x03", CLOSE), frame(b"x" * 126, PING), b"\xff" * 100, MASK * 100):
        wire = Wire(server.port)
        wire.socket.sendall(data)
        assert wire.close_code() == PROTOCOL_ERROR, data


def test_who_asks_over_http_and_does_not_read_is_not_read(server):
    """Its requests wait in the kernel, one answer in memory, and after ten seconds it is gone."""
    memory, connection = resident(server), socket.create_connection(("127.0.0.1", server.port), 20)
    connection.settimeout(2)
    taken = 0
    request = b"GET /api/rest/openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 100
    with suppress(TimeoutError, ConnectionError):
        while taken < ENDLESS:
            connection.sendall(request)
            taken += len(request)
    assert taken < ENDLESS / 20
    assert slowest_answer(server, 0.3) < 1
    assert resident(server) - memory < MEGABYTES
    wait_until(lambda: is_cut_off(connection), "it may stay without reading")
    assert "an HTTP connection is ended: it does not read its answers" in server.log


def is_cut_off(connection):
    """Whether the server has ended a connection; what it has sent is not read."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return bool(poller.poll(0))


def test_polls_that_are_not_read_have_a_bound_together(start):
    server = start("--storage", "memory:", DHTWISTED_LIMITS_OUTPUT_TOTAL="32MiB")
    client = server.connect()
    client.call("device/save", deviceId="d", device={"name": "d", "networkId": 1, "deviceTypeId": 1})
    for _ in range(4):
        client.call("notification/insert", deviceId="d", notification={"notification": "n", "parameters": {"x": "y" * 900_000}})
    token = client.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
    query = (
        f"GET /api/rest/device/notification/poll?deviceIds=d&timestamp=2020-01-01T00:00:00.000 HTTP/1.1\r\nAuthorization: Bearer {token}"
    )
    memory, pollers = resident(server), [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(60)]
    for poller in pollers:
        poller.sendall(f"{query}\r\nHost: h\r\n\r\n".encode())
    assert slowest_answer(server, 1) < 8
    assert resident(server) - memory < 32 + MEGABYTES
    wait_until(lambda: all(map(is_cut_off, pollers[:1])), "it may stay without reading")
    assert client.call("server/info")
    assert "Traceback" not in server.log
