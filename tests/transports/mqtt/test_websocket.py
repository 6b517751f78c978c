"""MQTT over WebSocket: the handshake, and packets in frames that are cut anywhere."""

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.transports.websocket.frames import FOR_AUTOBAHN, FOR_LATER, split_binary_frames
from dhtwisted.transports.websocket.reading import MESSAGES_IN_TURN
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import Connack, Connect, Disconnect, Pingreq, Pingresp, Puback, Publish, Suback, Subscribe, Subscription
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support import raw
from tests.support.raw import BINARY, CLOSE, PING, TEXT, frame

CONNECT = encode(Connect(client_id="browser"), 5)


class Browser:
    """A client of MQTT over WebSocket."""

    def __init__(self, connection, head, version=5):
        self.raw, self.head = connection, head
        self._decoder, self._packets = ReplyDecoder(version), []

    def send(self, data, opcode=BINARY, fin=True):
        self.raw.write(frame(data, opcode, fin))

    async def packet(self):
        while not self._packets:
            opcode, payload = await self.raw.frame()
            if opcode == BINARY:
                self._packets += self._decoder.feed(payload)
            else:
                assert opcode == PING, payload
        return self._packets.pop(0)


async def open_browser(server, path="/mqtt", protocols="mqtt", headers="", version=5):
    connection = await server.raw(server.port)
    if protocols:
        headers += f"Sec-WebSocket-Protocol: {protocols}\r\n"
    connection.write(raw.HANDSHAKE.format(path=path, port=server.port, headers=headers).encode())
    return Browser(connection, await connection.until(b"\r\n\r\n"), version)


@pytest.mark.parametrize("path", ["/mqtt", "/api/mqtt", "/dh/mqtt/", "//mqtt"])
@pytest.mark.parametrize(
    ("offered", "chosen"), [("mqtt", b"mqtt"), ("other, mqtt", b"mqtt"), ("mqttv3.1", b"mqttv3.1"), ("mqttv3.1, mqtt", b"mqtt")]
)
@pytest_twisted.ensureDeferred
async def test_the_handshake(serve_mqtt, nothing_logged, path, offered, chosen):
    """[MQTT-6.0.0-4] of both."""
    server = await serve_mqtt()
    browser = await open_browser(server, path, offered)
    assert browser.head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Protocol: %b\r\n" % chosen in browser.head
    browser.send(CONNECT)
    assert (await browser.packet()).reason_code == 0


@pytest.mark.parametrize("offered", ["", "soap", "mqttv5"])
@pytest_twisted.ensureDeferred
async def test_who_does_not_offer_the_subprotocol_is_told_to(serve_mqtt, nothing_logged, offered):
    browser = await open_browser(await serve_mqtt(), protocols=offered)
    assert browser.head.startswith(b"HTTP/1.1 400 ")
    assert b"Sec-WebSocket-Protocol" in await browser.raw.end()


@pytest_twisted.ensureDeferred
async def test_a_page_of_another_origin_is_refused(serve_mqtt):
    server = await serve_mqtt(server={"origins": ("https://console.example",)})
    refused = await open_browser(server, headers="Origin: https://evil.example\r\n")
    assert refused.head.startswith(b"HTTP/1.1 403 ")
    assert (await open_browser(server, headers="Origin: https://console.example\r\n")).head.startswith(b"HTTP/1.1 101 ")


@pytest_twisted.ensureDeferred
async def test_without_it_there_is_no_such_path(serve_mqtt):
    browser = await open_browser(await serve_mqtt(mqtt={"websocket": "off"}))
    assert browser.head.startswith(b"HTTP/1.1 404 ")


@pytest_twisted.ensureDeferred
async def test_plain_http_there_is_told_to_upgrade(serve_mqtt):
    server = await serve_mqtt()
    connection = await server.raw(server.port)
    connection.write(b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await connection.end()).startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 100_000])
@pytest_twisted.ensureDeferred
async def test_frames_may_cut_packets_anywhere(serve_mqtt, nothing_logged, size):
    """[MQTT-6.0.0-2] of both"""
    server = await serve_mqtt()
    browser = await open_browser(server)
    packets = [Subscribe(1, [Subscription("a", 0)]), Publish("a", b"x" * 500), Publish("a", b"last", 1, packet_id=3)]
    data = CONNECT + b"".join(encode(packet, 5) for packet in packets)
    for at in range(0, len(data), size):
        browser.send(data[at : at + size])
    kinds = [type(await browser.packet()) for _ in range(5)]
    assert sorted(kind.__name__ for kind in kinds) == sorted(kind.__name__ for kind in (Connack, Suback, Publish, Publish, Puback))


@pytest_twisted.ensureDeferred
async def test_a_fragmented_message_and_frames_in_pieces(serve_mqtt, nothing_logged):
    server = await serve_mqtt()
    browser = await open_browser(server)
    browser.send(CONNECT[:5], fin=False)
    browser.send(b"ping", PING)
    browser.send(CONNECT[5:], 0)
    assert (await browser.raw.frame())[0] == 10
    assert (await browser.packet()).reason_code == 0
    data = frame(encode(Pingreq(), 5), BINARY)
    for byte in data:
        browser.raw.write(bytes((byte,)))
        await server.turns(lambda: True)
    assert type(await browser.packet()) is Pingresp


@pytest_twisted.ensureDeferred
async def test_a_packet_larger_than_a_frame_of_text_may_be(serve_mqtt):
    """Only packets have a limit, mqtt.packet_size; limits.message_size is for JSON."""
    server = await serve_mqtt(limits={"message_size": 1000}, mqtt={"packet_size": 200_000})
    browser = await open_browser(server)
    browser.send(CONNECT + encode(Publish("a", b"x" * 150_000, 1, packet_id=1), 5))
    assert [type(await browser.packet()) for _ in range(2)] == [Connack, Puback]
    browser.send(encode(Publish("a", b"x" * 250_000, 1, packet_id=1), 5))
    assert (await browser.packet()).reason_code == ReasonCode.PACKET_TOO_LARGE
    assert await browser.raw.close_code() == 1000


@pytest_twisted.ensureDeferred
async def test_a_text_frame_ends_the_connection(serve_mqtt, nothing_logged):
    """[MQTT-6.0.0-1] of both"""
    server = await serve_mqtt()
    browser = await open_browser(server)
    browser.send(CONNECT)
    await browser.packet()
    browser.send("text", TEXT)
    assert await browser.raw.close_code() == 1003
    await browser.raw.end()
    await server.turns(lambda: not server.broker.connections)
    assert not server.broker.sessions


@pytest_twisted.ensureDeferred
async def test_many_frames_of_one_read_are_all_taken(serve_mqtt):
    server = await serve_mqtt()
    browser = await open_browser(server)
    count = 5 * MESSAGES_IN_TURN
    browser.raw.write(
        frame(CONNECT, BINARY) + b"".join(frame(encode(Publish("a", b"x", 1, packet_id=1 + n), 5), BINARY) for n in range(count))
    )
    assert type(await browser.packet()) is Connack
    assert [(await browser.packet()).packet_id for _ in range(count)] == list(range(1, count + 1))


@pytest.mark.parametrize("end", ["disconnect", "close frame", "reset"])
@pytest_twisted.ensureDeferred
async def test_the_end_of_the_client(serve_mqtt, nothing_logged, end):
    server = await serve_mqtt()
    browser = await open_browser(server)
    browser.send(CONNECT)
    await browser.packet()
    if end == "disconnect":
        browser.send(encode(Disconnect(), 5))
        assert await browser.raw.close_code() == 1000
    elif end == "close frame":
        browser.send((1000).to_bytes(2, "big"), CLOSE)
        assert await browser.raw.close_code() == 1000
    else:
        browser.raw.transport.abortConnection()
    await server.turns(lambda: not server.broker.connections and not server.factory.open_connections)


@pytest_twisted.ensureDeferred
async def test_a_stop_says_so(serve_mqtt):
    server = await serve_mqtt()
    browser = await open_browser(server)
    browser.send(CONNECT)
    await browser.packet()
    stopped = server.stop_gracefully()
    assert (await browser.packet()).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    assert await browser.raw.close_code() == 1000
    browser.send((1000).to_bytes(2, "big"), CLOSE)
    await stopped


@pytest_twisted.ensureDeferred
async def test_a_websocket_that_never_connects_is_closed(serve_mqtt):
    server = await serve_mqtt(limits={"handshake_timeout": 1.0})
    browser = await open_browser(server)
    assert await browser.raw.close_code() == 1000


@pytest_twisted.ensureDeferred
async def test_a_quiet_client_is_not_closed_for_want_of_a_login_by_json(serve_mqtt):
    server = await serve_mqtt(limits={"authenticate_timeout": 1.0})
    browser = await open_browser(server)
    browser.send(CONNECT)
    await browser.packet()
    opened = server.reactor.seconds()
    await server.turns(lambda: server.reactor.seconds() - opened > 3)
    browser.send(encode(Pingreq(), 5))
    assert type(await browser.packet()) is Pingresp


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 10), st.integers(0, 400))
def test_plain_binary_frames_are_split(payloads, most, cut):
    frames = [frame(payload, BINARY) for payload in payloads]
    data = b"".join(frames)
    data = data[: max(0, len(data) - cut)]
    taken, position, rest = split_binary_frames(data, most)
    whole = [payload for number, payload in enumerate(payloads) if len(b"".join(frames[: number + 1])) <= len(data)]
    assert taken == whole[:most]
    assert position == sum(map(len, frames[: len(taken)]))
    assert rest == (FOR_LATER if len(taken) == most and len(data) - position >= 6 else FOR_AUTOBAHN)


@pytest.mark.parametrize(
    "other",
    [frame("text"), frame(b"x", PING), frame(b"x", BINARY, fin=False), frame(b"x", BINARY, masked=False), frame(b"x", BINARY, rsv=1)],
)
def test_other_frames_are_left(other):
    data = frame(b"first", BINARY) + other
    assert split_binary_frames(data, 10) == ([b"first"], len(frame(b"first", BINARY)), FOR_AUTOBAHN)


@pytest.mark.parametrize(("path", "prefix"), [("/mqtt", ""), ("/dh/mqtt", "/dh")])
@pytest_twisted.ensureDeferred
async def test_a_client_is_told_where_rest_is(serve_mqtt, path, prefix):
    """As ``server/info`` says over a WebSocket of DeviceHive."""
    server = await serve_mqtt()
    browser = await open_browser(server, path)
    browser.send(CONNECT)
    await browser.packet()
    (connection,) = server.broker.connections
    assert connection.output.rest_url == f"http://127.0.0.1:{server.port}{prefix}/rest"
