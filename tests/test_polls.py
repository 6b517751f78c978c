"""How a poll waits, and how many may."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.errors import TooManyRequests
from dhtwisted.polls import Poll, Polls


def begin(poll, clock, seconds):
    return Deferred.fromCoroutine(poll.wait(clock, seconds))


@pytest_twisted.ensureDeferred
async def test_a_poll_waits_for_an_event():
    clock, poll = Clock(), Poll()
    waiting = begin(poll, clock, 5)
    assert not waiting.called
    poll.deliver(None, "a", b"")
    poll.deliver(None, "b", b"")
    assert waiting.called
    assert poll.events == ["a", "b"]
    assert not clock.getDelayedCalls()


def test_what_is_known_wakes_nobody():
    clock, poll = Clock(), Poll(lambda message: message == "old")
    waiting = begin(poll, clock, 5)
    poll.deliver(None, "old", b"")
    assert (waiting.called, poll.events) == (False, [])
    poll.deliver(None, "new", b"")
    assert (waiting.called, poll.events) == (True, ["new"])


def test_a_poll_waits_no_longer_than_it_may():
    clock, poll = Clock(), Poll()
    waiting = begin(poll, clock, 5)
    clock.advance(4.9)
    assert not waiting.called
    clock.advance(0.1)
    assert waiting.called
    assert (poll.events, poll.ended) == ([], False)


def test_a_poll_that_is_ended_waits_no_longer():
    clock, poll = Clock(), Poll()
    waiting = begin(poll, clock, 5)
    poll.end()
    assert waiting.called
    assert poll.ended
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("happened", ["event", "end", "no time"])
def test_what_has_happened_is_not_waited_for(happened):
    clock, poll = Clock(), Poll()
    if happened == "event":
        poll.deliver(None, "a", b"")
    elif happened == "end":
        poll.end()
    assert begin(poll, clock, 0 if happened == "no time" else 5).called
    assert not clock.getDelayedCalls()


def test_only_so_many_may_wait():
    polls, first, second = Polls(1), Poll(), Poll()
    polls.add(first)
    with pytest.raises(TooManyRequests):
        polls.add(second)
    polls.remove(first)
    polls.add(second)
    assert len(polls) == 1


def test_no_limit():
    polls = Polls(0)
    for _ in range(100):
        polls.add(Poll())
    assert len(polls) == 100


def test_all_are_ended():
    clock, polls = Clock(), Polls(0)
    waiting = []
    for _ in range(3):
        polls.add(poll := Poll())
        waiting.append(begin(poll, clock, 60))
    polls.end_all()
    assert all(one.called for one in waiting)
