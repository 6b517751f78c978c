"""A fast parser for the usual frame: whole, unfragmented, masked text below 64 KiB.

Autobahn's parser needs 20 us for such a frame, and slices the rest of the buffer twice; this one needs 1 us. Everything else is left to
Autobahn with its state intact: control frames, fragments, binary, oversize, bad UTF-8 and every violation. So one place decides the close
codes. Both parsers must agree on any stream, however it is cut; a property test checks that.
"""

from __future__ import annotations

import struct
import sys
from codecs import utf_8_decode
from collections.abc import Callable, Iterator

from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.xormasker import create_xor_masker

from dhtwisted.kit.speedups import SPEEDUPS

OPEN, CLOSED = WebSocketProtocol.STATE_OPEN, WebSocketProtocol.STATE_CLOSED
PLAIN_TEXT, PLAIN_BINARY = 0x81, 0x82
HEADER = 6
"""Bytes before the payload of a frame of less than 126: two, and four of the mask."""

LONGEST_HEADER = 14
MASKED, CONTROL_BIT = 0x80, 0x08
LENGTH_FOLLOWS, LONG_LENGTH_FOLLOWS = 126, 127
ANY_LENGTH = ANY_COUNT = sys.maxsize
PLAIN_LENGTHS = (2 * ANY_LENGTH,) * MASKED + tuple(range(LONG_LENGTH_FOLLOWS)) + (2 * ANY_LENGTH,)
"""The second byte of a frame -> its length; beyond every limit if the frame has no mask or a long length."""

FOR_AUTOBAHN, UNFINISHED, FOR_LATER = range(3)
"""Kinds of the rest of a chunk: other frames than plain text, or nothing; the beginning of a plain text frame; frames beyond the limit."""

INT_XOR_BELOW = 1500
"""Below this size (bytes), XOR of two long integers is cheaper than Autobahn's masker object, which costs 7 us at least."""


def split_in_python(data: bytes, limit: int, most: int = ANY_COUNT) -> tuple[list[bytes], int, int]:
    """Take the plain text frames at the start of ``data``.

    It is one loop without helper functions: the calls would cost as much as the steps.

    :param data: bytes that begin at the start of a frame.
    :param limit: the largest payload in bytes, 0 for any.
    :param most: frames to take at most.
    :returns: ``(payloads, position, rest)``: the payloads of the frames, which are UTF-8; where the first frame begins that was not taken;
        and the kind of the rest: :data:`FOR_AUTOBAHN`, :data:`UNFINISHED` or :data:`FOR_LATER`.
    """
    payloads: list[bytes] = []
    position, available, limit = 0, len(data), limit or ANY_LENGTH
    while (start := position + HEADER) <= available:
        if len(payloads) == most:
            return payloads, position, FOR_LATER
        length = PLAIN_LENGTHS[data[position + 1]]
        if length == LENGTH_FOLLOWS:
            length = data[position + 2] << 8 | data[position + 3]
            start += 2
            if length < LENGTH_FOLLOWS:
                return payloads, position, FOR_AUTOBAHN
        if length > limit or data[position] != PLAIN_TEXT:
            return payloads, position, FOR_AUTOBAHN
        end = start + length
        if end > available:
            # A violation is reported when it is seen, not when the frame is whole.
            return payloads, position, UNFINISHED if _may_become_utf8(data, start) else FOR_AUTOBAHN
        payload = unmask(data[start:end], data[start - 4 : start])
        if not (payload.isascii() or _is_utf8(payload)):
            return payloads, position, FOR_AUTOBAHN
        payloads.append(payload)
        position = end
    return payloads, position, UNFINISHED if _may_become_plain(data[position:], limit) else FOR_AUTOBAHN


def split_binary_frames(data: bytes, most: int) -> tuple[list[bytes], int, int]:
    """Take the plain binary frames at the start of ``data``: whole, unfragmented, masked, below 64 KiB.

    :param data: bytes that begin at the start of a frame.
    :param most: frames to take at most.
    :returns: ``(payloads, position, rest)`` as of :func:`split_in_python`. Autobahn gets also a frame that is not whole.
    """
    payloads: list[bytes] = []
    position, available = 0, len(data)
    while (start := position + HEADER) <= available and data[position] == PLAIN_BINARY:
        if len(payloads) == most:
            return payloads, position, FOR_LATER
        length = PLAIN_LENGTHS[data[position + 1]]
        if length == LENGTH_FOLLOWS:
            length = data[position + 2] << 8 | data[position + 3]
            start += 2
            if length < LENGTH_FOLLOWS:
                break
        end = start + length
        if end > available:
            break
        payloads.append(unmask(data[start:end], data[start - 4 : start]))
        position = end
    return payloads, position, FOR_AUTOBAHN


def _may_become_plain(beginning: bytes, limit: int) -> bool:
    """Tell whether less than :data:`HEADER` bytes may be the beginning of a plain text frame."""
    if len(beginning) < 2:
        return beginning == bytes((PLAIN_TEXT,))
    length = beginning[1] - MASKED
    if beginning[0] != PLAIN_TEXT or length < 0 or length == LONG_LENGTH_FOLLOWS:
        return False
    if length == LENGTH_FOLLOWS:
        if len(beginning) < 4:
            return True
        length = beginning[2] << 8 | beginning[3]
        if length < LENGTH_FOLLOWS:
            return False
    return length <= limit


def end_of_frame(data: bytes, position: int) -> int | None:
    """Where a whole frame of any sort ends; ``None`` when it is not whole, or is not masked and no short control frame."""
    header = data[position : position + LONGEST_HEADER]
    if len(header) < 2:
        return None
    if header[1] < MASKED:
        end = position + 2 + header[1]
        return end if header[0] & CONTROL_BIT and header[1] < LENGTH_FOLLOWS and end <= len(data) else None
    length, start = header[1] - MASKED, position + HEADER
    if length >= LENGTH_FOLLOWS:
        size = 2 if length == LENGTH_FOLLOWS else 8
        length, start = int.from_bytes(header[2 : 2 + size], "big"), start + size
    end = start + length
    return end if end <= len(data) else None


def unmask_in_python(payload: bytes, mask: bytes, read: Callable[..., int] = int.from_bytes) -> bytes:
    """Undo the mask of a client's frame (RFC 6455, section 5.3).

    :param read: not for callers: a local name is found faster.
    """
    length = len(payload)
    if length >= INT_XOR_BELOW:
        return create_xor_masker(mask, length).process(payload)
    key = mask * (length >> 2) + mask[: length & 3]
    return (read(payload, "little") ^ read(key, "little")).to_bytes(length, "little")


try:
    # In C, if websockets was built with it: 0.1 us instead of 0.7 for 200 bytes.
    from websockets.speedups import apply_mask as unmask
except ImportError:
    unmask = unmask_in_python  # type: ignore[assignment]


def _may_become_utf8(data: bytes, start: int) -> bool:
    """Tell whether the masked bytes from ``start`` on may be the beginning of UTF-8; a character may be cut at their end."""
    if len(data) <= start:
        # Not even the mask may be whole.
        return True
    payload = unmask(data[start:], data[start - 4 : start])
    try:
        _, whole = utf_8_decode(payload, "strict", False)
    except UnicodeDecodeError:
        return False
    # The decoder waits for the third byte of a surrogate, since some error handlers allow surrogates.
    return payload[whole : whole + 1] != b"\xed" or payload[whole + 1 : whole + 2] < b"\xa0"


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def frame_header(length: int, kind: int = PLAIN_TEXT) -> bytes:
    """Header of an unmasked, unfragmented frame.

    :param kind: :data:`PLAIN_TEXT` or :data:`PLAIN_BINARY`.
    """
    if length < LENGTH_FOLLOWS:
        return bytes((kind, length))
    if length < 65536:
        return struct.pack("!BBH", kind, LENGTH_FOLLOWS, length)
    return struct.pack("!BBQ", kind, LONG_LENGTH_FOLLOWS, length)


HEADERS = tuple(map(frame_header, range(2048)))
"""Headers of the usual lengths, made once."""

PREPARED = len(HEADERS)


def text_frames_in_python(payloads: Iterator[bytes], room: int, largest: int) -> tuple[bytes, bytes | None]:
    """Take messages from an iterator, and make their frames.

    :param room: the last message is the one with which the frames are larger than this (bytes).
    :param largest: a message above this size (bytes) is the last that is taken. It is returned without a frame.
    :returns: the frames, and the message that is too large, if any.
    """
    parts: list[bytes] = []
    size = 0
    for payload in payloads:
        length = len(payload)
        if length > largest:
            return b"".join(parts), payload
        header = HEADERS[length] if length < PREPARED else frame_header(length)
        parts += (header, payload)
        size += len(header) + length
        if size > room:
            break
    return b"".join(parts), None


def event_frames_in_python(events: Iterator[tuple[bytes, bytes]], room: int, largest: int) -> tuple[bytes, tuple[bytes, bytes] | None]:
    """The same as :func:`text_frames_in_python`, for messages in two parts."""
    parts: list[bytes] = []
    size = 0
    for event in events:
        prefix, body = event
        length = len(prefix) + len(body)
        if length > largest:
            return b"".join(parts), event
        header = HEADERS[length] if length < PREPARED else frame_header(length)
        parts += (header, prefix, body)
        size += len(header) + length
        if size > room:
            break
    return b"".join(parts), None


# In C, with messages of 200 bytes, reading one takes 0.03 us instead of 0.5, and writing one of several 0.05 instead of 0.2.
split_text_frames = split_in_python if SPEEDUPS is None else SPEEDUPS.split_text_frames
text_frames = text_frames_in_python if SPEEDUPS is None else SPEEDUPS.text_frames
event_frames = event_frames_in_python if SPEEDUPS is None else SPEEDUPS.event_frames
