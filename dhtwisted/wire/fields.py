"""Wire types shared by all requests, on msgspec.

A request is one JSON object. Each action declares its members as a struct derived from :class:`Fields`; a member that the client left
out, or sent as ``null``, is ``None`` (:data:`ABSENT` for "any JSON" members). A handler says what is missing: the texts differ by action.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from dhtwisted.errors import UNREADABLE, InvalidNotificationId, MalformedJson, WrongLength
from dhtwisted.wire.json_faults import fault
from dhtwisted.wire.timestamps import parse_timestamp

ABSENT = Raw(b"")
NULL = Raw(b"null")

_INT64 = {"ge": -(2**63), "le": 2**63 - 1}
Integer = Annotated[int, Meta(**_INT64)]
"""An integer that every storage can hold."""

NotificationId = Annotated[int, Meta(**_INT64, extra={"error": InvalidNotificationId})]
"""The one member whose wrong type has a text of its own (WebSocket reference, section 2.1)."""

MAX_NAME = 256
MAX_SUBSCRIPTION_LIST = 1000


class Timestamp(int):
    """Milliseconds since 1970 UTC, sent in any form of :func:`~dhtwisted.wire.timestamps.parse_timestamp`."""


class Fields(Struct, rename="camel", tag_field="action", kw_only=True, gc=False):
    """Members that any request may carry.

    :ivar request_id: any JSON, echoed unchanged.
    :ivar token: an access token that authorizes this one request (WebSocket reference, section 7, row 4).
    """

    request_id: Raw = NULL
    token: str | None = None


class Members(Struct, rename="camel", kw_only=True, gc=False):
    """Base of the objects inside requests."""


def milliseconds(timestamp):
    """The time that a client gave as a plain number, which every storage can keep; ``None`` for none."""
    return None if timestamp is None else int(timestamp)


def decode_hook(kind, value):
    """Build the types of this module that msgspec does not know.

    :raises ValueError: the value is no such thing; msgspec turns it into its own error.
    """
    if kind is Timestamp:
        return Timestamp(parse_timestamp(value))
    raise TypeError(f"{kind} is no wire type")


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


def check_length(value, low, high, member):
    """Hold a text to its permitted length in characters; ``None`` passes.

    :param member: its path in the request, such as ``device.name``.
    :raises BadRequest: too short or too long.
    """
    if value is not None and not low <= len(value) <= high:
        raise WrongLength(member, low, high)


_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OPENING_BRACKET = ord("[")
_SHORTEST_LEVEL = len('{"":}')
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def too_deep(what, limit):
    """The detail about JSON that is nested deeper than ``limit``."""
    return f"{what} is nested too deeply; arrays and objects may be {limit} deep (limits.json_depth)"


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
