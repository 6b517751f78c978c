"""One timer for many waits."""

import pytest
from twisted.internet.task import Clock

from dhtwisted.kit.deadline import Deadline


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def expired():
    return []


@pytest.fixture
def deadline(clock, expired):
    return Deadline(clock, lambda seconds: expired.append((clock.seconds(), seconds)))


def test_a_wait_ends_at_its_time(clock, deadline, expired):
    deadline.start(6)
    clock.advance(5.9)
    assert not expired
    clock.advance(0.1)
    assert expired == [(6, 6)]
    clock.advance(100)
    assert len(expired) == 1


def test_the_timer_of_one_wait_serves_the_next(clock, deadline, expired):
    deadline.start(6)
    (timer,) = clock.getDelayedCalls()
    for _ in range(5):
        clock.advance(1)
        deadline.stop()
        deadline.start(6)
        assert clock.getDelayedCalls() == [timer]
    clock.advance(1)
    clock.advance(4.9)
    assert not expired
    clock.advance(0.1)
    assert expired == [(11, 6)]


def test_a_shorter_wait_is_not_kept_for_the_longer(clock, deadline, expired):
    deadline.start(6)
    deadline.stop()
    deadline.start(2)
    clock.advance(2)
    assert expired == [(2, 2)]


def test_nothing_is_left_when_nobody_waits(clock, deadline, expired):
    deadline.start(6)
    deadline.stop()
    clock.advance(6)
    assert not expired
    assert not clock.getDelayedCalls()
    deadline.start(6)
    deadline.cancel()
    assert not clock.getDelayedCalls()
