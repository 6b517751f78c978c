"""Runs a coroutine without a Deferred as long as nothing waits."""

from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.waiter import Waiter


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


def resume_after(waiting, coroutine, done):
    """Drive a coroutine to its end that has been begun and waits.

    :param waiting: what it awaits.
    :param coroutine: as for :func:`run`, like ``done``.
    :returns: whether it does wait; false when it awaits what it must not, which ``done`` has been told.
    """
    if type(waiting) is Waiter and waiting.resume is None:
        waiting.resume = partial(run, coroutine, done)
    elif isinstance(waiting, Deferred):
        waiting.addBoth(partial(run, coroutine, done))
    else:
        coroutine.close()
        done(None, TypeError(f"a provider awaited {waiting!r}; with Twisted, await Deferreds and coroutines"))
        return False
    return True
