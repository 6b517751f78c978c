"""Requests out of JSON, replies into JSON (WebSocket reference, section 2)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dhtwisted.actions import ACTIONS
from dhtwisted.errors import BadRequest, IllegalAction, MalformedJson, TooDeep, UnknownEndpoint
from dhtwisted.testing.requests import NESTED_TOO_DEEP, nested, requests, texts_of_any_kind
from dhtwisted.wire.envelope import Refused, RequestDecoder, error_reply, reply
from dhtwisted.wire.fields import Fields, Timestamp
from dhtwisted.wire.resources import Resource
from tests.support import strict_json

DEPTH = 128
DECODER = RequestDecoder([action.fields for action in ACTIONS.values()], DEPTH)


def decode(text):
    """Decode text or bytes."""
    return DECODER.decode(text if isinstance(text, bytes) else text.encode())


def refusal(text):
    """What becomes of a text that must be refused."""
    with pytest.raises(Refused) as refused:
        decode(text)
    return refused.value


def test_a_request_becomes_the_struct_of_its_action():
    fields = decode('{"action":"device/get","requestId":"r-17","deviceId":"pump-4"}')
    assert type(fields) is ACTIONS["device/get"].fields
    assert (bytes(fields.request_id), fields.device_id, fields.token) == (b'"r-17"', "pump-4", None)


@pytest.mark.parametrize("request_id", ["null", "1", "-0.50", '"a\\u00e9"', "[1,{}]", '{"b":1,"a":[2]}', "true", '"\\u0000"'])
@pytest.mark.parametrize("device_id", ['"1"', "1"])
def test_the_request_id_is_kept_as_text_on_both_ways(request_id, device_id):
    fields = decode(f'{{"action":"device/get","requestId":{request_id},"deviceId":{device_id}}}')
    assert bytes(fields.request_id).decode() == request_id
    assert fields.device_id == "1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nonsense",
        "[]",
        '"text"',
        "5",
        "null",
        "true",
        '{"action":"server/info"',
        '{"action":"server/info",}',
        "{}{}",
        '{"action":NaN}',
        '{"action":"server/info","x":Infinity}',
        "{'action':'server/info'}",
        '\ufeff{"action":"server/info"}',
        "[" * 5000,
    ],
)
def test_what_is_no_json_object_has_nothing_to_echo(text):
    refused = refusal(text)
    assert isinstance(refused.error, MalformedJson)
    assert refused.action is None
    reply = json.loads(error_reply(refused.error, refused.action))
    assert reply.pop("detail").startswith("the message ")
    assert reply == {"status": "error", "code": 400, "error": "Malformed Json received."}


@pytest.mark.parametrize("action", ['""', "null", "[]", "{}", '["device/get"]', "1e999999"])
def test_an_action_that_is_none(action):
    refused = refusal(f'{{"action":{action},"requestId":7}}')
    assert (type(refused.error), refused.request_id) == (UnknownEndpoint, b"7")
    assert refusal('{"requestId":7}').error.text == "'action' field could not be parsed to known endpoint"


@pytest.mark.parametrize(
    ("action", "name"),
    [('"device/explode"', "device/explode"), ('"Device/get"', "Device/get"), ("5", "5"), ("true", "true"), ("1.50", "1.50")],
)
def test_an_action_that_nobody_has(action, name):
    refused = refusal(f'{{"requestId":[1],"action":{action}}}')
    assert (type(refused.error), refused.error.text) == (IllegalAction, f"Illegal argument: {name}")
    assert (refused.action, refused.request_id) == (action.encode(), b"[1]")


@pytest.mark.parametrize(
    "text",
    [
        '{"action":"server/info","requestId":4,"more":"\\ud800"}',
        '{"action":"device/get","requestId":4,"deviceId":"\\udc00"}',
        '{"action":"device/get","requestId":4,"deviceId":1e999999}',
        '{"action":"command/get","requestId":4,"commandId":%s}' % ("9" * 5000),
        '{"action":"device/list","requestId":4,"take":"many"}',
        '{"action":"command/list","requestId":4,"start":"soon"}',
        f'{{"action":"server/info","requestId":4,"more":{nested(DEPTH).decode()}}}',
        f'{{"action":"server/info","requestId":4,"more":{nested(500).decode()}}}',
    ],
    ids=lambda text: text[:60],
)
def test_json_that_cannot_be_kept_is_refused_with_action_and_request_id(text):
    refused = refusal(text)
    assert isinstance(refused.error, MalformedJson)
    assert (json.loads(refused.action), refused.request_id) == (json.loads(text.partition(",")[0] + "}")["action"], b"4")


def test_nesting_is_counted_from_the_request_on():
    assert decode(b'{"action":"server/info","more":%b}' % nested(DEPTH - 1)) is not None
    assert type(refusal(b'{"action":"server/info","more":%b}' % nested(DEPTH)).error) is TooDeep


def test_a_request_id_that_is_too_deep_is_not_sent_back():
    refused = refusal(b'{"action":"server/info","requestId":%b}' % nested(DEPTH + 1))
    assert (refused.action, refused.request_id) == (b'"server/info"', b"null")


def test_nesting_too_deep_for_any_reader_is_refused():
    assert type(refusal(NESTED_TOO_DEEP).error) is TooDeep


def test_the_reply_is_strict_json_even_for_an_infinite_request_id():
    refused = refusal('{"action":"server/info","requestId":1e999999,"more":"\\ud800"}')
    assert json.loads(error_reply(refused.error, refused.action, refused.request_id), parse_constant=pytest.fail)["requestId"] is None


@pytest.mark.parametrize("device_id", ['"b"', "2"])
def test_of_duplicate_members_the_last_counts(device_id):
    text = f'{{"action":"server/info","requestId":1,"deviceId":"a","action":"device/get","requestId":2,"deviceId":{device_id}}}'
    fields = decode(text)
    assert type(fields) is ACTIONS["device/get"].fields
    assert (bytes(fields.request_id), fields.device_id) == (b"2", json.loads(device_id) if "b" in device_id else "2")


def test_unknown_members_are_ignored():
    assert decode('{"action":"server/info","deviceId":{},"limit":"x","more":[1e999999]}') == ACTIONS["server/info"].fields()


def test_an_empty_timestamp_is_none():
    assert decode('{"action":"command/list","deviceId":"a","start":"","end":null}').start is None
    assert decode('{"action":"command/list","deviceId":"a","start":1}').start == Timestamp(1)


def test_depth_zero_is_any_depth():
    class Anything(Fields, tag="any"):
        """Takes all."""

    assert RequestDecoder([Anything], 0).decode(b'{"action":"any","more":%b}' % nested(200)) == Anything()


class Answer(Resource):
    """A reply's members."""

    some_value: int
    nothing: str | None


HEAD = b'{"action":"a/b","requestId":'


def test_a_success_reply():
    assert reply(HEAD, b'{"x":1}', None) == b'{"action":"a/b","requestId":{"x":1},"status":"success"}'
    assert reply(HEAD, b"null", Answer(some_value=1, nothing=None)) == (
        b'{"action":"a/b","requestId":null,"status":"success","someValue":1,"nothing":null}'
    )


def test_an_error_reply():
    assert error_reply(BadRequest('a "text"'), b'"a/b"', b"5") == (
        b'{"action":"a/b","requestId":5,"status":"error","code":400,"error":"a \\"text\\""}'
    )


def test_an_error_text_is_strict_json_whatever_is_in_it():
    assert strict_json.read(error_reply(BadRequest('a\ud800"\\é'), b'"a"'))["error"] == 'a?"\\é'


@given(texts_of_any_kind | requests)
def test_any_text_is_a_request_or_refused_with_strict_json(text):
    try:
        fields = DECODER.decode(text)
    except Refused as refused:
        answer = strict_json.read(error_reply(refused.error, refused.action, refused.request_id))
        assert (answer["status"], answer["code"]) == ("error", 400)
    else:
        assert isinstance(fields, Fields)
        assert isinstance(fields.request_id, Raw)
        strict_json.read(reply(HEAD, fields.request_id, None))


def outcome(read):
    """A request, or all that its client gets to know of a refusal."""
    return (read.action, read.request_id, read.error.code, read.error.text, read.error.detail) if isinstance(read, Refused) else read


@given(st.lists(texts_of_any_kind | requests | st.just(b'{"action":"server/info","requestId":1e999999}')))
def test_many_requests_are_read_like_each_alone(texts):
    expected = []
    for text in texts:
        try:
            expected.append(outcome(DECODER.decode(text)))
        except Refused as refused:
            expected.append(outcome(refused))
    assert list(map(outcome, DECODER.decode_many(texts))) == expected


@given(st.text(), st.text())
def test_action_and_request_id_come_back_whatever_they_are(action, request_id):
    text = json.dumps({"action": "?" + action, "requestId": request_id})
    refused = refusal(text)
    answer = json.loads(error_reply(refused.error, refused.action, refused.request_id))
    assert (answer["action"], answer["requestId"]) == ("?" + action, request_id)
