"""MQTT on real sockets: TCP, TLS, the PROXY protocol, limits, and the end of connections."""

import ssl
from dataclasses import replace

import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from dhtwisted.config.settings import TlsSettings
from dhtwisted.service.tls import Certificates
from dhtwisted.transports import connection_deadlines, open_connections
from dhtwisted.transports.mqtt import protocol
from dhtwisted.transports.mqtt.reading import LARGE, MAX_PINGS
from dhtwisted.wire.mqtt.encoding import encode
from dhtwisted.wire.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
)
from dhtwisted.wire.mqtt.reasons import ReasonCode
from tests.support.certificates import write_certificate
from tests.support.mqtt.listening import MqttPeer

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])
SERVER_BUSY, SERVER_UNAVAILABLE_3, NOT_AUTHORIZED_3 = 0x89, 3, 5


def subscribe(pattern, qos=2):
    return Subscribe(1, [Subscription(pattern, qos)])


@pytest.fixture
def short(monkeypatch):
    """Have nobody wait for ten seconds."""
    monkeypatch.setattr(connection_deadlines, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr("dhtwisted.core.budget.SLOW_SECONDS", 1.0)
    monkeypatch.setattr(open_connections, "STOP_SECONDS", 1.5)


@VERSIONS
@pytest_twisted.ensureDeferred
async def test_messages_of_every_qos_pass(serve_mqtt, nothing_logged, version):
    """[MQTT-4.2.0-1]: over TCP."""
    server = await serve_mqtt()
    hearer, speaker = await server.connected("hearer", version), await server.connected("speaker", version)
    hearer.send(subscribe("tele/#"))
    assert (await hearer.packet()).reason_codes == [2]
    speaker.send(Publish("tele/a", b"0"), Publish("tele/b", b"1", 1, packet_id=1), Publish("tele/c", b"2", 2, packet_id=2))
    assert [type(await speaker.packet()) for _ in range(2)] == [Puback, Pubrec]
    heard = [await hearer.packet() for _ in range(3)]
    assert [(packet.topic, packet.payload, packet.qos) for packet in heard] == [
        ("tele/a", b"0", 0),
        ("tele/b", b"1", 1),
        ("tele/c", b"2", 2),
    ]
    speaker.send(Pubrel(2), Pingreq())
    assert [type(await speaker.packet()).__name__ for _ in range(2)] == ["Pubcomp", "Pingresp"]


@pytest_twisted.ensureDeferred
async def test_packets_may_come_byte_by_byte(serve_mqtt, nothing_logged):
    server = await serve_mqtt()
    peer = await server.peer(4)
    for packet in (Connect(version=4, client_id="drip"), subscribe("a"), Publish("a", b"x" * 300)):
        for byte in encode(packet, 4):
            peer.raw.write(bytes((byte,)))
            await server.turns(lambda: True)
    assert [type(await peer.packet()) for _ in range(3)] == [Connack, Suback, Publish]


@VERSIONS
@pytest_twisted.ensureDeferred
async def test_a_refusal_can_be_read_although_more_was_sent(serve_mqtt, version):
    """Without reading on, TCP would reset the connection, and the client would lose the reason."""
    server = await serve_mqtt(mqtt={"anonymous": False})
    peer = await server.peer(version)
    peer.send(Connect(version=version, client_id="nobody"), *[Publish("a", b"x" * 60_000)] * 50)
    (answer,) = await peer.until_closed()
    assert answer.reason_code == (ReasonCode.NOT_AUTHORIZED if version == 5 else NOT_AUTHORIZED_3)
    await server.turns(lambda: not server.factory.open_connections)


@pytest_twisted.ensureDeferred
async def test_a_disconnect_of_the_server_can_be_read_too(serve_mqtt):
    server = await serve_mqtt()
    peer = await server.connected()
    peer.send(Connect(client_id="again"), *[Publish("a", b"x" * 60_000)] * 50)
    (packet,) = await peer.until_closed()
    assert (type(packet), packet.reason_code) == (Disconnect, ReasonCode.PROTOCOL_ERROR)


@pytest_twisted.ensureDeferred
async def test_who_does_not_close_is_aborted(serve_mqtt, short):
    server = await serve_mqtt()
    peer = await server.connected()
    peer.send(Disconnect())
    peer.raw.transport.pauseProducing()
    await server.turns(lambda: not server.factory.open_connections)


@VERSIONS
@pytest_twisted.ensureDeferred
async def test_too_many_connections_get_a_reason(serve_mqtt, version):
    server = await serve_mqtt(limits={"connections": 1})
    await server.connected("first")
    peer = await server.peer(version)
    answer = await peer.connect("second")
    assert answer.reason_code == (SERVER_BUSY if version == 5 else SERVER_UNAVAILABLE_3)
    assert await peer.until_closed() == []
    assert server.memory.server.metrics.refusals["connections"] == 1


@pytest_twisted.ensureDeferred
async def test_a_refused_client_that_says_nothing_is_closed_soon(serve_mqtt, monkeypatch):
    monkeypatch.setattr(protocol, "REFUSAL_SECONDS", 0.1)
    server = await serve_mqtt(limits={"connections": 1})
    await server.connected("first")
    peer = await server.peer()
    assert await peer.until_closed() == []


@pytest_twisted.ensureDeferred
async def test_an_address_has_a_limit_that_ends_with_its_connections(serve_mqtt):
    server = await serve_mqtt(limits={"connections_per_address": 1})
    first = await server.connected("first")
    peer = await server.peer()
    assert (await peer.connect("second")).reason_code == ReasonCode.QUOTA_EXCEEDED
    first.raw.transport.loseConnection()
    await peer.until_closed()
    await server.turns(lambda: not server.factory.open_connections)
    await server.connected("third")


@pytest_twisted.ensureDeferred
async def test_a_silent_socket_is_closed_in_time(serve_mqtt):
    server = await serve_mqtt(limits={"handshake_timeout": 1.0})
    peers = [await server.peer() for _ in range(20)]
    for peer in peers:
        assert await peer.until_closed() == []
    assert server.memory.server.metrics.refusals["handshake_timeout"] == len(peers)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100, b"\xff" * 100]
)
@pytest_twisted.ensureDeferred
async def test_a_stranger_is_closed_without_an_answer(serve_mqtt, nothing_logged, garbage):
    server = await serve_mqtt()
    peer = await server.peer()
    peer.raw.write(garbage)
    assert await peer.until_closed() == []


@pytest_twisted.ensureDeferred
async def test_pings_are_answered_up_to_a_flood(serve_mqtt):
    server = await serve_mqtt()
    peer = await server.connected()
    peer.send(*[Pingreq()] * 100)
    assert {type(await peer.packet()) for _ in range(100)} == {Pingresp}
    peer.send(*[Pingreq()] * 20 * MAX_PINGS)
    *_, last = await peer.until_closed()
    assert (type(last), last.reason_code) == (Disconnect, ReasonCode.MESSAGE_RATE_TOO_HIGH)
    assert server.memory.server.metrics.ends["flood"] == 1


@pytest_twisted.ensureDeferred
async def test_who_does_not_read_is_ended_and_nothing_is_kept(serve_mqtt, short):
    server = await serve_mqtt()
    hearer, speaker = await server.connected("hearer"), await server.connected("speaker")
    hearer.send(subscribe("a"))
    await hearer.packet()
    hearer.raw.transport.pauseProducing()
    while not server.factory.mqtt.upkeep.congested:
        speaker.send(*[Publish("a", b"x" * 60_000)] * 10)
        await server.turns(lambda: True)
    await server.turns(lambda: server.memory.server.metrics.ends["not_reading"])
    speaker.send(Pingreq())
    assert type(await speaker.packet()) is Pingresp
    await server.turns(lambda: server.factory.open_connections == 1)
    assert (server.memory.server.budget.total, len(server.factory.mqtt.upkeep.congested)) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_a_large_packet_counts_until_it_is_whole(serve_mqtt):
    server = await serve_mqtt()
    peer = await server.connected()
    data = encode(Publish("a", b"x" * 300_000, 1, packet_id=1), 5)
    peer.raw.write(data[:-1])
    await server.turns(lambda: server.memory.server.budget.total > 300_000 - LARGE)
    peer.raw.write(data[-1:])
    assert type(await peer.packet()) is Puback
    assert server.memory.server.budget.total == 0


@pytest_twisted.ensureDeferred
async def test_a_packet_that_is_too_large_ends_the_connection_at_its_head(serve_mqtt):
    server = await serve_mqtt(mqtt={"packet_size": 1000})
    peer = await server.connected()
    peer.raw.write(encode(Publish("a", b"x" * 1000), 5)[:10])
    (packet,) = await peer.until_closed()
    assert packet.reason_code == ReasonCode.PACKET_TOO_LARGE


# What the operator sees


def lines(captured):
    return [event["log_format"].format_map(event) for event in captured if "log_format" in event]


@pytest.mark.parametrize("target", ["user:1", "address:127.0.0.1"])
@pytest_twisted.ensureDeferred
async def test_a_client_can_be_followed(serve_mqtt, target):
    server = await serve_mqtt(log={"trace": (target,)})
    with capturedLogs() as captured:
        peer = await server.connected("pump", user=server.memory.administrator)
        peer.send(Publish("a/secret", b"payload", 1, packet_id=3), subscribe("b/#"))
        await peer.packet()
        peer.send(Connect(client_id="again"))
        await peer.until_closed()
        await server.turns(lambda: not server.factory.open_connections)
    told = lines(captured)
    assert "packet: PUBLISH packet_id=3 topic='a/secret' qos=1 retain=False dup=False 7 bytes" in told
    assert "packet: SUBSCRIBE packet_id=1 'b/#'" in told
    assert "packet to the client: CONNACK session_present=False reason_code=0" in told
    assert "packet to the client: PUBACK packet_id=3 reason_code=16" in told
    assert "packet to the client: SUBACK packet_id=1 reason_codes=[2]" in told
    assert "packet to the client: DISCONNECT reason_code=130" in told
    assert "closed, reason 0x82: CONNECT: the client is connected already" in told
    assert any(line.startswith("packet: CONNECT version=5 client_id='pump'") for line in told) == target.startswith("address")
    assert ("connection: the connection has ended" in told) == target.startswith("address")
    assert not any("payload" in line or "eyJ" in line for line in told)


@pytest_twisted.ensureDeferred
async def test_what_a_connected_client_gets_is_told_from_a_reload_to_the_next(serve_mqtt):
    """The subscriber sends nothing meanwhile."""
    server = await serve_mqtt()
    settings = server.memory.server.settings

    def trace(*targets):
        server.memory.server.reloadable(replace(settings, log=replace(settings.log, trace=targets)))()
        server.broker.set_limits()

    hearer, speaker = await server.connected("hearer", user=server.memory.administrator), await server.connected("speaker")
    hearer.send(subscribe("a"))
    await hearer.packet()
    with capturedLogs() as captured:
        for number, targets in enumerate([(), ("user:1",), ()]):
            trace(*targets)
            speaker.send(Publish("a", b"%d" % number))
            assert (await hearer.packet()).payload == b"%d" % number
    told = [line for line in lines(captured) if line.startswith("packet")]
    assert told == ["packet to the client: PUBLISH packet_id=0 topic='a' qos=0 retain=False dup=False 1 bytes"]


@pytest_twisted.ensureDeferred
async def test_connections_are_told_at_debug(serve_mqtt):
    server = await serve_mqtt(log={"level": "debug"})
    with capturedLogs() as captured:
        lost = await server.connected("pump", user=server.memory.administrator, keep_alive=30)
        lost.raw.transport.abortConnection()
        await server.turns(lambda: not server.factory.open_connections)
        polite, rude = await server.connected("polite", 4), await server.connected("rude", 3)
        polite.send(Disconnect())
        await server.turns(lambda: server.factory.open_connections == 1)
        rude.send(Connect(client_id="again"))
        await rude.until_closed()
        await server.turns(lambda: not server.factory.open_connections)
    connected, gone, *others = [event for event in captured if event.get("client") is not None]
    assert [connected[name] for name in ("client", "address", "user")] == ["pump", "127.0.0.1", 1]
    told = ["connected by MQTT 5.0, keep alive 30 s, session new", "ended: the client has gone without DISCONNECT"]
    assert lines([connected, gone]) == told
    assert (gone["client"], gone["user"]) == ("pump", 1)
    assert [(line, event["client"]) for line, event in zip(lines(others), others, strict=True)] == [
        ("connected by MQTT 3.1.1, keep alive 0 s, session new", "polite"),
        ("connected by MQTT 3.1, keep alive 0 s, session new", "rude"),
        ("ended: the client has disconnected, reason 0x00", "polite"),
        ("closed, reason 0x82: CONNECT: the client is connected already", "rude"),
    ]
    assert lines(captured).count("a connection is open") == lines(captured).count("the connection has ended") == 3


# The stop


@pytest_twisted.ensureDeferred
async def test_a_stop_tells_everybody(serve_mqtt):
    server = await serve_mqtt()
    old, new, silent = await server.connected("old", 4), await server.connected("new"), await server.peer()
    stopped = server.stop_gracefully()
    assert await old.until_closed() == []
    (packet,) = await new.until_closed()
    assert packet.reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    assert await silent.until_closed() == []
    await stopped


@pytest_twisted.ensureDeferred
async def test_what_is_under_way_at_a_stop_is_acknowledged_first(serve_mqtt):
    server = await serve_mqtt()
    sleeper = await server.connected("sleeper", 4, clean_start=False)
    sleeper.send(subscribe("a"))
    await sleeper.packet()
    sleeper.raw.transport.abortConnection()
    await server.turns(lambda: server.factory.open_connections == 0)
    peer = await server.connected("pump")
    server.broker.store.is_slow = True
    peer.send(Publish("a", b"x", 1, packet_id=7))
    await server.turns(lambda: server.broker.store.commits and server.broker.store._waiting)
    stopped = server.stop_gracefully()
    await deferLater(server.reactor, 0.1)
    assert server.factory.open_connections == 1
    server.broker.store.is_slow = False
    server.broker.store.release()
    puback, disconnect = await peer.until_closed()
    assert (puback.packet_id, disconnect.reason_code) == (7, ReasonCode.SERVER_SHUTTING_DOWN)
    await stopped


# TLS and the PROXY protocol


class TlsPeer(MqttPeer):
    """The same over TLS."""

    def __init__(self, connection, context):
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def shake_hands(self):
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.raw.write(self._outgoing.read())
                await self.raw.more()
                self._absorb()
        self.raw.write(self._outgoing.read())

    def _absorb(self):
        data, self.raw.received = self.raw.received, b""
        self._incoming.write(data)

    def send(self, *packets):
        self._tls.write(b"".join(encode(packet, self.version) for packet in packets))
        self.raw.write(self._outgoing.read())

    def _take(self):
        self._absorb()
        try:
            while data := self._tls.read():
                self._packets += self._decoder.feed(data)
        except ssl.SSLWantReadError:
            pass


@pytest.fixture
def tls(tmp_path):
    """What puts TLS in front of a factory, and the context of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["mqtt"])
    return Certificates(TlsSettings(certificate=str(write_certificate(tmp_path / "server.pem")))).wrap, context


@pytest_twisted.ensureDeferred
async def test_tls_and_its_protocol_name(serve_mqtt, nothing_logged, tls):
    wrap, context = tls
    server = await serve_mqtt(wrap=wrap)
    peer = TlsPeer(await server.raw(), context)
    await peer.shake_hands()
    assert peer._tls.selected_alpn_protocol() == "mqtt"
    assert (await peer.connect()).reason_code == 0
    peer.send(subscribe("a"), Publish("a", b"x" * 200_000), Publish("a", b"last"))
    assert [type(await peer.packet()) for _ in range(3)] == [Suback, Publish, Publish]
    peer.send(Disconnect())
    assert await peer.until_closed() == []


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_tls_connection_has_its_reason(serve_mqtt, tls):
    wrap, context = tls
    server = await serve_mqtt(wrap=wrap)
    peer = TlsPeer(await server.raw(), context)
    await peer.shake_hands()
    await peer.connect()
    peer.send(Connect(client_id="again"))
    assert (await peer.packet()).reason_code == ReasonCode.PROTOCOL_ERROR
    await peer.until_closed()


@pytest_twisted.ensureDeferred
async def test_who_begins_no_tls_is_closed_in_time(serve_mqtt, tls):
    server = await serve_mqtt(wrap=tls[0], limits={"handshake_timeout": 1.0})
    assert await (await server.peer()).until_closed() == []


@pytest_twisted.ensureDeferred
async def test_the_address_is_that_of_the_proxy_header(serve_mqtt, nothing_logged):
    server = await serve_mqtt("haproxy:tcp:0:interface=127.0.0.1", limits={"connections_per_address": 1})
    first, second, third = await server.peer(), await server.peer(), await server.peer()
    for peer, host in ((first, b"192.0.2.1"), (second, b"192.0.2.2"), (third, b"192.0.2.1")):
        peer.raw.write(b"PROXY TCP4 %b 192.0.2.9 4000 1883\r\n" % host)
    assert [(await peer.connect(f"c{number}")).reason_code for number, peer in enumerate((first, second))] == [0, 0]
    assert (await third.connect("c3")).reason_code == ReasonCode.QUOTA_EXCEEDED
    assert sorted(connection.output.address for connection in server.broker.connections) == ["192.0.2.1", "192.0.2.2"]


@pytest_twisted.ensureDeferred
async def test_a_unix_socket(serve_mqtt, tmp_path, reactor):
    from twisted.internet.endpoints import UNIXClientEndpoint

    from tests.support import raw

    path = tmp_path / "mqtt.sock"
    server = await serve_mqtt(f"unix:{path}")
    peer = MqttPeer(await raw.connect(reactor, 0, UNIXClientEndpoint(reactor, str(path))))
    assert (await peer.connect()).reason_code == 0
    peer.send(Disconnect())
    assert await peer.until_closed() == []
    await server.turns(lambda: not server.factory.open_connections)


@pytest.mark.parametrize(("public_url", "rest_url"), [("", ""), ("https://hive.example.com/", "https://hive.example.com/rest")])
@pytest_twisted.ensureDeferred
async def test_where_rest_is_must_be_configured(serve_mqtt, public_url, rest_url):
    """A client on a port of MQTT has used no address of HTTP, so only ``server.public_url`` can say it."""
    server = await serve_mqtt(server={"public_url": public_url})
    peer = await server.peer()
    await peer.connect()
    (connection,) = server.broker.connections
    assert connection.output.rest_url == rest_url
