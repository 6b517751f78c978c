"""Keeps delayed calls going when the system clock is set back.

Twisted measures delays by the system clock. When that is set back by an hour, each delayed call comes an hour late: pings, time limits, the
message to systemd's watchdog, and the call at the end of a reactor turn that sends what the turn has produced. So a thread compares the
system clock with a clock that nobody sets, and moves the calls by as much as the system clock was moved.

When the clock is set forward, delayed calls come early.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

INTERVAL = 1.0
"""Seconds between two comparisons. After a step back, no delayed call runs for so long."""

LARGEST_DRIFT = 0.5
"""Seconds that the clocks may drift apart between two comparisons: time servers correct in small steps."""


class ClockGuard:
    """Watches the clock of one reactor.

    :param reactor: a running reactor: an ``IReactorTime`` and ``IReactorFromThreads``.
    :param wall: the clock that the reactor uses.
    :param steady: a clock that nobody sets.
    """

    log = Logger()

    def __init__(self, reactor: Any, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock guard", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self.compare()

    def compare(self) -> None:
        """Compare the clocks. Any thread may call this."""
        offset = self._wall() - self._steady()
        step, self._offset = offset - self._offset, offset
        if abs(step) > LARGEST_DRIFT:
            self._reactor.callFromThread(self._handle_step, step)

    def _handle_step(self, step: float) -> None:
        direction = "back" if step < 0 else "forward"
        self.log.warn("the clock was set {direction} by {seconds} s", direction=direction, seconds=round(abs(step), 1))
        if step < 0:
            for call in self._reactor.getDelayedCalls():
                # A call that was made after the step now comes at once, such as the end of a long poll. It cannot be identified,
                # because there may have been several steps, and a call that is not moved would be hours late.
                call.delay(step)
