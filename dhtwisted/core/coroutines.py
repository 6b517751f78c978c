"""Runs coroutines without a Deferred as long as nothing waits.

:class:`Later` needs no coroutine either. It is for handlers that wait once and then make one call.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.kit.current_client import CURRENT, run_for_client
from dhtwisted.kit.waiter import DONE, Ready, Waiter

Done = Callable[[Any, BaseException | None], None]


class Later(Struct, gc=False):
    """Waits for a :class:`~dhtwisted.kit.waiter.Waiter` and then makes one call, at half the price of a coroutine.

    :ivar waiting: the ``Waiter``.
    :ivar go_on: called with ``subject`` and the result.
    :ivar done: called with ``(about, result, None)`` or ``(about, None, exception)``.
    """

    waiting: Any
    go_on: Callable[[Any, Any], Any]
    subject: Any
    done: Callable[[Any, Any, BaseException | None], None] | None = None
    about: Any = None

    def run(self, done: Callable[[Any, Any, BaseException | None], None], about: Any) -> None:
        """Call ``done`` with the outcome when there is one."""
        waiting = self.waiting
        self.waiting, self.done, self.about = None, done, about
        waiting.resume = self._resume

    def _resume(self, outcome: Any) -> None:
        done = self.done
        assert done is not None  # Only run() leads here.
        if isinstance(outcome, Failure):
            done(self.about, None, outcome.value)
            return
        try:
            result = self.go_on(self.subject, outcome)
        except Exception as error:
            done(self.about, None, error)
            return
        done(self.about, result, None)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.go_on(self.subject, (yield from self.waiting))


def after(waiting: Any, go_on: Callable[[Any, Any], Any], subject: Any) -> Any:
    """Call a function when something is done, at once if it is done already.

    :param waiting: an awaitable that nothing else awaits.
    :param go_on: called with ``subject`` and the result.
    :returns: the result of ``go_on`` if ``waiting`` was done; else a :class:`Later` or a coroutine.
    """
    if waiting is DONE:
        return go_on(subject, None)
    if type(waiting) is Ready:
        return go_on(subject, waiting.result)
    if type(waiting) is Waiter and waiting.resume is None and not waiting.called:
        return Later(waiting, go_on, subject)
    return _after(waiting, go_on, subject)


async def _after(waiting: Any, go_on: Callable[[Any, Any], Any], subject: Any) -> Any:
    return go_on(subject, await waiting)


def run(coroutine: Coroutine[Any, Any, Any], done: Done, outcome: Any = None) -> None:
    """Run a coroutine to its end.

    A coroutine that never waits is finished when this returns, at the cost of one ``send``. One that waits for a Deferred continues when
    the Deferred fires; ``Deferred.fromCoroutine`` would cost 9-13 us more for each request that waits.

    :param coroutine: awaits nothing but Deferreds, directly or through other coroutines.
    :param done: called once with ``(result, None)`` or ``(None, exception)``; it must not raise.
    :param outcome: the outcome of the Deferred that the coroutine awaits. Only a ``Failure`` matters: it is raised in the coroutine.
    """
    try:
        # The coroutine reads a result from the Deferred itself. It could not do so with a failure: while the callbacks of a Deferred run,
        # `await` raises an AssertionError instead.
        waiting = outcome.throwExceptionIntoGenerator(coroutine) if isinstance(outcome, Failure) else coroutine.send(None)
    except StopIteration as stop:
        done(stop.value, None)
    except Exception as error:
        done(None, error)
    else:
        resume_after(waiting, coroutine, done)


def _go_on(coroutine: Coroutine[Any, Any, Any], done: Done, client: Any, outcome: Any) -> None:
    """Continue a coroutine for the client for which it began."""
    run_for_client(client, run, coroutine, done, outcome)


def resume_after(waiting: Any, coroutine: Coroutine[Any, Any, Any], done: Done) -> bool:
    """Run a coroutine that has begun and waits to its end.

    :param waiting: what it awaits.
    :param coroutine: as for :func:`run`, like ``done``.
    :returns: whether it waits. If false, it awaited something that is not permitted, and ``done`` has been called with the error.
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
