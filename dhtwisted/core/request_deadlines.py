"""One deadline for each request, from its arrival, whatever it waits for: its turn, a storage, a lock, the hash of a password.

There is no timer for a request: one sweep a second, while anything waits, asks those that have requests under way. A request that does not
wait has no part in this. What was begun goes on when its time is over, since it may be stored already; what was not begun never is.
"""

from __future__ import annotations

from twisted.logger import Logger

SWEEP = 1.0
"""Seconds between two sweeps."""

PATIENCE = 9
"""Sweeps until the answer. It comes after 8 to 9 seconds, since a sweep may follow an arrival at once: within the ten of the contract. A
storage that gives up by itself does so earlier, and says why."""


class Deadlines:
    """All that waits on one server.

    :param reactor: for delayed calls.
    :ivar sweeps: how many there were. Deadlines are counted in these: no clock that is set moves them, and a process that was suspended
        goes on with what it had, instead of refusing all of it.
    """

    _log = Logger()

    def __init__(self, reactor):
        self._reactor = reactor
        self._watched = set()
        self._call = None
        self.sweeps = 0

    def due(self):
        """The deadline of what arrives now: the number of the sweep at which it is due."""
        return self.sweeps + PATIENCE

    def watch(self, waiting):
        """Ask once a second whether something is due.

        :param waiting: its ``answer_due(sweep)`` answers what was due by this sweep, and says whether it is to be asked again.
        """
        self._watched.add(waiting)
        if self._call is None:
            self._call = self._reactor.callLater(SWEEP, self._sweep)

    def forget(self, waiting):
        """Ask it no more."""
        self._watched.discard(waiting)

    def stop(self):
        """Ask nobody any more."""
        self._watched.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self):
        self._call = None
        self.sweeps += 1
        for waiting in list(self._watched):
            if waiting in self._watched and not self._ask(waiting):
                self._watched.discard(waiting)
        if self._watched and self._call is None:
            self._call = self._reactor.callLater(SWEEP, self._sweep)

    def _ask(self, waiting):
        try:
            return waiting.answer_due(self.sweeps)
        except Exception:
            self._log.failure("Requests whose deadline is past could not be answered")
            return False
