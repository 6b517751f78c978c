"""Long polls that wait: how one waits, how many may, and their end when the server stops."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from dhtwisted.errors import TooManyRequests


class Poll:
    """Takes the events of one subscription, in the place of a session.

    :param is_known: a function of a message; events of those for which it is true are left out.
    :ivar events: the messages that came.
    :ivar ended: true when the client is gone or the server stops.
    """

    __slots__ = ("_arrived", "ended", "events", "is_known")

    def __init__(self, is_known=lambda message: False):
        self.is_known = is_known
        self.events = []
        self.ended = False
        self._arrived = None

    def deliver(self, subscription, message, body):
        """Take an event; called by the broker."""
        if not self.is_known(message):
            self.events.append(message)
            self._wake()

    def end(self):
        """Wait no longer."""
        self.ended = True
        self._wake()

    def lose(self, reason):
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

    def __len__(self):
        return len(self._waiting)

    def add(self, poll):
        """Count a poll.

        :raises TooManyRequests: there are enough.
        """
        if self.limit and len(self._waiting) >= self.limit:
            self._refused("polls")
            raise TooManyRequests(detail=f"{self.limit} polls wait already (limits.polls)")
        self._waiting.add(poll)

    def remove(self, poll):
        """Count a poll no longer."""
        self._waiting.discard(poll)

    def end_all(self):
        """Have every poll answered now, since the server stops."""
        for poll in list(self._waiting):
            poll.end()
