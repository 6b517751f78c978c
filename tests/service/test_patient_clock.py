"""The clock by which messages are deleted: leaps are believed when they have lasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.service.patient_clock import GRACE, TOLERANCE, PatientClock

DAY = 86400.0


class Machine:
    """Has a clock that can be set."""

    def __init__(self, at=1000 * DAY):
        self.wall = at
        self.steady = 5.0

    def clock(self, known=None):
        return PatientClock(lambda: self.wall, lambda: self.steady, self.wall if known is None else known)

    def passes(self, seconds, clock):
        """Time passes; the clock is read every hour."""
        clock.seconds()
        while seconds > 0:
            step = min(seconds, 3600)
            self.wall += step
            self.steady += step
            clock.seconds()
            seconds -= step


@pytest.fixture
def machine():
    return Machine()


def test_follows_a_clock_that_goes_right(machine):
    clock = machine.clock()
    machine.passes(3 * DAY, clock)
    machine.wall += TOLERANCE
    assert clock.seconds() == machine.wall
    assert clock.pending_jump == 0


def test_a_leap_counts_when_it_has_lasted(machine):
    clock = machine.clock()
    machine.wall += 365 * DAY
    assert clock.seconds() == machine.wall - 365 * DAY
    assert clock.pending_jump == 365 * DAY
    machine.passes(GRACE - 1, clock)
    assert clock.seconds() == machine.wall - 365 * DAY
    machine.passes(1, clock)
    assert clock.seconds() == machine.wall
    assert clock.pending_jump == 0


def test_a_leap_that_is_mended_in_time_never_counts(machine):
    clock = machine.clock()
    machine.wall += 10 * DAY
    machine.passes(GRACE / 2, clock)
    machine.wall -= 10 * DAY
    assert clock.seconds() == machine.wall
    machine.passes(2 * GRACE, clock)
    assert clock.seconds() == machine.wall


def test_a_larger_leap_begins_anew(machine):
    clock = machine.clock()
    machine.wall += 3600
    machine.passes(GRACE - 1, clock)
    machine.wall += 10 * DAY
    machine.passes(GRACE - 1, clock)
    assert clock.seconds() == machine.wall - 3600 - 10 * DAY
    machine.passes(1, clock)
    assert clock.seconds() == machine.wall


def test_set_back_it_is_believed_at_once(machine):
    clock = machine.clock()
    machine.wall -= 10 * DAY
    assert clock.seconds() == machine.wall


def test_at_the_start_what_is_far_from_the_newest_message_is_a_leap(machine):
    clock = machine.clock(known=machine.wall - 7 * DAY)
    assert clock.seconds() == machine.wall - 7 * DAY
    machine.passes(GRACE, clock)
    assert clock.seconds() == machine.wall
    assert machine.clock(known=machine.wall + DAY).seconds() == machine.wall, "messages may have times to come"


@given(st.lists(st.tuples(st.floats(-30 * DAY, 30 * DAY), st.floats(0, 2 * DAY))))
def test_is_never_ahead_and_is_right_again_after_a_day(steps):
    machine = Machine()
    clock = machine.clock()
    for leap, seconds in steps:
        machine.wall += leap
        machine.passes(seconds, clock)
        assert clock.seconds() <= machine.wall + 1
    machine.passes(GRACE + 1, clock)
    assert clock.seconds() == pytest.approx(machine.wall, abs=1)
