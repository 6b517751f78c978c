"""Any event becomes exactly one line, with everything in it that is no secret."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python import log as legacy
from twisted.python.failure import Failure

from dhtwisted.logs.lines import LONGEST_FIELD, JsonLines, TextLines

TIME = 1_767_323_045.678


class Hostile:
    """Whatever is asked of it, it raises."""

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __format__ = __str__

    def __getattr__(self, name):
        raise ValueError("no")

    def __eq__(self, other):
        raise ValueError("no")

    def __bool__(self):
        raise ValueError("no")

    __hash__ = object.__hash__


class WrongText:
    """Its text is none."""

    def __str__(self):
        return 7

    __repr__ = __str__


def failure(error):
    try:
        raise error
    except type(error):
        return Failure()


def event(text, **fields):
    return {"log_format": text, "log_level": LogLevel.warn, "log_time": TIME, "log_namespace": "dhtwisted.core.server.Server"} | fields


objects = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.sampled_from([Hostile(), WrongText(), Hostile, failure(ValueError("x\n\ud800\u2028")), 10**5000, object(), LogLevel.error]),
    st.lists(st.text()),
)
names = st.one_of(
    st.text(),
    st.sampled_from(
        "log_format log_level log_time log_namespace log_failure log_system log_legacy log_text message time format isError failure why "
        "level logger traceback connection address user action request password token".split()
    ),
)
events = st.dictionaries(names, objects)


@given(events)
def test_any_event_is_one_line_of_json(anything):
    line = JsonLines().line(anything)
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {"time", "level", "logger", "message"} <= found.keys()
    json.dumps(found, ensure_ascii=False).encode()


formats = st.lists(st.sampled_from(["{a}", "{a!r}", "{a.b}", "{a()}", "{b[0]}", "{b:>10}", "{c}", "{", "}", "\n", "x"])).map("".join)


@given(formats, objects, objects)
def test_formats_that_ask_for_what_objects_do_not_have(text, a, b):
    said = event(text, a=a, b=b)
    assert TextLines().line(said).isprintable()
    assert json.loads(JsonLines().line(said))["level"] == "warn"


@given(events)
def test_any_event_is_one_line_of_text(anything):
    line = TextLines().line(anything)
    assert line.isprintable()
    line.encode()


def test_text():
    said = event("it {what}", what="broke", connection=12, address="192.0.2.1", user=3, action="device/save", request='"7"')
    assert TextLines().line(said) == (
        '2026-01-02T03:04:05.678Z warn  core.server [connection=12 address=192.0.2.1 user=3 action=device/save request="7"] it broke'
    )


def test_a_client_id_is_in_quotes_since_it_can_be_anything():
    said = event("ended", connection=12, client='pump] 4 "user=1"')
    assert TextLines().line(said).endswith(r'core.server [connection=12 client="pump] 4 \"user=1\""] ended')


def test_json():
    said = event("it {what}", what="broke", connection=12, count=2, level="mine", ratio=float("nan"), parts={"a"})
    assert json.loads(JsonLines().line(said)) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "warn",
        "logger": "dhtwisted.core.server.Server",
        "message": "it broke",
        "what": "broke",
        "connection": 12,
        "count": 2,
        "level_": "mine",
        "ratio": "nan",
        "parts": "{'a'}",
    }


def test_a_traceback_is_in_the_line_with_its_frames():
    said = event("it failed", log_failure=failure(ValueError("password=hunter22\nand more")))
    text, found = TextLines().line(said), json.loads(JsonLines().line(said))
    assert "it failed | Traceback (most recent call last):\\n" in text
    for trace in (text, found["traceback"]):
        assert "test_lines.py" in trace
        assert "ValueError" in trace
        assert "and more" in trace
        assert "hunter22" not in trace
    assert "\n" in found["traceback"]


def test_secrets_are_hidden_by_the_name_of_their_field_too():
    said = event("x", password="hunter22", access_token="hunter22", note="secret='hunter22'", args={"password": "hunter22"})
    assert "hunter22" not in JsonLines().line(said) + TextLines().line(said)


@pytest.mark.parametrize("text", ["\n2026-01-02T03:04:05.678Z warn  server forged", "\x1b[2J", "\u2028x", "\u202etxet"])
def test_nobody_writes_lines_of_his_own(text):
    line = TextLines().line(event("a login failed: {login}", login=text, request=text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_events_of_the_old_logging_are_lines_as_well():
    said = []
    observer = said.append
    legacy.theLogPublisher.addObserver(observer)
    try:
        legacy.msg("an old\nmessage", password="hunter22")
    finally:
        legacy.theLogPublisher.removeObserver(observer)
    assert re.fullmatch(r"\S+ (debug log_legacy|info  -) an old\\nmessage", TextLines().line(said[0]))
    assert "hunter22" not in JsonLines().line(said[0])


def test_an_event_as_it_is_made():
    said = []
    Logger("a.b.C", observer=said.append).error("x {y}", y=1)
    assert TextLines().line(said[0])[24:] == " error a.b x 1"


def test_a_secret_that_a_field_of_bounded_length_cuts_off_is_masked_all_the_same():
    long = "x" * (LONGEST_FIELD - 24) + " ://user:swordfish" + "y" * 100 + "@host/db"
    assert "swordf" not in TextLines().line({"log_format": "cannot connect: {reason}", "reason": long})
    assert "swordf" not in JsonLines().line({"log_format": "cannot connect", "reason": long})
