"""The parts of a server are asked how they are, and what changes is logged once."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.service.self_checks import INTERVAL, SelfChecks


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def checks(clock):
    checks = SelfChecks(clock)
    checks.start()
    yield checks
    checks.stop()
    assert clock.getDelayedCalls() == []


def told(logs):
    return [(event["log_level"], event["log_format"].format(**event)) for event in logs]


def test_a_problem_is_told_when_it_comes_changes_and_goes(clock, checks):
    answers = iter(["", "gone", "gone", "gone", "replaced", "", "", None])
    checks.add("storage", lambda: next(answers))
    with capturedLogs() as logs:
        clock.pump([INTERVAL] * 8)
    assert told(logs) == [
        (LogLevel.error, "storage: gone"),
        (LogLevel.error, "storage: replaced"),
        (LogLevel.info, "storage: works again"),
    ]


def test_one_that_raises_does_not_keep_the_others_from_being_asked(clock, checks):
    asked = []
    checks.add("stranger", lambda: 1 / 0)
    checks.add("storage", lambda: asked.append(1))
    with capturedLogs() as logs:
        clock.pump([INTERVAL] * 2)
    assert len(asked) == 2
    assert {event["log_level"] for event in logs} == {LogLevel.critical}


def test_a_minute_is_long_enough():
    assert INTERVAL < 60
