"""A time limit for every test: a hang fails with the test's name and all stacks, and the suite goes on.

pytest-timeout brings the option ``timeout`` and the mark of the same name, and this module what happens at the end of the time, by hooks of
pytest-timeout. Neither of its own methods is of use here. ``signal`` raises wherever the main thread is; that is mostly the reactor, which
ends by it, so that every later test fails. ``thread`` ends the process, which tears nothing down: servers that the test has started are
left, and the failures of before are not listed.

Here the signal wakes whoever waits for the test's Deferred, and raises in code that does not return to the reactor. What does not end by
that, since it ignores signals or swallows every exception, ends the process :data:`GRACE` seconds later, with its stacks. Under
pytest-xdist another worker goes on then, and names the test.
"""

import faulthandler
import gc
import os
import signal
import sys
import threading
import traceback
from types import CoroutineType

import greenlet
import pytest
import pytest_timeout
import pytest_twisted
from twisted.internet.defer import Deferred

GRACE = 60
"""Seconds for what does not end by itself, and for tearing down what a hang has left."""


class TimeLimitExceeded(BaseException):
    """A test took longer than it may. Not an :class:`Exception`: hypothesis would take that for an example to be made smaller."""


class _Interrupted(Exception):
    """Raised in code that the reactor has called; the reactor outlives it."""


class TimeLimit:
    """The limit of the test that runs.

    :param output: the descriptor that hangs are reported to at once.
    """

    def __init__(self, output):
        self._output = output
        self._tests = greenlet.getcurrent()
        self._block_on = pytest_twisted.blockon_default
        self._waiting = []
        self._exceeded = None

    def install(self):
        """Every wait for a Deferred becomes one that can end early."""
        pytest_twisted.blockon_default = self._wait

    def remove(self):
        """Undo :meth:`install`."""
        pytest_twisted.blockon_default = self._block_on

    def start(self, name, seconds):
        """A test begins."""
        self._exceeded = None
        signal.signal(signal.SIGALRM, lambda _number, frame: self._expire(name, seconds, frame))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=self._output)

    def begin_teardown(self):
        """Whatever is torn down after a hang has time for it, until the process ends."""
        self._exceeded = None

    def stop(self):
        """The test is over, or somebody looks at it in a debugger."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()

    def _wait(self, deferred):
        until = Deferred()
        deferred.chainDeferred(until)
        self._waiting.append(until)
        try:
            return self._block_on(until)
        finally:
            self._waiting.remove(until)
            if self._exceeded is not None:
                raise self._exceeded from None

    def _expire(self, name, seconds, frame):
        text = f"{name} took longer than its {seconds:g} seconds\n{all_stacks()}"
        os.write(self._output, f"\n{text}\n".encode())
        self._exceeded = TimeLimitExceeded(text)
        if greenlet.getcurrent() is self._tests:
            raise self._exceeded
        from twisted.internet import reactor

        for until in self._waiting:
            reactor.callFromThread(until.cancel)
        if not frame.f_globals["__name__"].startswith("twisted.internet."):
            raise _Interrupted(text)


def all_stacks():
    """The stacks of all threads, of the tests' greenlet while the reactor runs, and of coroutines that wait."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = {f"thread {names.get(ident, ident)}": frame for ident, frame in sys._current_frames().items()}
    parent = greenlet.getcurrent().parent
    if parent is not None:
        frames["the tests, which wait for the reactor"] = parent.gr_frame
    waiting = [o for o in gc.get_objects() if isinstance(o, CoroutineType) and o.cr_frame is not None and not o.cr_running]
    stacks = [f"Stack of {what}:\n{''.join(traceback.format_stack(frame))}" for what, frame in frames.items()]
    places = [f'  File "{c.cr_code.co_filename}", line {c.cr_frame.f_lineno}, in {c.cr_code.co_qualname}\n' for c in waiting]
    return "".join([*stacks, "Coroutines that wait:\n", *places])


_LIMIT = pytest.StashKey[TimeLimit]()
_OUTPUT = pytest.StashKey[int]()


def pytest_configure(config):
    # Nothing is captured at this time.
    config.stash[_OUTPUT] = os.dup(sys.__stderr__.fileno())
    config.stash[_LIMIT] = TimeLimit(config.stash[_OUTPUT])
    config.stash[_LIMIT].install()


def pytest_unconfigure(config):
    config.stash[_LIMIT].remove()
    os.close(config.stash[_OUTPUT])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item, settings):
    if not pytest_timeout.is_debugging():
        item.config.stash[_LIMIT].start(item.nodeid, settings.timeout)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item):
    item.config.stash[_LIMIT].stop()
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    item.config.stash[_LIMIT].begin_teardown()


def pytest_enter_pdb(config):
    config.stash[_LIMIT].stop()
