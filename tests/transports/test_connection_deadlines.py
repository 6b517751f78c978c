"""Deadlines of connections, by a clock that may be set."""

import pytest
from twisted.internet.task import Clock

from dhtwisted.transports.connection_deadlines import ConnectionDeadlines

SECONDS = 10


@pytest.mark.parametrize("begun_after", [False, True])
def test_a_clock_that_is_set_back_neither_gives_time_nor_takes_it(begun_after):
    """The tick that finds the clock set back may come late; connections have begun meanwhile."""
    clock, ended = Clock(), []
    clock.rightNow = 100_000.0
    deadlines = ConnectionDeadlines(clock)
    if begun_after:
        clock.rightNow = 500.0
    deadlines.set("connection", SECONDS, lambda: ended.append("connection"))
    clock.rightNow = 500.0
    deadlines.clock_set_back(-99_500.0)
    deadlines.tick(clock.rightNow)
    clock.advance(SECONDS - 1)
    deadlines.tick(clock.seconds())
    assert not ended
    clock.advance(1)
    deadlines.tick(clock.seconds())
    assert ended == ["connection"]
