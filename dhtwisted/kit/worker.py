"""A thread that runs functions one after the other, for a driver that blocks."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from dhtwisted.errors import Overloaded, StorageUnavailable

PATIENCE = 8
"""Seconds that a function may wait for its turn. After that it is not started, because its caller has got an error already."""

T = TypeVar("T")
_Job = tuple[Deferred[Any], float, Callable[..., Any], tuple[Any, ...]]


class Worker:
    """Runs functions in a thread of its own, in the order of the calls.

    The thread is no daemon thread: it finishes its functions even when the interpreter exits. So it must be stopped.

    :param reactor: takes the results back into its own thread.
    :param name: of the thread, for tools that list threads.
    :param max_waiting: how many functions may wait; more are refused.
    """

    def __init__(self, reactor: IReactorFromThreads, name: str, max_waiting: int = 1000) -> None:
        self._reactor = reactor
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._max_waiting = max_waiting
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Run a function in the thread.

        :returns: a Deferred of its result.
        :raises StorageUnavailable: too many functions wait, this one waited too long, or the thread was stopped.
        """
        if self._stopping:
            raise StorageUnavailable("the storage is closed")
        if self._jobs.qsize() >= self._max_waiting:
            raise StorageUnavailable("too many operations wait for the storage")
        done: Deferred[T] = Deferred()
        self._jobs.put((done, time.monotonic() + PATIENCE, function, arguments))
        return done

    def drop(self) -> None:
        """Fail all functions that wait. The one that runs is finished."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job[0].errback(StorageUnavailable("the storage is closed"))

    def stop(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Finish the functions that wait, run one last function, and end the thread.

        :returns: a Deferred of the last function's result. It fires when the thread has ended.
        """
        self._stopping = True
        done: Deferred[T] = Deferred()
        self._jobs.put((done, inf, function, arguments))
        self._jobs.put(None)
        return done.addBoth(self._join)

    def _join(self, result: T) -> T:
        self._thread.join()
        return result

    def _run(self) -> None:
        answer: Callable[[Any], None]
        while (job := self._jobs.get()) is not None:
            done, latest, function, arguments = job
            try:
                if time.monotonic() > latest:
                    raise Overloaded(f"the storage was too busy for {PATIENCE} seconds")
                answer, result = done.callback, function(*arguments)
            except Exception:
                answer, result = done.errback, Failure()
            self._reactor.callFromThread(answer, result)
