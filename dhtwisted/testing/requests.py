"""Hypothesis strategies for what a client may send: valid and invalid requests of every action, and JSON that breaks parsers."""

from __future__ import annotations

import json
from collections.abc import Iterable

from hypothesis import strategies as st

from dhtwisted.actions import ACTIONS


def nested(depth: int) -> bytes:
    """JSON text of this depth, with alternating objects and arrays.

    :returns: bytes.
    """
    opening = "".join('{"a":' if level % 2 else "[" for level in range(depth))
    closing = "".join("}" if level % 2 else "]" for level in reversed(range(depth)))
    return f"{opening}1{closing}".encode()


Pairs = Iterable[tuple[bytes, bytes]]
Members = Iterable[tuple[str, bytes]]

NESTED_TOO_DEEP = b'{"action":"server/info","requestId":1,"more":' + nested(5000) + b"}"

WEIRD_JSON = (
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'{"\\ud800":1}',
    b"1e999999",
    b"-1e999999",
    b"[1e400]",
    b"9" * 5000,
    b"-" + b"9" * 5000,
    b'"' + b"9" * 5000 + b'"',
    b"1" + b"0" * 4299,
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"12.0",
    b"0.5",
    b"-0",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b'"\\u0000"',
    b'"a\\u0000b"',
    b'{"a":1,"a":2}',
    b'{"command":"x","command":"y","parameters":1,"parameters":[2]}',
    b"''",
    b"01",
    b"+1",
    b"1.",
    b"[1,]",
    b'{"a":1,}',
    b"/**/1",
    b'"' + b"x" * 100_000 + b'"',
    b'"tab\tin text"',
    b'"\\x"',
    '"\ufeff"'.encode(),
    '"\u202e\U0001f680"'.encode(),
    nested(126),
    nested(127),
    nested(128),
    nested(129),
    nested(5000),
    b"[" * 5000,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"[[]]",
    b"[null]",
    b'[{"a":null}]',
)
"""Texts in the place of a value. Some are not JSON, the others are hard to store or to send."""


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _member_names() -> list[str]:
    names = {"action", "requestId", "token", "parameters", "result", "data", "lifetime", "login", "password", "userId", "actions"}
    for action in ACTIONS.values():
        names |= set(action.fields.__struct_encode_fields__)
    return sorted(names)


_ids = st.sampled_from(["pump-4", "unknown", "", "a b", "1", "x" * 49])
_plain = (
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _ids
    | st.sampled_from(["command", "on", "2026-01-02T03:04:05.678", "*", "GetDevice", "ASC", "timestamp", "%", "_"])
    | st.text(max_size=10)
)
_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_member_names()) | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_value_texts = _values.map(_dumped) | st.sampled_from(WEIRD_JSON)

actions = st.sampled_from(sorted(ACTIONS))
"""Names of all actions."""


def _object(pairs: Pairs) -> bytes:
    return b"{" + b",".join(name + b":" + value for name, value in pairs) + b"}"


def _request(action: str, members: Members) -> bytes:
    return _object([(b'"action"', _dumped(action)), *((_dumped(name), value) for name, value in members)])


requests = st.builds(_request, actions, st.lists(st.tuples(st.sampled_from(_member_names()), _value_texts), max_size=6))
"""Requests of known actions, with known members and any values. Names may repeat. Bytes, always UTF-8."""


def _shaped(action: str, device_id: str, body: Members, others: Members) -> bytes:
    resource = action.partition("/")[0]
    inner = _object([(_dumped(name), value) for name, value in body])
    members = [("deviceId", _dumped(device_id)), (resource, inner), *others]
    return _request(action, members)


_BODY = ("command", "notification", "name", "parameters", "result", "status", "data", "lifetime", "timestamp", "networkId")
shaped_requests = st.builds(
    _shaped,
    st.sampled_from(["command/insert", "notification/insert", "command/update", "device/save"]),
    _ids,
    st.lists(st.tuples(st.sampled_from(_BODY), _value_texts), max_size=5),
    st.lists(st.tuples(st.sampled_from(["commandId", "requestId", "token"]), _value_texts), max_size=2),
)
"""Requests that carry an object, with any members in it."""


def _mutate(text: bytes, position: int, cut: int, piece: bytes) -> bytes:
    position = position % (len(text) + 1)
    return text[:position] + piece + text[position + cut :]


_pieces = st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\ud800", b"\x00", b"1e999999", b"9" * 20, b"\xc3\xa4"])
_mutated = st.builds(_mutate, requests | shaped_requests, st.integers(0, 10_000), st.integers(0, 5), _pieces)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


mutated_requests = _mutated.filter(_is_utf8)
"""Requests with a few bytes changed, still UTF-8."""

texts_of_any_kind = (
    st.text(st.characters(codec="utf-8"), max_size=200).map(str.encode)
    | st.binary(max_size=100).filter(_is_utf8)
    | _value_texts
    | mutated_requests
)
"""Any UTF-8. Other bytes never reach a session: the transport closes the connection with 1007."""
