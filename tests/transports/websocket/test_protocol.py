"""Handshake, frames and limits of a WebSocket, over real sockets."""

import json

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from dhtwisted.model import User
from dhtwisted.transports.websocket.protocol import MAX_SMALL_FRAMES, SMALL_FRAME
from tests.support.raw import BINARY, CLOSE, HANDSHAKE, PING, PONG, frame

INSERT = {"action": "notification/insert", "deviceId": "d1", "notification": {"notification": "t"}}


async def with_device(server):
    connection = await server.authenticated()
    assert (await connection.call(action="device/save", deviceId="d1", device={}))["status"] == "success"
    return connection


PATHS = [prefix + path + slash for prefix in ("", "/api", "/dh") for path in ("/client", "/device", "/websocket") for slash in ("", "/")]


@pytest.mark.parametrize("path", PATHS)
@pytest_twisted.ensureDeferred
async def test_every_documented_path_opens(listen, path):
    server = await listen()
    connection = await server.websocket(path)
    reply = await connection.call(action="server/info", requestId=1)
    base = "/api/rest" if path.startswith("/api") else "/dh/rest" if path.startswith("/dh") else "/rest"
    assert reply["info"]["restServerUrl"] == f"http://127.0.0.1:{server.port}{base}"


@pytest.mark.parametrize("path", ["/", "/nothing", "/api", "/api/websocket/more", "/apiwebsocket"])
@pytest_twisted.ensureDeferred
async def test_other_paths_are_not_found(listen, path):
    server = await listen()
    with pytest.raises(AssertionError, match="HTTP/1.1 404"):
        await server.websocket(path)


@pytest_twisted.ensureDeferred
async def test_no_subprotocol_is_selected_and_strange_origins_pass(listen):
    server = await listen()
    connection = await server.connect()
    connection.write(
        b"GET /dh/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Origin: http://127.0.0.1/api/rest\r\nSec-WebSocket-Protocol: chat, superchat\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = await connection.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-protocol" not in head.lower()


@pytest_twisted.ensureDeferred
async def test_compression_is_not_agreed_on(listen):
    """Browsers and Node offer it in every handshake."""
    server = await listen()
    connection = await server.connect()
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    connection.write(HANDSHAKE.format(path="/dh/websocket", port=server.port, headers=offer).encode())
    head = await connection.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-extensions" not in head.lower()
    assert (await connection.call(action="server/info"))["status"] == "success"


@pytest_twisted.ensureDeferred
async def test_only_listed_origins_when_there_is_a_list(listen):
    server = await listen(server={"origins": ("https://console.example",)})
    await server.websocket(headers="Origin: https://console.example\r\n")
    await server.websocket()
    with pytest.raises(AssertionError, match="HTTP/1.1 403"):
        await server.websocket(headers="Origin: https://elsewhere.example\r\n")


@pytest_twisted.ensureDeferred
async def test_authorization_header_authenticates(listen):
    server = await listen()
    connection = await server.websocket(headers=f"Authorization: Bearer {server.memory.token()}\r\n")
    assert (await connection.call(action="device/list"))["devices"] == []


@pytest_twisted.ensureDeferred
async def test_a_connection_with_an_authorization_header_counts_for_its_user(listen):
    server = await listen(quotas={"connections": 1, "administrators": 1})
    header = f"Authorization: Bearer {server.memory.token()}\r\n"
    first = await server.websocket(headers=header)
    with pytest.raises(AssertionError, match="HTTP/1.1 403"):
        await server.websocket(headers=header)
    quotas = (await first.call(action="user/getCurrent"))["current"]["quotas"]
    assert quotas["connections"] == {"used": 1, "limit": 1}


@pytest.mark.parametrize("kind", ["garbage", "refresh", "expired", "scheme"])
@pytest_twisted.ensureDeferred
async def test_bad_authorization_header_is_refused(listen, kind):
    server = await listen()
    value = {
        "garbage": "Bearer x.y.z",
        "refresh": f"Bearer {server.memory.token(refresh=True)}",
        "expired": f"Bearer {server.memory.token(lifetime=-1)}",
        "scheme": "Basic ZGhhZG1pbjp4",
    }[kind]
    with pytest.raises(AssertionError, match="HTTP/1.1 401"):
        await server.websocket(headers=f"Authorization: {value}\r\n")


@pytest_twisted.ensureDeferred
async def test_authorization_header_while_the_storage_is_away(listen):
    server = await listen()
    token = server.memory.token(await server.memory.storage.insert(User(login="somebody")))
    await server.memory.storage.close()
    with pytest.raises(AssertionError, match="HTTP/1.1 503 Service Unavailable"):
        await server.websocket(headers=f"Authorization: Bearer {token}\r\n")


@pytest_twisted.ensureDeferred
async def test_nothing_is_read_while_an_authorization_header_waits(listen, nothing_logged, monkeypatch):
    server, prepared, asked = await listen(), Deferred(), []
    plain = server.memory.server.authentication.by_header

    async def authenticate(header):
        asked.append(header)
        await prepared
        return await plain(header)

    monkeypatch.setattr(server.memory.server.authentication, "by_header", authenticate)
    connection = await server.connect()
    header = f"Authorization: Bearer {server.memory.token()}\r\n"
    connection.write(HANDSHAKE.format(path="/api/websocket", port=server.port, headers=header).encode())
    while not asked:
        await server.tick()
    connection.write(frame(json.dumps({"action": "server/info", "x": "x" * 500_000})) * 4)
    for _ in range(50):
        await server.tick()
    assert server.factory.websockets.traffic.octets_received < 200_000
    prepared.callback(None)
    await connection.until(b"\r\n\r\n")
    assert [(await connection.message())["status"] for _ in range(4)] == ["success"] * 4
    assert len(asked) == 1


@pytest_twisted.ensureDeferred
async def test_replies_are_one_unfragmented_frame_of_any_size(listen):
    server = await listen()
    connection = await with_device(server)
    for size in (0, 125, 126, 65535, 65536, 900_000):
        reply = await connection.call(**INSERT | {"requestId": "x" * size})
        assert reply["requestId"] == "x" * size


@pytest_twisted.ensureDeferred
async def test_fragments_with_a_ping_between_them_are_one_request(listen):
    server = await listen()
    connection = await server.websocket()
    text = json.dumps({"action": "server/info", "requestId": "größe"}, ensure_ascii=False).encode()
    for cut in range(1, len(text), 7):
        connection.write(frame(text[:cut], fin=False))
        connection.write(frame(b"hello", PING))
        connection.write(frame(text[cut:], opcode=0))
        assert await connection.frame() == (PONG, b"hello")
        assert (await connection.message())["requestId"] == "größe"


@pytest_twisted.ensureDeferred
async def test_requests_cut_anywhere_and_glued_together(listen):
    server = await listen()
    connection = await server.websocket()
    stream = b"".join(frame(json.dumps({"action": "server/info", "requestId": n})) for n in range(3))
    for size in (1, 3, 50, len(stream)):
        for start in range(0, len(stream), size):
            connection.write(stream[start : start + size])
        assert [(await connection.message())["requestId"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x", BINARY), 1003),
        (frame(b"\xff\xfe"), 1007),
        (frame(b'{"action":"\xed\xa0\x80"}'), 1007),
        (frame(b"{}", masked=False), 1002),
        (frame(b"{}", rsv=4), 1002),
        (frame(b"{}", opcode=3), 1002),
        (frame(b"{}", opcode=0), 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"", PING, fin=False), 1002),
        (frame(b" " * (1 << 20) + b"{}"), 1009),
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (frame(b" " * 600_000, fin=False) + frame(b" " * 600_000, opcode=0), 1009),
    ],
    ids="binary,not utf-8,surrogate,unmasked,reserved bit,opcode,continuation,long ping,cut ping,large,huge,large in parts".split(","),
)
@pytest_twisted.ensureDeferred
async def test_violations_close_with_their_code(listen, nothing_logged, data, code):
    server = await listen()
    connection = await server.websocket()
    connection.write(data)
    assert await connection.close_code() == code
    connection.write(frame(code.to_bytes(2, "big"), CLOSE))
    await connection.end()


@pytest_twisted.ensureDeferred
async def test_the_size_limit_is_for_what_comes_in_alone(listen):
    server = await listen(limits={"message_size": 2000})
    connection = await with_device(server)
    for _ in range(30):
        await connection.call(**INSERT)
    reply = await connection.call(action="notification/list", deviceId="d1")
    assert len(reply["notifications"]) == 31
    assert len(json.dumps(reply)) > 2000


@pytest_twisted.ensureDeferred
async def test_pings_of_the_client_are_answered_and_its_close_too(listen):
    server = await listen()
    connection = await server.websocket()
    connection.write(frame(b"", PING))
    assert await connection.frame() == (PONG, b"")
    connection.write(frame((1000).to_bytes(2, "big"), CLOSE))
    assert (await connection.frame())[0] == CLOSE
    await connection.end()


@pytest_twisted.ensureDeferred
async def test_a_handshake_and_requests_in_one_packet(listen):
    server = await listen()
    connection = await server.connect()
    connection.write(
        b"GET /client HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + frame(json.dumps({"action": "server/info", "requestId": 5}))
    )
    await connection.until(b"\r\n\r\n")
    assert (await connection.message())["requestId"] == 5


@pytest.mark.slow
@pytest.mark.lowest
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.deferred(lambda: st.lists(st.one_of(UTF8_TEXTS, JSON.map(json.dumps), REQUESTS.map(json.dumps)), max_size=8)))
@pytest_twisted.ensureDeferred
async def test_any_text_gets_one_answer(listen, nothing_logged, texts):
    """Over a real socket: whatever a text frame holds, one reply without a code of 500 or above, and the connection lives."""
    server = await listen()
    connection = await server.authenticated()
    for text in texts:
        connection.write(frame(text))
    connection.send(action="server/info", requestId="the end")
    replies = [await connection.message() for _ in texts]
    assert all(reply.get("status") == "success" or 400 <= reply["code"] < 500 for reply in replies), (texts, replies)
    assert (await connection.message())["requestId"] == "the end"
    await server.stop()


UTF8_TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
REQUESTS = st.dictionaries(
    st.sampled_from(["deviceId", "device", "command", "notification", "commandId", "take", "start", "requestId", "timestamp", "payload"]),
    JSON,
).flatmap(
    lambda members: st.sampled_from(
        [
            "device/save",
            "device/get",
            "command/insert",
            "command/update",
            "command/list",
            "notification/insert",
            "notification/get",
            "token/create",
        ]
    ).map(lambda action: members | {"action": action})
)


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize(
    "flood",
    [frame(b"x" * 125, PING), frame(b"", PONG), frame(b"", opcode=0, fin=False), frame(b"1", opcode=0, fin=False)],
    ids="pings,pongs,empty fragments,small fragments".split(","),
)
@pytest_twisted.ensureDeferred
async def test_a_flood_of_frames_that_bring_no_message_is_ended(listen, nothing_logged, flood):
    server = await listen()
    connection = await server.websocket()
    connection.write(frame(b'{"n":', fin=False) + flood * (3 * MAX_SMALL_FRAMES))
    assert await connection.close_code() == 1008
    await connection.end()


@pytest_twisted.ensureDeferred
async def test_a_message_in_fragments_of_some_size_is_no_flood(listen):
    server = await listen()
    connection = await server.websocket()
    part = b" " * SMALL_FRAME
    connection.write(frame(b'{"action":"server/info",', fin=False) + frame(part, opcode=0, fin=False) * (2 * MAX_SMALL_FRAMES))
    connection.write(frame(b'"requestId":1}', opcode=0))
    assert (await connection.message())["requestId"] == 1


@pytest_twisted.ensureDeferred
async def test_a_burst_larger_than_the_queue_reaches_one_who_reads(listen):
    server = await listen(limits={"output_queue": 100_000})
    subscriber = await with_device(server)
    await subscriber.call(action="notification/subscribe", deviceId="d1")
    publisher = await server.memory.client()
    for n in range(20):
        body = {"notification": "t", "parameters": [n, "x" * 50_000]}
        publisher.send_text(json.dumps({"action": "notification/insert", "deviceId": "d1", "notification": body}))
    assert [(await subscriber.message())["notification"]["parameters"][0] for _ in range(20)] == list(range(20))


@pytest_twisted.ensureDeferred
async def test_a_reader_that_is_too_slow_is_logged_once(listen):
    server = await listen(limits={"output_queue": 10_000})
    subscriber = await with_device(server)
    await subscriber.call(action="notification/subscribe", deviceId="d1")
    publisher = await server.memory.client()
    closings = []

    def observe(event):
        if "does not read" in (event.get("log_format") or ""):
            closings.append(event)

    globalLogPublisher.addObserver(observe)
    for _ in range(50):
        body = {"notification": "t", "parameters": "x" * 500_000}
        publisher.send_text(json.dumps({"action": "notification/insert", "deviceId": "d1", "notification": body}))
    globalLogPublisher.removeObserver(observe)
    assert len(closings) == 1
