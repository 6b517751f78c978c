"""A client that closes its side after it has asked, as ``nc -N`` and some proxies do, is still answered."""

import json

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

INFO = b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\n\r\n"


async def ask(server, data):
    """Send bytes, close the sending side, and read all that comes."""
    connection = await server.connect()
    connection.write(data)
    connection.transport.loseWriteConnection()
    return await connection.end()


@pytest.mark.parametrize("count", [1, 3])
@pytest_twisted.ensureDeferred
async def test_every_request_is_answered(listen, nothing_logged, count):
    server = await listen()
    answer = await ask(server, INFO * count)
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"webSocketServerUrl") == count
    assert not server.factory.open_connections


@pytest_twisted.ensureDeferred
async def test_a_request_that_takes_its_time_is_answered(listen):
    server = await listen()
    body = json.dumps({"login": "nobody", "password": "not the one"}).encode()
    head = b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert (await ask(server, head + body)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "part",
    [
        b"GET /api/rest/in",
        b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\n",
        b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{}",
        b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_part_of_a_request_is_refused(listen, nothing_logged, part):
    server = await listen()
    assert (await ask(server, part)).startswith(b"HTTP/1.1 400 ")
    answer = await ask(server, INFO + part)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"HTTP/1.1 400 ") == 1


@pytest_twisted.ensureDeferred
async def test_who_has_said_nothing_gets_nothing(listen):
    server = await listen()
    assert await ask(server, b"") == b""
    assert await ask(server, INFO + b"\r\n") != b""


@pytest_twisted.ensureDeferred
async def test_a_websocket_ends(listen, nothing_logged):
    server = await listen()
    connection = await server.websocket()
    connection.transport.loseWriteConnection()
    await connection.end()
    assert not server.factory.open_connections


@pytest_twisted.ensureDeferred
async def test_a_poll_that_waits_is_answered_at_once(listen, reactor):
    server = await listen()
    token = server.memory.token()
    connection = await server.connect()
    path = b"/api/rest/device/notification/poll?waitTimeout=60"
    connection.write(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n")
    while not server.memory.server.polls:
        await deferLater(reactor, 0)
    connection.transport.loseWriteConnection()
    answer = await connection.end()
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"[]")
