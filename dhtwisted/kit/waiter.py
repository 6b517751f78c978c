"""What providers may give to those who wait, at less cost where thousands wait each second: :data:`DONE` and :class:`Waiter`."""

from twisted.internet.defer import Deferred


class _Done:
    """An awaitable that is done, of ``None``."""

    __slots__ = ()

    def __await__(self):
        return iter(())


DONE = _Done()
"""What may be returned in place of a coroutine that does nothing more: the server sees that there is nothing to wait for."""


class Waiter(Deferred):
    """A Deferred that costs a third as long as it is only awaited by the server, whose :func:`dhtwisted.core.coroutines.run` knows it.

    Whoever has callbacks, a timeout, ``inlineCallbacks`` or ``fromCoroutine`` finds a Deferred like any other. :meth:`fire` it instead of
    calling ``callback``.

    :ivar resume: what ``run`` has called with the outcome, in place of a callback; ``None`` while nobody waits, and false from the
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
