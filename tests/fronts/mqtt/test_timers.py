"""Delayed calls of MQTT."""

from twisted.internet.task import Clock

from dhtwisted.fronts.mqtt.timers import FEW, Timers


def test_calls_are_made_in_their_order_when_they_are_due():
    clock, called = Clock(), []
    timers = Timers(clock)
    for seconds in (3, 1, 2, 1):
        timers.call(seconds, lambda seconds=seconds: called.append(seconds))
    timers.tick(2)
    assert called == [1, 1, 2]
    timers.tick(3)
    assert called == [1, 1, 2, 3]


def test_a_cancelled_call_is_not_made_and_not_kept_for_long():
    timers, called = Timers(Clock()), []
    timers.call(1000, lambda: called.append("last"))
    for number in range(10 * FEW):
        timers.call(1000 - number / 100, lambda: called.append("cancelled")).cancel()
    assert len(timers) <= FEW + 2
    timers.tick(1000)
    assert called == ["last"]
    assert len(timers) == 0


def test_cancelling_twice_counts_once():
    timers = Timers(Clock())
    kept = [timers.call(10, int) for _ in range(2 * FEW)]
    for _ in range(3 * FEW):
        kept[0].cancel()
    assert len(timers) == 2 * FEW


def test_a_call_that_fails_does_not_keep_the_next_from_being_made():
    timers, called = Timers(Clock()), []
    timers.call(1, lambda: 1 / 0)
    timers.call(1, lambda: called.append(True))
    timers.tick(1)
    assert called == [True]
