"""Delayed calls with a resolution of a second. There are several for each client, so they cost a fraction of the reactor's."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Timer:
    """One delayed call."""

    __slots__ = ("_function", "due", "number")

    def __init__(self, due: float, number: int, function: Callable[[], object]) -> None:
        self.due = due
        self.number = number
        self._function: Callable[[], object] | None = function

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.number) < (other.due, other.number)

    def cancel(self) -> None:
        """Do not call. After the call this does nothing."""
        self._function = None

    def run(self) -> None:
        """Call, unless it was cancelled."""
        function, self._function = self._function, None
        if function is not None:
            function()


class Timers:
    """The delayed calls of one broker.

    :param clock: gives the time.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._last = 0

    def call(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call a function after so many seconds, at the next :meth:`tick`."""
        self._last += 1
        timer = Timer(self._clock.seconds() + seconds, self._last, function)
        heappush(self._heap, timer)
        return timer

    def tick(self, now: float) -> None:
        """Make the calls that are due. An error of one does not affect the others.

        :param now: seconds of the clock.
        """
        heap = self._heap
        while heap and heap[0].due <= now:
            try:
                heappop(heap).run()
            except Exception:
                self.log.failure("a delayed call of MQTT failed")
