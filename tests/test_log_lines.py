"""docs/operation-logs.md tells of every line that the server may write at info or above, and of every event of the audit log."""

import ast
import re

import pytest

from dhtwisted.actions import ACTIONS
from dhtwisted.control.command_list import COMMANDS
from dhtwisted.logs.audit import MQTT_LOGIN
from dhtwisted.logs.observer import LEFT_OUT
from tests.support.packages import ROOT

PAGE = (ROOT / "docs" / "operation-logs.md").read_text()
LEVELS = {"info": "info", "warn": "warn", "error": "error", "critical": "critical", "failure": "critical"}
LOGGERS = {"log", "_log", "events"}


def calls():
    """Every call of a logger in the server: place, level, format."""
    for path in sorted((ROOT / "dhtwisted").rglob("*.py")):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            whose = node.func.value
            if (whose.attr if isinstance(whose, ast.Attribute) else getattr(whose, "id", "")) in LOGGERS:
                yield f"{path.name}:{node.lineno}", LEVELS[node.func.attr], node.args[0]


CALLS = list(calls())


def rows():
    """The lines of the page's tables: level and text."""
    return re.findall(r"^\| (info|warn|error|critical) \| `([^`]+)` \| [^|]{10,} \|", PAGE, re.MULTILINE)


def test_there_are_loggers():
    assert len(CALLS) > 40


@pytest.mark.parametrize(("place", "level", "text"), CALLS, ids=[place for place, *_ in CALLS])
def test_a_line_has_a_constant_text_and_is_in_the_page(place, level, text):
    """A text that is not constant would make a kind of its own each time, for the limit, and could not be looked up."""
    assert isinstance(text, ast.Constant), place
    assert (level, text.value) in rows(), f"{place}: {level}: {text.value}"


def test_the_page_has_no_line_that_is_gone():
    known = {(level, text.value) for _, level, text in CALLS} | {("info", LEFT_OUT)}
    twisted = {row for row in rows() if row[1] not in {text for _, text in known}}
    section = PAGE.partition("## Lines of Twisted")[2].partition("\n## ")[0]
    assert {text for _, text in twisted if f"`{text}`" not in section} == set()


def test_every_event_of_the_audit_log_is_in_the_page():
    events = {name for name, action in ACTIONS.items() if action.audit is not None}
    events |= {"server/start", "server/loss", "server/reload", "server/stop", "audit/limited", "audit/lost", MQTT_LOGIN}
    events |= {f"shell/{command.__struct_config__.tag}" for command in COMMANDS if command.is_audited}
    section = PAGE.partition("## The audit log")[2]
    assert {event for event in events if f"`{event}`" not in section} == set()


def test_commands_that_are_not_recorded_change_nothing():
    unrecorded = {command.__struct_config__.tag for command in COMMANDS if not command.is_audited}
    assert unrecorded == {"user list", "token list", "token show", "status"}
