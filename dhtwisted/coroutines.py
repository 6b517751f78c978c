"""Runs a coroutine without a Deferred as long as nothing waits, and with a cheap one where something does."""

from functools import partial

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Waiter(Deferred):
    """A Deferred that costs a third as long as it is only awaited, in a coroutine that :func:`run` drives.

    Whoever has callbacks, a timeout, ``inlineCallbacks`` or ``fromCoroutine`` finds a Deferred like any other. :meth:`fire` it instead of
    calling ``callback``.

    :ivar resume: what :func:`run` has called with the outcome, in place of a callback; ``None`` while nobody waits, and false from the
        moment when this is used in any other way.
    """

    resume = None

    def fire(self, outcome):
        """Give the one who waits a result, or a ``Failure``."""
        resume = self.resume
        if resume:
            self.resume = False
            self.called = True
            self.result = outcome
            resume(outcome)
        else:
            self.callback(outcome)

    def _become_plain(self):
        resume, self.resume = self.resume, False
        if resume:
            super().addBoth(resume)

    def addCallbacks(self, *arguments, **keywords):
        """As in any Deferred; so with the other methods."""
        self._become_plain()
        return super().addCallbacks(*arguments, **keywords)

    def addCallback(self, *arguments, **keywords):
        self._become_plain()
        return super().addCallback(*arguments, **keywords)

    def addErrback(self, *arguments, **keywords):
        self._become_plain()
        return super().addErrback(*arguments, **keywords)

    def addBoth(self, *arguments, **keywords):
        self._become_plain()
        return super().addBoth(*arguments, **keywords)

    def pause(self):
        self._become_plain()
        super().pause()

    def cancel(self):
        self._become_plain()
        super().cancel()


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
    """
    if type(waiting) is Waiter and waiting.resume is None:
        waiting.resume = partial(run, coroutine, done)
    elif isinstance(waiting, Deferred):
        waiting.addBoth(partial(run, coroutine, done))
    else:
        coroutine.close()
        done(None, TypeError(f"a provider awaited {waiting!r}; with Twisted, await Deferreds and coroutines"))
