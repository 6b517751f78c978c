"""Limits on how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.throttle import MAX_KEYS, WINDOW, FailureThrottle, RateLimit


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(1_767_323_045.678)
    return clock


def test_failures_are_counted_by_key(clock):
    throttle = FailureThrottle(clock, 2)
    for _ in range(2):
        assert throttle.permits("anna", "here")
        throttle.failed("anna", "here")
    assert not throttle.permits("anna")
    assert not throttle.permits("berta", "here")
    assert throttle.permits("berta", "there")


def test_a_failure_counts_for_a_minute_and_nobody_is_locked_out_longer(clock):
    throttle = FailureThrottle(clock, 2)
    throttle.failed("anna")
    clock.advance(WINDOW / 2)
    throttle.failed("anna")
    assert not throttle.permits("anna")
    clock.advance(WINDOW / 2)
    assert throttle.permits("anna")
    throttle.failed("anna")
    assert not throttle.permits("anna")
    clock.advance(WINDOW)
    assert throttle.permits("anna")


def test_zero_permits_all(clock):
    throttle = FailureThrottle(clock, 0)
    for _ in range(100):
        throttle.failed("anna")
    assert throttle.permits("anna")


def test_keys_are_bounded_and_the_longest_unused_goes(clock):
    throttle = FailureThrottle(clock, 1)
    throttle.failed("first")
    throttle.failed("second")
    throttle.failed("first")
    for number in range(MAX_KEYS - 1):
        throttle.failed(number)
    assert throttle.permits("second")
    assert not throttle.permits("first")


def test_a_rate_holds_one_second_of_requests(clock):
    rate = RateLimit(clock, 3)
    assert [rate.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(rate.delay)
    assert rate.take()
    assert not rate.take()
    clock.advance(100)
    assert [rate.take() for _ in range(4)] == [True, True, True, False]


@given(st.integers(1, 1000), st.lists(st.floats(0, 5), max_size=30))
def test_no_more_than_the_rate_over_any_time(per_second, pauses):
    clock = Clock()
    rate = RateLimit(clock, per_second)
    taken = 0
    for pause in pauses:
        while rate.take():
            taken += 1
        clock.advance(pause)
    assert taken <= per_second * (1 + clock.seconds()) + 0.01


@given(st.integers(1, 1000))
def test_waiting_for_the_delay_is_enough(per_second):
    clock = Clock()
    clock.advance(1_767_323_045.678)
    rate = RateLimit(clock, per_second)
    while rate.take():
        pass
    waits = 0
    while not rate.take():
        clock.advance(rate.delay)
        waits += 1
        assert waits < 3


def test_another_limit_counts_anew():
    throttle = FailureThrottle(Clock(), 1)
    throttle.failed("a")
    throttle.set_limit(1)
    assert not throttle.permits("a")
    throttle.set_limit(2)
    assert throttle.permits("a")
    throttle.failed("a")
    throttle.failed("a")
    assert not throttle.permits("a")


def test_a_clock_that_is_set_back_locks_nobody():
    clock = Clock()
    clock.advance(7200)
    throttle = FailureThrottle(clock, 2)
    for _ in range(2):
        throttle.failed("a")
    assert not throttle.permits("a")
    clock.rightNow -= 3600
    assert throttle.permits("a")
