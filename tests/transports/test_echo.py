"""The echo server over real sockets: what conformance asks for, on TCP, Unix sockets and TLS."""

import subprocess
import sys

import pytest
import pytest_twisted
from twisted.internet.endpoints import SSL4ClientEndpoint, UNIXClientEndpoint, serverFromString
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater

from dhtwisted.config.settings import TlsSettings
from dhtwisted.service.tls import Certificates
from dhtwisted.testing import echo_factory
from dhtwisted.transports.websocket.protocol import MAX_SMALL_FRAMES
from tests.support import raw
from tests.support.certificates import write_certificate
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame

NO_MASK = bytes(4)
"""Quick to make, where much is sent."""

MEBIBYTE = 1024**2
TCP = "tcp:0:interface=127.0.0.1"


class Listening:
    """An echo server.

    :param client: makes the endpoint of a client, if it is not one for TCP.
    """

    def __init__(self, reactor, factory, listener, client):
        self.factory = factory
        self._reactor, self._listener, self._client = reactor, listener, client
        self._connections = []

    async def connect(self, path="/", headers=""):
        """Open a WebSocket."""
        host = self._listener.getHost()
        port = getattr(host, "port", 80)
        connection = await raw.connect(self._reactor, port, self._client and self._client(host))
        self._connections.append(connection)
        connection.write(raw.HANDSHAKE.format(path=path, port=port, headers=headers).encode())
        assert (await connection.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return connection

    async def stop(self):
        for connection in self._connections:
            if not connection.closed:
                connection.transport.abortConnection()
        await self._listener.stopListening()


def endpoints(reactor, kind, directory):
    """Where to listen, a function that puts TLS in front, and one that makes the endpoint of a client; ``None`` where TCP will do."""
    if kind == "unix":
        path = f"{directory}/socket"
        return f"unix:{path}", None, lambda host: UNIXClientEndpoint(reactor, path)
    if kind == "tcp":
        return TCP, None, None
    certificate = write_certificate(directory / "server.pem")

    def client(host):
        return SSL4ClientEndpoint(reactor, "127.0.0.1", host.port, CertificateOptions())

    if kind == "tls":
        return TCP, Certificates(TlsSettings(certificate=str(certificate))).wrap, client
    return f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}", None, client


@pytest_twisted.async_yield_fixture
async def listen(reactor, tmp_path):
    """A function that starts an echo server with the given options, on a socket of a kind: tcp, unix, ssl (Twisted's) or tls (ours)."""
    servers = []

    async def start(kind="tcp", **options):
        description, wrap, client = endpoints(reactor, kind, tmp_path)
        factory = echo_factory(reactor, **options)
        listener = await serverFromString(reactor, description).listen(wrap(factory) if wrap else factory)
        servers.append(Listening(reactor, factory, listener, client))
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()


KINDS = pytest.mark.parametrize("kind", ["tcp", "unix", "ssl", "tls"])


def close_frame(code, reason=b""):
    return frame(code.to_bytes(2, "big") + reason, CLOSE)


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 3000, 65535, 65536, 16 * MEBIBYTE])
@pytest_twisted.ensureDeferred
async def test_messages_of_every_size_come_back(listen, size, opcode):
    connection = await (await listen()).connect()
    payload = b"x" * size
    connection.write(frame(payload, opcode, mask=NO_MASK))
    assert await connection.frame() == (opcode, payload)


@pytest.mark.parametrize("path", ["/", "/any/path", "/client", "/a?case=1&agent=b"])
@pytest_twisted.ensureDeferred
async def test_any_path_and_any_authorization_will_do(listen, path):
    connection = await (await listen()).connect(path, "Authorization: Bearer nonsense\r\n")
    connection.write(frame("größe") + frame(b"\xff\xfe", BINARY))
    assert await connection.frame() == (TEXT, "größe".encode())
    assert await connection.frame() == (BINARY, b"\xff\xfe")


@pytest.mark.parametrize("size", [0, 1, 125])
@pytest_twisted.ensureDeferred
async def test_pings_are_answered_with_their_payload(listen, size):
    connection = await (await listen()).connect()
    connection.write(frame(b"\xff" * size, PING) + frame(b"unasked", PONG) + frame(b"\xfe" * size, PING))
    assert [await connection.frame() for _ in range(2)] == [(PONG, b"\xff" * size), (PONG, b"\xfe" * size)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest_twisted.ensureDeferred
async def test_fragments_come_back_as_one_message_after_the_pings_between_them(listen, opcode):
    connection = await (await listen()).connect()
    text = "größe".encode()
    connection.write(frame(text[:3], opcode, fin=False))
    connection.write(frame(b"between", PING))
    connection.write(frame(b"", 0, fin=False) + frame(text[3:], 0))
    assert [await connection.frame() for _ in range(2)] == [(PONG, b"between"), (opcode, text)]


@pytest_twisted.ensureDeferred
async def test_small_frames_are_no_flood(listen):
    connection = await (await listen()).connect()
    count = 3 * MAX_SMALL_FRAMES
    connection.write(frame(b"", fin=False) + frame(b"1", 0, fin=False) * count + frame(b"", 0))
    assert await connection.frame() == (TEXT, b"1" * count)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"good \xf4\x90\x80\x80"), 1007),
        (frame(b"good \xf4\x90\x80\x80" + b"x" * 50)[:-40], 1007),
        (frame(b"good", fin=False) + frame(b"\xf4\x90", 0, fin=False), 1007),
        (frame(b"good", masked=False), 1002),
        (frame(b"good", 3), 1002),
        (frame(b"good", 0), 1002),
        (frame(b"good", rsv=1), 1002),
        (frame(b"x" * 2001), 1009),
        (frame(b"x" * 2001, BINARY), 1009),
        (close_frame(1005), 1002),
        (close_frame(1000, b"\xff"), 1007),
    ],
    ids="text,part of text,fragments,unmasked,opcode,continuation,reserved bit,large,large binary,close code,close reason".split(","),
)
@pytest_twisted.ensureDeferred
async def test_violations_end_with_their_code(listen, sent, code):
    connection = await (await listen(message_size=2000)).connect()
    connection.write(frame(b"x" * 2000) + sent)
    assert await connection.frame() == (TEXT, b"x" * 2000)
    assert await connection.close_code() == code
    connection.write(close_frame(code))
    assert await connection.end() == b""


CLOSINGS = {"empty": b"", "1000": b"\x03\xe8", "reason": b"\x03\xe8reason", "3000": b"\x0b\xb8", "4999": b"\x13\x87" + b"x" * 123}


@pytest.mark.parametrize("payload", CLOSINGS.values(), ids=CLOSINGS)
@KINDS
@pytest_twisted.ensureDeferred
async def test_the_closing_handshake(listen, kind, payload):
    connection = await (await listen(kind)).connect()
    connection.write(frame(b"last") + frame(payload, CLOSE))
    assert await connection.frame() == (TEXT, b"last")
    assert (await connection.frame())[0] == CLOSE
    assert await connection.end() == b""


@KINDS
@pytest_twisted.ensureDeferred
async def test_who_reads_late_gets_everything_in_order_and_the_close_last(listen, reactor, kind):
    server = await listen(kind)
    connection = await server.connect()
    connection.transport.pauseProducing()
    expected = []
    for number in range(300):
        payload = (b"%d:" % number).ljust((7919 * number) % 60_000 + 4, b".")
        opcode = BINARY if number % 3 == 0 else TEXT
        connection.write(frame(payload, opcode, mask=NO_MASK) + frame(b"%d" % number, PING))
        expected += [(opcode, payload), (PONG, b"%d" % number)]
    connection.write(close_frame(1000))
    (protocol,) = server.factory.connections
    while not protocol.congested:
        await wait_a_turn(reactor)
    connection.transport.resumeProducing()
    got = [await connection.frame() for _ in expected]
    assert got == expected
    assert await connection.frame() == (CLOSE, (1000).to_bytes(2, "big"))
    assert await connection.end() == b""


@KINDS
@pytest_twisted.ensureDeferred
async def test_a_close_that_comes_while_much_is_to_be_sent_loses_nothing(listen, reactor, kind):
    server = await listen(kind)
    connection = await server.connect()
    large = b"x" * (8 * MEBIBYTE)
    connection.transport.pauseProducing()
    connection.write(frame(large, mask=NO_MASK) + frame(b"after it") + close_frame(1000))
    while not any(protocol.state == protocol.STATE_CLOSED for protocol in server.factory.connections):
        await wait_a_turn(reactor)
    connection.transport.resumeProducing()
    got = [await connection.frame() for _ in range(3)]
    assert got == [(TEXT, large), (TEXT, b"after it"), (CLOSE, (1000).to_bytes(2, "big"))]
    assert await connection.end() == b""


@KINDS
@pytest_twisted.ensureDeferred
async def test_who_goes_while_much_is_to_be_sent_leaves_nothing(listen, reactor, kind):
    server = await listen(kind)
    connection = await server.connect()
    connection.transport.pauseProducing()
    connection.write(frame(b"x" * 50_000, mask=NO_MASK) * 300)
    (protocol,) = server.factory.connections
    while not protocol.congested:
        await wait_a_turn(reactor)
    connection.transport.abortConnection()
    while server.factory.connections:
        await wait_a_turn(reactor)
    assert protocol.queued == 0


async def wait_a_turn(reactor):
    await deferLater(reactor, 0.001)


def test_the_global_reactor_is_the_default(reactor):
    assert echo_factory().reactor is reactor


def test_to_import_the_package_costs_little():
    code = "import sys, dhtwisted.testing; print([name for name in ('autobahn', 'twisted', 'pytest') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_nothing_else_is_found_in_the_package():
    import dhtwisted.testing

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dhtwisted.testing.nothing  # noqa: B018
