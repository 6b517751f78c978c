"""Every state that a connection can be in, with a client that goes no further: each ends by itself, without TLS and with it."""

import ssl

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from dhtwisted.config.settings import TlsSettings
from dhtwisted.service.tls import Certificates
from dhtwisted.transports import connection_deadlines as deadlines
from dhtwisted.transports import open_connections
from dhtwisted.transports.admission import REFUSALS
from tests.support.certificates import write_certificate
from tests.support.raw import HANDSHAKE, frame

INFO = b"GET /api/rest/info HTTP/1.1\r\nHost: h\r\n\r\n"
LARGE = b"GET /api/rest/openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /api/rest/token HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
WEBSOCKET = HANDSHAKE.format(path="/api/websocket", port=1, headers="").encode()
REQUEST = frame('{"action":"server/info","requestId":1}')
PAUSE = object()
"""Do not read any more."""

STATES = {
    "nothing": [],
    "half a head": [b"GET /api/rest/info HT"],
    "a head but for its end": [INFO[:-2]],
    "idle after an answer": [INFO],
    "an empty line after an answer": [INFO, b"\r\n"],
    "half a second head": [INFO, b"GET /"],
    "a second head but for its end": [INFO + INFO[:-2]],
    "no body": [POST + b"Content-Length: 2\r\n\r\n"],
    "half a body": [POST + b"Content-Length: 2\r\n\r\n{"],
    "half a body in chunks": [POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n"],
    "a body that was to be continued": [POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"],
    "no body after an answer": [INFO + POST + b"Content-Length: 2\r\n\r\n"],
    "answers that are not read": [PAUSE, LARGE * 500],
    "answers that are not read, and the last": [PAUSE, LARGE * 300 + LARGE.replace(b"Host", b"Connection: close\r\nHost")],
    "closed after an answer": [INFO.replace(b"Host", b"Connection: close\r\nHost")],
    "closed after an answer, with more behind": [INFO.replace(b"Host", b"Connection: close\r\nHost") + INFO * 3, INFO],
    "closed after an answer of HTTP/1.0": [INFO.replace(b"/1.1", b"/1.0")],
    "no HTTP": [b"\r\n\r\n"],
    "no HTTP after an answer": [INFO, b"x\r\n\r\n"],
    "a head that is too long": [b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000],
    "a body that is too large": [POST + b"Content-Length: 99999999\r\n\r\n"],
    "no place for a WebSocket": [WEBSOCKET.replace(b"/api/websocket", b"/nowhere")],
    "no token for a WebSocket": [WEBSOCKET.replace(b"Host", b"Authorization: Bearer x\r\nHost")],
    "a WebSocket that says nothing": [WEBSOCKET],
    "half a frame": [WEBSOCKET, REQUEST[:5]],
    "a WebSocket after an answer": [INFO, WEBSOCKET],
    "the client has closed its WebSocket": [WEBSOCKET, frame(b"\x03\xe8", 8)],
    "the server has closed the WebSocket": [WEBSOCKET, frame(b"x", 2)],
    "replies that are not read": [WEBSOCKET, PAUSE, REQUEST * 60_000],
}
"""State -> what is sent, in several turns."""


class Peer:
    """A client that does what it is told, over TLS if there is any, and never agrees to a close.

    :param tls: an ``ssl.SSLContext`` or ``None``.
    """

    def __init__(self, connection, tls):
        self.connection = connection
        if tls is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        else:
            self._tls = None

    def hello(self):
        """The first bytes of TLS."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()

    async def shake_hands(self):
        """Do the handshake of TLS."""
        while self._tls is not None:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.connection.write(self._outgoing.read())
                await self.connection.more()
                self._incoming.write(self.connection.received)
                self.connection.received = b""
        self.say(b"")

    def say(self, data):
        """Send bytes."""
        if self._tls is not None:
            if data:
                self._tls.write(data)
            data = self._outgoing.read()
        self.connection.write(data)


@pytest.fixture(params=["clear", pytest.param("TLS", marks=[pytest.mark.slow, pytest.mark.lowest])])
def secured(request, tmp_path):
    """How a server is wrapped, and its clients' context: without TLS, or with it."""
    if request.param == "clear":
        return (lambda factory: factory), None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Certificates(TlsSettings(certificate=str(write_certificate(tmp_path / "server.pem")))).wrap, context


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Have nobody wait for ten seconds."""
    monkeypatch.setattr(deadlines, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr("dhtwisted.core.budget.SLOW_SECONDS", 1.0)
    monkeypatch.setattr(open_connections, "STOP_SECONDS", 1.5)


SHORT = {"handshake_timeout": 0.8, "idle_timeout": 0.8, "body_timeout": 0.8, "authenticate_timeout": 0.8}


async def bring(server, peer, steps):
    """Bring a connection into a state."""
    await peer.shake_hands()
    for step in steps:
        if step is PAUSE:
            peer.connection.transport.pauseProducing()
        else:
            peer.say(step)
        for _ in range(5):
            await server.tick()


async def all_gone(server, names, seconds):
    """Wait until every connection has ended."""
    end = server.reactor.seconds() + seconds
    while server.factory.open_connections and server.reactor.seconds() < end:
        await deferLater(server.reactor, 0.05)
    left = [names[port.number - 1] for port in server.factory.open.all]
    assert not left and not server.factory.open_connections, left
    assert not server.memory.server.budget.total


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_every_state_ends(listen, secured, nothing_logged):
    wrap, context = secured
    server = await listen(wrap=wrap, limits=SHORT)
    for steps in STATES.values():
        await bring(server, Peer(await server.connect(), context), steps)
    await all_gone(server, list(STATES), 8)


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_every_state_ends_when_the_server_stops(listen, secured, nothing_logged):
    wrap, context = secured
    server = await listen(wrap=wrap)
    for steps in STATES.values():
        await bring(server, Peer(await server.connect(), context), steps)
    begun = server.reactor.seconds()
    await server.close_gracefully()
    assert server.reactor.seconds() - begun < 4
    await all_gone(server, list(STATES), 0.5)


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_every_part_of_a_handshake_of_tls_ends(listen, tmp_path, nothing_logged):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    wrap = Certificates(TlsSettings(certificate=str(write_certificate(tmp_path / "server.pem")))).wrap
    server = await listen(wrap=wrap, limits=SHORT)
    for part in (slice(0), slice(1), slice(5), slice(100), slice(None), None):
        connection = await server.connect()
        connection.write(b"GET / HTTP/1.1\r\n\r\n" if part is None else Peer(connection, context).hello()[part])
    await all_gone(server, ["nothing", "a byte", "a record's head", "half a hello", "a hello", "no TLS"], 3)


@pytest_twisted.ensureDeferred
async def test_a_greeting_of_tls_without_end_is_not_gathered(listen, tmp_path, nothing_logged):
    server = await listen(wrap=Certificates(TlsSettings(certificate=str(write_certificate(tmp_path / "server.pem")))).wrap)
    connection = await server.connect()
    part = b"\x16\x03\x01\x20\x00"
    connection.write(part + b"\x01\x01\xff\xb8\x03\x03" + b"x" * 8186 + (part + b"x" * 8192) * 4)
    await all_gone(server, ["a long greeting"], 3)


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_every_part_of_a_proxy_header_ends(listen, secured, nothing_logged):
    wrap, _ = secured
    server = await listen("haproxy:tcp:0:interface=127.0.0.1", wrap=wrap, limits=SHORT)
    parts = (b"", b"PROXY TCP4 192.0.2.1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n")
    for part in parts:
        (await server.connect()).write(part)
    await all_gone(server, list(map(str, parts)), 4)


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("beginning", [[], [INFO]], ids=["first", "second"])
@pytest_twisted.ensureDeferred
async def test_bytes_put_no_end_off(listen, secured, beginning, nothing_logged):
    wrap, context = secured
    server = await listen(wrap=wrap, limits=SHORT)
    dripping = [b"GET / HTTP/1.1\r\nX: "]
    peers = [Peer(await server.connect(), context) for _ in range(2)]
    await bring(server, peers[0], beginning + dripping)
    await bring(server, peers[1], [*beginning, POST + b"Content-Length: 9999\r\n\r\n"])
    for _ in range(40):
        open_peers = [peer for peer in peers if not peer.connection.closed]
        if not open_peers:
            break
        for peer in open_peers:
            peer.say(b"x")
        await deferLater(server.reactor, 0.1)
    await all_gone(server, ["a head", "a body"], 0.1)


@pytest_twisted.ensureDeferred
async def test_those_for_whom_there_is_no_room_take_none(listen, secured, nothing_logged):
    wrap, context = secured
    server = await listen(wrap=wrap, limits=SHORT | {"connections": 3})
    peers = [Peer(await server.connect(), context) for _ in range(60)]
    assert server.factory.open_connections <= 3 + REFUSALS
    await deferLater(server.reactor, 0.1)
    assert server.factory.open_connections <= 3
    assert sum(peer.connection.closed for peer in peers) == 57
    await all_gone(server, [""] * 60, 4)
    await bring(server, Peer(await server.connect(), context), [INFO])
    assert server.factory.open_connections == 1
