"""GET info, and all else on plain HTTP."""

import json

import pytest
import pytest_twisted


async def exchange(server, head, body=b""):
    """Send one HTTP request; returns the status, headers by lower-case name, and body."""
    connection = await server.connect()
    connection.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
    answer = await connection.end()
    lines, _, content = answer.partition(b"\r\n\r\n")
    status, *headers = lines.decode().split("\r\n")
    return int(status.split()[1]), dict((name.lower(), value) for name, value in (line.split(": ", 1) for line in headers)), content


@pytest.mark.parametrize(
    ("path", "websocket"),
    [
        ("/info", "/websocket"),
        ("//info", "/websocket"),
        ("/info/", "/websocket"),
        ("/rest/info", "/websocket"),
        ("/api/rest/info", "/api/websocket"),
        ("/dh//rest/info?x=1", "/dh/websocket"),
        ("/api/info", "/api/websocket"),
        ("/auth/rest/info", "/websocket"),
        ("/plugin/rest/info", "/websocket"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_info_names_the_websocket(listen, path, websocket):
    server = await listen()
    status, headers, body = await exchange(server, f"GET {path} HTTP/1.1\r\nHost: things.example:8080")
    info = json.loads(body)
    assert (status, headers["content-type"], headers["access-control-allow-origin"]) == (200, "application/json", "*")
    assert set(info) == {"apiVersion", "serverTimestamp", "webSocketServerUrl"}
    assert info["webSocketServerUrl"] == f"ws://things.example:8080{websocket}"


@pytest_twisted.ensureDeferred
async def test_info_behind_a_proxy(listen):
    server = await listen()
    _, _, body = await exchange(server, "GET /api/rest/info HTTP/1.1\r\nHost: things.example\r\nX-Forwarded-Proto: https")
    assert json.loads(body)["webSocketServerUrl"] == "wss://things.example/api/websocket"
    server = await listen(server={"public_url": "https://hive.example/"})
    _, _, body = await exchange(server, "GET /api/rest/info HTTP/1.1\r\nHost: internal")
    assert json.loads(body)["webSocketServerUrl"] == "wss://hive.example/api/websocket"


@pytest_twisted.ensureDeferred
async def test_other_methods_and_paths(listen, nothing_logged):
    server = await listen()
    host = "HTTP/1.1\r\nHost: h"
    assert (await exchange(server, f"OPTIONS /api/rest/info {host}"))[0] == 200
    status, headers, body = await exchange(server, f"HEAD /api/rest/info {host}")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 50
    assert (await exchange(server, f"GET /api/rest/ {host}"))[0] == 200
    for method, path, status in (("POST", "/api/rest/info", 405), ("GET", "/api/rest/nothing", 404), ("GET", "/x/info", 404)):
        answer = await exchange(server, f"{method} {path} {host}\r\nContent-Length: 0")
        assert answer[0] == status
        assert json.loads(answer[2])["error"] == status


@pytest.mark.parametrize("header", ["Host", "Origin", "X-Forwarded-Proto"])
@pytest_twisted.ensureDeferred
async def test_a_header_may_hold_any_bytes(listen, nothing_logged, header):
    server = await listen()
    connection = await server.connect()
    connection.write(b"GET /info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%b: \xff\x80\r\n\r\n" % header.encode())
    assert (await connection.end()).startswith(b"HTTP/1.1 200 ")


@pytest_twisted.ensureDeferred
async def test_bodies_too_large_are_refused(listen, nothing_logged):
    server = await listen(limits={"message_size": 1000})
    host = "HTTP/1.1\r\nHost: h"
    assert (await exchange(server, f"POST /info {host}\r\nContent-Length: 1000000000"))[0] == 413
    assert (await exchange(server, f"POST /info {host}\r\nTransfer-Encoding: chunked", b"800\r\n" + b"x" * 2048 + b"\r\n"))[0] == 413


@pytest_twisted.ensureDeferred
async def test_cors_follows_the_list_of_origins(listen):
    server = await listen(server={"origins": ("https://console.example",)})
    _, headers, _ = await exchange(server, "GET /info HTTP/1.1\r\nHost: h\r\nOrigin: https://console.example")
    assert headers["access-control-allow-origin"] == "https://console.example"
    _, headers, _ = await exchange(server, "GET /info HTTP/1.1\r\nHost: h\r\nOrigin: https://elsewhere.example")
    assert "access-control-allow-origin" not in headers
