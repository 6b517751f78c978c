"""The time that a storage gives to messages while the clock is behind the last time that it gave.

Times never go back. If they stood still until the clock has caught up, all messages stored meanwhile would have the same time. Then a
client that asks for messages later than its last one would miss them. So the time goes on, but more slowly than the clock, until the clock
has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_SECONDS = 0.01
"""Real seconds for each millisecond of server time. Several servers on one storage may each add their milliseconds. A poll waits longer
than this until its last millisecond is over."""


class ForwardTime:
    """Gives times that never go back.

    :param monotonic: gives seconds that nobody can set back.
    """

    __slots__ = ("_monotonic", "_next_step")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._next_step = monotonic()

    def step(self) -> int:
        """Milliseconds by which the time may go on now: 0 or 1."""
        now = self._monotonic()
        if now < self._next_step:
            return 0
        self._next_step = now + STEP_SECONDS
        return 1

    def next_after(self, last: int, now: int) -> int:
        """The server time for a message that is stored now.

        :param last: the last time that was given, in milliseconds.
        :param now: the time of the clock, in milliseconds.
        """
        return now if now >= last else last + self.step()
