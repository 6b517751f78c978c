"""Delayed calls with a resolution of a second. There are several for each client, so they cost a fraction of the reactor's."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

FEW = 1000
"""Cancelled calls that are kept in any case: to look for them costs more."""


class Timer:
    """One delayed call."""

    __slots__ = ("_function", "_timers", "due", "number")

    def __init__(self, timers: Timers, due: float, number: int, function: Callable[[], object]) -> None:
        self._timers = timers
        self.due = due
        self.number = number
        self._function: Callable[[], object] | None = function

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.number) < (other.due, other.number)

    @property
    def is_active(self) -> bool:
        """Whether it will be called."""
        return self._function is not None

    def cancel(self) -> None:
        """Do not call. After the call this does nothing."""
        if self._function is not None:
            self._function = None
            self._timers.forget_one()

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
        self._cancelled = 0
        self._last = 0

    def call(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call a function after so many seconds, at the next :meth:`tick`."""
        self._last += 1
        timer = Timer(self, self._clock.seconds() + seconds, self._last, function)
        heappush(self._heap, timer)
        return timer

    def __len__(self) -> int:
        """How many calls are kept, with some that were cancelled."""
        return len(self._heap)

    def forget_one(self) -> None:
        """A call was cancelled. When most are, they go: clients may come and leave many times within one keep alive."""
        self._cancelled += 1
        if self._cancelled > FEW and self._cancelled > len(self._heap) // 2:
            self._heap = [timer for timer in self._heap if timer.is_active]
            heapify(self._heap)
            self._cancelled = 0

    def tick(self, now: float) -> None:
        """Make the calls that are due. An error of one does not affect the others.

        :param now: seconds of the clock.
        """
        while self._heap and self._heap[0].due <= now:
            timer = heappop(self._heap)
            self._cancelled -= not timer.is_active
            try:
                timer.run()
            except Exception:
                self.log.failure("a delayed call of MQTT failed")
