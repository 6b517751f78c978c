"""Runs a coroutine without a Deferred as long as nothing waits, and what is nearly always short without a coroutine."""

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.kit.current_client import CURRENT, run_for_client
from dhtwisted.kit.waiter import DONE, Waiter


class Later(Struct, gc=False):
    """A coroutine that waits for a :class:`~dhtwisted.kit.waiter.Waiter` and then makes one call, at half the price of one.

    :ivar waiting: the ``Waiter``.
    :ivar go_on: called with ``subject`` and the result.
    :ivar done: called with ``about``, and the result and ``None``, or ``None`` and an exception.
    """

    waiting: Any
    go_on: Callable
    subject: Any
    done: Callable | None = None
    about: Any = None

    def run(self, done, about):
        """Have ``done`` told what comes of it, later."""
        waiting = self.waiting
        self.waiting, self.done, self.about = None, done, about
        waiting.resume = self._resume

    def _resume(self, outcome):
        if isinstance(outcome, Failure):
            self.done(self.about, None, outcome.value)
            return
        try:
            result = self.go_on(self.subject, outcome)
        except Exception as error:
            self.done(self.about, None, error)
            return
        self.done(self.about, result, None)

    def __await__(self):
        return self.go_on(self.subject, (yield from self.waiting))


def after(waiting, go_on, subject):
    """Go on when something is done, which it may be already.

    :param waiting: an awaitable that nobody else awaits.
    :param go_on: called with ``subject`` and the result.
    :returns: what ``go_on`` returned, if there was nothing to wait for; else a :class:`Later` or a coroutine.
    """
    if waiting is DONE:
        return go_on(subject, None)
    if type(waiting) is Waiter and waiting.resume is None and not waiting.called:
        return Later(waiting, go_on, subject)
    return _after(waiting, go_on, subject)


async def _after(waiting, go_on, subject):
    return go_on(subject, await waiting)


def run(coroutine, done, outcome=None):
    """Drive a coroutine to its end.

    What never suspends is finished when this returns, at the cost of one ``send``. Where it waits for a Deferred, it goes on when that
    fires; ``Deferred.fromCoroutine`` would cost 9-13 us more for each suspended request.

    :param coroutine: awaits nothing but Deferreds, directly or through other coroutines.
    :param done: called once with ``(result, None)`` or ``(None, exception)``; it must not raise.
    :param outcome: what came of the Deferred for which the coroutine waits. Only a ``Failure`` matters: it is raised there.
    """
    try:
        # The coroutine takes a result out of the Deferred itself. A failure it could not: while the callbacks of a Deferred run, `await`
        # finds it unprepared for that, and raises an AssertionError instead.
        waiting = outcome.throwExceptionIntoGenerator(coroutine) if isinstance(outcome, Failure) else coroutine.send(None)
    except StopIteration as stop:
        done(stop.value, None)
    except Exception as error:
        done(None, error)
    else:
        resume_after(waiting, coroutine, done)


def _go_on(coroutine, done, client, outcome):
    """Drive a coroutine on, on behalf of whom it began."""
    run_for_client(client, run, coroutine, done, outcome)


def resume_after(waiting, coroutine, done):
    """Drive a coroutine to its end that has been begun and waits.

    :param waiting: what it awaits.
    :param coroutine: as for :func:`run`, like ``done``.
    :returns: whether it does wait; false when it awaits what it must not, which ``done`` has been told.
    """
    if type(waiting) is Waiter and waiting.resume is None:
        waiting.resume = partial(_go_on, coroutine, done, CURRENT.client)
    elif isinstance(waiting, Deferred):
        waiting.addBoth(partial(_go_on, coroutine, done, CURRENT.client))
    else:
        coroutine.close()
        done(None, TypeError(f"a provider awaited {waiting!r}; with Twisted, await Deferreds and coroutines"))
        return False
    return True
