"""The common parts of the contract suites of storages: a clock that can be set, a storage for each test, short names."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

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
from dhtwisted.interfaces import IBulkStorage, IEntityStorage, IStorage
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, Command, EntityQuery, MessageQuery, Notification
from dhtwisted.testing.contract import BrokenContract, Watched, begin, must_raise, without_broken

ERRORS: dict[str, tuple[type[Exception], ...]] = {
    name: (StorageError,)
    for interface in (IStorage, IBulkStorage)
    for name, what in interface.namesAndDescriptions(all=True)
    if isinstance(what, Method)
} | {"open": (StorageError, ConfigurationError)}
"""Method of a storage -> what it may raise."""

RULE = (
    "a storage must raise StorageError or a subclass: StorageUnavailable when the call is impossible now (backend away, disk full, "
    "closed), Unstorable when it cannot keep a value"
)

START = 1_700_000_000
"""The first time of the clock of the suites, in seconds."""

YEAR = 31_536_000_000
"""Milliseconds."""

EVERYTHING = MessageQuery()


def notification(name: str = "n", device_id: str = "a", **values: Any) -> Notification:
    """A ``Notification``, by default of network 1 and device type 1."""
    fields: dict[str, Any] = {"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1}
    return Notification(**(fields | values))


def command(name: str = "c", device_id: str = "a", **values: Any) -> Command:
    """A ``Command``, by default of network 1 and device type 1."""
    fields: dict[str, Any] = {"name": name, "device_id": device_id, "network_id": 1, "device_type_id": 1}
    return Command(**(fields | values))


class SettableReactor:
    """The running reactor with a clock that only the test moves. Threads, sockets and delayed calls are real.

    :ivar time: what ``seconds()`` returns.
    """

    def __init__(self, reactor: Any) -> None:
        self.time: float = START
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def seconds(self) -> float:
        """The time that the test set."""
        return self.time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def now(reactor: Any) -> int:
    """The time of a reactor in milliseconds."""
    return int(reactor.seconds() * 1000)


async def outcomes(*awaitables: Awaitable[Any]) -> list[Any]:
    """Await several at the same time.

    :returns: a list of their results; an exception instead of a missing result.
    """
    done = DeferredList([begin(awaitable) for awaitable in awaitables], consumeErrors=True)
    return [without_broken(result) for _, result in await done]


async def results(*awaitables: Awaitable[Any]) -> list[Any]:
    """Await several at the same time. All must succeed.

    :returns: a list of their results.
    """
    found = await outcomes(*awaitables)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


class StorageContract:
    """The base of the suites: it says how a storage is made.

    :meth:`make_storage` and :meth:`remove_storage` can use what a fixture of the class sets on ``self``.

    :cvar call_seconds: how long each call of the storage may take. Raise it for a slow backend.
    """

    call_seconds = 10.0

    _used_directories: frozenset[Path] = frozenset()

    def make_storage(self, reactor: Any, directory: Path) -> Any:
        """Build the storage under test, without opening it.

        :param reactor: the source of time, delayed calls and threads; give it to the storage.
        :param directory: empty, and only for this test. The same directory again, after ``close``, means the same data, if the storage is
            durable. Another directory means an empty storage.
        """
        raise NotImplementedError("a subclass of the contract suite must build its storage in make_storage")

    def remove_storage(self, directory: Path) -> object:
        """Remove what :meth:`make_storage` made elsewhere for a directory, such as a schema. pytest removes the directory.

        Called after each test, when the storage is closed. It may be a coroutine function.
        """

    def watched(self, storage: Any) -> Watched:
        """The storage with the time limits and the rules of the contract."""
        return Watched(storage, ERRORS, RULE, self.call_seconds)

    @pytest.fixture
    def clock(self) -> SettableReactor:
        """The reactor that the storage gets. The test sets its time."""
        from twisted.internet import reactor

        return SettableReactor(reactor)

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Iterator[Path]:
        """The directory of this test."""
        yield tmp_path
        for used in {tmp_path} | self._used_directories:
            pytest_twisted.blockon(maybeDeferred(self.remove_storage, used))

    @pytest.fixture
    def storage(self, clock: SettableReactor, directory: Path) -> Iterator[Watched]:
        """The storage under test, opened and empty."""
        context = self.opened(clock, directory)
        yield pytest_twisted.blockon(begin(context.__aenter__()))
        pytest_twisted.blockon(begin(context.__aexit__(None, None, None)))

    @asynccontextmanager
    async def opened(self, clock: Any, directory: Path, has_data: bool = False) -> AsyncIterator[Watched]:
        """Open a storage for a block of a coroutine. It must be empty when the directory is used for the first time.

        :param has_data: another process, for example, has written into the directory.
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

    async def for_all(self, example: Callable[..., Awaitable[None]], **strategies: st.SearchStrategy[Any]) -> None:
        """Run ``example(storage, ...)``, a coroutine function, with generated arguments, each time with an empty storage.

        Hypothesis calls it from a thread. Its decorator does not work on a test method: pytest-twisted wraps the method again for each
        class that inherits it.
        """
        from twisted.internet import reactor as running

        reactor: Any = running
        broken: list[BrokenContract] = []

        async def run_example(arguments: dict[str, Any]) -> None:
            with tempfile.TemporaryDirectory() as directory:
                try:
                    async with self.opened(SettableReactor(reactor), Path(directory)) as storage:
                        await example(storage, **arguments)
                finally:
                    self._used_directories -= {Path(directory)}
                    await maybeDeferred(self.remove_storage, Path(directory))

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.fixed_dictionaries(strategies))
        def run(arguments: dict[str, Any]) -> None:
            if broken:
                # Each smaller example that Hypothesis looks for could take as long as the time limit.
                raise broken[0]
            try:
                blockingCallFromThread(reactor, _started, run_example(arguments))
            except BrokenContract as error:
                broken.append(error)
                raise

        await _in_thread(reactor, run)


def _started(work: Any) -> Any:
    return Deferred.fromCoroutine(work)


async def check_empty(storage: Any) -> None:
    """Check that a storage is empty when it is opened for the first time.

    :raises BrokenContract: it is not empty.
    """
    queries: list[tuple[Any, Any, Any]] = [(storage.find_messages, kind, MessageQuery(take=1)) for kind in MESSAGE_KINDS.values()]
    if IEntityStorage.providedBy(storage):
        queries += [(storage.find, kind, EntityQuery(take=1)) for kind in ENTITY_KINDS.values()]
    for find, kind, query in queries:
        for found in await find(kind, query):
            raise BrokenContract(
                f"the storage is not empty at the start of a test, it has {found!r}: make_storage must use separate data for each "
                "directory, in it or under a name made of it, and remove_storage may remove them"
            )


async def refuses_when_closed(storage: Any, *calls: tuple[Any, ...]) -> None:
    """Check that a closed storage refuses calls.

    :param calls: each a method and its arguments.
    """
    for method, *arguments in calls:
        with must_raise(StorageUnavailable, f"after close {method}"):
            await getattr(storage, method)(*arguments)


def need_entities(storage: Any) -> None:
    """Skip the test of a storage that keeps no entities.

    :param storage: opened or not.
    """
    if not IEntityStorage.providedBy(storage):
        pytest.skip("a provider of messages alone keeps no entities: this test does not apply")


def _in_thread(reactor: Any, function: Callable[[], object]) -> Deferred[None]:
    """Run a function in a daemon thread: the process can end while it runs.

    :returns: a Deferred of ``None``.
    """
    done: Deferred[None] = Deferred()

    def work() -> None:
        try:
            function()
        except BaseException:
            # The outcomes of pytest are not Exceptions.
            reactor.callFromThread(done.errback, Failure())
        else:
            reactor.callFromThread(done.callback, None)

    threading.Thread(target=work, daemon=True).start()
    return done
