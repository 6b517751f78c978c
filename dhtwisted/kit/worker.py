"""A thread that does one thing after the other, for a driver that blocks."""

import queue
import threading
import time
from math import inf

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.errors import Overloaded, StorageUnavailable

PATIENCE = 8
"""Seconds that a function may wait for its turn. Later it is not begun: whoever asked has been told so by then."""


class Worker:
    """Runs functions in a thread of its own, in the order in which they were handed in.

    The thread is no daemon: what was handed in is finished even when the interpreter is on its way out. So it must be stopped.

    :param reactor: takes the answers back into its own thread.
    :param name: of the thread, for whoever looks at the process.
    :param max_waiting: functions that may wait; more are refused.
    """

    def __init__(self, reactor, name, max_waiting=1000):
        self._reactor = reactor
        self._jobs = queue.SimpleQueue()
        self._max_waiting = max_waiting
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)
        self._thread.start()

    def call(self, function, *arguments):
        """Run a function in the thread.

        :returns: a Deferred of its result.
        :raises StorageUnavailable: too many wait, it waited too long, or the thread has been stopped.
        """
        if self._stopping:
            raise StorageUnavailable("the storage is closed")
        if self._jobs.qsize() >= self._max_waiting:
            raise StorageUnavailable("too many operations wait for the storage")
        done = Deferred()
        self._jobs.put((done, time.monotonic() + PATIENCE, function, arguments))
        return done

    def drop(self):
        """Fail what waits for its turn. What the thread is at is finished."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            job[0].errback(StorageUnavailable("the storage is closed"))

    def stop(self, function, *arguments):
        """Let the thread finish what it has, run one last function, and end it.

        :returns: a Deferred of the function's result, when the thread has ended.
        """
        self._stopping = True
        done = Deferred()
        self._jobs.put((done, inf, function, arguments))
        self._jobs.put(None)
        return done.addBoth(self._join)

    def _join(self, result):
        self._thread.join()
        return result

    def _run(self):
        while (job := self._jobs.get()) is not None:
            done, latest, function, arguments = job
            try:
                if time.monotonic() > latest:
                    raise Overloaded(f"the storage was too busy for {PATIENCE} seconds")
                answer, result = done.callback, function(*arguments)
            except Exception:
                answer, result = done.errback, Failure()
            self._reactor.callFromThread(answer, result)
