"""Averages per minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.fronts.mqtt.load_averages import LoadAverages


def test_an_average_moves_towards_the_rate():
    load = LoadAverages()
    load.add({"x": 10}, 10)
    assert dict(load.averages()) == pytest.approx({"x/1min": 60 * 0.15352, "x/5min": 60 * 0.032784, "x/15min": 60 * 0.011050}, rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0.1, 100)), min_size=1))
def test_an_average_is_between_0_and_the_highest_rate(steps):
    load, total = LoadAverages(), 0
    for added, seconds in steps:
        total += added
        load.add({"x": total}, seconds)
    highest = max(added * 60 / seconds for added, seconds in steps)
    assert all(-1e-6 <= value <= highest + 1e-6 for _, value in load.averages())


def test_a_clock_that_was_set_back_does_no_harm():
    load = LoadAverages()
    load.add({"x": 10}, 10)
    before = dict(load.averages())
    load.add({"x": 20}, -3600)
    assert dict(load.averages()) == before
    load.add({"x": 20}, 10)
    assert dict(load.averages()).keys() == before.keys()
    assert all(value < before[name] for name, value in load.averages())
