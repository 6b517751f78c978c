"""A Deferred for everybody, and the short way for the server."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import after, resume_after, run
from dhtwisted.kit.waiter import DONE, Ready, Waiter


class Ways:
    """The ways to wait for a Deferred; each gives a Deferred of ``("got", result)`` or of the text of an error."""

    @staticmethod
    async def wait(waiting):
        try:
            return "got", await waiting
        except ValueError as error:
            return str(error)

    @classmethod
    def run(cls, waiting):
        ended = Deferred()
        run(cls.wait(waiting), lambda result, error: ended.callback(result if error is None else error))
        return ended

    @classmethod
    def coroutine(cls, waiting):
        return Deferred.fromCoroutine(cls.wait(waiting))

    @classmethod
    def inline_callbacks(cls, waiting):
        @inlineCallbacks
        def wait():
            try:
                result = yield waiting
            except ValueError as error:
                return str(error)
            return "got", result

        return wait()

    @classmethod
    def coroutine_inside_run(cls, waiting):
        """A provider that is called by a coroutine of ours and uses Twisted's own means."""
        ended = Deferred()

        async def call():
            return await cls.coroutine(waiting)

        run(call(), lambda result, error: ended.callback(result if error is None else error))
        return ended

    @classmethod
    def callbacks(cls, waiting):
        return waiting.addCallbacks(lambda result: ("got", result), lambda failure: str(failure.value))

    @classmethod
    def timeout(cls, waiting):
        return cls.run(waiting.addTimeout(60, Clock()))

    @classmethod
    def chained(cls, waiting):
        return cls.run(succeed(None).addCallback(lambda _: waiting))


WAYS = [Ways.run, Ways.coroutine, Ways.inline_callbacks, Ways.coroutine_inside_run, Ways.callbacks, Ways.timeout, Ways.chained]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_waiter_is_a_deferred_to_everybody(way, early):
    for outcome, expected in ((5, ("got", 5)), (Failure(ValueError("no")), "no")):
        waiter, seen = Waiter(), []
        if early:
            waiter.fire(outcome)
        way(waiter).addCallback(seen.append)
        if not early:
            assert seen == []
            waiter.fire(outcome)
        assert seen == [expected]


@pytest.mark.parametrize("second", [Ways.run, Ways.coroutine], ids=lambda way: way.__name__)
def test_two_may_wait_for_one(second):
    waiter, seen = Waiter(), []
    Ways.run(waiter).addCallback(seen.append)
    second(waiter).addCallback(lambda _: seen.append("second"))
    waiter.fire(5)
    assert seen == [("got", 5), "second"], "in their order"


def test_a_callback_that_comes_after_the_outcome():
    waiter, seen = Waiter(), []
    Ways.run(waiter)
    waiter.fire(5)
    waiter.addCallback(seen.append)
    assert seen == [5]


def test_a_waiter_can_be_cancelled_while_it_is_awaited():
    waiter, outcomes = Waiter(), []

    async def work():
        await waiter

    run(work(), lambda *outcome: outcomes.append(outcome))
    waiter.cancel()
    [(_, error)] = outcomes
    assert isinstance(error, CancelledError)
    waiter.fire(5)
    assert len(outcomes) == 1, "what comes then is dropped, as by any Deferred"


def test_a_paused_waiter_goes_on_later():
    waiter, seen = Waiter(), []
    Ways.run(waiter).addCallback(seen.append)
    waiter.pause()
    waiter.fire(5)
    assert seen == []
    waiter.unpause()
    assert seen == [("got", 5)]


def test_a_coroutine_that_has_been_begun_is_taken_over():
    waiter = Waiter()
    coroutine = Ways.wait(waiter)
    outcomes = []
    resume_after(coroutine.send(None), coroutine, lambda *outcome: outcomes.append(outcome))
    waiter.fire(5)
    assert outcomes == [(("got", 5), None)]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("answer", "result"), [(DONE, None), (Ready("it"), "it"), (Ready(None), None)])
def test_what_is_done_may_be_awaited_by_anybody_at_any_time(times, answer, result):
    async def work():
        return [await answer for _ in range(times)]

    outcomes = []
    run(work(), lambda *outcome: outcomes.append(outcome))
    assert outcomes == [([result] * times, None)]
    assert after(answer, lambda subject, found: (subject, found), "subject") == ("subject", result)
