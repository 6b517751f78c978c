"""Payloads of MQTT, which are any bytes, as JSON of notifications and commands, and back."""

from __future__ import annotations

import base64
from binascii import Error

from msgspec import Raw
from msgspec.json import Decoder

from dhtwisted.errors import UNREADABLE, TooDeep
from dhtwisted.wire.envelope import encode, encode_text
from dhtwisted.wire.fields import ABSENT
from dhtwisted.wire.payloads import exceeds_depth, too_deep

BYTES = "$base64"
"""The only member of an object that stands for bytes which are no UTF-8."""

LEVELS_AROUND = 2
"""How much deeper the same value is in a WebSocket message: all fronts take the same values."""

_raw = Decoder(Raw).decode
_members = Decoder(dict[str, Raw]).decode
_value = Decoder().decode


def to_json(payload: bytes, depth: int) -> Raw:
    """The JSON value that a payload is. Text that is no JSON becomes a JSON text; bytes that are no text, an object with
    :data:`BYTES`. An empty payload is no value.

    :param depth: ``limits.json_depth``.
    :raises TooDeep: it is nested too deeply.
    """
    if not payload:
        return ABSENT
    if not payload.isascii():
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return Raw(encode({BYTES: base64.b64encode(payload).decode()}))
    else:
        text = ""
    if depth and exceeds_depth(payload, depth - LEVELS_AROUND):
        raise TooDeep(detail=too_deep("the payload", depth - LEVELS_AROUND))
    try:
        return _raw(payload)
    except UNREADABLE:
        return Raw(encode_text(text or payload.decode()))


def read_members(payload: bytes | Raw) -> dict[str, Raw] | None:
    """The members of a JSON object; ``None`` if it is none."""
    try:
        return _members(payload)
    except UNREADABLE:
        return None


def from_json(parameters: bytes | None) -> bytes:
    """The payload that :func:`to_json` would make these parameters of: a JSON text is sent without its quotes."""
    if parameters is None:
        return b""
    if parameters[:1] == b'"':
        text: str = _value(parameters)
        return text.encode(errors="replace")
    if BYTES.encode() in parameters:
        value = _value(parameters)
        if isinstance(value, dict) and list(value) == [BYTES] and isinstance(value[BYTES], str):
            try:
                return base64.b64decode(value[BYTES], validate=True)
            except Error:
                return parameters
    return parameters
