"""How the suites call a provider: each call has a time limit, and each failure is a sentence."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

T = TypeVar("T")


class BrokenContract(AssertionError):
    """A provider did what its interface does not allow. The text says what it did, and what it must do."""


def begin(awaitable: Awaitable[T]) -> Deferred[T]:
    """Start something without waiting for it.

    :returns: a Deferred of the result.
    """
    return Deferred.fromCoroutine(_awaited(awaitable))


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def in_time(awaitable: Awaitable[T], seconds: float, call: str) -> Deferred[T]:
    """Start something with a time limit.

    :param call: what is done, in words.
    :returns: a Deferred of the result. It fails with :class:`BrokenContract` when there is none in time.
    """
    from twisted.internet import reactor

    done: Deferred[T] = Deferred()

    def give_up() -> None:
        done.errback(
            BrokenContract(f"{call} did not complete within {seconds:g} s: every call must end by itself, with an error if it must")
        )

    def finish(outcome: T | Failure) -> None:
        if timer.active():
            timer.cancel()
            done.callback(outcome)

    timer = reactor.callLater(seconds, give_up)
    begin(awaitable).addBoth(finish)
    return done


class Caught:
    """What :func:`must_raise` caught.

    :ivar value: the exception.
    """

    value: Any = None


@contextmanager
def must_raise(expected: type[Exception] | tuple[type[Exception], ...], call: str) -> Iterator[Caught]:
    """Check that the block raises an exception of a class.

    :param expected: a class, or a tuple of classes; the message names the first.
    :param call: what is done in the block, in words.
    :returns: a :class:`Caught`.
    :raises BrokenContract: it raises no exception, or another one.
    """
    name = (expected[0] if isinstance(expected, tuple) else expected).__name__
    caught = Caught()
    try:
        yield caught
    except expected as error:
        caught.value = error
    except BrokenContract as broken:
        if broken.__cause__ is None:
            raise
        raise BrokenContract(f"{call} must raise {name}, not {broken.__cause__!r}") from broken.__cause__
    except Exception as error:
        raise BrokenContract(f"{call} must raise {name}, not {error!r}") from error
    else:
        raise BrokenContract(f"{call} must raise {name}; it raised nothing")


class Watched:
    """A wrapper that has all attributes of a provider. It checks that async methods end in time and raise only what they may.

    :param provider: what a subclass of a suite made.
    :param errors: async method -> the exceptions that it may raise.
    :param rule: what a provider must do that raises something else.
    :param seconds: how long a call may take.
    :ivar provider: the provider itself.
    """

    def __init__(self, provider: Any, errors: Mapping[str, tuple[type[Exception], ...]], rule: str, seconds: float) -> None:
        self.provider = provider
        self._errors = errors
        self._rule = rule
        self._seconds = seconds
        directlyProvides(self, providedBy(provider))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.provider, name)
        if name not in self._errors:
            return value

        def call(*arguments: Any, **keywords: Any) -> Awaitable[Any]:
            with self._permitted(name):
                awaitable = value(*arguments, **keywords)
            if not isawaitable(awaitable):
                raise BrokenContract(f"{name} must return an awaitable, not {awaitable!r}: write async def, or return a Deferred")
            return self._finish(name, awaitable)

        return call

    async def _finish(self, name: str, awaitable: Awaitable[T]) -> Any:
        with self._permitted(name):
            return await in_time(awaitable, self._seconds, name)

    @contextmanager
    def _permitted(self, name: str) -> Iterator[None]:
        permitted: tuple[type[Exception], ...] = (BrokenContract, *self._errors[name])
        try:
            yield
        except permitted:
            raise
        except Exception as error:
            raise BrokenContract(f"{name} raised {error!r}: {self._rule}") from error


def without_broken(outcome: Any) -> Any:
    """Return an outcome, unless it is a broken contract: that is raised.

    :param outcome: a result, or an exception in place of one.
    """
    value = outcome.value if isinstance(outcome, Failure) else outcome
    if isinstance(value, BrokenContract):
        raise value
    return value
