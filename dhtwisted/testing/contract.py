"""How the suites speak to a provider: each call has a time limit, and what breaks the contract is said in a sentence."""

from contextlib import contextmanager
from inspect import isawaitable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy


class BrokenContract(AssertionError):
    """A provider did what its interface does not permit; the text says what, and what is asked of it."""


def begin(awaitable):
    """Have something done, without waiting for it.

    :returns: a Deferred of the result.
    """
    return Deferred.fromCoroutine(_awaited(awaitable))


async def _awaited(awaitable):
    return await awaitable


def in_time(awaitable, seconds, call):
    """Have something done, and wait for it no longer than this.

    :param call: what is waited for, in words.
    :returns: a Deferred of the result; of :class:`BrokenContract` when there is none in time.
    """
    from twisted.internet import reactor

    done = Deferred()

    def give_up():
        done.errback(
            BrokenContract(f"{call} did not complete within {seconds:g} s: every call must end by itself, with an error if need be")
        )

    def finish(outcome):
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

    value = None


@contextmanager
def must_raise(expected, call):
    """Have the block raise an exception of this kind.

    :param expected: a class, or a tuple of classes of which the first is the one to be named.
    :param call: what is done in the block, in words.
    :returns: a :class:`Caught`.
    :raises BrokenContract: it raises none, or another one.
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
    """A provider with eyes on it: it has all its attributes, and its interface's calls end in time and raise nothing but what they may.

    :param provider: what a subclass of a suite made.
    :param errors: method that must be awaited -> the exceptions that it may raise.
    :param rule: what is asked of a provider that raises something else.
    :param seconds: that a call may take.
    :ivar provider: the provider itself.
    """

    def __init__(self, provider, errors, rule, seconds):
        self.provider = provider
        self._errors = errors
        self._rule = rule
        self._seconds = seconds
        directlyProvides(self, providedBy(provider))

    def __getattr__(self, name):
        value = getattr(self.provider, name)
        if name not in self._errors:
            return value

        def call(*arguments, **keywords):
            with self._permitted(name):
                awaitable = value(*arguments, **keywords)
            if not isawaitable(awaitable):
                raise BrokenContract(f"{name} must return an awaitable, not {awaitable!r}: write async def, or return a Deferred")
            return self._finish(name, awaitable)

        return call

    async def _finish(self, name, awaitable):
        with self._permitted(name):
            return await in_time(awaitable, self._seconds, name)

    @contextmanager
    def _permitted(self, name):
        try:
            yield
        except (*self._errors[name], BrokenContract):
            raise
        except Exception as error:
            raise BrokenContract(f"{name} raised {error!r}: {self._rule}") from error


def without_broken(outcome):
    """Let an outcome pass, unless it is a broken contract: that is raised.

    :param outcome: a result, or an exception in place of one.
    """
    value = outcome.value if isinstance(outcome, Failure) else outcome
    if isinstance(value, BrokenContract):
        raise value
    return value
