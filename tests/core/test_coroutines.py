"""Coroutines driven without a Deferred of their own."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import Later, after, resume_after, run
from dhtwisted.kit.waiter import DONE, Waiter


@pytest.fixture
def outcomes():
    return []


@pytest.fixture
def done(outcomes):
    return lambda result, error: outcomes.append((result, error))


def test_what_does_not_wait_is_done_at_once(outcomes, done):
    async def work():
        return 5

    run(work(), done)
    assert outcomes == [(5, None)]


def test_an_error_is_handed_over(outcomes, done):
    error = ValueError("no")

    async def work():
        raise error

    run(work(), done)
    assert outcomes == [(None, error)]


def test_what_waits_goes_on_when_its_deferred_fires(outcomes, done):
    first, second = Deferred(), Deferred()

    async def inner():
        return await first + await succeed(1)

    async def work():
        return await inner() + await second

    run(work(), done)
    assert outcomes == []
    first.callback(10)
    assert outcomes == []
    second.callback(100)
    assert outcomes == [(111, None)]


def test_a_failure_is_raised_where_it_is_awaited_and_is_handled(outcomes, done):
    waiting = Deferred()

    async def work():
        try:
            await waiting
        except ValueError as error:
            return str(error)

    run(work(), done)
    waiting.errback(ValueError("no"))
    assert outcomes == [("no", None)]
    seen = []
    waiting.addErrback(seen.append)
    assert seen == []


def test_a_failure_that_nobody_takes_is_the_outcome(outcomes, done):
    waiting = Deferred()

    async def work():
        await waiting

    run(work(), done)
    error = ValueError("no")
    waiting.errback(error)
    assert outcomes == [(None, error)]


def test_a_deferred_that_has_failed_already(outcomes, done):
    error = ValueError("no")

    async def work():
        await fail(error)

    run(work(), done)
    assert outcomes == [(None, error)]


def test_ten_thousand_answers_that_are_ready_do_not_nest(outcomes, done):
    async def work():
        total = 0
        for _ in range(10_000):
            total += await succeed(1)
        return total

    run(work(), done)
    assert outcomes == [(10_000, None)]


def test_awaiting_something_else_is_an_error_that_says_so(outcomes, done):
    class Future:
        def __await__(self):
            yield self

    finished = []

    async def work():
        try:
            await Future()
        finally:
            finished.append(True)

    run(work(), done)
    [(_, error)] = outcomes
    assert isinstance(error, TypeError)
    assert "with Twisted, await Deferreds" in str(error)
    assert finished == [True]


def test_a_coroutine_that_has_been_begun_is_taken_over(outcomes, done):
    waiting = Deferred()

    async def work():
        return await waiting

    coroutine = work()
    resume_after(coroutine.send(None), coroutine, done)
    waiting.callback(5)
    assert outcomes == [(5, None)]


async def nothing():
    return None


def fired(outcome=None):
    waiter = Waiter()
    waiter.fire(outcome)
    return waiter


def append_to(subject, result):
    return [subject, result]


def finish(outcome, done):
    """Have a result, a :class:`Later` or a coroutine end as the server does."""
    if type(outcome) is Later:
        outcome.run(lambda about, *result: done(*result), "about")
    elif isinstance(outcome, list):
        done(outcome, None)
    else:
        run(outcome, done)


def test_after_what_is_done_goes_on_at_once():
    assert after(DONE, append_to, "subject") == ["subject", None]


@pytest.mark.parametrize("make", [lambda: DONE, fired, lambda: succeed(None), nothing], ids=["done", "fired", "deferred", "coroutine"])
def test_after_what_is_there_nothing_waits(outcomes, done, make):
    finish(after(make(), append_to, "subject"), done)
    assert outcomes == [(["subject", None], None)]


@pytest.mark.parametrize("make, fire", [(Waiter, Waiter.fire), (Deferred, Deferred.callback)])
def test_after_what_is_to_come_waits_for_it(outcomes, done, make, fire):
    waiting = make()
    finish(after(waiting, append_to, "subject"), done)
    assert outcomes == []
    fire(waiting, 5)
    assert outcomes == [(["subject", 5], None)]


@pytest.mark.parametrize("make, fire", [(Waiter, Waiter.fire), (Deferred, Deferred.callback)])
def test_after_may_be_awaited(outcomes, done, make, fire):
    waiting = make()

    async def work():
        return await after(waiting, append_to, "subject")

    run(work(), done)
    fire(waiting, 5)
    assert outcomes == [(["subject", 5], None)]


@pytest.mark.parametrize("make, fire", [(Waiter, Waiter.fire), (Deferred, Deferred.callback)])
def test_after_a_failure_nothing_goes_on(outcomes, done, make, fire):
    waiting, error = make(), ValueError("no")
    finish(after(waiting, append_to, "subject"), done)
    fire(waiting, Failure(error))
    assert outcomes == [(None, error)]


@pytest.mark.parametrize("make, fire", [(Waiter, Waiter.fire), (Deferred, Deferred.callback)])
def test_an_error_of_what_goes_on_is_handed_over(outcomes, done, make, fire):
    waiting, error = make(), ValueError("no")

    def fail_with(subject, result):
        raise error

    finish(after(waiting, fail_with, "subject"), done)
    fire(waiting, None)
    assert outcomes == [(None, error)]
