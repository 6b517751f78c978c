"""JSON that cannot be read, with any permitted version of msgspec: what is raised for it differs, and our answer does not."""

import ast

import msgspec
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.actions import ACTIONS
from dhtwisted.errors import UNREADABLE, BadRequest, MalformedJson
from dhtwisted.transfer.records import decode_line
from dhtwisted.wire.envelope import Refused, RequestDecoder
from dhtwisted.wire.payloads import check_json, payload
from tests.support.packages import ROOT
from tests.support.rest_api import client

DECODER = RequestDecoder([action.fields for action in ACTIONS.values()], 128)
TEXTS = [b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\udc00\\u0041"', b"1e999999", b"9" * 5000, b"[" * 100_000, b"nul", b"", b'"\x01"']
"""None of them can be kept."""

PLACES = [b"%b", b'{"%b":1}', b'{"action":%b}', b'{"action":"user/token","requestId":%b}', b'{"action":"device/get","deviceId":%b}']


def caught(node):
    """The names of what an ``except`` catches."""
    return {
        part.attr if isinstance(part, ast.Attribute) else part.id for part in ast.walk(node) if isinstance(part, (ast.Attribute, ast.Name))
    }


def test_what_msgspec_raises_is_named_in_one_place():
    """A module that names some of it forgets the rest."""
    found = {
        f"{path.relative_to(ROOT)}:{handler.lineno}"
        for path in (ROOT / "dhtwisted").rglob("*.py")
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        if caught(handler.type) & {"MsgspecError", "DecodeError", "ValidationError", "EncodeError"}
    }
    assert found == set()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:9]))
def test_all_that_msgspec_raises_is_caught(text):
    with pytest.raises(UNREADABLE):
        msgspec.json.decode(text)
    with pytest.raises(MalformedJson):
        check_json(text)
    with pytest.raises(ValueError, match="is not"):
        decode_line(text)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:9]))
def test_a_request_that_cannot_be_read_is_refused(place, text):
    with pytest.raises((Refused, BadRequest)):
        payload(DECODER.decode(place.replace(b"%b", text)).request_id)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(text):
    for place in PLACES:
        try:
            DECODER.decode(place.replace(b"%b", text))
        except Refused:
            continue


def test_a_line_of_an_export_that_is_not_utf_8_says_so_whatever_else_is_wrong():
    for text in (b"\xff", b'{"network":{"id":"x","name":"\xff"}}', b'{"network":{"id":1,"name":"\xff"}}', b'{"\xff":1}'):
        with pytest.raises(ValueError, match="^is not UTF-8$"):
            decode_line(text)


@pytest.mark.parametrize("text", [text for text in TEXTS if text], ids=lambda text: ascii(text[:9]))
@pytest_twisted.ensureDeferred
async def test_a_body_that_cannot_be_read_is_answered_400(server, text):
    administrator = client(server)
    for place in (b"%b", b'{"name":%b}', b'{"id":"a","name":"b","data":%b}'):
        status, content = await administrator.send("PUT", "device/a", place.replace(b"%b", text), "application/json")
        assert (status, content["error"]) == (400, 400), content
    for place in (b'{"userId":1,"actions":[%b]}', b'{"userId":%b}'):
        assert (await administrator.send("POST", "token/create", place.replace(b"%b", text), "application/json"))[0] == 400
