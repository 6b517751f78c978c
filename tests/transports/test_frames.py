"""The fast reader against Autobahn's own parser: the same messages, the same bytes back, up to the first close."""

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.protocol import WebSocketProtocol
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from dhtwisted.transports.frames import take_text_frames
from dhtwisted.transports.watch import Watch
from dhtwisted.transports.websocket import DeviceHiveProtocol, Traffic
from tests.transports.raw import BINARY, CLOSE, HANDSHAKE, PING, PONG, frame

LIMIT = 3000


class Recorder(DeviceHiveProtocol):
    """Our protocol with a list in the place of its session."""

    def onOpen(self):
        self.messages = []
        self.session = self

    def receive(self, payload):
        self.onMessage(payload, False)

    def onMessage(self, payload, isBinary):
        if self.state == self.STATE_OPEN:
            self.messages.append((payload, isBinary))

    def onClose(self, wasClean, code, reason):
        pass

    def sendData(self, data, sync=False, chopsize=None):
        self.transport.write(data)


class Plain(Recorder):
    """The same, read by Autobahn alone."""

    def dataReceived(self, data):
        self._dataReceived(data)


class Transport(StringTransport):
    """As lenient as a TCP transport."""

    def unregisterProducer(self):
        self.producer = None


class Factory(WebSocketServerFactory):
    """What the protocols ask of their factory."""

    clock = Clock()
    traffic = Traffic()
    watch = Watch(0, 0)

    def rest_url(self, path, headers, secure):
        return ""


class OpenConnection:
    """A connection that nothing ends."""

    state = WebSocketProtocol.STATE_OPEN


def run(protocol_class, chunks):
    """Feed chunks after a handshake; returns messages, output, and whether the connection is open, as of the first close frame.

    What is read after that does not count: Autobahn looks at bad bytes as they come, the fast way at whole frames, so one of them may have
    read bytes behind the violation when the other has not been given them yet.
    """
    factory = Factory(reactor=Factory.clock)
    factory.setProtocolOptions(failByDrop=False, maxMessagePayloadSize=LIMIT, closeHandshakeTimeout=0, openHandshakeTimeout=0)
    factory.protocol = protocol_class
    protocol = factory.buildProtocol(None)
    transport = Transport()
    protocol.makeConnection(transport)
    protocol.dataReceived(HANDSHAKE.format(path="/client", port=1, headers="").encode())
    transport.clear()
    for chunk in chunks:
        if protocol.state != protocol.STATE_OPEN:
            break
        protocol.dataReceived(chunk)
    return protocol.messages, transport.value(), protocol.state == protocol.STATE_OPEN


def cut(stream, places):
    """Cut bytes at places."""
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in zip(edges, edges[1:], strict=False) if start < end]


payloads = st.one_of(
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.integers(0, LIMIT + 200).map(lambda size: b"x" * size),
    st.integers(0, 1000).map(lambda size: "ü".encode() * size),
    st.binary(max_size=20),
)
frames = st.one_of(
    st.builds(frame, payloads),
    st.builds(frame, payloads),
    st.builds(frame, st.binary(max_size=130), st.sampled_from([PING, PONG])),
    st.builds(frame, st.binary(max_size=30), st.sampled_from([CLOSE, BINARY, 3, 11])),
    st.builds(frame, payloads, fin=st.just(False)),
    st.builds(frame, payloads, st.just(0), fin=st.booleans()),
    st.builds(frame, payloads, masked=st.just(False)),
    st.builds(frame, payloads, rsv=st.integers(0, 7)),
    st.just(b"\x81\xfe\x00\x05\x01\x02\x03\x04hello"),
    st.just(b"\x81\xff" + (70000).to_bytes(8, "big") + b"\x01\x02\x03\x04"),
    st.binary(max_size=10),
)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10**6), max_size=12))
@example([frame(b"hello", masked=False)[:5]], [])
@example([frame(b"ab" * 30), frame(b"", PONG), frame(b"z")], [66, 72])
@example([b"\x81\x87\0\0\0\0a\x8a\x80bcde", frame(b"z")], [7, 13])
@example([frame(b"x", fin=False), frame(b"", PONG), frame(b"z", 0)], [7, 13])
@example([frame(b"x" * 500, fin=False), frame(b"p", PING), frame(b"y", 0), frame(b"z")], [3, 700])
def test_both_ways_agree(parts, places):
    chunks = cut(b"".join(parts), places)
    assert run(Recorder, chunks) == run(Plain, chunks)


@given(st.lists(st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")), max_size=6), st.data())
def test_plain_frames_need_no_autobahn(texts, data):
    stream = b"".join(map(frame, texts))
    taken, rest = [], b""
    for chunk in cut(stream, data.draw(st.lists(st.integers(0, 10**6), max_size=8))):
        rest += chunk
        before = len(taken)
        position, count, waits = take_text_frames(rest, LIMIT, taken.append, OpenConnection)
        rest = rest[position:]
        assert waits == bool(rest)
        assert count == len(taken) - before
    assert (taken, rest) == (texts, b"")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1499, 1500, 65535])
def test_every_length_form(size):
    taken = []
    data = frame(b"x" * size)
    assert take_text_frames(data, 0, taken.append, OpenConnection) == (len(data), 1, False)
    assert taken == [b"x" * size]


@pytest.mark.parametrize("name", ["state", "data", "current_frame", "inside_message", "maxMessagePayloadSize", "wasNotCleanReason"])
def test_the_insides_of_autobahn_that_are_needed_are_there(name):
    factory = Factory(reactor=Factory.clock)
    factory.protocol = Plain
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Transport())
    protocol.dataReceived(HANDSHAKE.format(path="/client", port=1, headers="").encode())
    assert hasattr(protocol, name)


@pytest.mark.parametrize("name", ["_dataReceived", "_fail_connection", "sendCloseFrame", "sendData", "_closeConnection", "dropConnection"])
def test_the_methods_of_autobahn_that_are_needed_are_there(name):
    assert callable(getattr(Plain, name))
