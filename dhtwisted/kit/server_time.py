"""The time that a storage gives, while the clock is behind it.

Times never step back. If they stood still until the clock has caught up, all messages of that while had one time, and a client that asks
for what is later than its last message would get none of them. So the time goes on, and more slowly than the clock, which thus catches up.
"""

import time

INTERVAL = 0.01
"""Seconds for each millisecond. Several servers on one storage may each add theirs. A poll waits longer than this for its last millisecond
to be over."""


class SlowSteps:
    """Says when time may go on by a millisecond.

    :param steady: gives seconds that nobody sets.
    """

    __slots__ = ("_next", "_steady")

    def __init__(self, steady=time.monotonic):
        self._steady = steady
        self._next = steady()

    def take(self):
        """Milliseconds by which time goes on: 0 or 1."""
        now = self._steady()
        if now < self._next:
            return 0
        self._next = now + INTERVAL
        return 1

    def after(self, last, now):
        """The time of what comes now.

        :param last: the last time that was given, in milliseconds.
        :param now: of the clock.
        """
        return now if now >= last else last + self.take()
