"""Long polls: how one waits for events, how many may wait, and their end when the server stops."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from dhtwisted.core.budget import Budget
from dhtwisted.core.subscription import Subscription
from dhtwisted.errors import TooManyRequests
from dhtwisted.model import Message, payload_size

MAX_POLL_BYTES = 512 * 1024
"""Bytes of payload that a poll keeps of the events that came, or one message. It waits up to a minute for messages dated ahead."""


class Poll:
    """Receives the events of one subscription, in the place of a session.

    :param is_known: whether the client has a message already; its event is ignored then.
    :param time_of: the time of a message in milliseconds. When too many events come, the latest by this time are dropped.
    :param budget: the kept messages count in it.
    :ivar events: the messages that came.
    :ivar ended: true when the client is gone or the server stops.
    :ivar has_dropped: whether some of the messages that came must be read from the storage.
    """

    __slots__ = ("_account", "_kept_bytes", "_time_of", "_woken", "ended", "events", "has_dropped", "is_known")

    def __init__(
        self,
        is_known: Callable[[Message], bool] = lambda message: False,
        time_of: Callable[[Message], int] = attrgetter("timestamp"),
        budget: Budget | None = None,
    ) -> None:
        self.is_known = is_known
        self.events: list[Message] = []
        self.ended = self.has_dropped = False
        self._time_of = time_of
        self._account = None if budget is None else budget.account(self.disconnect)
        self._kept_bytes = 0
        self._woken: Deferred[None] | None = None

    def deliver(self, subscription: Subscription, message: Message, body: bytes) -> None:
        """Receive an event; the broker calls this."""
        if not self.is_known(message):
            self.events.append(message)
            self._count(payload_size(message))
            if self._kept_bytes > MAX_POLL_BYTES and len(self.events) > 1:
                self._drop_latest()
            self._wake()

    def close(self) -> None:
        """Count nothing any more."""
        if self._account is not None:
            self._account.close()

    def _count(self, size: int) -> None:
        self._kept_bytes += size
        if self._account is not None:
            self._account.add(size)

    def _drop_latest(self) -> None:
        """Keep half of the bytes that may be kept. A client that continues after the last of these finds the others in the storage."""
        self.events.sort(key=self._time_of)
        while self._kept_bytes > MAX_POLL_BYTES // 2 and len(self.events) > 1:
            self._count(-payload_size(self.events.pop()))
        self.has_dropped = True

    def end(self) -> None:
        """Wait no longer."""
        self.ended = True
        self._wake()

    def disconnect(self, reason: str) -> None:
        """Wait no longer, since events were missed. The client asks again, and finds their messages in the storage."""
        self.end()

    async def wait(self, reactor: IReactorTime, seconds: float, known: int = 0) -> None:
        """Wait until there are more events than a known number, the poll ends, or the time is over."""
        if len(self.events) > known or self.ended or seconds <= 0:
            return
        self._woken = Deferred()
        timer = reactor.callLater(seconds, self._wake)
        await self._woken
        if timer.active():
            timer.cancel()

    def _wake(self) -> None:
        if self._woken is not None:
            woken, self._woken = self._woken, None
            woken.callback(None)


class Polls:
    """The long polls that wait on one server.

    :param refused: called with the name of the limit when a poll is refused.
    :ivar limit: how many may wait; 0 for any number.
    """

    def __init__(self, limit: int, refused: Callable[[str], None] = lambda limit: None) -> None:
        self.limit = limit
        self._refused = refused
        self._waiting: set[Poll] = set()
        self._is_over = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, poll: Poll) -> None:
        """Count a poll.

        :raises TooManyRequests: there are enough.
        """
        if self.limit and len(self._waiting) >= self.limit:
            self._refused("polls")
            raise TooManyRequests(detail=f"{self.limit} polls wait already (limits.polls)")
        self._waiting.add(poll)
        if self._is_over:
            poll.end()

    def remove(self, poll: Poll) -> None:
        """Count a poll no longer."""
        self._waiting.discard(poll)

    def end_all(self) -> None:
        """End every poll now, and later ones at once: the server stops."""
        self._is_over = True
        for poll in list(self._waiting):
            poll.end()
