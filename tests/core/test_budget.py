"""What is held for clients: who is ended, who waits, and that all of it is given back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core.budget import NOT_READING, SLOW_SECONDS, STALLED_SECONDS, USED_UP, USED_UP_SECONDS, Budget


class Play:
    """A budget, and the ends that it asked for as ``(name, reason)``."""

    def __init__(self, limit=1000, mark=100):
        self.clock = Clock()
        self.budget = Budget(self.clock, limit, mark)
        self.ends = []

    def account(self, name, held=0, is_blocked=False):
        account = self.budget.account(lambda reason: self.ends.append((name, reason)))
        account.add(held)
        if is_blocked:
            account.block()
        return account

    def advance(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)
            self.budget.tick(self.clock.seconds())


@pytest.fixture
def play():
    return Play()


def test_an_account_is_over_above_the_mark(play):
    account = play.account("one", 100)
    assert not account.is_over
    account.add(1)
    assert account.is_over
    play.budget.set_limits(0, 0)
    assert not account.is_over


def test_who_takes_nothing_is_ended(play):
    play.account("reads", 50)
    drips, stalls = play.account("drips", 50, True), play.account("stalls", 50, True)
    play.advance(SLOW_SECONDS - 1)
    drips.progress()
    play.advance(2)
    assert (play.ends, stalls.held, play.budget.total) == ([("stalls", NOT_READING)], 0, 100)


def test_who_takes_nothing_is_ended_also_if_it_goes_on_sending(play):
    account = play.account("sends", 50, True)
    for _ in range(SLOW_SECONDS + 1):
        account.expect_more(True)
        play.advance(1)
    assert play.ends == [("sends", NOT_READING)]


def test_who_has_taken_all_is_not_ended(play):
    account = play.account("one", 50, True)
    account.remove(50)
    account.unblock()
    play.advance(2 * SLOW_SECONDS)
    assert play.ends == []


def test_used_up_the_one_goes_that_holds_most_without_progress(play):
    play.account("less", 100, True)
    play.account("most", 300, True)
    play.account("reads", 500)
    play.advance(STALLED_SECONDS)
    assert play.ends == []
    play.account("last", 100)
    play.clock.advance(0)
    assert play.ends == [("most", USED_UP)]
    assert play.budget.total == 700


def test_used_up_for_long_the_one_goes_that_holds_most(play):
    drips = play.account("drips", 1000, True)
    play.account("other", 50)
    for _ in range(USED_UP_SECONDS + 2):
        drips.progress()
        play.advance(1)
    assert play.ends == [("drips", USED_UP)]


def test_used_up_who_does_not_go_on_sending_goes_too(play):
    sends, stalls = play.account("sends", 600), play.account("stalls", 400)
    stalls.expect_more(True)
    for _ in range(STALLED_SECONDS):
        play.clock.advance(1)
        sends.expect_more(True)
    play.budget.tick(play.clock.seconds())
    assert play.ends == [("stalls", USED_UP)]


def test_who_fills_it_up_again_has_not_the_same_time_anew(play):
    for _ in range(10):
        play.account("fills", 100)
    play.advance(USED_UP_SECONDS + 1)
    assert play.budget.total < 750, "a quarter is free"
    for _ in range(3):
        play.clock.advance(0.1)
        while not play.budget.is_used_up:
            play.account("fills", 100)
        play.clock.advance(0)
        play.clock.advance(0.1)
        play.budget.tick(play.clock.seconds())
        assert play.budget.total < 750
    play.clock.advance(10 * USED_UP_SECONDS)
    while not play.budget.is_used_up:
        play.account("others", 100)
    play.clock.advance(0)
    play.advance(1)
    assert play.budget.is_used_up, "but after a long time"


def test_nobody_goes_for_what_no_connection_holds(play):
    play.account("one", 400)
    play.budget.count(600)
    play.advance(2 * USED_UP_SECONDS)
    assert (play.ends, play.budget.total) == ([], 1000)
    play.budget.count(-600)
    assert not play.budget.is_used_up


def test_who_waits_goes_on_in_turn_when_there_is_room(play):
    account, resumed = play.account("one", 1000), []

    def take(name):
        resumed.append(name)
        account.add(500)

    for name in "abc":
        play.budget.wait(lambda name=name: take(name))
    play.clock.advance(0)
    assert resumed == []
    account.remove(1000)
    play.clock.advance(0)
    assert resumed == ["a", "b"]
    account.close()
    play.clock.advance(0)
    assert resumed == ["a", "b", "c"]


def test_who_waits_goes_on_when_the_limit_is_raised(play):
    resumed = []
    play.account("one", 1000)
    play.budget.wait(lambda: resumed.append("a"))
    play.budget.set_limits(0, 0)
    play.clock.advance(0)
    assert resumed == ["a"]


def test_the_clock_is_set_back(play):
    play.clock.rightNow = 10_000
    play.account("stalls", 50, True)
    play.clock.rightNow = 0
    play.budget.clock_set_back()
    play.advance(SLOW_SECONDS + 1)
    assert play.ends == [("stalls", NOT_READING)]


STEPS = st.tuples(
    st.integers(0, 3), st.sampled_from(["add", "remove", "block", "unblock", "progress", "close", "tick"]), st.integers(0, 400)
)


@given(st.lists(STEPS, max_size=60))
def test_the_total_is_what_the_accounts_hold(steps):
    play = Play()
    accounts = [play.account(str(number)) for number in range(4)]
    for number, step, size in steps:
        account = accounts[number]
        if step == "add":
            account.add(size)
        elif step == "remove":
            account.remove(min(size, account.held))
        elif step == "tick":
            play.advance(1 + size % 12)
        else:
            getattr(account, step)()
        assert play.budget.total == sum(each.held for each in accounts)
        assert play.budget.blocked == {each for each in accounts if each.is_blocked}
    for account in accounts:
        account.close()
        account.add(5)
    assert (play.budget.total, play.budget.blocked) == (0, set())
