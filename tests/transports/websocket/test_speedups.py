"""The optional C module gives the same results as the Python functions, for all input."""

import sys
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dhtwisted.transports.websocket.frames import event_frames_in_python, split_in_python, text_frames_in_python
from tests.support.raw import BINARY, CLOSE, PING, PONG, frame
from tests.support.speedups import speedups

TEXTS = st.one_of(
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.integers(0, 70_000).map(lambda size: b"x" * size),
    st.integers(0, 1000).map(lambda size: "\u20ac".encode() * size),
    st.binary(max_size=20),
)
MASKS = st.binary(min_size=4, max_size=4)
FRAMES = st.one_of(
    st.builds(frame, TEXTS, mask=MASKS),
    st.builds(frame, TEXTS, mask=MASKS, fin=st.booleans(), rsv=st.integers(0, 7)),
    st.builds(frame, TEXTS, masked=st.just(False)),
    st.builds(frame, st.binary(max_size=125), st.sampled_from([PING, PONG, CLOSE, BINARY, 0, 3, 11]), mask=MASKS),
    st.just(b"\x81\xfe\x00\x05\x01\x02\x03\x04hello"),
    st.binary(max_size=20),
)
BAD = b"good \xed\xa0\x80"


@given(st.lists(FRAMES, max_size=8), st.integers(0, 10**6), st.sampled_from([0, 1, 100, 3000, 10**6]), st.integers(0, 9))
@example([frame(BAD)], 0, 0, 9)
@example([frame(BAD + b"x")], 2, 0, 9)
@example([frame(b"\xf4\x90" + b"x" * 9)], 8, 0, 9)
@example([frame("\u20ac".encode())], 1, 0, 9)
@example([frame(b"x" * 126), b"\x81\xfe\x01"], 0, 0, 9)
@example([frame(b"x" * 126)], 126, 0, 9)
@example([b"\x81"], 0, 0, 9)
def test_frames_are_split_in_the_same_way(frames, missing, limit, most):
    stream = b"".join(frames)
    data = stream[: len(stream) - missing % (len(stream) + 1)]
    assert speedups().split_text_frames(data, limit, most) == split_in_python(data, limit, most)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_bytes_are_split_in_the_same_way(data, limit):
    assert speedups().split_text_frames(data, limit) == split_in_python(data, limit)


@pytest.mark.parametrize(
    "arguments", [(), (b"",), (b"", 0, 1, 2), ("", 0), (bytearray(b"abc"), 0), (b"", None), (b"", 0, "x"), (b"", 2**80)]
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises((TypeError, OverflowError)):
        speedups().split_text_frames(*arguments)


ROOMS = st.integers(-10, 100_000)
LARGEST = st.sampled_from([0, 125, 3000, 65_536, 10**6])


def taken(function, messages, room, largest):
    """What a function makes of messages, and which it leaves."""
    rest = iter(messages)
    return function(rest, room, largest), list(rest)


@given(st.lists(TEXTS, max_size=8), ROOMS, LARGEST)
@example([b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536], 10**6, 10**6)
@example([b"x" * 98, b"y", b"z"], 100, 98)
@example([b"x" * 97, b"y", b"z"], 100, 98)
def test_frames_are_made_in_the_same_way(payloads, room, largest):
    assert taken(speedups().text_frames, payloads, room, largest) == taken(text_frames_in_python, payloads, room, largest)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8), ROOMS, LARGEST)
@example([(b"x", b""), (b"", b""), (b"", b"x")], 10**6, 10**6)
def test_frames_of_events_are_made_in_the_same_way(events, room, largest):
    assert taken(speedups().event_frames, events, room, largest) == taken(event_frames_in_python, events, room, largest)


@pytest.mark.parametrize("arguments", [(), ([],), (iter(()), 0), ([], 0, 9), (iter(()), 0, None), (iter(()), "", 0)])
@pytest.mark.parametrize("name", ["text_frames", "event_frames"])
def test_other_arguments_are_refused(name, arguments):
    with pytest.raises(TypeError):
        getattr(speedups(), name)(*arguments)


@pytest.mark.parametrize("message", ["a", None, (b"a",), (b"a", "b"), (b"a", b"b", b"c"), [b"a", b"b"]])
@pytest.mark.parametrize("name", ["text_frames", "event_frames"])
def test_other_messages_are_refused(name, message):
    with pytest.raises(TypeError):
        getattr(speedups(), name)(iter([message]), 9, 9)


def test_an_error_of_the_iterator_comes_through():
    for function in (speedups().text_frames, speedups().event_frames):
        with pytest.raises(ZeroDivisionError):
            function((1 // number for number in (0,)), 9, 9)


def test_nothing_stays_in_memory():
    """Each object that is made goes away again; a counting mistake in C would keep it, or crash."""
    c = speedups()
    data, payload = frame(b"x" * 1000) + frame("\u20ac".encode() * 400) + frame(BAD), b"y" * 1000
    before = sys.getrefcount(payload)

    def use():
        for _ in range(100):
            c.split_text_frames(data, 0)
            c.text_frames(iter([payload, payload]), 10_000, 10_000)
            c.text_frames(iter([payload]), 0, 10)
            c.event_frames(iter([(payload, payload)]), 0, 10)
            with suppress(TypeError):
                c.event_frames(iter([(payload, payload), None]), 10_000, 10_000)

    use()
    tracemalloc.start()
    try:
        use()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 10_000
    assert sys.getrefcount(payload) == before
