"""A time limit for many waits, one after the other, at the cost of an assignment each."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls a function when a wait takes too long.

    A timer for each statement would be started and cancelled thousands of times a second. This class starts a timer for the first wait.
    When the timer fires, it checks how long the present wait has taken, and starts again for the rest.

    :param reactor: for time and timers.
    :param expired: called with the number of seconds that were not enough.
    """

    def __init__(self, reactor: IReactorTime, expired: Callable[[float], object]) -> None:
        self._reactor = reactor
        self._expired = expired
        self._call: IDelayedCall | None = None
        self._due: float | None = None
        self._seconds: float = 0

    def start(self, seconds: float) -> None:
        """Begin a wait. It replaces any other."""
        self._seconds = seconds
        self._due = self._reactor.seconds() + seconds
        if self._call is None:
            self._call = self._reactor.callLater(seconds, self._check)
        elif self._due < self._call.getTime():
            self._call.reset(seconds)

    def stop(self) -> float:
        """End the wait.

        :returns: the seconds that were left; 0 or less if there was no wait.
        """
        due, self._due = self._due, None
        return 0 if due is None else due - self._reactor.seconds()

    def cancel(self) -> None:
        """End the wait and the timer."""
        self._due = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _check(self) -> None:
        self._call = None
        if self._due is None:
            return
        left = self._due - self._reactor.seconds()
        if left > 0:
            self._call = self._reactor.callLater(left, self._check)
        else:
            self._due = None
            self._expired(self._seconds)
