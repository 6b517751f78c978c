"""Which events are written, how many of a kind, and where twistd gets the observer from."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import Application
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel
from zope.interface.verify import verifyObject

from dhtwisted.config.settings import LogSettings, Settings
from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.line_limit import LINES_PER_WINDOW, WINDOW
from dhtwisted.logs.lines import JsonLines, TextLines
from dhtwisted.logs.observer import LineObserver, ProcessLog
from tests.logs.test_lines import Hostile, events


class Written:
    """A destination that keeps what is written."""

    def __init__(self):
        self.lines = []

    def write(self, line):
        self.lines.append(json.loads(line))

    def follow(self):
        """It cannot be moved."""


@pytest.fixture
def written():
    return Written()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def observer(written, clock):
    return LineObserver(JsonLines(), written, "info", clock.seconds)


class Unwritable(Written):
    """A destination that cannot be written for a while."""

    broken = True

    def write(self, line):
        self.follow()
        super().write(line)

    def follow(self):
        if self.broken:
            raise OSError("no such directory")


def test_lines_that_cannot_be_written_come_on_standard_error(clock, monkeypatch):
    shown, destination = io.StringIO(), Unwritable()
    monkeypatch.setattr(sys, "__stderr__", shown)
    log = Logger("test", observer=LineObserver(JsonLines(), destination, "info", clock.seconds))
    log.info("one")
    log.info("two")
    reason, one, two = shown.getvalue().splitlines()
    assert reason == "The log cannot be written, so it appears here: no such directory"
    assert [json.loads(line)["message"] for line in (one, two)] == ["one", "two"]
    destination.broken = False
    log.info("three")
    assert messages(destination) == ["three"]
    destination.broken = True
    log.info("four")
    assert len(shown.getvalue().splitlines()) == 5
    monkeypatch.setattr(sys, "__stderr__", None)
    log.info("five")


def test_a_log_that_cannot_follow_its_file_says_so(clock):
    destination = Unwritable()
    observer = LineObserver(JsonLines(), destination, "info", clock.seconds)
    assert (
        observer.problem()
        == "its file was moved or deleted, and cannot be created again (no such directory); give the server the right to write there"
    )
    destination.broken = False
    assert observer.problem() == ""


def messages(written):
    return [line["message"] for line in written.lines]


def test_the_interface(observer):
    verifyObject(ILogObserver, observer)


@pytest.mark.parametrize(("level", "count"), [("debug", 5), ("info", 4), ("warn", 3), ("error", 2)])
def test_the_level(observer, written, level, count):
    observer.set_level(level)
    log = Logger("x", observer=observer)
    for name in ("debug", "info", "warn", "error", "critical"):
        getattr(log, name)("a line")
    assert len(written.lines) == count


def test_too_many_of_a_kind(observer, written, clock):
    log = Logger("x", observer=observer)
    for number in range(LINES_PER_WINDOW + 7):
        log.info("a login failed: {number}", number=number)
    log.info("another")
    assert messages(written)[-2:] == [f"a login failed: {LINES_PER_WINDOW - 1}", "another"]
    clock.advance(WINDOW)
    log.info("later")
    assert messages(written)[-2:] == ["7 more lines like this were left out within a minute: a login failed: {number}", "later"]


def test_what_is_left_out_at_the_end_is_said(observer, written):
    log = Logger("x", observer=observer)
    for _ in range(LINES_PER_WINDOW + 1):
        log.warn("again")
    observer.report_left_out(at_once=True)
    assert written.lines[-1]["level"] == "warn"
    assert "1 more lines like this" in messages(written)[-1]


@given(st.lists(events, max_size=5))
def test_no_event_breaks_it_and_each_has_a_line(given_events):
    written = Written()
    observer = LineObserver(JsonLines(), written, "debug", Clock().seconds)
    for event in given_events:
        observer(event)
    assert len(written.lines) == len(given_events)


@pytest.mark.parametrize("name", ["log_namespace", "log_level", "log_format", "log_time", "isError"])
def test_whatever_a_strangers_event_has_in_its_place_is_written(observer, written, name):
    observer({"log_level": LogLevel.error, name: Hostile()})
    assert len(written.lines) == 1


class Broken:
    """Lines that cannot be made."""

    def line(self, event):
        raise RuntimeError("no")


def test_an_event_of_which_no_line_can_be_made_leaves_one(written):
    kept = []
    written.write = kept.append
    LineObserver(Broken(), written, "info")({"log_level": LogLevel.info})
    assert kept == [b"an event cannot be written (RuntimeError)"]


def application(log):
    made = Application("x")
    log.install(made)
    return made.getComponent(ILogObserver, None)


def with_log(**options):
    return Settings(log=LogSettings(**options))


def test_twistd_finds_the_observer_and_its_file(tmp_path):
    path = tmp_path / "a.log"
    log = ProcessLog(with_log(file=str(path), format="json"))
    observer = application(log)
    Logger("dhtwisted.x", observer=observer).info("one\ntwo", log_source=None)
    assert json.loads(path.read_text())["message"] == "one\ntwo"
    log.reloadable(with_log(level="error"))()
    Logger("dhtwisted.x", observer=observer).warn("no more")
    path.rename(tmp_path / "b.log")
    log.reopen()
    Logger("dhtwisted.x", observer=observer).error("here")
    assert "here" in path.read_text()
    assert "no more" not in path.read_text() + (tmp_path / "b.log").read_text()


def test_what_twistd_is_told_of_another_log_holds():
    assert application(ProcessLog(with_log(), {"logger": "x", "nodaemon": 1})) is None


def test_the_log_file_of_the_command_line_wins(tmp_path):
    given, configured = tmp_path / "given.log", tmp_path / "configured.log"
    observer = application(ProcessLog(with_log(file=str(configured)), {"logfile": str(given), "nodaemon": 1}))
    Logger("x", observer=observer).info("hello")
    assert given.read_text().endswith(" info  x hello\n")
    assert not configured.exists()


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigurationError, match="log.file: .* cannot be written"):
        application(ProcessLog(with_log(file=str(tmp_path / "nowhere" / "a.log"))))
    with pytest.raises(ConfigurationError, match="--logfile: .* cannot be written"):
        application(ProcessLog(with_log(), {"logfile": str(tmp_path / "nowhere" / "a.log")}))
    with pytest.raises(ConfigurationError, match="a daemon has no standard output"):
        application(ProcessLog(with_log(), {"logfile": "-", "nodaemon": 0}))


def test_without_an_application_nothing_is_touched():
    log = ProcessLog(with_log())
    log.install(None)
    log.reopen()
    log.finish()


def test_a_line_of_text_is_written_as_it_is(clock):
    kept = []
    written = Written()
    written.write = kept.append
    LineObserver(TextLines(), written, "info", clock.seconds)({"log_format": "Grüße \ud800", "log_time": 0.0})
    assert kept == ["1970-01-01T00:00:00.000Z info  - Grüße \\ud800".encode()]


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)])
def test_the_priority_stands_in_front_where_it_is_wanted(clock, level, priority):
    kept = []
    written = Written()
    written.write = kept.append
    observer = LineObserver(JsonLines(), written, "debug", clock.seconds, has_priority=True)
    observer({"log_format": "x", "log_level": LogLevel.levelWithName(level)})
    assert kept[0].startswith(b'<%d>{"time": ' % priority)
