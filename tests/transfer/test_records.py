"""Lines of an export: every field comes back, and what is no object is refused with its reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dhtwisted.errors import TransferError
from dhtwisted.model import Network, Notification
from dhtwisted.testing.storage.base import notification
from dhtwisted.testing.strategies import ODD_JSON, entities, stored_commands, stored_notifications
from dhtwisted.transfer.records import KINDS, decode_line, encode_counts, encode_item, identity
from tests.support.moving import ENTITIES, MESSAGES

keyed_entities = st.builds(
    lambda entity, key: entity if isinstance(entity.key, str) else replace(entity, id=key),
    entities.filter(lambda entity: type(entity) in KINDS),
    st.integers(1, 2**53 - 1),
)


@given(keyed_entities | stored_commands | stored_notifications)
def test_an_object_comes_back_as_it_was(item):
    back = decode_line(encode_item(item))
    assert back == item
    assert type(back) is type(item)


@pytest.mark.parametrize("text", ODD_JSON, ids=lambda text: ascii(text[:12]))
def test_any_json_comes_back_byte_for_byte(text):
    line = encode_item(notification(id=1, timestamp=0, parameters=text))
    assert decode_line(line).parameters == text
    assert json.loads(line)["notification"]["parameters"] == text.decode(), "it is a string with that text"
    assert b"\n" not in line


def test_every_kind_has_a_line_with_every_field():
    items = {type(item): item for item in (*ENTITIES, *MESSAGES)}
    assert set(items) == set(KINDS)
    for kind, item in items.items():
        assert json.loads(encode_item(item)).keys() == {kind.KIND}
        names = [name for name in kind.__struct_fields__ if name not in ("login_key", "update_id")]
        assert list(json.loads(encode_item(item))[kind.KIND]) == names


def test_what_has_a_default_may_be_left_out():
    assert decode_line(b'{"network":{"id":1,"name":"a"}}') == Network(id=1, name="a")


def test_counts_come_back():
    assert decode_line(encode_counts({"user": 1, "device": 0})) == {"user": 1, "device": 0}


def test_objects_have_names():
    assert identity(ENTITIES[3]) == "device 'd-1'"
    assert identity(ENTITIES[0]) == "network 3"
    assert identity(MESSAGES[1]) == "command 7"


NOTIFICATION = {"name": "n", "device_id": "a", "network_id": 1, "device_type_id": 1, "id": 1, "timestamp": 1}


def line_of(**members):
    return json.dumps({"notification": NOTIFICATION | members}).encode()


def test_the_line_that_is_damaged_below_is_good():
    assert decode_line(line_of()) == Notification(**NOTIFICATION)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "truncated"),
        (b"\n", "truncated"),
        (b"{}", "0 objects"),
        (b"[]", "array"),
        (b"garbage", "malformed"),
        (b"\x00\xff\xfe", "UTF-8"),
        (b'{"network":{"id":1,"name":"\xff"}}', "UTF-8"),
        (b'{"network":{"id":1,"name":"\\ud800"}}', "is not valid"),
        (b'{"plugin":{"id":1}}', "plugin"),
        (b'{"network":{"id":1,"name":"a"},"end":{}}', "2 objects"),
        (b'{"network":null}', "null"),
        (b'{"network":{"id":1,"name":"a","color":1}}', "color"),
        (b'{"network":{"id":1}}', "name"),
        (b'{"network":{"name":"a"}}', "id"),
        (b'{"network":{"id":0,"name":"a"}}', ">= 1"),
        (b'{"network":{"id":-1,"name":"a"}}', ">= 1"),
        (b'{"network":{"id":9007199254740992,"name":"a"}}', "<= 9007199254740991"),
        (b'{"network":{"id":"1","name":"a"}}', "int"),
        (b'{"network":{"id":1.5,"name":"a"}}', "int"),
        (b'{"user":{"id":1,"login":"a","network_ids":1}}', "network_ids"),
        (b'{"user":{"id":1,"login":"a","last_login":-1}}', "last_login"),
        (b'{"device":{"name":"a","network_id":1,"device_type_id":1}}', "id"),
        (b'{"device":{"id":"a","name":"a","network_id":1,"device_type_id":1,"data":{}}}', "data"),
        (b'{"command":{"name":"a","device_id":"a","network_id":1,"device_type_id":1,"id":1,"timestamp":1}}', "last_updated"),
        (b'{"end":{"user":"1"}}', "int"),
        (b'{"end":[]}', "array"),
        (line_of(timestamp=None), "timestamp"),
        (line_of(timestamp=-1), "timestamp"),
        (line_of(timestamp=10**30), "timestamp"),
        (line_of(parameters=1), "parameters"),
        (line_of(parameters=""), "parameters is not a JSON text"),
        (line_of(parameters="{"), "parameters is not a JSON text"),
        (line_of(parameters="1 2"), "parameters is not a JSON text"),
        (line_of(parameters="NaN"), "parameters is not a JSON text"),
        (line_of(parameters="1e999999"), "parameters is not a JSON text"),
        (line_of(parameters='"\\ud800"'), "parameters is not a JSON text"),
        (line_of(parameters="[" * 100_000 + "]" * 100_000), "parameters is not a JSON text"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "unknown field"),
    ],
)
def test_what_is_no_object_is_refused(line, words):
    with pytest.raises(ValueError) as caught:
        decode_line(line)
    assert words in str(caught.value)


@given(
    st.binary(max_size=50)
    | st.builds(lambda n, byte: line_of()[:n] + byte + line_of()[n + 1 :], st.integers(0, 110), st.binary(max_size=1))
)
def test_nothing_else_comes_of_anything(line):
    try:
        item = decode_line(line)
    except ValueError:
        return
    assert decode_line(encode_item(item)) == item


@pytest.mark.parametrize("values", [{"name": "\ud800"}, {"parameters": b"\xff"}, {"device_id": "\udfff"}])
def test_what_is_no_unicode_cannot_be_exported(values):
    with pytest.raises(TransferError, match="notification 4 has a text that is not valid Unicode"):
        encode_item(notification(id=4, timestamp=0, **values))
