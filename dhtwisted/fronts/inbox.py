"""Messages of one client that have arrived and wait to be read.

A message waits while too many requests of its client are under way, while the client does not read its replies, while the memory for all
clients is used up (``limits.output_total``), or while the client sends more than ``limits.requests_per_second``. Nothing more is read from
the connection meanwhile. A session has an inbox only then, and always if there is a rate limit.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from dhtwisted.core.throttle import RateLimit

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from dhtwisted.core.server import Server
    from dhtwisted.interfaces import IOutput


class Reader(Protocol):
    """What an inbox needs of its session."""

    output: IOutput
    inbox: Inbox | None

    def receive(self, text: bytes, is_held: bool = False) -> None:
        """Take a message whose turn it is."""

    def is_full(self) -> bool:
        """Whether no more requests may be under way."""

    def has_room(self) -> bool:
        """Whether there is room for one more reply."""

    def has_started(self) -> bool:
        """Whether any request is under way."""

    def go_on(self) -> None:
        """Begin what had to wait for room, and take what is in the inbox."""


class Inbox:
    """The messages that wait, oldest first.

    :param per_second: ``limits.requests_per_second``; 0 for any rate.
    :ivar texts: the messages, bytes each.
    :ivar due: their deadline, if it is the server that lets them wait; 0 for none. The time of a client that causes the wait itself begins
        when the wait is over.
    """

    __slots__ = ("_is_taking", "_rate", "_rate_call", "_server", "_session", "due", "texts")

    def __init__(self, session: Reader, server: Server, per_second: float) -> None:
        self.texts: deque[bytes] = deque()
        self.due = 0
        self._session = session
        self._server = server
        self._is_taking = False
        self._rate = RateLimit(server.reactor, per_second) if per_second else None
        self._rate_call: IDelayedCall | None = None

    def put(self, text: bytes) -> None:
        """Take a message; read it now if it needs not wait."""
        if not self.texts and not self._must_wait():
            self._session.receive(text, True)
            return
        output = self._session.output
        if not self.texts and (self._session.is_full() or (self._server.budget.is_used_up and not output.congested)):
            self.due = self._server.deadlines.due()
            self._server.deadlines.watch(self)
        self.texts.append(text)
        output.account.add(len(text))
        output.pause()

    def take(self) -> None:
        """Read the messages for which there is room now."""
        # A loop and a flag: requests that do not wait would nest here.
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self.texts and not self._must_wait():
                self._read_next()
        finally:
            self._is_taking = False
        self._empty()

    def clear(self) -> None:
        """Forget the messages: they will not be read."""
        self._session.output.account.remove(sum(map(len, self.texts)))
        self.texts.clear()

    def close(self) -> None:
        """The client is gone."""
        self.texts.clear()
        if self._rate_call is not None:
            self._rate_call.cancel()
            self._rate_call = None

    def answer_due(self, sweep: int) -> bool:
        """Answer the messages whose deadline has passed, also where there is no room to begin anything; see
        :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`.
        """
        if not (self.texts and self.due):
            return False
        if self._session.output.congested and not self._session.has_started():
            # Nothing begins because the client does not read.
            return True
        if self.due <= sweep:
            while self.texts:
                self._read_next()
            self._session.go_on()
        return True

    def _read_next(self) -> None:
        text = self.texts.popleft()
        self._session.output.account.remove(len(text))
        self._session.receive(text, True)

    def _empty(self) -> None:
        if self.texts or self._session.inbox is not self:
            return
        self.due = 0
        if self._rate is None:
            self._session.inbox = None
        self._session.output.resume()

    def _must_wait(self) -> bool:
        """Whether the next message has to wait."""
        if self._session.is_full():
            return True
        if self._session.output.congested:
            self.due = 0
            return True
        if not self._session.has_room():
            return True
        if self._rate is None or self._rate.take():
            return False
        self.due = 0
        if self._rate_call is None:
            self._server.metrics.refused("requests_per_second")
            self._rate_call = self._server.reactor.callLater(self._rate.delay, self._rate_passed)
        return True

    def _rate_passed(self) -> None:
        self._rate_call = None
        self.take()
