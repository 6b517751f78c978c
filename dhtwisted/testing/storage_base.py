"""What the contract suites of storages have in common: a clock that can be set, a storage per test, a few short words."""

import tempfile
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from dhtwisted.model import Command, MessageQuery, Notification

START = 1_700_000_000
"""What the clock of the suites says at first, in seconds."""

YEAR = 31_536_000_000
"""Milliseconds."""

EVERYTHING = MessageQuery()


def notification(name="n", device_id="a", **values):
    """A notification of network 1 and type 1, unless said otherwise."""
    return Notification(**({"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1} | values))


def command(name="c", device_id="a", **values):
    """A command of network 1 and type 1, unless said otherwise."""
    return Command(**({"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1} | values))


class SettableReactor:
    """The running reactor with a clock that only the test moves. Threads, sockets and delayed calls are real.

    :ivar time: what ``seconds()`` says.
    """

    def __init__(self, reactor):
        self.time = START
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def seconds(self):
        """The time that the test set."""
        return self.time

    def __getattr__(self, name):
        return getattr(self._reactor, name)


def now(reactor):
    """The time of a reactor in milliseconds."""
    return int(reactor.seconds() * 1000)


def begin(awaitable):
    """Have something done, without waiting for it.

    :returns: a Deferred of the result.
    """
    return Deferred.fromCoroutine(_awaited(awaitable))


async def _awaited(awaitable):
    return await awaitable


async def outcomes(*awaitables):
    """Run several at once.

    :returns: a list of their results; an exception stands for itself.
    """
    done = DeferredList([begin(awaitable) for awaitable in awaitables], consumeErrors=True)
    return [result if success else result.value for success, result in await done]


async def results(*awaitables):
    """Run several at once, all of which must succeed.

    :returns: a list of their results.
    """
    found = await outcomes(*awaitables)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


class StorageContract:
    """How a storage is made, for each of the suites."""

    def make_storage(self, reactor, directory):
        """Build the storage under test, not opened yet.

        :param reactor: gives time, delayed calls and threads; hand it to the storage.
        :param directory: a ``pathlib.Path``, empty and of this test alone. The same directory again, after ``close``, means the same
            data, if the storage is durable; another directory means an empty storage.
        """
        raise NotImplementedError("a subclass of the contract suite says which storage is meant")

    @pytest.fixture
    def clock(self):
        """The reactor that the storage gets; its time is the test's to set."""
        from twisted.internet import reactor

        return SettableReactor(reactor)

    @pytest.fixture
    def storage(self, clock, tmp_path):
        """The storage under test, opened and empty."""
        storage = self.make_storage(clock, tmp_path)
        pytest_twisted.blockon(maybeDeferred(storage.open))
        yield storage
        pytest_twisted.blockon(maybeDeferred(storage.close))

    @asynccontextmanager
    async def opened(self, clock, directory):
        """Have a storage open in a block of a coroutine."""
        storage = self.make_storage(clock, directory)
        await storage.open()
        try:
            yield storage
        finally:
            await storage.close()

    async def for_all(self, example, **strategies):
        """Run ``example(storage, ...)``, a coroutine function, with generated arguments and each time with an empty storage.

        Hypothesis calls it from a thread. Its decorator on a test method does not do: pytest-twisted wraps what it decorates, once more for
        each class that inherits the method.
        """
        from twisted.internet import reactor

        async def run_example(arguments):
            with tempfile.TemporaryDirectory() as directory:
                async with self.opened(SettableReactor(reactor), Path(directory)) as storage:
                    await example(storage, **arguments)

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.fixed_dictionaries(strategies))
        def run(arguments):
            blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(run_example(arguments)))

        await _in_thread(reactor, run)


def _in_thread(reactor, function):
    """Run a function in a thread that nobody waits for when the process is told to end in the middle of it.

    :returns: a Deferred of ``None``.
    """
    done = Deferred()

    def work():
        try:
            function()
        except BaseException:
            # pytest's own outcomes are no Exceptions.
            reactor.callFromThread(done.errback, Failure())
        else:
            reactor.callFromThread(done.callback, None)

    threading.Thread(target=work, daemon=True).start()
    return done
