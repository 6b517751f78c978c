"""A fast way for the frame that nearly all are: whole, unfragmented, masked text below 64 KiB.

Autobahn's parser takes 40 us for such a frame, and slices the rest of the buffer twice for each; here it is 2 us. Everything else is left
to Autobahn with its state intact: control frames, fragments, binary, oversize, bad UTF-8, and every violation, so that closing codes are
decided in one place. The two ways must agree on any stream cut anywhere; a property test holds them to it.
"""

from __future__ import annotations

from autobahn.websocket.xormasker import create_xor_masker

PLAIN_TEXT = 0x81
INT_XOR_BELOW = 1500
"""Up to so many bytes XOR of two long integers is cheaper than Autobahn's masker object with its fixed 7 us."""


def take_text_frames(data, limit, handle):
    """Handle the plain text frames at the start of ``data``, one after the other.

    :param data: bytes that begin at the start of a frame.
    :param limit: the largest payload in bytes, 0 for any.
    :param handle: called with each payload, which is UTF-8; ends the loop by returning true.
    :returns: ``(position, waits)``: where the first frame begins that was not taken, and whether it may still become a plain text frame
        when more bytes arrive. If not, all from there on is for Autobahn.
    """
    position, available = 0, len(data)
    while position < available:
        frame = _bounds(data, position, available, limit)
        if frame is None:
            return position, False
        start, end = frame
        if end > available:
            return position, True
        payload = _unmask(data[start - 4 : start], data[start:end])
        if not (payload.isascii() or _is_utf8(payload)):
            return position, False
        position = end
        if handle(payload):
            break
    return position, False


def _bounds(data, position, available, limit):
    """Where the payload of a plain text frame starts and ends; behind the data while that is not known. ``None``: no such frame."""
    beyond = (position, available + 1)
    if data[position] != PLAIN_TEXT:
        return None
    if available - position < 2:
        return beyond
    length = data[position + 1] - 0x80
    if length < 0 or length == 127:
        return None
    start = position + 6
    if length == 126:
        if available - position < 4:
            return beyond
        length = data[position + 2] << 8 | data[position + 3]
        start += 2
        if length < 126:
            return None
    if limit and length > limit:
        return None
    return start, start + length


def _unmask(mask, payload):
    length = len(payload)
    if length >= INT_XOR_BELOW:
        return create_xor_masker(mask, length).process(payload)
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")


def _is_utf8(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
