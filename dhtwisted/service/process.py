"""What belongs to the whole process: signals, exit status, open files, collector. A server inside another program leaves it alone."""

import atexit
import gc
import os
import signal
import sys

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from dhtwisted.service.clock_guard import ClockGuard
from dhtwisted.transports.capacity import raise_file_limit

COLLECT_ABOVE = 10_000, 20, 20
"""Objects more than there were at the last look; looks at the young before one at the older, and so on."""


class Process:
    """The process, when one server is all that it is for.

    :param reactor: the reactor of that server.
    :param supervisor: a :class:`~dhtwisted.service.systemd.Supervisor`.
    """

    log = Logger()

    def __init__(self, reactor, supervisor):
        self._reactor = reactor
        self._supervisor = supervisor
        self._replaced = {}
        self._reload = None
        self._has_terminal = False
        self._clock_guard = ClockGuard(reactor)

    def starting(self, connections, reload):
        """Take SIGTERM and SIGINT, so that both end in a clean stop and exit status 0, and SIGHUP for a reload.

        ``twistd`` would repeat the signal after the stop and so report a failure to whoever supervises it. Twisted installs its own
        handlers while the reactor starts, hence ours come after that.

        :param connections: how many clients there may be, 0 for any number.
        :param reload: called without argument, in the reactor's thread, after a SIGHUP; returns one line that says how the server is.
        """
        self._reload = reload
        self._has_terminal = _terminal_is_there()
        raise_file_limit(connections)
        self._reactor.callWhenRunning(self._take_signals)
        self._reactor.callWhenRunning(self._supervisor.starting)
        self._reactor.callWhenRunning(self._clock_guard.start)

    def started(self, status):
        """Tell the supervisor. And keep the collector from looking again at what lives as long as the server: each full collection would
        visit all of it. And let it look less often: hundreds of requests that wait for the storage are not garbage, but 4 % of the time
        went into finding that out.

        :param status: one line that says how the server is.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_ABOVE)
        self._supervisor.ready(status)

    def failed(self):
        """Stop the reactor and make the exit status 1.

        ``twistd`` ends with 0 whatever happened while the reactor ran, and swallows SystemExit there. Leaving from an exit handler is
        late enough for it to have closed its log and removed its PID file.
        """
        self._supervisor.stopping("Cannot start; the log says why")
        atexit.register(_leave_with_failure)
        self._reactor.callWhenRunning(self._stop_reactor)

    def stopping(self):
        """Tell the supervisor."""
        self._supervisor.stopping()

    def stopped(self):
        """Give the signals back."""
        self._supervisor.stopped()
        self._clock_guard.stop()
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()

    def _take_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._replaced[number] = signal.signal(number, self._stop_on_signal)
        self._replaced[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)

    def _stop_on_signal(self, number, frame):
        if number == signal.SIGINT:
            # Whoever presses Ctrl-C twice does not want to wait.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._reactor.callFromThread(self._stop_reactor)

    def _hang_up(self, number, frame):
        """Reload; but a server that was started from a terminal ends with it."""
        gone = self._has_terminal and not _terminal_is_there()
        self._reactor.callFromThread(self._stop_reactor if gone else self._reload_configuration)

    def _reload_configuration(self):
        self._supervisor.reloading()
        status = "The reload has failed by a defect; the log has it"
        try:
            status = self._reload()
        finally:
            # systemd waits for it, whatever happens.
            self._supervisor.ready(status)

    def _stop_reactor(self):
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # It is stopping already.


def _terminal_is_there():
    """Whether a terminal can end this process by going away."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _leave_with_failure():
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)
