"""Limits on how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core.throttle import SLOTS, SOON, WINDOW, FailureThrottle, RateLimit


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(1_767_323_045.678)
    return clock


def test_failures_are_counted_by_key(clock):
    throttle = FailureThrottle(clock, 2)
    for _ in range(2):
        assert not throttle.wait("anna")
        throttle.failed("anna")
    assert throttle.wait("anna") == WINDOW
    assert not throttle.wait("berta")


def test_a_failure_counts_for_a_minute_and_nobody_is_locked_out_longer(clock):
    throttle = FailureThrottle(clock, 2)
    throttle.failed("anna")
    clock.advance(WINDOW / 2)
    throttle.failed("anna")
    assert throttle.wait("anna") == WINDOW / 2
    clock.advance(WINDOW / 2)
    assert not throttle.wait("anna")
    throttle.failed("anna")
    assert throttle.wait("anna")
    clock.advance(WINDOW)
    assert not throttle.wait("anna")


def test_zero_permits_all(clock):
    throttle = FailureThrottle(clock, 0)
    for _ in range(100):
        throttle.failed("anna")
        throttle.end(throttle.begin("anna"), True)
    assert not throttle.wait("anna")
    assert not throttle.is_used("anna")


def test_tries_that_have_not_ended_count_and_wait_for_a_moment_alone(clock):
    throttle = FailureThrottle(clock, 3)
    throttle.failed("anna")
    begun = [throttle.begin("anna") for _ in range(2)]
    assert throttle.wait("anna") == SOON, "what is being tried may come to nothing"
    throttle.end(begun[0], False)
    assert not throttle.wait("anna")
    throttle.end(begun[1], True)
    throttle.end(throttle.begin("anna"), True)
    assert throttle.wait("anna") == WINDOW


def test_what_came_to_nothing_leaves_nothing(clock):
    throttle = FailureThrottle(clock, 3)
    throttle.end(throttle.begin("anna"), False)
    assert not throttle.is_used("anna")
    assert len(throttle) == 0


def test_no_flood_of_keys_has_a_count_forgotten(clock):
    throttle = FailureThrottle(clock, 2)
    for _ in range(2):
        throttle.failed("victim")
    for number in range(100_000):
        throttle.failed(f"other {number}")
    assert throttle.wait("victim")
    assert len(throttle) <= SLOTS


def test_what_is_past_is_forgotten_by_and_by(clock):
    throttle = FailureThrottle(clock, 2)
    for number in range(1000):
        throttle.failed(f"other {number}")
    clock.advance(WINDOW)
    for number in range(1000):
        throttle.failed(f"new {number}")
    assert len(throttle) <= 1000


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


def test_another_limit_counts_anew(clock):
    throttle = FailureThrottle(clock, 1)
    throttle.failed("a")
    begun = throttle.begin("a")
    throttle.set_limit(1)
    assert throttle.wait("a")
    throttle.set_limit(2)
    throttle.end(begun, True)
    assert not throttle.is_used("a")
    throttle.failed("a")
    throttle.failed("a")
    assert throttle.wait("a")


def test_a_clock_that_is_set_back_locks_nobody():
    clock = Clock()
    clock.advance(7200)
    throttle = FailureThrottle(clock, 2)
    for _ in range(2):
        throttle.failed("a")
    assert throttle.wait("a")
    clock.rightNow -= 3600
    assert not throttle.wait("a")
