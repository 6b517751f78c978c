"""Settings of the whole process: signals, exit status, open files, garbage collector.

A server inside another program does not use this module.
"""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from dhtwisted.service.clock_guard import ClockGuard
from dhtwisted.service.systemd import Supervisor
from dhtwisted.transports.capacity import raise_file_limit

COLLECTOR_THRESHOLDS = 10_000, 20, 20
"""See :func:`gc.set_threshold`. With the default thresholds the collector took 4 % of the time to find out that the hundreds of requests
that wait for the storage are not garbage."""


class Process:
    """A process that runs one server and nothing else.

    :param reactor: the reactor of that server.
    """

    log = Logger()

    def __init__(self, reactor: Any, supervisor: Supervisor) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._replaced_handlers: dict[signal.Signals, Any] = {}
        self._reload: Callable[[], str] | None = None
        self._has_terminal = False
        self._clock_guard = ClockGuard(reactor)

    def starting(self, connections: int, reload: Callable[[], str]) -> None:
        """Handle SIGTERM and SIGINT, so that both lead to a clean stop with exit status 0, and SIGHUP for a reload.

        ``twistd`` would repeat the signal after the stop, and its supervisor would see a failure. Twisted installs its own handlers while
        the reactor starts, so these are installed after that.

        :param connections: how many clients may be connected; 0 for any number.
        :param reload: called in the reactor's thread after a SIGHUP; returns one line about the state of the server.
        """
        self._reload = reload
        self._has_terminal = _is_terminal_present()
        raise_file_limit(connections)
        self._reactor.callWhenRunning(self._install_handlers)
        self._reactor.callWhenRunning(self._supervisor.starting)
        self._reactor.callWhenRunning(self._clock_guard.start)

    def started(self, status: str) -> None:
        """Report the start to the supervisor, and exclude from garbage collection all objects that live as long as the server.

        :param status: one line about the state of the server.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        self._supervisor.ready(status)

    def failed(self) -> None:
        """Stop the reactor, and end the process with exit status 1.

        ``twistd`` ends with 0 whatever happened while the reactor ran, and ignores SystemExit there. An exit handler runs after ``twistd``
        has closed its log and removed its PID file.
        """
        self._supervisor.stopping("Cannot start; the log says why")
        atexit.register(_exit_with_failure)
        self._reactor.callWhenRunning(self._stop_reactor)

    def stopping(self) -> None:
        """Report the stop to the supervisor."""
        self._supervisor.stopping()

    def stopped(self) -> None:
        """Restore the signal handlers."""
        self._supervisor.stopped()
        self._clock_guard.stop()
        for number, handler in self._replaced_handlers.items():
            signal.signal(number, handler)
        self._replaced_handlers.clear()

    def _install_handlers(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._replaced_handlers[number] = signal.signal(number, self._stop_on_signal)
        self._replaced_handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)

    def _stop_on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            # A second Ctrl-C ends the process at once.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._reactor.callFromThread(self._stop_reactor)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        """Reload; but stop if the server was started from a terminal and the terminal was closed."""
        is_terminal_closed = self._has_terminal and not _is_terminal_present()
        self._reactor.callFromThread(self._stop_reactor if is_terminal_closed else self._reload_configuration)

    def _reload_configuration(self) -> None:
        self._supervisor.reloading()
        status = "The reload failed because of a defect; see the log"
        try:
            if self._reload is not None:
                status = self._reload()
        finally:
            # systemd waits for this, whatever happens.
            self._supervisor.ready(status)

    def _stop_reactor(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # It already stops.


def _is_terminal_present() -> bool:
    """Whether the process has a terminal. It gets SIGHUP when that terminal is closed."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _exit_with_failure() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)
