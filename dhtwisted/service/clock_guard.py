"""Keeps delayed calls going when the clock is set back.

Twisted reckons delays by the wall clock. When that goes back by an hour, what was to happen in a second happens an hour later: pings, time
limits, the word to systemd's watchdog, and the one call at the end of a turn that sends what the turn has brought. So a thread, whose sleep
does not depend on that clock, compares it with one that nobody sets, and has the calls moved by as much as the clock was.

When the clock is set forward, what waits happens early, as it would have then.
"""

import threading
import time

from twisted.logger import Logger

INTERVAL = 1.0
"""Seconds between two looks: for so long nothing delayed happens after a step."""

LARGEST_DRIFT = 0.5
"""Seconds by which the clocks may differ more than at the last look: time servers correct in small steps."""


class ClockGuard:
    """Watches the clock of one reactor.

    :param reactor: an ``IReactorTime`` and ``IReactorFromThreads``, running.
    :param wall: the clock by which the reactor goes.
    :param steady: one that is never set.
    """

    log = Logger()

    def __init__(self, reactor, wall=time.time, steady=time.monotonic):
        self._reactor = reactor
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock guard", daemon=True)

    def start(self):
        """Begin to watch."""
        self._thread.start()

    def stop(self):
        """End it."""
        self._ended.set()

    def _run(self):
        while not self._ended.wait(INTERVAL):
            self.look()

    def look(self):
        """Compare the clocks; in any thread."""
        offset = self._wall() - self._steady()
        step, self._offset = offset - self._offset, offset
        if abs(step) > LARGEST_DRIFT:
            self._reactor.callFromThread(self._stepped, step)

    def _stepped(self, step):
        self.log.warn(
            "the clock was set {direction} by {seconds} s", direction="back" if step < 0 else "forward", seconds=round(abs(step), 1)
        )
        if step < 0:
            for call in self._reactor.getDelayedCalls():
                # What was asked for since the step comes at once, such as the end of a long poll. It cannot be told apart for sure: there
                # may have been several steps, and what is left behind would wait for hours.
                call.delay(step)
