"""Who serves a connection, how many there may be, and how they end."""

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from tests.support.raw import HANDSHAKE, PING, frame


@pytest_twisted.ensureDeferred
async def test_a_head_that_arrives_byte_by_byte(listen):
    server = await listen()
    connection = await server.connect()
    for byte in HANDSHAKE.format(path="/client", port=server.port, headers=""):
        connection.write(byte.encode())
        connection.transport.doWrite()
    assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


@pytest_twisted.ensureDeferred
async def test_a_head_without_end_is_refused(listen):
    server = await listen()
    connection = await server.connect()
    connection.write(b"GET /client HTTP/1.1\r\n" + b"X-Long: " + b"x" * 20000)
    assert (await connection.end()).startswith(b"HTTP/1.1 431 ")


@pytest_twisted.ensureDeferred
async def test_garbage_is_refused(listen, nothing_logged):
    server = await listen()
    for garbage in (b"\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"):
        connection = await server.connect()
        connection.write(garbage)
        assert (await connection.end()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400"))


@pytest_twisted.ensureDeferred
async def test_who_says_nothing_is_dropped(listen):
    server = await listen(limits={"handshake_timeout": 0.1})
    connection = await server.connect()
    assert (await connection.end()).startswith(b"HTTP/1.1 408 ")
    assert not server.factory.undecided


@pytest_twisted.ensureDeferred
async def test_too_many_connections_are_refused_and_room_is_made_again(listen):
    server = await listen(limits={"connections": 2})
    first = await server.websocket()
    await server.websocket()
    refused = await server.connect()
    assert (await refused.end()).startswith(b"HTTP/1.1 503 ")
    first.transport.abortConnection()
    await first.end()
    while server.factory.open_connections > 1:
        await server.tick()
    await server.websocket()


@pytest_twisted.ensureDeferred
async def test_too_many_connections_of_one_address(listen):
    server = await listen(limits={"connections_per_address": 1})
    await server.websocket()
    refused = await server.connect()
    assert (await refused.end()).startswith(b"HTTP/1.1 503 ")


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_anonymous_clients_are_closed_in_time_and_others_are_not(listen):
    server = await listen(limits={"authenticate_timeout": 0.1})
    identified = await server.authenticated()
    anonymous = await server.websocket()
    assert await anonymous.close_code() == 1008
    assert (await identified.call(action="device/count"))["count"] == 0


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_pings_are_empty_and_the_silent_are_dropped(listen):
    server = await listen(limits={"ping_interval": 1.0})
    silent = await server.websocket()
    assert await silent.frame() == (PING, b"")
    await silent.end()


@pytest_twisted.ensureDeferred
async def test_at_the_end_all_are_answered_and_closed_with_1012(listen):
    server = await listen()
    connections = [await server.authenticated() for _ in range(3)]
    stopping = server.close_gracefully()
    for connection in connections:
        assert await connection.close_code() == 1012
        connection.write(frame((1012).to_bytes(2, "big"), 8))
    await stopping
    for connection in connections:
        await connection.end()


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_loses_its_connection_and_disturbs_nobody(listen):
    server = await listen(limits={"output_queue": 100_000})
    publisher = await server.authenticated()
    await publisher.call(action="device/save", deviceId="d1", device={})
    reader, slow = await server.authenticated(), await server.authenticated()
    for connection in (reader, slow):
        await connection.call(action="notification/subscribe", deviceId="d1")
    slow.transport.pauseProducing()
    body = {"notification": "t", "parameters": "x" * 50_000}
    count = 0
    while len(server.factory.websockets.connections) == 3:
        count += 1
        assert count < 2000, "the slow reader is never cut off"
        await publisher.call(action="notification/insert", deviceId="d1", notification=body)
        assert (await reader.message())["notification"]["parameters"] == "x" * 50_000
    assert (await publisher.call(action="server/info"))["status"] == "success"


@pytest_twisted.ensureDeferred
async def test_who_pipelines_and_does_not_read_is_not_read(listen):
    server = await listen()
    connection = await server.authenticated()
    await connection.call(action="device/save", deviceId="d1", device={"data": "x" * 100_000})
    connection.transport.pauseProducing()
    protocol = next(iter(server.factory.websockets.connections))
    connection.write(frame('{"action":"device/get","deviceId":"d1"}') * 2000)
    while not protocol.congested:
        await server.tick()
    assert protocol.queued < 300_000
    connection.transport.resumeProducing()
    for _ in range(2000):
        assert (await connection.message())["device"]["data"] == "x" * 100_000


INFO = "GET /api/rest/info HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("at_once", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_websocket_on_a_connection_that_has_carried_requests(listen, nothing_logged, at_once):
    """Proxies keep their connections to a server: nginx with ``keepalive``, Caddy, Traefik."""
    server = await listen(limits={"idle_timeout": 0.2})
    connection = await server.connect()
    handshake = HANDSHAKE.format(path="/api/websocket", port=server.port, headers="")
    request = frame('{"action":"server/info","requestId":1}')
    if at_once:
        connection.write(INFO.encode() * 2 + handshake.encode() + request)
    for _ in range(2):
        connection.write(b"" if at_once else INFO.encode())
        assert (await connection.until(b"}")).startswith(b"HTTP/1.1 200 ")
    connection.write(b"" if at_once else handshake.encode())
    assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    connection.write(b"" if at_once else request)
    assert (await connection.message())["info"]["restServerUrl"].endswith("/api/rest")
    await deferLater(server.reactor, 0.5)
    assert (await connection.call(action="server/info"))["status"] == "success", "it is no idle connection of HTTP"
    connection.transport.abortConnection()
    while server.factory.open_connections:
        await server.tick()
    assert not server.factory.websockets.connections


@pytest_twisted.ensureDeferred
async def test_a_wrong_handshake_on_a_connection_that_has_carried_requests(listen, nothing_logged):
    server = await listen()
    for change, status in (("Version: 13", 426), ("/api/websocket", 404)):
        connection = await server.connect()
        connection.write(INFO.encode())
        await connection.until(b"}")
        handshake = HANDSHAKE.format(path="/api/websocket", port=server.port, headers="")
        connection.write(handshake.replace(change, "/x" if "/" in change else "Version: 1").encode())
        assert (await connection.end()).startswith(b"HTTP/1.1 %d " % status)
