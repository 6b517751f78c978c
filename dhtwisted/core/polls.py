"""Long polls that wait: how one waits, how many may, and their end when the server stops."""

from __future__ import annotations

from operator import attrgetter

from twisted.internet.defer import Deferred

from dhtwisted.errors import TooManyRequests
from dhtwisted.model import payload_size

MOST_HELD = 512 * 1024
"""Bytes of payload that a poll holds of what came, or one message: it waits up to a minute for those that clients date ahead."""


class Poll:
    """Takes the events of one subscription, in the place of a session.

    :param is_known: a function of a message; events of those for which it is true are left out.
    :param time_of: a function of a message, in milliseconds. When too much has come, the latest by this time are left to the storage.
    :param budget: the :class:`~dhtwisted.core.budget.Budget` in which counts what is held.
    :ivar events: the messages that came.
    :ivar ended: true when the client is gone or the server stops.
    :ivar has_left_out: whether some that came are in the storage alone.
    """

    __slots__ = ("_account", "_arrived", "_held", "_time_of", "ended", "events", "has_left_out", "is_known")

    def __init__(self, is_known=lambda message: False, time_of=attrgetter("timestamp"), budget=None):
        self.is_known = is_known
        self.events = []
        self.ended = self.has_left_out = False
        self._time_of = time_of
        self._account = None if budget is None else budget.account(self.disconnect)
        self._held = 0
        self._arrived = None

    def deliver(self, subscription, message, body):
        """Take an event; called by the broker."""
        if not self.is_known(message):
            self.events.append(message)
            self._hold(payload_size(message))
            if self._held > MOST_HELD and len(self.events) > 1:
                self._leave_out_latest()
            self._wake()

    def close(self):
        """Hold nothing any more."""
        if self._account is not None:
            self._account.close()

    def _hold(self, size):
        self._held += size
        if self._account is not None:
            self._account.add(size)

    def _leave_out_latest(self):
        """Keep half of what may be held. Whoever goes on behind the last of these finds the others stored."""
        self.events.sort(key=self._time_of)
        while self._held > MOST_HELD // 2 and len(self.events) > 1:
            self._hold(-payload_size(self.events.pop()))
        self.has_left_out = True

    def end(self):
        """Wait no longer."""
        self.ended = True
        self._wake()

    def disconnect(self, reason):
        """Wait no longer, since an event was lost; the client asks again, and finds its message stored."""
        self.end()

    async def wait(self, reactor, seconds, known=0):
        """Wait for one event more than are known, the end, or so many seconds."""
        if len(self.events) > known or self.ended or seconds <= 0:
            return
        self._arrived = Deferred()
        timer = reactor.callLater(seconds, self._wake)
        await self._arrived
        if timer.active():
            timer.cancel()

    def _wake(self):
        if self._arrived is not None:
            arrived, self._arrived = self._arrived, None
            arrived.callback(None)


class Polls:
    """All that wait on one server.

    :param refused: called with the name of the limit when one is refused.
    :ivar limit: at most so many, 0 for any number.
    """

    def __init__(self, limit, refused=lambda limit: None):
        self.limit = limit
        self._refused = refused
        self._waiting = set()
        self._is_over = False

    def __len__(self):
        return len(self._waiting)

    def add(self, poll):
        """Count a poll.

        :raises TooManyRequests: there are enough.
        """
        if self.limit and len(self._waiting) >= self.limit:
            self._refused("polls")
            raise TooManyRequests(detail=f"{self.limit} polls are waiting already (limits.polls)")
        self._waiting.add(poll)
        if self._is_over:
            poll.end()

    def remove(self, poll):
        """Count a poll no longer."""
        self._waiting.discard(poll)

    def end_all(self):
        """Have every poll answered now, and those that begin later at once, since the server stops."""
        self._is_over = True
        for poll in list(self._waiting):
            poll.end()
