"""What refusals look like: reason phrases, when to come again, and what is wrong with a handshake."""

import json
from http import HTTPStatus

import pytest
import pytest_twisted

from dhtwisted import errors
from dhtwisted.errors import ApiError
from dhtwisted.model import User
from dhtwisted.testing.server import PASSWORD
from dhtwisted.transports.http.answers import answer_head, refusal
from tests.support import raw

PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]


def answer(data):
    """Status line, headers by lower-case name, and content."""
    head, _, content = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, json.loads(content)


@pytest.mark.parametrize("code", sorted({code for kind in KINDS for code in (kind.code, kind.rest_code) if code}))
def test_every_status_has_its_reason_phrase(code):
    assert answer_head(code, b"").startswith(f"HTTP/1.1 {code} {PHRASES[code]}\r\n".encode())


@pytest.mark.parametrize("code", [200, 201, 204])
def test_so_has_success(code):
    assert answer_head(code, b"").startswith(f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n".encode())


@pytest.mark.parametrize(
    "error", [errors.TooManyRequests(), errors.TooManyRequests(41.2), errors.TooManyRequests(0.1), errors.ServiceOverloaded()]
)
def test_when_to_come_again_is_in_header_and_body(error):
    status, headers, content = answer(refusal(error))
    assert int(headers["retry-after"]) == content["retryAfter"] == error.retry_after >= 1
    assert content["error"] == int(status.split()[1])
    assert errors.TooManyRequests(41.2).retry_after == 42


def test_nothing_is_said_of_it_where_nobody_knows():
    _, headers, content = answer(refusal(errors.ServiceUnavailable()))
    assert "retry-after" not in headers
    assert set(content) == {"error", "message"}


@pytest_twisted.ensureDeferred
async def test_too_many_logins_are_told_when_to_come_again_on_both_fronts(listen):
    server = await listen(limits={"logins_per_minute": 1}, hash_password=True)
    connection = await server.connect()
    body = json.dumps({"login": "nobody", "password": PASSWORD}).encode()
    request = b"POST /token HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    connection.write(request)
    await connection.until(b"}")
    connection.write(request)
    status, headers, content = answer(await connection.until(b"}"))
    assert status == "HTTP/1.1 429 Too Many Requests"
    assert 55 < int(headers["retry-after"]) == content["retryAfter"] <= 60
    refused = await (await server.websocket()).call(action="token", login="nobody", password=PASSWORD)
    assert (refused["code"], refused["error"]) == (429, "Too many requests")
    assert 55 < refused["retryAfter"] <= 60


@pytest_twisted.ensureDeferred
async def test_a_waiting_poll_too_many_is_told_when_to_come_again(listen):
    server = await listen(limits={"polls": 1})
    headers = f"Authorization: Bearer {server.memory.token()}\r\n"
    waiting = await server.connect()
    waiting.write(f"GET /device/command/poll HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())
    while not len(server.memory.server.polls):
        await server.tick()
    status, headers, content = await server.http("GET", "/device/command/poll", headers)
    assert (status, headers["retry-after"], json.loads(content)["retryAfter"]) == (429, "10", 10)


# Handshakes

GOOD = raw.HANDSHAKE.format(path="/api/websocket", port=80, headers="")


@pytest.mark.parametrize(
    ("old", "new", "status", "words"),
    [
        (" HTTP/1.1", " HTTP/1.0", 505, "proxy_http_version 1.1"),
        ("GET ", "POST ", 405, "GET"),
        ("Version: 13", "Version: 12", 426, "Sec-WebSocket-Version"),
        ("Sec-WebSocket-Version: 13\r\n", "", 426, "Sec-WebSocket-Version"),
        ("Version: 13\r\n", "Version: 13\r\nSec-WebSocket-Version: 8\r\n", 426, "Sec-WebSocket-Version"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "Sec-WebSocket-Key"),
        ("Connection: Upgrade\r\n", "", 400, "Connection: Upgrade"),
        ("Connection: Upgrade", "Connection: close", 400, "Connection: Upgrade"),
        ("Host: 127.0.0.1:80\r\n", "", 400, "Host"),
        ("Host: 127.0.0.1:80", "Host: 127.0.0.1:x", 400, "port"),
        ("Upgrade: websocket\r\n", "", 426, "proxy"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "proxy"),
        ("/api/websocket", "/api/nothing", 404, "404"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_handshake_that_is_wrong_is_told_what_is(listen, nothing_logged, old, new, status, words):
    server = await listen()
    connection = await server.connect()
    assert old in GOOD
    connection.write(GOOD.replace(old, new, 1).encode())
    line, headers, content = answer(await connection.until(b"}"))
    assert line == f"HTTP/1.1 {status} {PHRASES[status]}"
    assert content["error"] == status
    assert words in content["message"]
    assert headers["content-type"] == "application/json"
    if status == 426:
        assert (headers["upgrade"], headers["sec-websocket-version"]) == ("websocket", "13")
        assert "Upgrade" in headers["connection"]
    if status == 405:
        assert headers["allow"] == "GET"


@pytest_twisted.ensureDeferred
async def test_upgrade_may_name_more_than_one_protocol(listen):
    server = await listen()
    connection = await server.connect()
    connection.write(
        GOOD.replace("Upgrade: websocket", "Upgrade: h2c, WebSocket").replace("Connection: ", "Connection: keep-alive, ").encode()
    )
    assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("path", "status"), [("/websocket", 426), ("/dh//client/", 426), ("/api/device", 401), ("/device", 401), ("/client/x", 404)]
)
@pytest_twisted.ensureDeferred
async def test_plain_requests_for_paths_of_the_websocket(listen, path, status):
    """``/device`` is a path of REST too."""
    server = await listen()
    assert (await server.http("GET", path))[0] == status


@pytest_twisted.ensureDeferred
async def test_a_refused_identity_is_told_as_rest_tells_it(listen):
    server = await listen()
    user = await server.memory.server.entities.insert(User(login="somebody"))
    expired = server.memory.token(user, lifetime=-1)
    connection = await server.connect()
    connection.write(raw.HANDSHAKE.format(path="/client", port=80, headers=f"Authorization: Bearer {expired}\r\n").encode())
    line, headers, content = answer(await connection.end())
    assert line == "HTTP/1.1 401 Unauthorized"
    assert content == {"error": 401, "message": "Token expired"}
    assert headers["www-authenticate"] == "Bearer"


# Connections of HTTP


@pytest_twisted.ensureDeferred
async def test_idle_connections_are_closed_after_their_time(listen):
    server = await listen(limits={"idle_timeout": 0.1})
    connection = await server.connect()
    connection.write(b"GET /info HTTP/1.1\r\nHost: h\r\n\r\n")
    await connection.until(b"}")
    assert await connection.end() == b""


@pytest_twisted.ensureDeferred
async def test_idle_connections_are_kept_for_longer_than_proxies_keep_them(listen):
    server = await listen()
    assert server.factory.site.idle_timeout == 75 > 60


@pytest_twisted.ensureDeferred
async def test_a_page_may_send_x_requested_with(listen):
    server = await listen()
    _, headers, _ = await server.http("OPTIONS", "/api/rest/info", "Origin: https://console.example\r\n")
    assert "X-Requested-With" in headers["access-control-allow-headers"]
