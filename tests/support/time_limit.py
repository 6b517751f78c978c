"""A time limit for every test: a test that hangs fails with its name and all stacks, and the other tests go on.

pytest-timeout has the option ``timeout`` and the mark of the same name. This module says, by hooks of pytest-timeout, what happens at the
end of the time. The two methods of pytest-timeout do not work here. ``signal`` raises an exception wherever the main thread is. That is
mostly the reactor, which then ends, so every later test fails. ``thread`` ends the process, which tears nothing down: servers of the test
keep running, and earlier failures are not listed.

Here the signal cancels the wait for the test's Deferred, and raises an exception in code that does not return to the reactor. A test that
goes on in spite of that, since it ignores signals or swallows every exception, ends the process :data:`GRACE` seconds later, with its
stacks. Under pytest-xdist another worker then goes on, and names the test.
"""

import faulthandler
import gc
import os
import signal
import sys
import threading
import traceback
from types import CoroutineType, FrameType
from typing import Any, cast

import greenlet
import pytest
import pytest_timeout
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads

GRACE = 60
"""Seconds for the test to end after the exception, and for the teardown after it."""


class TimeLimitExceeded(BaseException):
    """A test took longer than it may. Not an :class:`Exception`: hypothesis would try to find a smaller example for that."""


class _Interrupted(Exception):
    """Raised in code that the reactor has called. The reactor logs it and goes on."""


class TimeLimit:
    """The limit of the running test.

    :param output: the file descriptor to which a hang is reported at once.
    """

    def __init__(self, output: int) -> None:
        self._output = output
        self._tests = greenlet.getcurrent()
        self._block_on = pytest_twisted.blockon_default
        self._waiting: list[Deferred[Any]] = []
        self._exceeded: TimeLimitExceeded | None = None

    def install(self) -> None:
        """Replace the function of pytest-twisted that waits for a Deferred by one that can end early."""
        pytest_twisted.blockon_default = self._wait

    def remove(self) -> None:
        """Undo :meth:`install`."""
        pytest_twisted.blockon_default = self._block_on

    def start(self, name: str, seconds: float) -> None:
        """Start the time of a test."""
        self._exceeded = None
        signal.signal(signal.SIGALRM, lambda _number, frame: self._expire(name, seconds, frame))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=self._output)

    def begin_teardown(self) -> None:
        """Forget the hang, so that the teardown can wait too, until the process ends."""
        self._exceeded = None

    def stop(self) -> None:
        """Stop the time: the test is over, or a debugger has stopped it."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()

    def _wait(self, deferred: Deferred[Any]) -> Any:
        until: Deferred[Any] = Deferred()
        deferred.chainDeferred(until)
        self._waiting.append(until)
        try:
            return self._block_on(until)
        finally:
            self._waiting.remove(until)
            if self._exceeded is not None:
                raise self._exceeded from None

    def _expire(self, name: str, seconds: float, frame: FrameType | None) -> None:
        text = f"{name} took longer than its {seconds:g} seconds\n{all_stacks()}"
        os.write(self._output, f"\n{text}\n".encode())
        self._exceeded = TimeLimitExceeded(text)
        if greenlet.getcurrent() is self._tests:
            raise self._exceeded
        from twisted.internet import reactor

        for until in self._waiting:
            cast(IReactorThreads, reactor).callFromThread(until.cancel)
        if frame is not None and not frame.f_globals["__name__"].startswith("twisted.internet."):
            raise _Interrupted(text)


def all_stacks() -> str:
    """The stacks of all threads, of the tests' greenlet while the reactor runs, and of waiting coroutines."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = {f"thread {names.get(ident, ident)}": frame for ident, frame in sys._current_frames().items()}
    parent = greenlet.getcurrent().parent
    if parent is not None:
        frames["the tests, which wait for the reactor"] = parent.gr_frame
    waiting = [o for o in gc.get_objects() if isinstance(o, CoroutineType) and o.cr_frame is not None and not o.cr_running]
    stacks = [f"Stack of {what}:\n{''.join(traceback.format_stack(frame))}" for what, frame in frames.items()]
    places = [
        f'  File "{c.cr_code.co_filename}", line {c.cr_frame.f_lineno if c.cr_frame else "?"}, in {c.cr_code.co_qualname}\n'
        for c in waiting
    ]
    return "".join([*stacks, "Coroutines that wait:\n", *places])


_LIMIT = pytest.StashKey[TimeLimit]()
_OUTPUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # pytest captures no output yet.
    assert sys.__stderr__ is not None
    config.stash[_OUTPUT] = os.dup(sys.__stderr__.fileno())
    config.stash[_LIMIT] = TimeLimit(config.stash[_OUTPUT])
    config.stash[_LIMIT].install()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_LIMIT].remove()
    os.close(config.stash[_OUTPUT])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    if not pytest_timeout.is_debugging():
        item.config.stash[_LIMIT].start(item.nodeid, settings.timeout)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    item.config.stash[_LIMIT].stop()
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    item.config.stash[_LIMIT].begin_teardown()


def pytest_enter_pdb(config: pytest.Config) -> None:
    config.stash[_LIMIT].stop()
