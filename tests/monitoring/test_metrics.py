"""Every number that the server tells, by a scrape over HTTP of a server that real clients use."""

import platform

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock

from dhtwisted import __version__
from dhtwisted.actions import ACTIONS
from dhtwisted.core.budget import SLOW_SECONDS
from dhtwisted.core.counters import LIMITS
from dhtwisted.core.quotas import QUOTAS
from dhtwisted.monitoring.pages import Monitor
from dhtwisted.testing.requests import nested
from dhtwisted.transports.websocket.protocol import MAX_SMALL_FRAMES
from tests.support import raw
from tests.support.raw import PING, frame

TOO_DEEP = b'{"action":"server/info","more":%b}' % nested(20)


async def scrape(server):
    """The samples of a server: ``(name, labels as sorted pairs)`` -> value."""
    monitor = Monitor(server.reactor)
    monitor.watch_server(server.memory.server, server.factory)
    listener = await serverFromString(server.reactor, "tcp:0:interface=127.0.0.1").listen(monitor.site())
    connection = await raw.connect(server.reactor, listener.getHost().port)
    connection.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    body = (await connection.end()).partition(b"\r\n\r\n")[2].decode()
    await listener.stopListening()
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    return {(sample.name.removeprefix("dhtwisted_"), *sorted(sample.labels.items())): sample.value for sample in samples}


async def refusals(server):
    """Limit -> count, of those that have refused something."""
    found = await scrape(server)
    return {key[1][1]: value for key, value in found.items() if key[0] == "refusals_total" and value}


@pytest_twisted.ensureDeferred
async def test_what_is_known_from_the_start_is_there_with_0(listen):
    found = await scrape(await listen())
    assert found["build_info", ("python", platform.python_version()), ("version", __version__)] == 1
    assert {key[1][1] for key in found if key[0] == "refusals_total"} == set(LIMITS)
    assert {key[1][1] for key in found if key[0] == "quota_refusals_total"} == set(QUOTAS)
    assert {key[1][1] for key in found if key[0] == "requests_total"} >= set(ACTIONS)
    counted = {key: value for key, value in found.items() if key[0].startswith(("re", "ended", "deliveries", "queued"))}
    assert set(counted.values()) == {0}


@pytest_twisted.ensureDeferred
async def test_requests_errors_and_deliveries_are_counted(listen):
    server = await listen()
    connection = await server.authenticated()
    await connection.call(action="device/save", deviceId="d1", device={})
    await connection.call(action="notification/subscribe", deviceId="d1")
    for _ in range(2):
        connection.send(action="notification/insert", deviceId="d1", notification={"notification": "t"})
        await connection.message()
        await connection.message()
    await connection.call(action="device/get", deviceId="nobody's")
    await connection.call(action="no/such")
    await server.http("GET", "/api/rest/nowhere")
    found = await scrape(server)
    assert found["requests_total", ("action", "notification/insert")] == 2
    assert found["requests_total", ("action", "device/get")] == 1
    assert found["request_errors_total", ("action", "device/get"), ("code", "404")] == 1
    assert found["requests_unread_total", ("code", "400")] == 1
    assert found["requests_unread_total", ("code", "404")] == 1
    assert found["deliveries_total",] == 2
    assert found["websocket_messages_received_total",] == 7
    assert found["cached_entities", ("kind", "device")] == 1
    assert found["cached_entities", ("kind", "user")] == 1
    assert found["websocket_connections",] == 1


@pytest_twisted.ensureDeferred
async def test_an_update_for_its_inserter_is_a_delivery(listen):
    server = await listen(server={"updates_to_inserter": True})
    connection = await server.authenticated()
    await connection.call(action="device/save", deviceId="d1", device={})
    command = (await connection.call(action="command/insert", deviceId="d1", command={"command": "c"}))["command"]
    connection.send(action="command/update", deviceId="d1", commandId=command["id"], command={"status": "done"})
    await connection.message()
    await connection.message()
    assert (await scrape(server))["deliveries_total",] == 1


@pytest_twisted.ensureDeferred
async def test_refusals_of_what_is_too_large_too_deep_or_too_slow(listen):
    server = await listen(limits={"message_size": 1000, "json_depth": 10, "body_timeout": 0.05})
    connection = await server.websocket()
    connection.write(frame(TOO_DEEP))
    await connection.message()
    connection.write(frame(b"x" * 1001))
    await connection.end()
    headers = f"Authorization: Bearer {server.memory.token()}\r\nContent-Type: application/json\r\n"
    assert (await server.http("PUT", "/api/rest/device/d", headers, TOO_DEEP))[0] == 400
    assert (await server.http("PUT", "/api/rest/device/d", headers, b"x" * 1001))[0] == 413
    slow = await server.connect()
    slow.write(b"POST /token HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
    await slow.end()
    assert await refusals(server) == {"message_size": 2, "json_depth": 2, "body_timeout": 1}


@pytest_twisted.ensureDeferred
async def test_pauses_of_who_asks_too_often(listen):
    server = await listen(limits={"requests_per_second": 5})
    connection = await server.websocket()
    for _ in range(6):
        connection.send(action="server/info")
    for _ in range(6):
        await connection.message()
    assert await refusals(server) == {"requests_per_second": 1}


@pytest_twisted.ensureDeferred
async def test_pauses_over_http(listen):
    server = await listen(limits={"requests_per_second": 5})
    connection = await server.connect()
    connection.write(
        b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\n\r\n" * 5 + b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    await connection.end()
    assert (await refusals(server)).keys() == {"requests_per_second"}


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_connections_ended_for_a_flood_or_for_want_of_a_login(listen):
    server = await listen(limits={"authenticate_timeout": 0.1})
    flooding = await server.authenticated()
    flooding.write(frame(b"", PING) * (3 * MAX_SMALL_FRAMES))
    await flooding.end()
    anonymous = await server.websocket()
    assert await anonymous.close_code() == 1008
    found = await scrape(server)
    assert found["ended_connections_total", ("reason", "flood")] == 1
    assert found["ended_connections_total", ("reason", "unauthenticated")] == 1
    assert await refusals(server) == {"authenticate_timeout": 1}


async def congested(server):
    """The server's side of a connection whose client does not read, with something in its queue."""
    connection = await server.authenticated()
    connection.transport.pauseProducing()
    (protocol,) = server.factory.websockets.connections
    while not protocol.congested:
        protocol.send(b"x" * 100_000)
        await server.tick()
    protocol.send_event(b"x" * 500, b"x" * 500)
    return protocol


@pytest_twisted.ensureDeferred
async def test_queues_of_who_does_not_read(listen):
    server = await listen()
    await congested(server)
    await server.authenticated()
    found = await scrape(server)
    assert (found["congested_connections",], found["websocket_connections",]) == (1, 2)
    assert found["queued_bytes",] == found["queued_bytes_max",] == 1004


@pytest.mark.parametrize("seconds, reason", [(2, "queue_full"), (SLOW_SECONDS + 1, "not_reading")])
@pytest_twisted.ensureDeferred
async def test_who_does_not_read_is_ended_for_that(listen, monkeypatch, seconds, reason):
    server = await listen(limits={"output_queue": 100})
    protocol = await congested(server)
    later = Clock()
    later.advance(server.reactor.seconds() + seconds)
    monkeypatch.setattr(protocol.factory, "clock", later)
    server.factory.server.budget.tick(later.seconds())
    protocol.check_congestion(later.seconds())
    found = await scrape(server)
    assert found["ended_connections_total", ("reason", reason)] == 1
    assert await refusals(server) == ({"output_queue": 1} if reason == "queue_full" else {})


@pytest_twisted.ensureDeferred
async def test_who_is_silent_is_ended_for_that(listen):
    server = await listen()
    await server.authenticated()
    (protocol,) = server.factory.websockets.connections
    for _ in range(4):
        protocol.ping()
    found = await scrape(server)
    assert found["ended_connections_total", ("reason", "silent")] == 1
    assert await refusals(server) == {"ping_interval": 1}


@pytest.mark.parametrize("limit", ["connections", "connections_per_address"])
@pytest_twisted.ensureDeferred
async def test_refused_connections(listen, limit):
    server = await listen(limits={limit: 1})
    await server.websocket()
    await (await server.connect()).end()
    assert await refusals(server) == {limit: 1}


@pytest_twisted.ensureDeferred
async def test_refusals_of_who_says_nothing_asks_too_much_or_guesses(listen):
    server = await listen(limits={"handshake_timeout": 0.05, "subscriptions_per_connection": 1, "logins_per_minute": 1})
    connection = await server.authenticated()
    for _ in range(2):
        await connection.call(action="notification/subscribe")
        await connection.call(action="token", login="nobody", password="swordfish")
    await (await server.connect()).end()
    assert await refusals(server) == {"handshake_timeout": 1, "subscriptions_per_connection": 1, "logins_per_minute": 1}


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_polls_wait_and_are_refused(listen):
    server = await listen(limits={"polls": 1})
    headers = f"Authorization: Bearer {server.memory.token()}\r\n"
    waiting = await server.connect()
    waiting.write(f"GET /api/rest/device/notification/poll?waitTimeout=30 HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())
    while not (len(server.memory.server.polls) or waiting.received):
        await server.tick()
    await server.http("GET", "/api/rest/device/notification/poll?waitTimeout=30", headers)
    found = await scrape(server)
    assert found["polls_waiting",] == 1
    assert (await refusals(server)).keys() == {"polls"}
