"""What HTTP asks for, around the REST API."""

import json

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from dhtwisted.logs.lines import TextLines


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


@pytest.mark.parametrize("header", ["Host", "Origin", "X-Forwarded-Proto", "X-Forwarded-For", "Forwarded"])
@pytest_twisted.ensureDeferred
async def test_a_header_may_hold_any_bytes(listen, nothing_logged, header):
    server = await listen()
    connection = await server.connect()
    connection.write(b"GET /info HTTP/1.1\r\nConnection: close\r\n%b: \xff\x80\r\n\r\n" % header.encode())
    assert (await connection.end()).startswith(b"HTTP/1.1 200 ")


def is_error(answer, status):
    """Whether an answer is an error of this number, as clients can read it."""
    content = json.loads(answer[2])
    return (
        answer[0] == status
        and content["error"] == status
        and isinstance(content["message"], str)
        and answer[1]["content-type"] == "application/json"
    )


@pytest_twisted.ensureDeferred
async def test_bodies_too_large_are_refused(listen, nothing_logged):
    server = await listen(limits={"message_size": 1000})
    host = "HTTP/1.1\r\nHost: h"
    assert is_error(await exchange(server, f"POST /token {host}\r\nContent-Length: 1000000000"), 413)
    assert is_error(await exchange(server, f"POST /token {host}\r\nTransfer-Encoding: chunked", b"800\r\n" + b"x" * 2048 + b"\r\n"), 413)
    assert is_error(await server.http("POST", "/token", "", b"x" * 1000), 400)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST /token HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST /token HTTP/1.1\r\nContent-Length: x\r\n\r\n{}", 400),
        (b"POST /token HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        (b"GET /info HTTP/1.1\r\nA: " + b"a" * 16400, 431),
        (b"GET /info?" + b"a" * 20000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
        (b"GET /nothing HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 404),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_request_is_told_so_and_closed(listen, nothing_logged, sent, status):
    server = await listen()
    connection = await server.connect()
    connection.write(sent)
    head, _, content = (await connection.end()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(content)["error"] == status


@pytest.mark.parametrize("header", ["Authorization: Bearer x", "Content-Type: application/json", "Host: h"])
@pytest_twisted.ensureDeferred
async def test_a_header_that_is_repeated(listen, nothing_logged, header):
    server = await listen()
    assert is_error(await server.http("GET", "/info", f"{header}\r\n{header}\r\n"), 400)


@pytest_twisted.ensureDeferred
async def test_a_slow_body_is_not_waited_for(listen, nothing_logged):
    server = await listen(limits={"body_timeout": 0.05})
    connection = await server.connect()
    connection.write(b"POST /token HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
    assert (await connection.end()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", ["/%ff", "/device/%ff", "/device?name=%ff", "/device?" + "a=1&" * 1001, "/device\xff"])
@pytest_twisted.ensureDeferred
async def test_addresses_that_are_no_text(listen, nothing_logged, path):
    server = await listen()
    status = 400 if "?" in path else 404
    answer = await server.http("GET", path, f"Authorization: Bearer {server.memory.token()}\r\n")
    assert answer[0] == status or path == "/device\xff"
    assert answer[0] < 500
    assert is_error(answer, answer[0])


@pytest.mark.parametrize("base", ["", "/rest", "/api", "/api/rest", "/dh/rest", "/auth/rest", "/plugin/rest", "//api///rest/"])
@pytest_twisted.ensureDeferred
async def test_everything_is_under_every_base(listen, base):
    server = await listen()
    headers = f"Authorization: Bearer {server.memory.token()}\r\n"
    assert (await server.http("PUT", f"{base}/device/a%2Db", headers, b"{}"))[0] == 204
    assert json.loads((await server.http("GET", f"{base}/device/a-b/", headers))[2])["id"] == "a-b"
    assert json.loads((await server.http("GET", f"http://h:80{base}//device?take=1", headers))[2])[0]["id"] == "a-b"
    assert (await server.http("POST", f"{base}/token", "", b'{"login":"dhadmin","password":"password-1"}'))[0] == 201
    welcome = await server.http("GET", base or "/")
    assert (welcome[0], welcome[1]["content-type"]) == (200, "text/plain; charset=utf-8")


@pytest_twisted.ensureDeferred
async def test_preflights_need_no_token(listen):
    server = await listen()
    for path, methods in (
        ("/api/rest/device/x", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/token", "GET, HEAD, OPTIONS, POST"),
        ("/api/rest", "GET, HEAD, OPTIONS"),
    ):
        status, headers, content = await server.http("OPTIONS", path, "Authorization: Bearer bad\r\nOrigin: https://a.example\r\n")
        assert (status, content, headers["allow"]) == (200, b"", methods)
        assert headers["access-control-allow-origin"] == "*"
        assert "PUT" in headers["access-control-allow-methods"]
        assert "Authorization" in headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in headers
    assert is_error(await server.http("OPTIONS", "/nothing"), 404)


@pytest.mark.parametrize("name", ["openapi.json", "swagger.json"])
@pytest_twisted.ensureDeferred
async def test_the_description_of_the_api(listen, name):
    server = await listen()
    for base in ("", "/api/rest", "/auth/rest"):
        status, headers, content = await server.http("GET", f"{base}/{name}")
        document = json.loads(content)
        assert (status, headers["content-type"], document["servers"]) == (200, "application/json", [{"url": base or "/"}])
        assert "/device/{deviceId}" in document["paths"]
    assert is_error(await server.http("POST", f"/{name}"), 405)


@pytest_twisted.ensureDeferred
async def test_headers_of_every_answer(listen):
    server = await listen()
    for path, status in (("/info", 200), ("/nothing", 404), ("/device", 401)):
        answer = await server.http("GET", path)
        assert answer[0] == status
        assert (answer[1]["access-control-allow-origin"], answer[1]["cache-control"]) == ("*", "no-store")
        assert ("www-authenticate" in answer[1]) == (status == 401)
        assert "server" not in answer[1]


@pytest_twisted.ensureDeferred
async def test_head_is_get_without_a_body(listen):
    server = await listen()
    got, head = await server.http("GET", "/info"), await server.http("HEAD", "/info")
    assert head[0] == 200
    assert head[1]["content-length"] == str(len(got[2]))
    assert head[2] == b""
    missing = await server.http("HEAD", "/nothing")
    assert (missing[0], missing[2]) == (404, b"")


@pytest_twisted.ensureDeferred
async def test_a_post_may_be_taken_for_another_method(listen):
    server = await listen()
    headers = f"Authorization: Bearer {server.memory.token()}\r\nX-HTTP-Method-Override: "
    assert (await server.http("POST", "/device/x", headers + "put\r\n", b"{}"))[0] == 204
    assert is_error(await server.http("POST", "/device/x", headers + "GET\r\n", b"{}"), 405)
    assert (await server.http("POST", "/device/x", headers + "OPTIONS\r\n"))[0] == 200
    assert (await server.http("GET", "/device/x", headers + "DELETE\r\n"))[0] == 200
    assert (await server.http("POST", "/device/x", headers + "Delete\r\n"))[0] == 204
    wrong = await server.http("PATCH", "/device/x", headers + "PUT\r\n")
    assert is_error(wrong, 405)
    assert wrong[1]["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest_twisted.ensureDeferred
async def test_requests_of_one_connection_are_answered_in_order(listen, nothing_logged):
    server = await listen()
    connection = await server.connect()
    bearer = f"Host: h\r\nAuthorization: Bearer {server.memory.token()}\r\n"
    body = '{"name":"one"}'
    put = f"PUT /device/x HTTP/1.1\r\n{bearer}Content-Length: {len(body)}\r\n\r\n{body}"
    connection.write(f"{put}GET /device/x HTTP/1.1\r\n{bearer}\r\n".encode())
    connection.write(f"GET /device/command/poll?waitTimeout=0 HTTP/1.1\r\n{bearer}\r\nGET /info HTTP/1.0\r\n{bearer}\r\n".encode())
    answers = (await connection.end()).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"204", b"200", b"200", b"200"]
    assert b'"name":"one"' in answers[1]
    assert answers[2].endswith(b"[]")


@pytest_twisted.ensureDeferred
async def test_chunked_bodies_and_expectations(listen):
    server = await listen()
    connection = await server.connect()
    head = f"PUT /device/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {server.memory.token()}\r\n"
    connection.write(f"{head}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    assert await connection.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.write(b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    assert (await connection.end()).startswith(b"HTTP/1.1 204 ")


@pytest_twisted.ensureDeferred
async def test_a_poll_ends_with_its_connection(listen, nothing_logged):
    server = await listen()
    polls = server.memory.server.polls
    connection = await server.connect()
    connection.write(f"GET /device/command/poll HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {server.memory.token()}\r\n\r\n".encode())
    while not len(polls):
        await server.tick()
    connection.transport.abortConnection()
    while len(polls):
        await server.tick()


@pytest_twisted.ensureDeferred
async def test_who_asks_too_often_waits(listen):
    server = await listen(limits={"requests_per_second": 50})
    connection = await server.connect()
    connection.write(b"GET /info HTTP/1.1\r\nHost: h\r\n\r\n" * 60 + b"GET /info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await connection.end()).count(b"HTTP/1.1 200 ") == 61


@pytest_twisted.ensureDeferred
async def test_cors_follows_the_list_of_origins(listen):
    server = await listen(server={"origins": ("https://console.example",)})
    _, headers, _ = await exchange(server, "GET /info HTTP/1.1\r\nHost: h\r\nOrigin: https://console.example")
    assert headers["access-control-allow-origin"] == "https://console.example"
    _, headers, _ = await exchange(server, "GET /info HTTP/1.1\r\nHost: h\r\nOrigin: https://elsewhere.example")
    assert "access-control-allow-origin" not in headers


@pytest_twisted.ensureDeferred
async def test_a_defect_is_answered_and_logged_with_its_connection(listen, monkeypatch):
    server = await listen()

    def broken(path):
        raise ZeroDivisionError(path)

    monkeypatch.setattr(server.factory.locator, "resource", broken)
    with capturedLogs() as logs:
        await exchange(server, "GET /first HTTP/1.1\r\nHost: h")
        status, _, body = await exchange(server, "GET /api/rest/info?access_token=hunter22 HTTP/1.1\r\nHost: h")
    assert (status, json.loads(body)) == (500, {"error": 500, "message": "Internal server error"})
    failed = [event for event in logs if "log_failure" in event]
    assert [(event["connection"], event["address"]) for event in failed] == [(1, "127.0.0.1"), (2, "127.0.0.1")]
    assert "hunter22" not in TextLines().line(failed[1])
