"""Awaitables that cost less than a coroutine or a plain Deferred, for thousands of calls a second: :data:`DONE`, :class:`Ready` and
:class:`Waiter`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, Literal, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Done:
    """An awaitable that is complete. Its result is ``None``."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        # An awaitable may return any iterator, and this one costs least.
        return iter(())  # type: ignore[return-value]


DONE = Done()
"""Return this instead of a coroutine that does nothing more. The server sees that there is nothing to wait for."""


class Ready(Generic[T]):
    """The same with a result. Return it where the answer is known.

    :ivar result: what whoever awaits it gets.
    """

    __slots__ = ("result",)

    def __init__(self, result: T) -> None:
        self.result = result

    def __await__(self) -> Generator[Any, Any, T]:
        return self.result
        yield  # This makes it a generator, as an awaitable needs.


class Waiter(Deferred[T]):
    """A Deferred that costs a third when only the server awaits it: :func:`dhtwisted.core.coroutines.run` knows it.

    For everybody else (callbacks, a timeout, ``inlineCallbacks``, ``fromCoroutine``) it is a Deferred like any other. Call :meth:`fire`
    instead of ``callback``.

    :ivar resume: a function that ``run`` sets instead of a callback; it gets the outcome. ``None`` while nobody waits, false once the
        Deferred is used in any other way.
    """

    resume: Callable[[Any], None] | Literal[False] | None = None

    def fire(self, outcome: T | Failure) -> None:
        """Complete with a result or a ``Failure``."""
        resume = self.resume
        if resume:
            self.resume = False
            self.called = True
            self.result = outcome
            resume(outcome)
        else:
            self.callback(outcome)

    def _become_plain(self) -> None:
        resume, self.resume = self.resume, False
        if resume:
            super().addBoth(resume)

    def addCallbacks(self, *arguments: Any, **keywords: Any) -> Any:
        """As in any Deferred. The same is true for the methods below."""
        self._become_plain()
        return super().addCallbacks(*arguments, **keywords)

    def addCallback(self, *arguments: Any, **keywords: Any) -> Any:
        self._become_plain()
        return super().addCallback(*arguments, **keywords)

    def addErrback(self, *arguments: Any, **keywords: Any) -> Any:
        self._become_plain()
        return super().addErrback(*arguments, **keywords)

    def addBoth(self, *arguments: Any, **keywords: Any) -> Any:
        self._become_plain()
        return super().addBoth(*arguments, **keywords)

    def pause(self) -> None:
        self._become_plain()
        super().pause()

    def cancel(self) -> None:
        self._become_plain()
        super().cancel()
