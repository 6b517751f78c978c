"""Work that is done again and again: an error does not end it."""

import re

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from dhtwisted.kit.repeated_work import RepeatedWork
from tests.support.packages import ROOT


class Defect(Exception):
    """An error that nobody expects."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def failures():
    """What is logged of an error."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_it_is_done_every_so_many_seconds(clock):
    times = []
    work = RepeatedWork(clock, "work", lambda: times.append(clock.seconds()))
    work.start(2)
    clock.pump([1] * 6)
    assert times == [2, 4, 6]


def test_it_can_begin_at_once(clock):
    times = []
    RepeatedWork(clock, "work", lambda: times.append(clock.seconds())).start(2, now=True)
    assert times == [0]


def test_an_error_is_logged_and_ends_nothing(clock, failures):
    times = []

    def fail():
        raise Defect

    work = RepeatedWork(clock, "work", lambda: times.append("before"), fail, lambda: times.append("behind"))
    work.start(1)
    clock.pump([1, 1])
    assert times == ["before", "behind"] * 2
    assert [event["log_failure"].type for event in failures] == [Defect, Defect]


def test_an_error_behind_a_wait_ends_nothing(clock, failures):
    waiting, times = Deferred(), []

    async def wait():
        times.append(clock.seconds())
        if len(times) == 1:
            await waiting

    RepeatedWork(clock, "work", wait).start(1)
    clock.pump([1, 1, 1])
    assert times == [1]
    waiting.errback(Defect())
    assert len(failures) == 1
    clock.pump([1, 1])
    assert times == [1, 4, 5]


def test_a_stop_waits_for_what_has_begun(clock):
    waiting, ended = Deferred(), []
    work = RepeatedWork(clock, "work", lambda: waiting)
    work.start(1)
    clock.advance(1)
    work.stop().addCallback(ended.append)
    assert not work.is_running
    assert not ended
    waiting.callback(None)
    assert ended
    assert not clock.getDelayedCalls()


def test_a_second_stop_and_a_second_start_do_nothing(clock):
    times = []
    work = RepeatedWork(clock, "work", lambda: times.append(clock.seconds()))
    work.stop()
    work.start(1)
    work.start(1)
    clock.advance(1)
    assert times == [1]
    work.stop()
    work.stop()
    clock.advance(1)
    assert times == [1]


def test_nothing_else_repeats_work():
    """A ``LoopingCall`` ends at the first error of its work."""
    users = {path.name for path in (ROOT / "dhtwisted").rglob("*.py") if re.search(r"import.*\bLoopingCall\b", path.read_text())}
    assert users == {"repeated_work.py"}
