"""TLS in front of another protocol: any cut of the stream, one buffer for all connections, clients that stop, fail, or do not read."""

import ctypes
import gc
import ssl
import weakref
from contextlib import suppress
from functools import partial
from socket import IPPROTO_TCP, TCP_QUICKACK
from socket import socket as Socket
from types import SimpleNamespace

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import ssl as twisted_ssl
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from dhtwisted.config.settings import TlsSettings
from dhtwisted.service.tls import Certificates
from dhtwisted.transports.tls import LONGEST_RECORD, PORTION
from tests.support import raw
from tests.support.certificates import write_certificate

PEER = IPv4Address("TCP", "127.0.0.1", 1)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's certificate."""
    return Certificates(TlsSettings(certificate=str(write_certificate(tmp_path_factory.mktemp("tls") / "server.pem"))))


class Kept(Protocol):
    """What a server keeps of a connection: the pieces that came, and how it ended."""

    def __init__(self):
        self.pieces, self.reason = [], None

    def dataReceived(self, data):
        self.pieces.append(data)

    def connectionLost(self, reason):
        self.reason = reason.value


class Wire(StringTransport):
    """The socket of a server, in memory."""

    is_aborted = False

    def abortConnection(self):
        self.is_aborted = True


class Client:
    """A client in memory.

    :param factory: what TLS is in front of, wrapped.
    """

    def __init__(self, factory, version=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        self.wire = Wire()
        self.server = factory.buildProtocol(PEER)
        self.kept = self.server.wrappedProtocol
        self.server.makeConnection(self.wire)

    def step(self, what):
        """Do something that may need more bytes; returns what it returns, or ``None``."""
        with suppress(ssl.SSLWantReadError):
            return what()

    def sent(self, what=lambda: None):
        """Do something; returns the bytes that the client sends for it."""
        self.step(what)
        return self._outgoing.read()

    def take(self):
        """Take what the server has sent."""
        self._incoming.write(self.wire.value())
        self.wire.clear()

    def shake_hands(self):
        """Do the handshake."""
        for _ in range(3):
            self.server.dataReceived(self.sent(self.tls.do_handshake))
            self.take()
        return self

    def read(self):
        """Everything that the server has said, and whether it has ended the connection."""
        self.take()
        parts = []
        while (part := self.step(lambda: self.tls.read(LONGEST_RECORD))) is not None:
            if not part:
                return b"".join(parts), True
            parts.append(part)
        return b"".join(parts), False


@pytest.fixture
def factory(certificates):
    """A server with TLS that keeps what it gets."""
    return certificates.wrap(Factory.forProtocol(Kept))


def cut(data, places):
    """Cut bytes at some places."""
    places = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in zip(places, places[1:], strict=False)]


@given(data=st.data(), version=st.sampled_from(VERSIONS))
def test_connections_that_are_cut_anywhere_do_not_disturb_each_other(certificates, data, version):
    factory = certificates.wrap(Factory.forProtocol(Kept))
    clients = [Client(factory, version) for _ in range(3)]
    for client in clients:
        client.said, client.heard = b"", b""
        client.shake_hands()
    waiting = {client: [] for client in clients}
    for client in clients:
        lengths = data.draw(st.lists(st.sampled_from([1, 2, 100, 5_000, LONGEST_RECORD, 40_000]), max_size=4))
        for number, length in enumerate(lengths):
            text = bytes([65 + number]) * length
            client.said += text
            stream = client.sent(partial(client.tls.write, text))
            waiting[client] += cut(stream, data.draw(st.lists(st.integers(0, 100_000), max_size=4)))
    while any(waiting.values()):
        client = data.draw(st.sampled_from([client for client in clients if waiting[client]]))
        client.server.dataReceived(waiting[client].pop(0))
        text = b"x" * data.draw(st.sampled_from([0, 1, 300, 70_000]))
        client.heard += text
        client.server.write(text)
        assert not factory.incoming.pending and not factory.outgoing.pending
    for client in clients:
        assert b"".join(client.kept.pieces) == client.said
        assert client.read() == (client.heard, False)


class Faults:
    """Lets one call of OpenSSL or of the common buffers fail, as without memory.

    :ivar left: calls until it fails; less than 0: none does.
    :ivar is_late: whether the call has done its work when it fails.
    """

    left, is_late = -1, False

    def __init__(self, certificates):
        self.factory = factory = certificates.wrap(Factory.forProtocol(Kept))
        buffers = factory.incoming, factory.outgoing
        factory.new_connection = lambda: Faulty(self, certificates.context.wrap_bio(*buffers, server_side=True))
        factory.incoming, factory.outgoing = (Faulty(self, buffer) for buffer in buffers)

    def call(self, what, *arguments):
        self.left -= 1
        if self.left != -1:
            return what(*arguments)
        if self.is_late:
            what(*arguments)
        raise MemoryError


class Faulty:
    """Passes everything on, if :class:`Faults` lets it."""

    def __init__(self, faults, target):
        self._faults, self._target = faults, target

    def __getattr__(self, name):
        value = getattr(self._target, name)
        return partial(self._faults.call, value) if callable(value) else value


def survives(client, what, *arguments):
    """Let the server do something as the reactor does; returns whether the connection is still there after it."""
    try:
        what(*arguments)
    except MemoryError:
        if what == client.server.dataReceived:
            client.wire.abortConnection()
        assert client.wire.is_aborted, "the client waits for what is lost"
    if client.wire.is_aborted and client.server.connected:
        client.server.connectionLost(Failure(ConnectionDone()))
    return bool(client.server.connected)


def live(client):
    """The whole life of a connection, as far as the server survives it; returns whether it was whole."""
    for _ in range(3):
        if not survives(client, client.server.dataReceived, client.sent(client.tls.do_handshake)):
            return False
        client.take()
    return (
        survives(client, client.server.dataReceived, client.sent(partial(client.tls.write, b"ask")))
        and survives(client, client.server.write, b"x" * 2 * PORTION)
        and survives(client, client.server.loseConnection)
        and client.read() == (b"x" * 2 * PORTION, True)
        and survives(client, client.server.dataReceived, client.sent(client.tls.unwrap))
    )


@pytest.mark.parametrize("is_late", [False, True])
def test_a_connection_that_fails_anywhere_leaves_nothing_to_others(certificates, is_late):
    number, is_whole = 0, False
    while not is_whole:
        faults = Faults(certificates)
        faults.is_late = is_late
        one, other = (Client(faults.factory).shake_hands() for _ in range(2))
        bad = Client(faults.factory)
        faults.left, number = number, number + 1
        is_whole = live(bad) and faults.left >= 0
        faults.left = -1
        one.server.dataReceived(one.sent(partial(one.tls.write, b"question")))
        other.server.write(b"event")
        one.server.write(b"answer")
        assert one.kept.pieces == [b"question"]
        assert (one.read(), other.read()) == ((b"answer", False), (b"event", False))
        assert not faults.factory.incoming.pending and not faults.factory.outgoing.pending
    assert number > 20, "calls of a whole life"


@given(data=st.data(), version=st.sampled_from(VERSIONS))
def test_who_is_there_gets_exactly_their_own_bytes_while_others_fail(certificates, data, version):
    faults = Faults(certificates)
    clients = [Client(faults.factory, version).shake_hands() for _ in range(3)]
    for number, client in enumerate(clients):
        client.said, client.heard, client.is_there, client.waiting = b"", b"", True, []
        for length in data.draw(st.lists(st.sampled_from([1, 300, LONGEST_RECORD, 40_000]), max_size=4)):
            text = bytes([65 + number]) * length
            client.said += text
            stream = client.sent(partial(client.tls.write, text))
            client.waiting += cut(stream, data.draw(st.lists(st.integers(0, 100_000), max_size=3)))
    while speaking := [client for client in clients if client.is_there and client.waiting]:
        client = data.draw(st.sampled_from(speaking))
        faults.left, faults.is_late = data.draw(st.integers(-10, 4)), data.draw(st.booleans())
        text = bytes([97 + clients.index(client)]) * data.draw(st.sampled_from([1, 300, 150_000]))
        client.heard += text
        client.is_there = survives(client, client.server.dataReceived, client.waiting.pop(0)) and survives(
            client, client.server.write, text
        )
    for client in clients:
        kept, (heard, is_end) = b"".join(client.kept.pieces), client.read()
        if client.is_there:
            assert (kept, heard, is_end) == (client.said, client.heard, False)
        else:
            assert client.said.startswith(kept) and client.heard.startswith(heard)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_that_comes_byte_by_byte(factory, version):
    client = Client(factory, version)
    for _ in range(3):
        for byte in client.sent(client.tls.do_handshake):
            client.server.dataReceived(bytes([byte]))
        client.take()
    client.server.dataReceived(client.sent(lambda: client.tls.write(b"hello")))
    assert client.kept.pieces == [b"hello"]
    assert client.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_the_first_message_may_come_with_the_end_of_the_handshake(factory):
    client = Client(factory)
    client.server.dataReceived(client.sent(client.tls.do_handshake))
    client.take()
    client.server.dataReceived(client.sent(client.tls.do_handshake) + client.sent(lambda: client.tls.write(b"hello")))
    assert client.kept.pieces == [b"hello"]


def test_records_that_come_together_are_one_piece(factory):
    client = Client(factory).shake_hands()
    client.server.dataReceived(b"".join(client.sent(partial(client.tls.write, bytes([65 + n]) * 3)) for n in range(4)))
    assert client.kept.pieces == [b"AAABBBCCCDDD"]


def test_what_is_written_before_the_handshake_is_complete_comes_after_it(factory):
    client = Client(factory)
    client.server.write(b"wel")
    client.server.writeSequence([b"co", b"me"])
    assert client.wire.value() == b""
    client.shake_hands()
    assert client.read() == (b"welcome", False)


def test_a_large_message_leaves_in_portions(factory):
    client = Client(factory).shake_hands()
    client.server.write(b"x" * (3 * PORTION + 1))
    assert client.read() == (b"x" * (3 * PORTION + 1), False)


def test_a_damaged_record_ends_one_connection_with_an_alert(factory):
    good, bad = Client(factory).shake_hands(), Client(factory).shake_hands()
    first = bad.sent(lambda: bad.tls.write(b"first"))
    second = bad.sent(lambda: bad.tls.write(b"second"))
    third = bad.sent(lambda: bad.tls.write(b"third"))
    bad.server.dataReceived(first + second[:-1] + bytes([second[-1] ^ 1]) + third)
    assert bad.kept.pieces == [b"first"]
    assert bad.wire.disconnecting
    with pytest.raises(ssl.SSLError, match="(?i)bad.record.mac"):
        bad.read()
    bad.server.dataReceived(third)
    bad.server.write(b"nobody reads this")
    bad.server.connectionLost(Failure(ConnectionDone()))
    assert isinstance(bad.kept.reason, ssl.SSLError)
    good.server.dataReceived(good.sent(lambda: good.tls.write(b"well")))
    assert good.kept.pieces == [b"well"]


def test_an_error_of_other_code_ends_no_connection(factory):
    client, openssl = Client(factory), ctypes.CDLL(ssl._ssl.__file__)

    def receive(data):
        """Let the server receive bytes after a database's driver, say, has left an error of the PEM reader in OpenSSL's list."""
        openssl.ERR_new()
        openssl.ERR_set_error(9, 108, None)
        client.server.dataReceived(data)
        # The client has the same list.
        openssl.ERR_clear_error()

    for _ in range(3):
        for part in cut(client.sent(client.tls.do_handshake), [7]):
            receive(part)
        client.take()
    first, second = (client.sent(partial(client.tls.write, text)) for text in (b"first", b"second"))
    receive(first + second[:9])
    receive(second[9:])
    client.server.write(b"answer")
    assert (client.kept.pieces, client.read()) == ([b"first", b"second"], (b"answer", False))


def test_who_speaks_no_tls_gets_an_alert_and_is_closed(factory):
    client = Client(factory)
    client.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert client.wire.disconnecting
    client.server.connectionLost(Failure(ConnectionDone()))
    assert client.kept.pieces == []
    assert isinstance(client.kept.reason, ssl.SSLError)


def test_a_close_follows_what_was_written_and_waits_for_the_client(factory):
    client = Client(factory).shake_hands()
    client.server.write(b"x" * 100_000)
    client.server.loseConnection()
    client.server.write(b"too late")
    assert not client.wire.disconnecting
    assert client.read() == (b"x" * 100_000, True)
    client.server.dataReceived(client.sent(client.tls.unwrap))
    assert client.wire.disconnecting


def test_a_client_that_still_speaks_after_the_close_is_heard(factory):
    client = Client(factory).shake_hands()
    client.server.loseConnection()
    client.server.dataReceived(client.sent(lambda: client.tls.write(b"still here")))
    assert client.kept.pieces == [b"still here"]


def test_a_client_that_closes_is_answered_and_closed(factory):
    client = Client(factory).shake_hands()
    client.server.dataReceived(client.sent(lambda: client.tls.write(b"bye")) + client.sent(client.tls.unwrap))
    assert client.kept.pieces == [b"bye"]
    assert client.wire.disconnecting
    client.take()
    # Raises if the server has not said that it closes.
    client.tls.unwrap()


def test_a_client_that_goes_without_a_word(factory):
    client = Client(factory).shake_hands()
    whole = client.sent(lambda: client.tls.write(b"hello"))
    client.server.dataReceived(whole[:-1])
    client.server.connectionLost(Failure(ConnectionDone()))
    assert (client.kept.pieces, type(client.kept.reason)) == ([], ConnectionDone)
    client.server.write(b"nobody reads this")
    client.server.loseConnection()
    assert client.wire.value() == b""


def test_a_close_waits_for_a_producer(factory):
    client = Client(factory).shake_hands()
    client.server.registerProducer(object(), True)
    client.server.loseConnection()
    client.server.write(b"the rest")
    client.server.unregisterProducer()
    assert client.read() == (b"the rest", True)


def test_a_close_during_the_handshake_aborts(factory):
    client = Client(factory)
    client.server.dataReceived(client.sent(client.tls.do_handshake))
    client.server.loseConnection()
    assert client.wire.is_aborted


def test_nothing_comes_from_an_aborted_connection(factory):
    client = Client(factory).shake_hands()
    client.server.abortConnection()
    client.server.dataReceived(client.sent(lambda: client.tls.write(b"hello")))
    client.server.write(b"hello")
    assert (client.kept.pieces, client.wire.value(), client.wire.is_aborted) == ([], b"", True)
    producer = Kept()
    producer.stopProducing = lambda: producer.pieces.append("stopped")
    client.server.registerProducer(producer, True)
    assert producer.pieces == ["stopped"]


def speak_no_tls(client):
    client.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")


def send_a_damaged_record(client):
    stream = client.shake_hands().sent(lambda: client.tls.write(b"hello"))
    client.server.dataReceived(stream[:-1] + bytes([stream[-1] ^ 1]))


@pytest.mark.parametrize("use", [Client.shake_hands, speak_no_tls, send_a_damaged_record])
def test_nothing_is_left_of_a_connection(factory, use):
    client = Client(factory)
    left = weakref.ref(client.server), weakref.ref(client.kept)
    gc.disable()
    try:
        use(client)
        client.server.connectionLost(Failure(ConnectionDone()))
        del client
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()
    assert not factory.protocols


def test_a_client_that_wants_to_renegotiate_is_refused(factory):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    tls, wire, server = SSL.Connection(context, None), Wire(), factory.buildProtocol(PEER)
    kept = server.wrappedProtocol
    server.makeConnection(wire)
    tls.set_connect_state()

    def exchange():
        with suppress(SSL.WantReadError):
            tls.do_handshake()
        with suppress(SSL.WantReadError):
            server.dataReceived(tls.bio_read(100_000))
        if wire.value():
            tls.bio_write(wire.value())
            wire.clear()

    for _ in range(3):
        exchange()
    tls.renegotiate()
    with suppress(SSL.WantReadError):
        tls.do_handshake()
    server.dataReceived(tls.bio_read(100_000))
    tls.bio_write(wire.value())
    with pytest.raises(SSL.Error, match="(?i)no.renegotiation"):
        tls.do_handshake()
    assert kept.pieces == []


# Over sockets


class Sender(Kept):
    """Sends much when it is asked to, as far as the transport has room."""

    left, is_full, pauses = 0, False, 0

    def dataReceived(self, data):
        super().dataReceived(data)
        if data == b"much":
            self.left = 200
            self.transport.registerProducer(self, True)
            self.resumeProducing()

    def pauseProducing(self):
        self.is_full = True
        self.pauses += 1

    def resumeProducing(self):
        self.is_full = False
        while self.left and not self.is_full:
            self.left -= 1
            self.transport.write(bytes([self.left]) * 50_000)
        if not self.left:
            self.finish()

    def finish(self):
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def stopProducing(self):
        self.left = 0


class Lasting(Sender):
    """The same, but may send more later, as a WebSocket."""

    is_stopped = False

    def finish(self):
        pass

    def stopProducing(self):
        self.is_stopped = True


MUCH = b"".join(bytes([left]) * 50_000 for left in reversed(range(200)))


@pytest_twisted.async_yield_fixture
async def connect(reactor, certificates):
    """A function that connects to a server of a protocol; returns the client's connection and the server's protocol."""
    listeners, connections = [], []

    async def start(protocol):
        served = []
        factory = Factory()
        factory.buildProtocol = lambda address: served.append(protocol()) or served[-1]
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listeners.append(await endpoint.listen(certificates.wrap(factory)))
        client = SSL4ClientEndpoint(reactor, "127.0.0.1", listeners[-1].getHost().port, twisted_ssl.CertificateOptions())
        connections.append(await raw.connect(reactor, 0, client))
        return connections[-1], served[0]

    yield start
    for connection in connections:
        connection.transport.abortConnection()
    for listener in listeners:
        await listener.stopListening()


async def fill(client, server, reactor):
    """Let a client ask for much and not read it, until the server waits for room."""
    client.write(b"much")
    while not server.pieces:
        await deferLater(reactor, 0)
    client.transport.pauseProducing()
    for _ in range(20):
        await deferLater(reactor, 0)
    assert server.is_full and server.left, "all of it is in memory"


@pytest_twisted.ensureDeferred
async def test_who_does_not_read_gets_all_of_it_later_in_order(connect, reactor):
    client, server = await connect(Sender)
    await fill(client, server, reactor)
    client.transport.resumeProducing()
    assert await client.end() == MUCH
    assert server.pauses


@pytest_twisted.ensureDeferred
async def test_who_ends_the_connection_before_they_read_is_gone_when_they_have_read(connect, reactor):
    client, server = await connect(Lasting)
    await fill(client, server, reactor)
    client.transport.loseConnection()
    for _ in range(20):
        await deferLater(reactor, 0)
    client.transport.resumeProducing()
    assert MUCH.startswith(await client.end())
    for _ in range(1000):
        if server.reason is not None:
            break
        await deferLater(reactor, 0.001)
    assert server.reason is not None, "nobody notices that the client has gone"
    assert server.is_stopped


class Pull(Sender):
    """The same for a transport that asks for each piece."""

    def dataReceived(self, data):
        Kept.dataReceived(self, data)
        self.left = 200
        self.transport.registerProducer(self, False)

    def resumeProducing(self):
        if self.left:
            self.left -= 1
            self.transport.write(bytes([self.left]) * 50_000)
        else:
            self.transport.unregisterProducer()
            self.transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_a_transport_that_asks_for_each_piece(connect):
    client, _ = await connect(Pull)
    client.write(b"much")
    assert await client.end() == MUCH


class Answer(Kept):
    """Answers as twisted.web does: the head in parts, then the body."""

    def dataReceived(self, data):
        super().dataReceived(data)
        socket = self.transport.transport
        self.sent, handle = [], socket.getHandle()
        socket.getHandle = lambda: SimpleNamespace(send=lambda data: self.sent.append(data) or handle.send(data))
        self.transport.writeSequence([b"head", b"\r\n"])
        if data == b"with body":
            self.transport.write(b"body")
        elif data == b"closed":
            self.transport.loseConnection()
        elif data == b"long":
            self.transport.writeSequence([b"x"] * LONGEST_RECORD)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(b"with body", b"head\r\nbody"), (b"alone", b"head\r\n"), (b"closed", b"head\r\n"), (b"long", b"head\r\n" + b"x" * LONGEST_RECORD)],
)
@pytest_twisted.ensureDeferred
async def test_head_and_body_of_an_answer_leave_together(connect, asked, answered):
    client, server = await connect(Answer)
    client.write(asked)
    while len(client.received) < len(answered):
        await client.more()
    assert client.received == answered
    assert len(server.sent) == (2 if asked == b"closed" else 1), "and the end of the connection"


@pytest_twisted.ensureDeferred
async def test_the_last_word_of_the_handshake_is_acknowledged_at_once(connect, reactor, monkeypatch):
    def keep(self, *option):
        options.append(option)
        return set_option(self, *option)

    options, set_option = [], Socket.setsockopt
    monkeypatch.setattr(Socket, "setsockopt", keep)
    client, server = await connect(Kept)
    client.write(b"hello")
    while not server.pieces:
        await deferLater(reactor, 0)
    assert options.count((IPPROTO_TCP, TCP_QUICKACK, 1)) == 1


@pytest_twisted.ensureDeferred
async def test_it_is_a_transport_with_tls(connect):
    _, server = await connect(Kept)
    assert ISSLTransport.providedBy(server.transport)
    server.transport.setTcpNoDelay(True)
    assert server.transport.getPeer().host == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_what_it_asks_a_socket_for_is_there(connect, reactor):
    client, server = await connect(Kept)
    socket = server.transport.transport
    assert (socket.dataBuffer, socket._tempDataLen, socket.connected) == (b"", 0, 1)
    client.transport.pauseProducing()
    socket.write(b"x" * 3_000_000)
    assert socket._tempDataLen == 3_000_000
    while socket._tempDataLen:
        await deferLater(reactor, 0)
    assert socket.dataBuffer
