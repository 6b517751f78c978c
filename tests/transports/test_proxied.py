"""Clients behind proxies: their own addresses count, whoever carries what they send, and nobody else's word on it does."""

import json
import struct
from dataclasses import replace

import pytest
import pytest_twisted

from dhtwisted.config.settings import Settings
from dhtwisted.logs.audit import Audit
from dhtwisted.model import Device
from dhtwisted.testing.server import PASSWORD
from tests.support import raw

TRUSTING = {"trusted_proxies": ("127.0.0.1",)}
STRANGER, OTHER = "203.0.113.7", "198.51.100.9"


def via(address):
    """What a proxy adds for a client."""
    return f"X-Forwarded-For: {address}\r\n"


def v2(source, command=1):
    """The PROXY protocol's second form, as HAProxy sends it."""
    family, addresses = (0x11, bytes(map(int, source.split("."))) + b"\x7f\0\0\1") if command else (0, b"")
    body = addresses + struct.pack("!HH", 40000, 80) if command else b""
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes((0x20 | command, family)) + struct.pack("!H", len(body)) + body


def v1(source):
    """Its first form."""
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'::1' if family == 'TCP6' else '127.0.0.1'} 40000 80\r\n".encode()


async def log_in(server, headers="", password=PASSWORD, login="nobody"):
    """The status and headers of a login over REST."""
    body = json.dumps({"login": login, "password": password}).encode()
    status, answered, content = await server.http("POST", "/api/rest/token", headers, body)
    return status, answered, json.loads(content)


@pytest.mark.parametrize("headers", ["", via(OTHER), f"Forwarded: for={OTHER}\r\n"])
@pytest_twisted.ensureDeferred
async def test_who_sends_the_header_without_a_proxy_gains_nothing(listen, headers):
    server = await listen(limits={"logins_per_minute": 2}, hash_password=True)
    for n in range(2):
        assert (await log_in(server, headers.replace(OTHER, f"198.51.100.{n}")))[0] == 401
    assert (await log_in(server, headers))[0] == 429
    socket = await server.websocket(headers=headers)
    assert (await socket.call(action="token", login="dhadmin", password=PASSWORD))["code"] == 429


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For: {}\r\n", 'Forwarded: for="{}:4711";proto=https\r\n', "X-Forwarded-For: 1.2.3.4, {}\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_wrong_logins_behind_a_proxy_lock_out_their_sender_alone(listen, header):
    server = await listen(server=TRUSTING, limits={"logins_per_minute": 2}, hash_password=True)
    for _ in range(2):
        assert (await log_in(server, header.format(STRANGER)))[0] == 401
    assert (await log_in(server, header.format(STRANGER)))[0] == 429
    assert (await log_in(server, header.format(OTHER), login="dhadmin"))[0] == 201
    assert (await log_in(server, login="dhadmin"))[0] == 201, "the proxy itself"
    stranger, other = await server.websocket(headers=header.format(STRANGER)), await server.websocket(headers=header.format(OTHER))
    assert (await stranger.call(action="token", login="dhadmin", password=PASSWORD))["code"] == 429
    assert (await other.call(action="token", login="dhadmin", password=PASSWORD))["status"] == "success"


@pytest_twisted.ensureDeferred
async def test_an_ipv6_stranger_is_its_whole_network(listen):
    server = await listen(server=TRUSTING, limits={"logins_per_minute": 2}, hash_password=True)
    for n in range(2):
        assert (await log_in(server, via(f"2001:db8:0:1::{n}")))[0] == 401
    assert (await log_in(server, via("2001:db8:0:1:ffff::"), login="dhadmin"))[0] == 429
    assert (await log_in(server, via("2001:db8:0:2::"), login="dhadmin"))[0] == 201


@pytest_twisted.ensureDeferred
async def test_one_connection_of_a_proxy_carries_requests_of_many(listen):
    server = await listen(server=TRUSTING, limits={"logins_per_minute": 1}, hash_password=True)
    connection = await server.connect()
    statuses = []
    for address, login in ((STRANGER, "nobody"), (STRANGER, "dhadmin"), (OTHER, "dhadmin")):
        body = json.dumps({"login": login, "password": PASSWORD}).encode()
        connection.write(f"POST /token HTTP/1.1\r\nHost: h\r\n{via(address)}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await connection.until(b"\r\n\r\n")).decode()
        statuses.append(int(head.split()[1]))
        await connection.until(b"}")
    assert statuses == [401, 429, 201]


@pytest_twisted.ensureDeferred
async def test_a_websocket_has_the_address_of_its_upgrade_in_audit_and_log(listen, audit_lines):
    server = await listen(server=TRUSTING, hash_password=True)
    server.memory.server.audit = Audit(audit_lines)
    socket = await server.websocket(headers=via(f"1.2.3.4, {STRANGER}"))
    await socket.call(action="token", login="nobody", password="wrong")
    await log_in(server, via(OTHER))
    assert [record["address"] for record in audit_lines.records] == [STRANGER, OTHER]
    (protocol,) = server.factory.websockets.connections
    assert protocol.address == protocol.peer == STRANGER


@pytest_twisted.ensureDeferred
async def test_who_leaves_open_whose_it_is_gets_400_on_both_fronts(listen):
    server = await listen(server=TRUSTING)
    headers = f"X-Forwarded-For: {STRANGER}\r\nForwarded: for={OTHER}\r\n"
    status, _, content = await server.http("GET", "/info", headers)
    assert (status, "X-Forwarded-For" in json.loads(content)["message"]) == (400, True)
    with pytest.raises(AssertionError, match="HTTP/1.1 400 Bad Request"):
        await server.websocket(headers=headers)


# connections_per_address


async def until(server, condition):
    while not condition():
        await server.tick()


@pytest_twisted.ensureDeferred
async def test_websockets_of_one_proxy_count_for_their_clients(listen):
    server = await listen(server=TRUSTING, limits={"connections_per_address": 2})
    sockets = [await server.websocket(headers=via(address)) for address in (STRANGER, STRANGER, OTHER)]
    with pytest.raises(AssertionError, match="HTTP/1.1 503 Service Unavailable"):
        await server.websocket(headers=via(STRANGER))
    # What it counts by stays the same when the proxy is no longer trusted.
    server.factory.reloadable(replace_server(server, trusted_proxies=()))()
    for socket in sockets:
        socket.transport.abortConnection()
    await until(server, lambda: not server.factory.open_connections)
    server.factory.reloadable(replace_server(server, **TRUSTING))()
    for _ in range(2):
        await server.websocket(headers=via(STRANGER))


def replace_server(server, **values):
    """The settings with some of ``[server]`` changed."""
    settings: Settings = server.memory.server.settings
    return replace(settings, server=replace(settings.server, **values))


@pytest_twisted.ensureDeferred
async def test_requests_of_one_proxy_count_for_their_clients_while_they_are_under_way(listen):
    server = await listen(server=TRUSTING, limits={"connections_per_address": 1})
    await server.memory.server.entities.insert(Device(id="d1", name="d1", network_id=None, device_type_id=None))
    token = server.memory.token()
    poll = (
        f"GET /device/d1/command/poll?waitTimeout=30 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n{via(STRANGER)}\r\n".encode()
    )
    waiting = await server.connect()
    waiting.write(poll)
    await until(server, lambda: len(server.memory.server.polls))
    status, _, content = await server.http("GET", "/info", via(STRANGER))
    assert (status, json.loads(content)["error"]) == (503, 503)
    assert (await server.http("GET", "/info", via(OTHER)))[0] == 200
    waiting.transport.abortConnection()
    await until(server, lambda: server.factory.open_connections == 0)
    for _ in range(2):
        assert (await server.http("GET", "/info", via(STRANGER)))[0] == 200


@pytest_twisted.ensureDeferred
async def test_the_pace_of_requests_is_the_clients_own(listen):
    server = await listen(server=TRUSTING, limits={"requests_per_second": 1})
    connection = await server.connect()
    get = "GET /info HTTP/1.1\r\nHost: h\r\n{}\r\n"
    connection.write(get.format(via(STRANGER)).encode())
    await connection.until(b"}")
    refused = server.memory.server.metrics.refusals["requests_per_second"]
    connection.write(get.format(via(OTHER)).encode())
    await connection.until(b"}")
    assert server.memory.server.metrics.refusals["requests_per_second"] == refused == 0
    connection.write(get.format(via(OTHER)).encode())
    await connection.until(b"}")
    assert server.memory.server.metrics.refusals["requests_per_second"] == 1


# The PROXY protocol

PROXIED = "haproxy:tcp:0:interface=127.0.0.1"


@pytest.mark.parametrize(
    ("first", "address"),
    [
        (v1(STRANGER), STRANGER),
        (v1("2001:DB8:0::7"), "2001:db8::7"),
        (v2(STRANGER), STRANGER),
        (v2(STRANGER, command=0), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_proxy_protocol_tells_the_address(listen, audit_lines, first, address):
    server = await listen(PROXIED, hash_password=True)
    server.memory.server.audit = Audit(audit_lines)
    # The header of the PROXY protocol is no trust in what the client sends after it.
    socket = await server.websocket(headers=via(OTHER), first=first)
    await socket.call(action="token", login="nobody", password="wrong")
    connection = await server.connect()
    body = b'{"login": "nobody", "password": "wrong"}'
    connection.write(first + b"POST /token HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n" % (via(OTHER).encode(), len(body)) + body)
    await connection.until(b"}")
    assert [record["address"] for record in audit_lines.records] == [address, address]


@pytest.mark.parametrize("write", [v1, v2])
@pytest_twisted.ensureDeferred
async def test_connections_by_the_proxy_protocol_count_for_their_clients(listen, write):
    server = await listen(PROXIED, limits={"connections_per_address": 1})
    silent = [await server.connect() for _ in range(3)]
    await until(server, lambda: server.factory.open_connections == 3)
    first = await server.websocket(first=write(STRANGER))
    await server.websocket(first=write(OTHER))
    with pytest.raises(AssertionError, match="HTTP/1.1 503 Service Unavailable"):
        await server.websocket(first=write(STRANGER))
    for connection in (first, *silent):
        connection.transport.abortConnection()
    await until(server, lambda: server.factory.open_connections == 1)
    await server.websocket(first=write(STRANGER))


@pytest_twisted.ensureDeferred
async def test_a_proxy_behind_a_load_balancer_is_trusted_by_its_own_address(listen):
    server = await listen(PROXIED, server={"trusted_proxies": (OTHER,)})
    for address, expected in ((OTHER, "1.2.3.4"), (STRANGER, STRANGER)):
        await server.websocket(headers=via("1.2.3.4"), first=v2(address))
        assert expected in {protocol.address for protocol in server.factory.websockets.connections}


# Unix sockets


@pytest.mark.parametrize(("trusted", "address"), [(("unix",), STRANGER), ((), ""), (("0.0.0.0/0", "::/0"), "")])
@pytest_twisted.ensureDeferred
async def test_a_proxy_at_a_unix_socket(listen, tmp_path, trusted, address):
    server = await listen(f"unix:{tmp_path}/hive", server={"trusted_proxies": trusted})
    await server.websocket(headers=via(STRANGER))
    (protocol,) = server.factory.websockets.connections
    assert protocol.address == address


# info


@pytest.mark.parametrize(
    ("headers", "trusted", "scheme", "authority"),
    [
        ("X-Forwarded-Proto: https\r\n", False, "", "inside:8080"),
        ("X-Forwarded-Proto: https\r\n", True, "s", "inside:8080"),
        ("X-Forwarded-Proto: https, http\r\n", True, "s", "inside:8080"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", True, "s", "inside:8080"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", False, "", "inside:8080"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Host: hive.example\r\nX-Forwarded-Port: 8443\r\n", True, "s", "hive.example:8443"),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Host: hive.example\r\nX-Forwarded-Port: 443\r\n", True, "s", "hive.example"),
        ("Forwarded: for=192.0.2.1;proto=https;host=hive.example\r\n", True, "s", "hive.example"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_both_fronts_tell_the_same_addresses(listen, headers, trusted, scheme, authority):
    server = await listen(server=TRUSTING if trusted else {})
    connection = await server.connect()
    connection.write(f"GET /api/rest/info HTTP/1.1\r\nHost: inside:8080\r\nConnection: close\r\n{headers}\r\n".encode())
    head, _, content = (await connection.end()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), head
    assert json.loads(content)["webSocketServerUrl"] == f"ws{scheme}://{authority}/api/websocket"
    connection = await server.connect()
    handshake = raw.HANDSHAKE.format(path="/api/websocket", port=0, headers=headers).replace("127.0.0.1:0", "inside:8080")
    connection.write(handshake.encode())
    await connection.until(b"\r\n\r\n")
    assert (await connection.call(action="server/info"))["info"]["restServerUrl"] == f"http{scheme}://{authority}/api/rest"
