"""The clock is set back, or forward, while calls are delayed."""

import threading

import pytest
from twisted.internet.task import Clock, LoopingCall

from dhtwisted.service.clock_guard import LARGEST_DRIFT, ClockGuard

HOUR = 3600.0


class SetClock(Clock):
    """A reactor's clock that somebody may set, beside one that goes on.

    :ivar steady: seconds that have really passed.
    """

    def __init__(self):
        super().__init__()
        self.rightNow = 10 * HOUR
        self.steady = 0.0
        self.callFromThread = lambda function, *arguments: function(*arguments)

    def advance(self, seconds):
        self.steady += seconds
        super().advance(seconds)

    def step(self, seconds):
        self.rightNow += seconds


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def guard(clock):
    return ClockGuard(clock, clock.seconds, lambda: clock.steady)


def test_what_was_due_soon_is_due_soon_after_the_clock_was_set_back(clock, guard):
    happened = []
    for seconds in (0, 5, 30):
        clock.callLater(seconds, happened.append, seconds)
    clock.step(-HOUR)
    guard.compare()
    clock.advance(0)
    assert happened == [0]
    clock.advance(5)
    assert happened == [0, 5]
    clock.advance(25)
    assert happened == [0, 5, 30]


def test_what_is_repeated_goes_on(clock, guard):
    times = []
    repeated = LoopingCall(lambda: times.append(clock.steady))
    repeated.clock = clock
    repeated.start(10, now=False)
    for _ in range(3):
        clock.advance(10)
    clock.step(-HOUR)
    guard.compare()
    for _ in range(60):
        clock.advance(1)
    assert len(times) >= 3 + 5
    assert max(after - before for before, after in zip(times, times[1:], strict=False)) <= 20


@pytest.mark.parametrize("step", [LARGEST_DRIFT / 2, -LARGEST_DRIFT / 2, HOUR])
def test_a_small_correction_or_a_step_forward_moves_nothing(clock, guard, step):
    call = clock.callLater(2 * HOUR, lambda: None)
    due = call.getTime()
    clock.step(step)
    guard.compare()
    guard.compare()
    assert call.getTime() == due


def test_each_step_counts_once(clock, guard):
    call = clock.callLater(60, lambda: None)
    due = call.getTime()
    for _ in range(2):
        clock.step(-HOUR)
        guard.compare()
        guard.compare()
    assert call.getTime() == due - 2 * HOUR


def test_it_looks_by_itself_and_ends(clock):
    looked = threading.Event()
    guard = ClockGuard(clock, clock.seconds, lambda: looked.set() or clock.steady)
    looked.clear()
    guard.start()
    assert looked.wait(30)
    guard.stop()
    guard._thread.join(30)
    assert not guard._thread.is_alive()


def test_nothing_is_left_behind_by_several_steps_between_two_looks(clock, guard):
    happened = []
    clock.callLater(0, happened.append, "before")
    for _ in range(3):
        clock.step(-HOUR)
        clock.callLater(0, happened.append, "between")
    guard.compare()
    clock.advance(0)
    assert sorted(happened) == ["before", "between", "between", "between"]
