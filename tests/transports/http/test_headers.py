"""One rule for both fronts: what a header or an address means to REST it means to the handshake of a WebSocket."""

import json

import pytest
import pytest_twisted

ORIGIN = "https://console.example"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ALLOWED = "access-control-allow-origin"
NOT_FOUND = (404, "HTTP 404 Not Found")


async def ask(server, target, headers):
    """Send a request of which every byte counts.

    :returns: the connection, the status, and the lines of the head in lower case.
    """
    connection = await server.connect()
    connection.write(f"GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode("latin-1"))
    lines = (await connection.until(b"\r\n\r\n")).decode().lower().split("\r\n")
    return connection, int(lines[0].split()[1]), lines


async def over_rest(server, headers="", target="/api/rest/info"):
    """Status and text of the answer."""
    connection, status, _ = await ask(server, target, headers + "Connection: close\r\n")
    return status, json.loads(await connection.end()).get("message")


async def over_websocket(server, headers="", target="/api/websocket"):
    """The same of a handshake: 200 when it is agreed to."""
    connection, status, _ = await ask(server, target, UPGRADE + headers)
    return (200, None) if status == 101 else (status, json.loads(await connection.end())["message"])


each_front = pytest.mark.parametrize("front", [over_rest, over_websocket])

AUTHORIZATIONS = [
    ("Bearer {access}", (200, None)),
    ("bearer {access}", (200, None)),
    ("BEARER  {access}  ", (200, None)),
    ("Bearer{access}", (200, None)),
    ("Bearer {refresh}", (401, "Unauthorized")),
    ("Bearer {expired}", (401, "Token expired")),
    ("Bearer x.y.z", (401, "Unauthorized")),
    ("Bearer \xe4\xff", (401, "Unauthorized")),
    ("Bearer {access} {access}", (401, "Unauthorized")),
    ("Bearer", (401, "Unauthorized")),
    ("", (401, "Unauthorized")),
    ("Basic ZGhhZG1pbjp4", (401, "Unauthorized")),
    ("{access}", (401, "Unauthorized")),
    ("Bearer {access}\r\nAuthorization: Bearer {access}", (400, "Invalid request parameters")),
]


@each_front
@pytest.mark.parametrize(("value", "expected"), AUTHORIZATIONS)
@pytest_twisted.ensureDeferred
async def test_authorization(listen, nothing_logged, front, value, expected):
    server = await listen()
    token = server.memory.token
    value = value.format(access=token(), refresh=token(refresh=True), expired=token(lifetime=-1))
    assert await front(server, f"Authorization: {value}\r\n") == expected


@pytest.mark.parametrize(
    ("origins", "is_allowed"),
    [
        ([ORIGIN], True),
        (["https://elsewhere.example"], False),
        ([ORIGIN.upper()], False),
        (["null"], False),
        ([""], False),
        ([ORIGIN, ORIGIN], False),
        (["https://elsewhere.example", ORIGIN], False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_origin_is_allowed_by_both_or_neither(listen, nothing_logged, origins, is_allowed):
    server = await listen(server={"origins": (ORIGIN,)})
    headers = "".join(f"Origin: {origin}\r\n" for origin in origins)
    _, _, lines = await ask(server, "/api/rest/info", headers)
    assert any(line.startswith(ALLOWED) for line in lines) == is_allowed
    assert await over_websocket(server, headers) == ((200, None) if is_allowed else (403, "Access is denied"))


TARGETS = [
    ("/api/{}", (200, None)),
    ("//api//{}/", (200, None)),
    ("/api/{}?a=1&b", (200, None)),
    ("http://h/api/{}", (200, None)),
    ("https://h:8443/api/{}?a=1", (200, None)),
    ("/%61pi/{}", (200, None)),
    ("/api/{}%2F", NOT_FOUND),
    ("/API/{}", NOT_FOUND),
    ("/api/x/{}", NOT_FOUND),
    ("/api/{}/%ff", NOT_FOUND),
]


@pytest.mark.parametrize(("front", "path"), [(over_rest, "rest/info"), (over_websocket, "websocket")])
@pytest.mark.parametrize(("target", "expected"), TARGETS)
@pytest_twisted.ensureDeferred
async def test_targets(listen, nothing_logged, front, path, target, expected):
    server = await listen()
    assert await front(server, target=target.format(path)) == expected


@pytest.mark.parametrize("target", ["/api/websocket", "http://h/api/websocket", "/%61pi/web%73ocket?a=1"])
@pytest_twisted.ensureDeferred
async def test_a_websocket_that_was_opened_by_any_form_of_its_address(listen, nothing_logged, target):
    server = await listen()
    connection, status, _ = await ask(server, target, UPGRADE)
    assert status == 101
    assert (await connection.call(action="server/info"))["info"]["restServerUrl"] == "http://h/api/rest"
