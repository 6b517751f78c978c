"""What clients may write instead of the proper type (WebSocket reference, section 2.2)."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dhtwisted.errors import InvalidNotificationId, MalformedJson
from dhtwisted.wire.coercion import coerce
from dhtwisted.wire.fields import ABSENT, Integer, Members, NotificationId, Timestamp

MOMENT = 1_767_323_045_678


class Inner(Members):
    """An object in an object."""

    name: str | None = None
    data: Raw = ABSENT


class Outer(Members):
    """A member of every type."""

    number: Integer | None = None
    notification_id: NotificationId | None = None
    text: str | None = None
    flag: bool | None = None
    moment: Timestamp | None = None
    numbers: list[Integer] | None = None
    texts: list[str] | None = None
    inner: Inner | None = None
    anything: Raw = ABSENT


def read(member, text):
    """Coerce one member."""
    return getattr(coerce(Outer, {member: Raw(text)}), msgspec.structs.fields(Outer)[ORDER[member]].name)


ORDER = {field.encode_name: index for index, field in enumerate(msgspec.structs.fields(Outer))}


@pytest.mark.parametrize(
    ("member", "text", "value"),
    [
        ("number", b"12", 12),
        ("number", b"-12", -12),
        ("number", b"12.0", 12),
        ("number", b"1.2e1", 12),
        ("number", b'"12"', 12),
        ("number", b'"-12"', -12),
        ("number", b"null", None),
        ("number", b"9223372036854775807", 2**63 - 1),
        ("number", b'"-9223372036854775808"', -(2**63)),
        ("notificationId", b'"7"', 7),
        ("text", b'"pump-4"', "pump-4"),
        ("text", b"999999", "999999"),
        ("text", b"1.50", "1.50"),
        ("text", b"true", "true"),
        ("text", b"false", "false"),
        ("text", b'""', ""),
        ("text", b"null", None),
        ("flag", b"true", True),
        ("flag", b"false", False),
        ("flag", b'"true"', True),
        ("flag", b'"false"', False),
        ("flag", b'"yes"', False),
        ("flag", b'""', False),
        ("flag", b"null", None),
        ("moment", b'""', None),
        ("moment", b"null", None),
        ("moment", b'"2026-01-02T03:04:05.678"', MOMENT),
        ("moment", b"1767323045678", MOMENT),
        ("moment", b'"1767323045678"', MOMENT),
        ("numbers", b'[1, "2", 3.0]', [1, 2, 3]),
        ("numbers", b"[]", []),
        ("numbers", b"null", None),
        ("texts", b'["a", 1, true]', ["a", "1", "true"]),
        ("inner", b"null", None),
        ("inner", b'{"name": 5, "more": {}}', Inner(name="5")),
    ],
)
def test_accepted(member, text, value):
    assert read(member, text) == value


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("number", b'"abc"'),
        ("number", b'""'),
        ("number", b'" 12"'),
        ("number", '"١٢"'.encode()),
        ("number", b"12.5"),
        ("number", b"true"),
        ("number", b"[]"),
        ("number", b"{}"),
        ("number", b"9223372036854775808"),
        ("number", b"1e300"),
        ("number", b"1e999999"),
        ("number", b"9" * 5000),
        ("number", b'"' + b"9" * 5000 + b'"'),
        ("text", b"[]"),
        ("text", b"{}"),
        ("text", b"1e999999"),
        ("flag", b"[]"),
        ("flag", b"{}"),
        ("moment", b'"soon"'),
        ("moment", b"-1"),
        ("moment", b"true"),
        ("moment", b"[]"),
        ("moment", b"{}"),
        ("numbers", b"1"),
        ("numbers", b'"1"'),
        ("numbers", b"{}"),
        ("numbers", b'["a"]'),
        ("texts", b'"a"'),
        ("texts", b"[[]]"),
        ("inner", b'"text"'),
        ("inner", b"5"),
        ("inner", b"[]"),
        ("inner", b'{"name": {}}'),
    ],
)
def test_refused(member, text):
    with pytest.raises(MalformedJson):
        read(member, text)


@pytest.mark.parametrize("text", [b'"abc"', b"1.5", b"[]", b"{}", b"true", b"1e999999"])
def test_a_notification_id_has_an_error_of_its_own(text):
    with pytest.raises(InvalidNotificationId):
        read("notificationId", text)


def test_any_json_is_not_taken_apart():
    text = b'{ "b": 1.10, "a" :[1E5, "\\u0000"] }'
    assert bytes(read("anything", text)) == text
    assert bytes(read("inner", b'{"data":' + text + b"}").data) == text


def test_members_that_nobody_declared_are_ignored():
    assert coerce(Outer, {"number": Raw(b"1"), "unknown": Raw(b"1e999999")}) == Outer(number=1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_may_be_text(number):
    assert read("number", b'"%d"' % number) == read("number", b"%d" % number) == number


@given(st.sampled_from(sorted(ORDER)), st.binary(max_size=20) | st.text(max_size=20).map(str.encode))
def test_no_member_does_worse_than_the_error(member, text):
    try:
        members = msgspec.json.decode(b'{"m":' + text + b"}", type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    with contextlib.suppress(MalformedJson, InvalidNotificationId):
        coerce(Outer, {member: members["m"]})


@pytest.mark.parametrize("text", [b"[null]", b'["a", null]'])
def test_a_list_has_no_place_for_null(text):
    with pytest.raises(MalformedJson):
        coerce(Outer, {"texts": Raw(text)})
