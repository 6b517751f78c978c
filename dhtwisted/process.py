"""What belongs to the whole process: signals, exit status, garbage collector. A server inside another program leaves it alone."""

import atexit
import gc
import os
import signal
import sys

from twisted.internet.error import ReactorNotRunning

COLLECT_ABOVE = 10_000, 20, 20
"""Objects more than there were at the last look; looks at the young before one at the older, and so on."""


class Process:
    """The process, when one server is all that it is for.

    :param reactor: the reactor of that server.
    """

    def __init__(self, reactor):
        self._reactor = reactor
        self._replaced = {}

    def starting(self):
        """Take SIGTERM and SIGINT, so that both end in a clean stop and exit status 0.

        ``twistd`` would repeat the signal after the stop and so report a failure to whoever supervises it. Twisted installs its own
        handlers while the reactor starts, hence ours come after that.
        """
        self._reactor.callWhenRunning(self._take_signals)

    def started(self):
        """Keep the collector from looking again at what lives as long as the server: each full collection would visit all of it. And let
        it look less often: hundreds of requests that wait for the storage are not garbage, but 4 % of the time went into finding that out.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_ABOVE)

    def failed(self):
        """Stop the reactor and make the exit status 1.

        ``twistd`` ends with 0 whatever happened while the reactor ran, and swallows SystemExit there. Leaving from an exit handler is
        late enough for it to have closed its log and removed its PID file.
        """
        atexit.register(_leave_with_failure)
        self._reactor.callWhenRunning(self._stop_reactor)

    def stopped(self):
        """Give the signals back."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced.clear()

    def _take_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._replaced[number] = signal.signal(number, self._stop_on_signal)

    def _stop_on_signal(self, number, frame):
        if number == signal.SIGINT:
            # Whoever presses Ctrl-C twice does not want to wait.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._reactor.callFromThread(self._stop_reactor)

    def _stop_reactor(self):
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            return  # It is stopping already.


def _leave_with_failure():
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(1)
