"""Payloads ("any JSON" members): what may be stored, and how deeply JSON may be nested."""

from __future__ import annotations

from itertools import accumulate

from msgspec.json import Decoder

from dhtwisted.errors import UNREADABLE, MalformedJson
from dhtwisted.wire.json_faults import fault

_check = Decoder().decode
_SIMPLE_BELOW = 200
"""Bytes. A number of fewer digits and an exponent of two is not beyond a double, and nothing is nested deeper than Python's stack."""

_EXPONENTS = bytes.maketrans(b"123456789E", b"000000000e")
_BACKSLASH, _E, _CAPITAL_E = b"\\eE"


def check_json(text):
    """Refuse what :func:`payload` would not keep, and what is no JSON at all: for text that did not come as a part of a request.

    :raises MalformedJson: it cannot be kept.
    """
    try:
        _check(text)
    except UNREADABLE:
        raise _unreadable(text, "it") from None


def _unreadable(text, member):
    return MalformedJson(detail=f"{member} {fault(text)}")


def payload(raw, member):
    """Take "any JSON" out of a request, for keeping.

    Numbers that other readers could not hold (``1e999999``, integers of more than 4,300 digits) end here: msgspec refuses exactly these
    when it decodes, 0.7 us for a small object. So short text is looked at first: without an exponent of three digits and without
    escapes (of lone surrogates) there is nothing to refuse. The copy frees the frame of which ``raw`` is a view.

    :param member: its path in the request, for the error.
    :returns: the JSON text as bytes, or ``None`` when absent or null.
    :raises MalformedJson: it cannot be kept.
    """
    if not raw:
        return None
    text = bytes(raw)
    # Numbers of bytes, since looking for bytes with `in` first raises and catches an error that they are no number.
    if len(text) >= _SIMPLE_BELOW or _BACKSLASH in text or ((_E in text or _CAPITAL_E in text) and _has_large_exponent(text)):
        try:
            _check(text)
        except UNREADABLE:
            raise _unreadable(text, member) from None
    return None if text == b"null" else text


def _has_large_exponent(text):
    return text.translate(_EXPONENTS, b"+").find(b"e000") >= 0


_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OPENING_BRACKET = ord("[")
_SHORTEST_LEVEL = len('{"":}')
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def too_deep(what, limit):
    """The detail about JSON that is nested deeper than ``limit``."""
    return f"{what} is nested too deeply; at most {limit} levels of arrays and objects are allowed (limits.json_depth)"


def exceeds_depth(text, limit):
    """Tell whether JSON is nested deeper than ``limit`` arrays and objects; of what is no JSON either may be told.

    The two counts cost 0.7 us; they are skipped for text too short to be that deep, objects having keys. Text with more brackets than
    ``limit`` is reckoned without its strings: at most 0.1 s for 1 MiB, where a loop over the bytes held everybody up for 0.5.
    """
    if len(text) <= 2 * limit or (len(text) <= _SHORTEST_LEVEL * limit and _OPENING_BRACKET not in text):
        return False
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    outside_strings = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = b"".join(outside_strings).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit
