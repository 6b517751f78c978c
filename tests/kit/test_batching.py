"""Group commit: who shares a batch, who is answered when, and whom a failure concerns."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from dhtwisted.errors import StorageUnavailable, Unstorable
from dhtwisted.kit.batching import GATHERING_SECONDS, GATHERING_TURNS, HANG_SECONDS, LARGE, Batcher
from dhtwisted.kit.deadline import Deadline


class Commits:
    """Commits that the test ends when it likes.

    :ivar batches: the operations of each commit so far.
    """

    def __init__(self):
        self.batches = []
        self._under_way = None

    def __call__(self, operations):
        assert self._under_way is None, "one commit at a time"
        self.batches.append(operations)
        self._under_way = Deferred()
        return self._under_way

    def end(self, outcome=None):
        """End the commit under way: each operation's result is itself, unless another outcome is given."""
        done, self._under_way = self._under_way, None
        done.callback(self.batches[-1] if outcome is None else outcome)

    def fail(self, error):
        """End the commit under way with an error."""
        done, self._under_way = self._under_way, None
        done.errback(error)


@pytest.fixture
def commits():
    return Commits()


def record(answers, waiter, name):
    """Keep the name of a waiter, and how it was answered, when it is."""
    waiter.addCallbacks(lambda result: answers.append((name, result)), lambda failure: answers.append((name, type(failure.value))))


def test_a_lone_operation_is_handed_over_at_once(commits):
    Batcher(commits).submit("a")
    assert commits.batches == [["a"]]


def test_what_arrives_during_a_commit_shares_the_next(commits):
    batcher = Batcher(commits)
    answers = []
    for name in "abc":
        record(answers, batcher.submit(name), name)
    commits.end()
    assert answers == [("a", "a")]
    assert commits.batches == [["a"], ["b", "c"]]
    commits.end()
    assert answers == [("a", "a"), ("b", "b"), ("c", "c")]


def test_the_next_batch_starts_before_the_last_is_answered(commits):
    batcher = Batcher(commits)
    seen = []
    batcher.submit("a").addCallback(lambda _: seen.append(list(commits.batches)))
    batcher.submit("b")
    commits.end()
    assert seen == [[["a"], ["b"]]]


def test_what_the_answered_ask_next_shares_a_batch(commits):
    batcher = Batcher(commits)
    batcher.submit("a")
    for name in "bc":
        batcher.submit(name).addCallback(lambda result: batcher.submit(result * 2) and None)
    commits.end()
    commits.end()
    assert commits.batches == [["a"], ["b", "c"], ["bb", "cc"]]


def test_a_batch_has_a_bound(commits):
    batcher = Batcher(commits, max_rows=3)
    batcher.submit("first")
    for name, rows in (("a", 2), ("b", 2), ("c", 3), ("d", 1)):
        batcher.submit(name, rows)
    for _ in range(3):
        commits.end()
    assert commits.batches == [["first"], ["a", "b"], ["c"], ["d"]]


def test_an_operation_that_failed_alone(commits):
    batcher = Batcher(commits)
    answers = []
    batcher.submit("first")
    for name in "ab":
        record(answers, batcher.submit(name), name)
    commits.end()
    commits.end([Failure(Unstorable("bad")), "fine"])
    assert answers == [("a", Unstorable), ("b", "fine")]


def test_the_culprit_of_a_failed_batch_fails_alone(commits):
    batcher = Batcher(commits)
    answers = []
    batcher.submit("first")
    for name in "abc":
        record(answers, batcher.submit(name), name)
    commits.end()
    commits.fail(Unstorable("one of them"))
    record(answers, batcher.submit("d"), "d")
    commits.end()
    commits.fail(Unstorable("this one"))
    commits.end()
    commits.end()
    assert commits.batches == [["first"], ["a", "b", "c"], ["a"], ["b"], ["c"], ["d"]], "one by one, in their order, before newcomers"
    assert answers == [("a", "a"), ("b", Unstorable), ("c", "c"), ("d", "d")]


def test_nor_does_one_without_rows_keep_it_company(commits):
    batcher = Batcher(commits)
    answers = []
    batcher.submit("first")
    record(answers, batcher.submit("barrier", rows=0), "barrier")
    record(answers, batcher.submit("bad"), "bad")
    commits.end()
    commits.fail(Unstorable("no"))
    assert commits.batches[2:] == [["barrier"]]
    commits.end()
    commits.fail(Unstorable("no"))
    assert answers == [("barrier", "barrier"), ("bad", Unstorable)]
    assert len(commits.batches) == 4


def test_when_the_storage_is_away_all_fail_each_with_its_own_error(commits):
    batcher = Batcher(commits)
    errors = []
    for name in "abc":
        batcher.submit(name).addErrback(lambda failure: errors.append(failure.value))
    commits.end()
    commits.fail(StorageUnavailable("disk full"))
    assert [str(error) for error in errors] == ["disk full"] * 2
    assert errors[0] is not errors[1]
    batcher.submit("d")
    assert commits.batches[-1] == ["d"], "and the next are tried again"


def test_too_many_waiting_are_refused(commits):
    batcher = Batcher(commits, max_rows=2, max_waiting=4)
    batcher.submit("first")
    for _ in range(2):
        batcher.submit("a", 2)
    with pytest.raises(StorageUnavailable):
        batcher.submit("b")
    commits.end()
    batcher.submit("b", 2)
    with pytest.raises(StorageUnavailable):
        batcher.submit("c")


def test_draining_waits_for_all(commits):
    batcher = Batcher(commits)
    assert batcher.drain().called, "there is nothing to wait for"
    answers = []
    for name in "ab":
        record(answers, batcher.submit(name), name)
    drained = batcher.drain()
    commits.end()
    assert not drained.called
    commits.end()
    assert drained.called
    assert len(answers) == 2


def test_thousands_that_fail_at_once_do_not_nest():
    failing = [True]
    batcher = Batcher(lambda operations: fail(Unstorable("bad")) if failing else succeed(operations))
    answers = []
    for name in range(5000):
        record(answers, batcher.submit(name), name)
    assert answers == [(name, Unstorable) for name in range(5000)]


def test_a_long_queue_behind_a_commit_that_is_ready_at_once():
    first = Deferred()
    commits = iter([first])
    batcher = Batcher(lambda operations: next(commits, None) or succeed(operations), max_rows=1)
    answers = []
    for name in range(5000):
        record(answers, batcher.submit(name), name)
    first.callback([0])
    assert answers == [(name, name) for name in range(5000)]


def test_while_a_commit_hangs_what_waits_and_what_comes_is_refused_and_never_begun(commits):
    clock, answers = Clock(), []
    batcher = Batcher(commits, deadline=Deadline(clock, lambda seconds: batcher.reject_waiting(f"nothing for {seconds} s")))
    record(answers, batcher.submit("a"), "a")
    record(answers, batcher.submit("b"), "b")
    clock.advance(HANG_SECONDS)
    assert answers == [("b", StorageUnavailable)]
    with pytest.raises(StorageUnavailable, match=f"nothing for {HANG_SECONDS} s"):
        batcher.submit("c")
    commits.end()
    assert answers == [("b", StorageUnavailable), ("a", "a")], "it was begun, and is told as it ended"
    record(answers, batcher.submit("d"), "d")
    commits.end()
    assert commits.batches == [["a"], ["d"]]
    assert answers[2:] == [("d", "d")]


def test_commits_one_after_the_other_are_no_hang(commits):
    clock = Clock()
    batcher = Batcher(commits, deadline=Deadline(clock, lambda seconds: batcher.reject_waiting("hangs")))
    for name in "abcd":
        batcher.submit(name)
        clock.advance(HANG_SECONDS / 2)
        commits.end()
    clock.advance(10 * HANG_SECONDS)
    batcher.submit("e")
    assert commits.batches[-1] == ["e"]


@pytest.mark.parametrize("is_early", [True, False])
def test_draining_does_not_wait_for_a_commit_that_hangs(commits, is_early):
    clock = Clock()
    batcher = Batcher(commits, deadline=Deadline(clock, lambda seconds: batcher.reject_waiting("hangs")))
    batcher.submit("a")
    drained = batcher.drain() if is_early else None
    clock.advance(HANG_SECONDS)
    assert (drained or batcher.drain()).called


class Turns(Clock):
    """A clock that, like a reactor, runs a call made in one turn in the next one."""

    def turn(self):
        for call in self.getDelayedCalls():
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


@pytest.fixture
def clock():
    return Turns()


def test_after_a_large_commit_the_answered_share_the_next_with_who_waits(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    answers = []
    record(answers, batcher.submit("large", LARGE), "large")
    record(answers, batcher.submit("waits"), "waits")
    commits.end()
    assert answers == [("large", "large")], "the answer leaves before the next commit"
    assert len(commits.batches) == 1
    clock.turn()
    batcher.submit("again")
    for _ in range(GATHERING_TURNS - 1):
        clock.turn()
    assert commits.batches == [["large"], ["waits", "again"]]


def test_nobody_is_awaited_when_all_have_come_again(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    batcher.submit("large", LARGE)
    commits.end()
    batcher.submit("again", LARGE)
    assert not clock.getDelayedCalls()
    assert commits.batches == [["large"], ["again"]]


def test_nobody_is_awaited_when_a_whole_batch_waits(commits, clock):
    batcher = Batcher(commits, max_rows=LARGE, reactor=clock)
    for name in "ab":
        batcher.submit(name, LARGE)
    commits.end()
    assert commits.batches == [["a"], ["b"]]


def test_nobody_is_awaited_after_a_small_commit(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    batcher.submit("small", LARGE - 1)
    batcher.submit("waits")
    commits.end()
    assert commits.batches == [["small"], ["waits"]]


def test_when_nobody_comes_again_the_next_is_handed_over_at_once(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    batcher.submit("large", LARGE)
    commits.end()
    for _ in range(GATHERING_TURNS):
        clock.turn()
    assert not clock.getDelayedCalls()
    batcher.submit("late")
    assert commits.batches == [["large"], ["late"]]


def test_long_turns_are_not_awaited(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    batcher.submit("large", LARGE)
    batcher.submit("waits")
    commits.end()
    clock.rightNow += GATHERING_SECONDS / 2
    clock.turn()
    assert commits.batches == [["large"]]
    clock.rightNow += GATHERING_SECONDS / 2
    clock.turn()
    assert commits.batches == [["large"], ["waits"]]
    assert not clock.getDelayedCalls()


def test_draining_awaits_nobody(commits, clock):
    batcher = Batcher(commits, reactor=clock)
    batcher.submit("large", LARGE)
    batcher.submit("waits")
    commits.end()
    drained = batcher.drain()
    assert commits.batches == [["large"], ["waits"]]
    assert not clock.getDelayedCalls()
    commits.end()
    assert drained.called
