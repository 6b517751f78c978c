"""The fast reader against Autobahn's parser: after each chunk the same messages, bytes back, state and counters, up to the first close."""

import zlib
from functools import partial
from typing import ClassVar
from unittest.mock import patch

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from hypothesis import example, given
from hypothesis import strategies as st

from dhtwisted.transports.websocket import frames as module
from dhtwisted.transports.websocket import reading as turns
from dhtwisted.transports.websocket.frames import (
    FOR_AUTOBAHN,
    FOR_LATER,
    INT_XOR_BELOW,
    UNFINISHED,
    split_text_frames,
    unmask,
    unmask_in_python,
)
from dhtwisted.transports.websocket.protocol import DeviceHiveFactory, DeviceHiveProtocol
from tests.support.alone import Side
from tests.support.raw import BINARY, CLOSE, MASK, PING, PONG, frame

LIMIT = 3000
COMPRESSED = 4
"""The reserved bit of a compressed message."""

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Autobahns(DeviceHiveProtocol):
    """Our protocol, read by Autobahn alone."""

    def dataReceived(self, data):
        self.factory.traffic.octets_received += len(data)
        self._dataReceived(data)


class AutobahnsFactory(DeviceHiveFactory):
    protocol_base = Autobahns


def opened(factory_class=DeviceHiveFactory, compressing=False, message_size=LIMIT):
    """A connection; with ``compressing``, permessage-deflate is offered and accepted."""
    accept = (lambda offers: PerMessageDeflateOfferAccept(offers[0])) if compressing else None
    side = Side(factory_class, accept=accept, headers=DEFLATE if compressing else "", message_size=message_size)
    assert (b"permessage-deflate" in side.transport.value()) == compressing
    side.transport.clear()
    return side


def picture(side):
    """All that must be the same. How far a closing has come is not: it depends on what came after the violation."""
    traffic = side.traffic
    counters = traffic.messages_received, traffic.octets_received, traffic.octets_sent
    return list(side.session.messages), side.transport.value(), side.is_open, counters


def check_agreement(chunks, compressing=False):
    """Feed chunks to both until one closes.

    What is read after that does not count: Autobahn goes on reading what came in the same chunk as the violation, and answers it.
    """
    ours, autobahns = opened(DeviceHiveFactory, compressing), opened(AutobahnsFactory, compressing)
    for chunk in chunks:
        ours.feed(chunk)
        autobahns.feed(chunk)
        assert picture(ours) == picture(autobahns)
        if not ours.is_open:
            break


def cut(stream, places):
    """Cut bytes at places."""
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in zip(edges, edges[1:], strict=False) if start < end]


masks = st.one_of(st.just(MASK), st.just(bytes(4)), st.binary(min_size=4, max_size=4))
utf8 = st.one_of(
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.integers(0, LIMIT + 200).map(lambda size: b"x" * size),
    st.integers(0, 1000).map(lambda size: "ü".encode() * size),
)
payloads = st.one_of(utf8, st.binary(max_size=20), st.builds(bytes.__add__, utf8, st.binary(max_size=6)))
frames = st.one_of(
    st.builds(frame, utf8, mask=masks),
    st.builds(frame, payloads, mask=masks),
    st.builds(frame, st.binary(max_size=130), st.sampled_from([PING, PONG]), mask=masks),
    st.builds(frame, st.binary(max_size=30), st.sampled_from([CLOSE, BINARY, 3, 11]), mask=masks),
    st.builds(frame, payloads, fin=st.just(False), mask=masks),
    st.builds(frame, payloads, st.just(0), fin=st.booleans(), mask=masks),
    st.builds(frame, payloads, masked=st.just(False)),
    st.builds(frame, st.binary(max_size=130), st.sampled_from([PING, PONG, CLOSE, 11]), masked=st.just(False)),
    st.builds(frame, payloads, rsv=st.integers(0, 7), mask=masks),
    st.just(b"\x81\xfe\x00\x05\x01\x02\x03\x04hello"),
    st.just(b"\x81\xff" + (70000).to_bytes(8, "big") + b"\x01\x02\x03\x04"),
    st.binary(max_size=10),
)
fragmented = st.builds(
    lambda parts, between: b"".join(
        frame(part, 1 if first else 0, fin=last) + other
        for part, other, first, last in zip(parts, between, [True, False, False], [False, False, True], strict=True)
    ),
    st.lists(utf8.map(lambda text: text[:900]), min_size=3, max_size=3),
    st.lists(st.one_of(st.just(b""), st.builds(frame, st.binary(max_size=125), st.just(PING))), min_size=3, max_size=3),
)
places = st.lists(st.integers(0, 10**6), max_size=12)


@given(st.lists(frames | fragmented, max_size=8), places)
@example([frame(b"hello", masked=False)[:5]], [])
@example([frame(b"ab" * 30), frame(b"", PONG), frame(b"z")], [66, 72])
@example([b"\x81\x87\0\0\0\0a\x8a\x80bcde", frame(b"z")], [7, 13])
@example([frame(b"x", fin=False), frame(b"", PONG), frame(b"z", 0)], [7, 13])
@example([frame(b"x", fin=False), frame(b"", PONG, masked=False), frame(b"z", 0), frame(b"z")], [7, 8])
@example([frame(b"x" * 500, fin=False), frame(b"p", PING), frame(b"y", 0), frame(b"z")], [3, 700])
@example([frame(b"\xf4\x90" + b"x" * 2000)], [10])
@example([frame(b"x" * 1000 + b"\xed\xa0" + b"x" * 1000)], [100, 1010, 1020])
def test_both_ways_agree(parts, places):
    check_agreement(cut(b"".join(parts), places))


@given(st.lists(st.tuples(st.sampled_from(["compressed", "in two", "as it is"]), payloads) | frames, max_size=8), places)
@example([("compressed", b"hello"), ("as it is", b"world"), ("in two", b"hello" * 50), ("compressed", b"hello")], [2, 9, 17, 30, 31])
@example([("compressed", b"x" * 70_000), b'\x00\x80\x11"3D'], [])
def test_both_ways_agree_where_compression_was_negotiated(parts, places):
    deflater = zlib.compressobj(wbits=-15)
    stream = b"".join(part if isinstance(part, bytes) else compressed(deflater, *part) for part in parts)
    check_agreement(cut(stream, places), compressing=True)


@given(st.lists(frames | st.builds(frame, st.just(b"more")), max_size=12), places, st.integers(1, 3))
def test_both_ways_agree_however_few_are_taken_in_a_turn(parts, places, most):
    with patch.object(turns, "MESSAGES_IN_TURN", most):
        check_agreement(cut(b"".join(parts), places))


@given(st.lists(st.sampled_from([frame(b"more"), frame(b"end"), frame(b"p", PING), frame(b"\x03\xe8", CLOSE)]), max_size=12), places)
@example([frame(b"more"), frame(b"end"), frame(b"more"), frame(b"\x03\xe8", CLOSE)], [])
@example([frame(b"end"), frame(b"more"), frame(b"more")[:5]], [])
def test_both_ways_agree_where_a_message_ends_the_connection(parts, places):
    """Nothing is handled after the end, and the client's close frame is still found."""

    def take(side, text):
        side.session.messages.append(text)
        if text == b"end":
            side.protocol.abort("a test wants it so")

    ours, autobahns = opened(DeviceHiveFactory), opened(AutobahnsFactory)
    for side in (ours, autobahns):
        side.session.receive = partial(take, side)
    for chunk in cut(b"".join(parts), places):
        for side in (ours, autobahns):
            side.feed(chunk)
        assert picture(ours) == picture(autobahns)
        assert ours.protocol.state == autobahns.protocol.state


def compressed(deflater, form, payload):
    """Frames of one message. The deflater goes on from message to message, as its counterpart does."""
    if form == "as it is":
        return frame(payload)
    data = (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    if form == "compressed":
        return frame(data, rsv=COMPRESSED)
    half = len(data) // 2
    return frame(data[:half], rsv=COMPRESSED, fin=False) + frame(b"between", PING) + frame(data[half:], 0)


def test_compressed_and_plain_messages_arrive():
    side = opened(compressing=True)
    deflater = zlib.compressobj(wbits=-15)
    for form in ("compressed", "as it is", "in two", "as it is", "compressed"):
        side.feed(compressed(deflater, form, b"hello, hello"))
    assert side.session.messages == [b"hello, hello"] * 5


between = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=3)
short_texts = utf8.map(lambda text: text[:900]).filter(lambda text: not text or text.isascii())


@given(st.lists(st.tuples(between, short_texts, between), max_size=5), places, st.booleans())
@example([([(PONG, b"")], b"text", [(PONG, b"")])], [1, 3, 9], False)
def test_control_frames_need_no_mask(parts, places, ended):
    """The firmware masks none of its own (WebSocket reference, section 1.3). Each message here is in two fragments."""
    side, stream, pongs = opened(), b"", b""
    for before, text, within in parts:
        first, second = ([frame(payload, opcode, masked=False) for opcode, payload in group] for group in (before, within))
        stream += b"".join([*first, frame(text[:3], fin=False), *second, frame(text[3:], 0)])
        pongs += b"".join(frame(payload, PONG, masked=False) for opcode, payload in before + within if opcode == PING)
    if ended:
        stream += frame(b"\x03\xe8", CLOSE, masked=False)
        pongs += frame(b"\x03\xe8", CLOSE, masked=False)
    for chunk in cut(stream, places):
        side.feed(chunk)
    assert side.session.messages == [text for _, text, _ in parts]
    assert (side.transport.value(), side.is_open) == (pongs, not ended)


@pytest.mark.parametrize("opcode", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 70_000])
def test_data_frames_need_a_mask(opcode, length):
    side = opened()
    if opcode == 0:
        side.feed(frame(b"x", fin=False))
    side.feed(frame(b"x" * length, opcode, masked=False)[:20])
    assert side.transport.value()[2:4] == (1002).to_bytes(2, "big")


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_keep_their_length_without_a_mask(opcode):
    side = opened()
    side.feed(frame(b"\x03\xe8" + b"x" * 124, opcode, masked=False))
    assert side.transport.value()[2:4] == (1002).to_bytes(2, "big")


def test_what_follows_a_pong_without_a_mask_is_read_the_fast_way():
    side = opened()
    with patch.object(side.protocol, "onMessage", None):
        side.feed(frame(b"", PONG, masked=False) + frame(b"one") + frame(b"p", PONG, masked=False) + frame(b"two"))
    assert side.session.messages == [b"one", b"two"]


@given(st.lists(utf8.filter(lambda text: len(text) <= LIMIT), max_size=6), places, masks)
def test_plain_frames_need_no_autobahn(texts, places, mask):
    stream = b"".join(frame(text, mask=mask) for text in texts)
    taken, rest = [], b""
    for chunk in cut(stream, places):
        rest += chunk
        found, position, what = split_text_frames(rest, LIMIT)
        taken += found
        rest = rest[position:]
        assert what == (UNFINISHED if rest else FOR_AUTOBAHN)
    assert (taken, rest) == (texts, b"")


@pytest.mark.parametrize(("most", "taken", "what"), [(1, 1, FOR_LATER), (2, 2, FOR_LATER), (3, 3, FOR_LATER), (4, 3, UNFINISHED)])
def test_no_more_are_taken_than_asked_for(most, taken, what):
    data = frame(b"abc") * 3 + frame(b"abc")[:7]
    assert split_text_frames(data, 0, most) == ([b"abc"] * taken, 9 * taken, what)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1499, 1500, 65535])
def test_every_length_form(size):
    data = frame(b"x" * size)
    assert split_text_frames(data, 0) == ([b"x" * size], len(data), FOR_AUTOBAHN)


BAD = b"good \xed\xa0\x80"


@pytest.mark.parametrize("arrived", [frame(BAD + b"x" * 100)[:-50], frame(BAD, fin=False), frame(BAD + b"x" * 70_000)[:100]])
def test_bad_utf8_is_refused_before_the_message_is_whole(arrived):
    side = opened(message_size=0)
    side.feed(arrived)
    assert side.transport.value()[2:4] == (1007).to_bytes(2, "big")


@pytest.mark.parametrize(
    "character", [b"\xc2\x80", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf"]
)
def test_a_character_may_be_cut(character):
    for size in range(1, len(character)):
        stream = frame(b"x" * 20 + character)
        for chunks in (cut(stream, [26 + size]), cut(stream, [10, 26 + size])):
            check_agreement(chunks)


BAD_BEGINNINGS = [
    b"\x80",
    b"\xc0",
    b"\xc1",
    b"\xe0\x9f",
    b"\xed\xa0",
    b"\xed\xbf",
    b"\xf0\x8f",
    b"\xf4\x90",
    b"\xf5",
    b"\xe1\x80\x41",
    b"\xff",
]


@pytest.mark.parametrize("bad", BAD_BEGINNINGS)
def test_the_first_byte_that_is_wrong_is_enough(bad):
    for size in range(1, len(bad) + 1):
        check_agreement([frame(b"x" * 20 + bad + b"x" * 50)[: 26 + size]])
        side = opened()
    side.feed(frame(b"x" * 20 + bad + b"x" * 50)[: 26 + len(bad)])
    assert not side.is_open


def test_a_frame_byte_by_byte_is_looked_at_once():
    """Else one of 64 KiB, sent a byte at a time, would cost 2 GB of checking."""
    side, seen = opened(), []
    stream = frame("ü" * 1000)
    for position in range(len(stream)):
        seen.append(len(side.protocol.data))
        side.feed(stream[position : position + 1])
    assert side.session.messages == ["ü".encode() * 1000]
    assert max(seen) < 20


@given(st.binary(max_size=200) | st.integers(0, 3 * INT_XOR_BELOW).map(lambda size: bytes(range(256)) * (size // 256 + 1)), masks)
def test_unmasking(payload, mask):
    expected = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    assert unmask_in_python(payload, mask) == expected
    assert unmask(payload, mask) == expected


@given(st.binary(max_size=2 * INT_XOR_BELOW), masks)
def test_unmasking_in_c_is_the_same(payload, mask):
    speedups = pytest.importorskip("websockets.speedups")
    assert speedups.apply_mask(payload, mask) == unmask_in_python(payload, mask)


@pytest.mark.parametrize("implementation", ["unmask_in_python", "websockets.speedups"])
def test_both_ways_agree_with_either_unmasking(monkeypatch, implementation):
    if implementation == "unmask_in_python":
        monkeypatch.setattr(module, "unmask", unmask_in_python)
    else:
        monkeypatch.setattr(module, "unmask", pytest.importorskip(implementation).apply_mask)
    for size in (0, 1, 125, 126, 127, INT_XOR_BELOW, LIMIT, LIMIT + 1):
        stream = frame("ü" * (size // 2) + "x" * (size % 2)) + frame(b"p", PING) + frame(BAD * 30)
        for place in (1, 2, 3, 5, 6, 7, 8, 9, size // 2, size + 3):
            check_agreement(cut(stream, [place, place + size]))


def test_autobahn_asks_at_each_frame_whether_it_must_be_masked():
    """When its bytes are in ``data``; an option that it has read before would be of no use."""

    class Asked(Autobahns):
        asked: ClassVar[list] = []

        @property
        def requireMaskedClientFrames(self):
            self.asked.append(self.data[0])
            return super().requireMaskedClientFrames

    side = opened(type("AskedFactory", (DeviceHiveFactory,), {"protocol_base": Asked}))
    assert "requireMaskedClientFrames" in WebSocketServerProtocol.CONFIG_ATTRS
    side.feed(b"\x8a")
    side.feed(b"\x00" + frame(b"x") + frame(b"", PONG))
    assert Asked.asked == [0x8A, 0x81, 0x8A]
    assert side.is_open


@pytest.mark.parametrize("name", ["data", "current_frame", "inside_message", "maxMessagePayloadSize", "wasNotCleanReason"])
def test_the_insides_of_autobahn_that_are_needed_are_there(name):
    side = opened(AutobahnsFactory)
    assert hasattr(side.protocol, name)


@pytest.mark.parametrize("name", ["_dataReceived", "onFrameBegin", "onMessage", "_fail_connection", "dropConnection"])
def test_the_methods_of_autobahn_that_are_needed_are_there(name):
    assert callable(getattr(WebSocketServerProtocol, name))
