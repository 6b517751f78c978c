"""Memory that is used for clients, in bytes: an account for each connection, and one budget for all of them.

Nothing is counted for a client that reads what is sent. Counted are: replies and events that the client has not read, requests that wait,
and what is being read for an answer. Every front counts here, so that no front is a way around the limit.

A connection whose client reads nothing for :data:`SLOW_SECONDS` is ended. When the budget is used up, no new request begins on any
connection, and the connection that holds most without progress is ended. :meth:`Budget.tick` checks both.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

SLOW_SECONDS = 10
"""How long a client may read nothing of what is sent to it."""

STALLED_SECONDS = 1
"""When the budget is used up, connections that have read or sent nothing for so long are ended first."""

USED_UP_SECONDS = 3
"""When it is used up for so long, other connections are ended too: a client that reads a little now and then must not block all others."""

REPAYING = 10
"""So many seconds with room make up for one without: a client that fills the budget again soon does not get all those seconds again."""

RELIEF = 4
"""When it was used up for long, this fraction of it is freed: a client that fills it again must send that much again."""

NOT_READING, USED_UP = "not_reading", "output_total"
"""Why an account is ended, as it is counted in ``Metrics.ends``."""


def _nobody(reason: str) -> None:
    """Replaces the function that ends a connection, when the connection has ended."""


class Account:
    """The memory of one connection. Only its front counts here.

    :param budget: the :class:`Budget` that it is part of.
    :param end: called once with :data:`NOT_READING` or :data:`USED_UP`: the front aborts the connection, counts and logs that. The account
        is closed by then.
    :ivar held: bytes.
    :ivar is_blocked: true while the client does not take what is sent to it.
    :ivar is_expected_more: true while a part of a large request is here, and the client has to send the rest.
    :ivar progressed_at: when a client that we wait for last took or sent something, in seconds of the clock.
    """

    __slots__ = ("_budget", "_end", "held", "is_blocked", "is_closed", "is_expected_more", "progressed_at")

    def __init__(self, budget: Budget, end: Callable[[str], None]) -> None:
        self._budget = budget
        self._end = end
        self.held = 0
        self.is_blocked = self.is_expected_more = self.is_closed = False
        self.progressed_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether more is held than the mark: nothing more of this client is to be read or begun."""
        mark = self._budget.mark
        return self.held > mark > 0

    def add(self, size: int) -> None:
        """Count bytes that are held from now on, or no longer if negative."""
        if size and not self.is_closed:
            self.held += size
            self._budget.change(self, size)

    def remove(self, size: int) -> None:
        """Stop counting bytes. After :meth:`close` this does nothing."""
        self.add(-size)

    def block(self) -> None:
        """The client does not read what is sent: from now on it has :data:`SLOW_SECONDS` to read something."""
        if not self.is_blocked and not self.is_closed:
            self.is_blocked = True
            self._budget.blocked.add(self)
            self.progress()

    def expect_more(self, is_expected: bool) -> None:
        """The client has just sent a part of a large request, which is counted, and not the whole; or, if false, it has."""
        self.is_expected_more = is_expected
        if not self.is_blocked:
            # To send a little now and then is not to read anything.
            self.progress()

    def progress(self) -> None:
        """A client that we wait for has read or sent something."""
        self.progressed_at = self._budget.now()

    def is_stalled(self, now: float) -> bool:
        """Whether we wait for the client, and it reads and sends nothing."""
        return (self.is_blocked or self.is_expected_more) and now - self.progressed_at >= STALLED_SECONDS

    def unblock(self) -> None:
        """The client has read everything."""
        if self.is_blocked:
            self.is_blocked = False
            self._budget.blocked.discard(self)

    def close(self) -> None:
        """Free everything: the connection has ended. What is counted later has no effect."""
        self.unblock()
        self.remove(self.held)
        self.is_closed = True
        # It is a method of the connection: both would wait for the garbage collector.
        self._end = _nobody

    def end(self, reason: str) -> None:
        """Abort the connection."""
        end = self._end
        self.close()
        end(reason)


class Reservation:
    """Bytes that are counted for one answer while it is made.

    A context manager, written out: every list enters one, and one made of a generator costs more.

    :param budget: the :class:`Budget` in which they count.
    :param size: how many.
    """

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget = budget
        self._size = size

    async def __aenter__(self) -> Reservation:
        if self._budget.is_used_up:
            await self._budget.room()
        self._budget.count(self._size)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._budget.count(-self._size)

    def extend(self, size: int) -> bool:
        """Count more, unless there is no room: to wait for it would be to wait for others who do the same.

        :returns: whether they are counted.
        """
        if self._budget.is_used_up:
            return False
        self._size += size
        self._budget.count(size)
        return True


class Budget:
    """The memory of all connections of one server.

    :param clock: an ``IReactorTime``.
    :param limit: bytes for all together, ``limits.output_total``; 0 for any number.
    :param mark: bytes for one connection, ``limits.output_queue``; 0 for any number.
    :ivar total: bytes that are held now.
    :ivar is_used_up: true when no new request is to be begun, on any connection. An attribute, since every request asks.
    :ivar blocked: the accounts whose client does not take what is sent.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, limit: int = 0, mark: int = 0) -> None:
        self._clock = clock
        self.limit = limit
        self.mark = mark
        self.total = 0
        self.is_used_up = False
        self.blocked: set[Account] = set()
        self.now = clock.seconds
        self._holding: set[Account] = set()
        self._waiting: deque[Callable[[], None]] = deque()
        self._check: IDelayedCall | None = None
        self._used_up_since: float | None = None
        self._used_up_for = 0.0
        self._room_since = 0.0

    def set_limits(self, limit: int, mark: int) -> None:
        """Take on other limits."""
        self.limit, self.mark = limit, mark
        self.count(0)
        self._check_soon()

    def account(self, end: Callable[[str], None]) -> Account:
        """Make the account of a new connection; see :class:`Account`."""
        return Account(self, end)

    async def room(self) -> None:
        """Wait until the budget is not used up."""
        while self.is_used_up:
            there_is: Deferred[None] = Deferred()
            self.wait(partial(there_is.callback, None))
            await there_is

    def reserved(self, size: int) -> Reservation:
        """Count bytes for what is read from a storage, from before it is asked until what it gave is gone, or counts elsewhere in the same
        turn of the reactor; wait for room before. Who waits for a reservation must hold nothing that others wait for.
        """
        return Reservation(self, size)

    def wait(self, resume: Callable[[], None]) -> None:
        """Call this once when there is room again, in the order of asking. It looks at :attr:`is_used_up` anew."""
        self._waiting.append(resume)
        if not self.is_used_up:
            self._check_soon()

    def change(self, account: Account, size: int) -> None:
        """Count what an account holds more, or less. For :class:`Account` alone."""
        if account.held:
            self._holding.add(account)
        else:
            self._holding.discard(account)
        self.count(size)

    def count(self, size: int) -> None:
        """Count bytes that no connection holds (any more) and that go by themselves, such as a request under way whose client has gone; a
        negative number of them, no longer.
        """
        self.total += size
        was_used_up, self.is_used_up = self.is_used_up, self.total >= self.limit > 0
        if was_used_up != self.is_used_up:
            self._check_soon()

    def tick(self, now: float) -> None:
        """End who takes nothing, and make room; call it once a second.

        :param now: seconds of the clock.
        """
        for account in [account for account in self.blocked if now - account.progressed_at > SLOW_SECONDS]:
            self._end(account, NOT_READING)
        self._make_room(now)

    def clock_set_back(self) -> None:
        """Move times that are now in the future to now."""
        now = self.now()
        for account in self._holding | self.blocked:
            account.progressed_at = min(account.progressed_at, now)
        self._room_since = min(self._room_since, now)
        if self._used_up_since is not None:
            self._used_up_since = min(self._used_up_since, now)

    def _check_soon(self) -> None:
        # Not at once: the caller is in the middle of something.
        if self._check is None:
            self._check = self._clock.callLater(0, self._do_check)

    def _do_check(self) -> None:
        self._check = None
        self._make_room(self.now())
        waiting = len(self._waiting)
        while waiting and not self.is_used_up:
            waiting -= 1
            try:
                self._waiting.popleft()()
            except Exception:
                self.log.failure("a request that waited for room in memory could not go on")

    def _make_room(self, now: float) -> None:
        if not self.is_used_up:
            self._has_room(now)
            return
        if self._used_up_since is None:
            self._used_up_since = now - max(0.0, self._used_up_for - (now - self._room_since) / REPAYING)
        # What no connection holds is freed soon, and ending connections would not help.
        is_long = now - self._used_up_since >= USED_UP_SECONDS and sum(account.held for account in self._holding) > self.limit / 2
        candidates = [account for account in self._holding if is_long or account.is_stalled(now)]
        enough = self.limit - self.limit // RELIEF if is_long else self.limit
        for account in sorted(candidates, key=attrgetter("held"), reverse=True):
            if self.total < enough:
                break
            self._end(account, USED_UP)
        if not self.is_used_up:
            self._has_room(now)

    def _has_room(self, now: float) -> None:
        if self._used_up_since is not None:
            self._used_up_for, self._room_since = min(now - self._used_up_since, USED_UP_SECONDS), now
            self._used_up_since = None

    def _end(self, account: Account, reason: str) -> None:
        try:
            account.end(reason)
        except Exception:
            self.log.failure("a connection that holds too much could not be ended")
