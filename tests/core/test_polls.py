"""How a poll waits, and how many may."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.core.budget import Budget
from dhtwisted.core.polls import MAX_POLL_BYTES, Poll, Polls
from dhtwisted.errors import TooManyRequests
from dhtwisted.model import Notification, payload_size


def message(name, timestamp=0, size=0):
    return Notification(name=name, device_id="pump", network_id=1, device_type_id=1, timestamp=timestamp, parameters=b"x" * size)


def names(poll):
    return [event.name for event in poll.events]


def begin(poll, clock, seconds):
    return Deferred.fromCoroutine(poll.wait(clock, seconds))


@pytest_twisted.ensureDeferred
async def test_a_poll_waits_for_an_event():
    clock, poll = Clock(), Poll()
    waiting = begin(poll, clock, 5)
    assert not waiting.called
    poll.deliver(None, message("a"), b"")
    poll.deliver(None, message("b"), b"")
    assert waiting.called
    assert names(poll) == ["a", "b"]
    assert not clock.getDelayedCalls()


def test_what_is_known_wakes_nobody():
    clock, poll = Clock(), Poll(lambda event: event.name == "old")
    waiting = begin(poll, clock, 5)
    poll.deliver(None, message("old"), b"")
    assert (waiting.called, names(poll)) == (False, [])
    poll.deliver(None, message("new"), b"")
    assert (waiting.called, names(poll)) == (True, ["new"])


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
        poll.deliver(None, message("a"), b"")
    elif happened == "end":
        poll.end()
    assert begin(poll, clock, 0 if happened == "no time" else 5).called
    assert not clock.getDelayedCalls()


def test_of_too_much_the_latest_is_left_to_the_storage():
    clock = Clock()
    budget = Budget(clock)
    poll = Poll(budget=budget)
    for number in range(20):
        poll.deliver(None, message(f"n{number}", 100 - number, MAX_POLL_BYTES // 4), b"")
        assert budget.total == sum(map(payload_size, poll.events)) <= MAX_POLL_BYTES
    assert poll.has_dropped
    assert names(poll)[0] == "n19"
    poll.close()
    assert budget.total == 0


def test_one_message_is_held_however_large():
    poll = Poll()
    poll.deliver(None, message("large", 0, 2 * MAX_POLL_BYTES), b"")
    assert (names(poll), poll.has_dropped) == (["large"], False)


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
    polls.add(late := Poll())
    assert begin(late, clock, 60).called
