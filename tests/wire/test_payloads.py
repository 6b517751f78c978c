"""Payloads: kept as they are, or refused; how deep JSON is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dhtwisted.errors import MalformedJson
from dhtwisted.testing.strategies import json_texts
from dhtwisted.wire.fields import ABSENT, NULL
from dhtwisted.wire.payloads import exceeds_depth, payload


def nested(depth):
    """JSON of this depth, objects and arrays in turn."""
    opening = "".join('{"a":' if level % 2 else "[" for level in range(depth))
    closing = "".join("}" if level % 2 else "]" for level in reversed(range(depth)))
    return f"{opening}1{closing}".encode()


@pytest.mark.parametrize("limit", [1, 2, 127, 128])
def test_depth_is_counted_exactly(limit):
    assert not exceeds_depth(nested(limit), limit)
    assert exceeds_depth(nested(limit + 1), limit)
    assert exceeds_depth(nested(5000), limit)


def test_brackets_in_strings_and_side_by_side_do_not_count():
    assert not exceeds_depth(json.dumps({"text": "[" * 300, "escaped": '"' + "{" * 300 + '\\"'}).encode(), 2)
    assert not exceeds_depth(json.dumps([[]] * 300).encode(), 2)
    assert exceeds_depth(json.dumps(["\\", [[[]]], "]" * 300]).encode(), 3)
    assert not exceeds_depth(b'["' + b"[" * 300, 3)


def depth_of(value):
    """The reference: a walk through what was read."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(
    st.recursive(
        st.none() | st.text('"[]{}\\ab', max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('"[]{}\\ab', max_size=5), inner, max_size=4),
    ),
    st.integers(1, 6),
)
def test_depth_agrees_with_what_a_reader_finds(value, limit):
    text = json.dumps(value).encode()
    assert exceeds_depth(text, limit) == (depth_of(value) > limit)


@given(json_texts)
def test_a_payload_is_kept_byte_for_byte(text):
    assert payload(Raw(text), "it") == (None if text.strip() == b"null" else text)


@pytest.mark.parametrize("raw", [ABSENT, NULL])
def test_absent_and_null_payloads_are_the_same(raw):
    assert payload(raw, "it") is None


@pytest.mark.parametrize("text", [b"1e999999", b"-1e999999", b"9" * 5000, b'"\\ud800"', b'["\\udc00\\ud800"]', b'{"a":[1e400]}'])
def test_what_others_cannot_read_is_no_payload(text):
    with pytest.raises(MalformedJson):
        payload(Raw(text), "it")
