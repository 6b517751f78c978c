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
from zope.interface.interface import Method

from dhtwisted.errors import ConfigurationError, StorageError, StorageUnavailable
from dhtwisted.interfaces import IEntityStorage, IStorage
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, Command, EntityQuery, MessageQuery, Notification
from dhtwisted.testing.contract import BrokenContract, Watched, begin, must_raise, without_broken

ERRORS = {name: (StorageError,) for name, what in IStorage.namesAndDescriptions(all=True) if isinstance(what, Method)} | {
    "open": (StorageError, ConfigurationError)
}
"""Method of a storage -> what it may raise."""

RULE = (
    "a storage raises kinds of StorageError alone, StorageUnavailable where it cannot do it now (backend away, disk full, closed) and "
    "Unstorable where it cannot keep a value"
)

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


async def outcomes(*awaitables):
    """Run several at once.

    :returns: a list of their results; an exception stands for itself.
    """
    done = DeferredList([begin(awaitable) for awaitable in awaitables], consumeErrors=True)
    return [without_broken(result) for _, result in await done]


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
    """How a storage is made, for each of the suites.

    What a fixture of the class sets on ``self`` is there in :meth:`make_storage` and :meth:`remove_storage`.

    :cvar call_seconds: that each call of the storage may take. Raise it for a backend that is slow by nature.
    """

    call_seconds = 10.0

    _used_directories: frozenset[Path] = frozenset()

    def make_storage(self, reactor, directory):
        """Build the storage under test, not opened yet.

        :param reactor: gives time, delayed calls and threads; hand it to the storage.
        :param directory: a ``pathlib.Path``, empty and of this test alone. The same directory again, after ``close``, means the same
            data, if the storage is durable; another directory means an empty storage.
        """
        raise NotImplementedError("a subclass of the contract suite says which storage is meant")

    def remove_storage(self, directory):
        """Remove what :meth:`make_storage` made elsewhere for a directory, such as a schema. The directory itself goes by itself.

        Called after each test, when the storage is closed; may be a coroutine function.
        """

    def watched(self, storage):
        """The storage with the time limits and the rules of the contract."""
        return Watched(storage, ERRORS, RULE, self.call_seconds)

    @pytest.fixture
    def clock(self):
        """The reactor that the storage gets; its time is the test's to set."""
        from twisted.internet import reactor

        return SettableReactor(reactor)

    @pytest.fixture
    def directory(self, tmp_path):
        """The directory of this test."""
        yield tmp_path
        for used in {tmp_path} | self._used_directories:
            pytest_twisted.blockon(maybeDeferred(self.remove_storage, used))

    @pytest.fixture
    def storage(self, clock, directory):
        """The storage under test, opened and empty."""
        context = self.opened(clock, directory)
        yield pytest_twisted.blockon(begin(context.__aenter__()))
        pytest_twisted.blockon(begin(context.__aexit__(None, None, None)))

    @asynccontextmanager
    async def opened(self, clock, directory, has_data=False):
        """Have a storage open in a block of a coroutine; it must be empty when the directory is used for the first time.

        :param has_data: something else has written into the directory, such as another process.
        """
        storage = self.watched(self.make_storage(clock, directory))
        await storage.open()
        try:
            if directory not in self._used_directories and not has_data:
                await check_empty(storage)
            self._used_directories |= {directory}
            yield storage
        finally:
            await storage.close()

    async def for_all(self, example, **strategies):
        """Run ``example(storage, ...)``, a coroutine function, with generated arguments and each time with an empty storage.

        Hypothesis calls it from a thread. Its decorator on a test method does not do: pytest-twisted wraps what it decorates, once more for
        each class that inherits the method.
        """
        from twisted.internet import reactor

        broken = []

        async def run_example(arguments):
            with tempfile.TemporaryDirectory() as directory:
                try:
                    async with self.opened(SettableReactor(reactor), Path(directory)) as storage:
                        await example(storage, **arguments)
                finally:
                    self._used_directories -= {Path(directory)}
                    await maybeDeferred(self.remove_storage, Path(directory))

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.fixed_dictionaries(strategies))
        def run(arguments):
            if broken:
                # Each smaller example that Hypothesis looks for could take as long as the time limit.
                raise broken[0]
            try:
                blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(run_example(arguments)))
            except BrokenContract as error:
                broken.append(error)
                raise

        await _in_thread(reactor, run)


async def check_empty(storage):
    """Make sure that a storage that is opened for the first time has nothing.

    :raises BrokenContract: it has something.
    """
    queries = [(storage.find_messages, kind, MessageQuery(take=1)) for kind in MESSAGE_KINDS.values()]
    if IEntityStorage.providedBy(storage):
        queries += [(storage.find, kind, EntityQuery(take=1)) for kind in ENTITY_KINDS.values()]
    for find, kind, query in queries:
        for found in await find(kind, query):
            raise BrokenContract(
                f"the storage is not empty at the start of a test, it has {found!r}: make_storage must give every new directory data of "
                "its own, in the directory or under a name made of it, and remove_storage may remove them"
            )


async def refuses_when_closed(storage, *calls):
    """Check that a closed storage refuses calls, each a method with its arguments."""
    for method, *arguments in calls:
        with must_raise(StorageUnavailable, f"after close {method}"):
            await getattr(storage, method)(*arguments)


def need_entities(storage):
    """Skip the test of a storage that keeps no entities.

    :param storage: opened or not.
    """
    if not IEntityStorage.providedBy(storage):
        pytest.skip("a provider of messages alone keeps no entities: it has nothing to show here")


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
