"""Every request has one deadline from its arrival, whatever it waits for: its turn, a storage, a lock, the hash of a password.

Requests have no timers of their own. While anything waits, one sweep a second asks everything that has requests under way. A request that
does not wait costs nothing here. A request that has begun goes on after its deadline, since it may be stored already; others never begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SWEEP = 1.0
"""Seconds between two sweeps."""

PATIENCE = 9
"""Sweeps until the answer. It comes after 8 to 9 seconds, since a sweep may directly follow an arrival; ten are promised. A storage that
gives up by itself does so earlier, and says why."""


class HasDeadline(Protocol):
    """Something with requests that wait."""

    def answer_due(self, sweep: int) -> bool:
        """Answer the requests whose deadline has passed.

        :param sweep: the number of this sweep: what is due at this number or earlier has passed.
        :returns: whether to ask again at the next sweep.
        """


class Deadlines:
    """The deadlines of one server.

    :param reactor: for delayed calls.
    :ivar sweeps: how many there were. Deadlines are numbers of sweeps: setting the clock does not move them, and a suspended process
        goes on with its requests instead of refusing all of them.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._watched: set[HasDeadline] = set()
        self._call: IDelayedCall | None = None
        self.sweeps = 0

    def due(self) -> int:
        """The deadline of a request that arrives now: the number of a sweep."""
        return self.sweeps + PATIENCE

    def watch(self, waiting: HasDeadline) -> None:
        """Call ``answer_due`` once a second, until it returns false."""
        self._watched.add(waiting)
        if self._call is None:
            self._call = self._reactor.callLater(SWEEP, self._sweep)

    def forget(self, waiting: HasDeadline) -> None:
        """Do not call it any more."""
        self._watched.discard(waiting)

    def stop(self) -> None:
        """Call nothing any more."""
        self._watched.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        self._call = None
        self.sweeps += 1
        for waiting in list(self._watched):
            if waiting in self._watched and not self._ask(waiting):
                self._watched.discard(waiting)
        if self._watched and self._call is None:
            self._call = self._reactor.callLater(SWEEP, self._sweep)

    def _ask(self, waiting: HasDeadline) -> bool:
        try:
            return waiting.answer_due(self.sweeps)
        except Exception:
            self._log.failure("Requests whose deadline is past could not be answered")
            return False
