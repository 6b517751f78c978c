"""Limits on how often something may happen within a sliding window. Nothing is locked for longer than the window."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

WINDOW = 60.0
MAX_KEYS = 10_000
SLOTS = 2**16
"""Counts of a :class:`FailureThrottle`, at most: 20 MB when each is in use, which takes a thousand failures a second."""

SOON = 1.0
"""Seconds to wait if only tries that have not ended are in the way."""

NEARLY_ONE = 0.99
"""Enough to take one: after exactly :attr:`RateLimit.delay` the rounding of large clock values may leave a little less than one."""


class _Count:
    """What is counted for a key.

    :ivar failures: times, ascending; no more than are permitted.
    :ivar pending: tries that have not ended.
    """

    __slots__ = ("failures", "pending")

    def __init__(self) -> None:
        self.failures: list[float] = []
        self.pending = 0


Begun = tuple[int, _Count]
"""A try under way: where it is counted."""


class FailureThrottle:
    """Counts failures by key over the last minute, and tries that may still become failures.

    Keys come from clients (addresses, logins), so their number is bounded. No count is removed for another: an attacker who sends many keys
    would remove the count that stops them. Instead a secret hash gives each key one of :data:`SLOTS` slots. Two keys in one slot share its
    count, which may refuse too early, but never too late.

    :param clock: gives ``seconds()``.
    :param per_minute: failures permitted for each key; 0 for any number.
    """

    def __init__(self, clock: IReactorTime, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._secret = secrets.token_bytes(16)
        self._counts: OrderedDict[int, _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def set_limit(self, per_minute: int) -> None:
        """Permit another number. The counts start again."""
        if per_minute != self._per_minute:
            self._per_minute = per_minute
            self._counts.clear()

    def wait(self, key: str) -> float:
        """Seconds until another try is permitted under a key; 0 when it is now.

        :param key: a text.
        """
        count = self._recent(self._slot(key))
        if not self._per_minute or count is None:
            return 0
        if len(count.failures) >= self._per_minute:
            return WINDOW - (self._clock.seconds() - count.failures[0])
        return SOON if len(count.failures) + count.pending >= self._per_minute else 0

    def is_used(self, key: str) -> bool:
        """Whether a key has any failure, or a try that has not ended."""
        return self._recent(self._slot(key)) is not None

    def begin(self, key: str) -> Begun:
        """Count a try; :meth:`end` is called for it.

        :returns: what to hand to :meth:`end`.
        """
        slot = self._slot(key)
        count = self._counts.setdefault(slot, _Count())
        count.pending += 1
        return slot, count

    def end(self, begun: Begun, failed: bool) -> None:
        """End a try.

        :param begun: what :meth:`begin` gave.
        """
        slot, count = begun
        count.pending -= 1
        if failed:
            self._add(slot, count)
        elif self._counts.get(slot) is count:
            self._recent(slot)

    def failed(self, key: str) -> None:
        """Count a failure for which no try was counted."""
        slot = self._slot(key)
        self._add(slot, self._counts.setdefault(slot, _Count()))

    def _add(self, slot: int, count: _Count) -> None:
        if not self._per_minute or self._counts.get(slot) is not count:
            return  # Any number is permitted, or the limit has changed since the try began.
        count.failures.append(self._clock.seconds())
        del count.failures[: -self._per_minute]
        self._counts.move_to_end(slot)
        # The oldest failures are first.
        for oldest in list(islice(self._counts, 2)):
            self._recent(oldest)

    def _recent(self, slot: int) -> _Count | None:
        """The count of a slot, without old failures; ``None`` if nothing is left."""
        count = self._counts.get(slot)
        if count is None:
            return None
        now = self._clock.seconds()
        # A time in the future is from before the clock was set back. It would lock for too long.
        if count.failures and not now - WINDOW < count.failures[0] <= now:
            count.failures = [time for time in count.failures if now - WINDOW < time <= now]
        if not count.failures and not count.pending:
            del self._counts[slot]
            return None
        return count

    def _slot(self, key: str) -> int:
        digest = blake2b(key.encode(errors="surrogatepass"), digest_size=4, key=self._secret).digest()
        return int.from_bytes(digest, "big") % SLOTS


class RateLimit:
    """A bucket of requests that fills at ``per_second`` and holds one second's worth.

    :param per_second: 0 for any rate.
    """

    __slots__ = ("_available", "_clock", "_per_second", "_seen")

    def __init__(self, clock: IReactorTime, per_second: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._available = per_second
        self._seen = clock.seconds()

    def take(self) -> bool:
        """Take one; true when there was one."""
        if not self._per_second:
            return True
        now = self._clock.seconds()
        self._available = min(self._per_second, self._available + max(0.0, now - self._seen) * self._per_second)
        self._seen = now
        if self._available < NEARLY_ONE:
            return False
        self._available -= 1
        return True

    @property
    def delay(self) -> float:
        """Seconds until there is one again."""
        return max(0.0, (1 - self._available) / self._per_second)


class RateLimits:
    """A :class:`RateLimit` for each of many keys, which come from clients. Above :data:`MAX_KEYS` the one unused for longest is removed."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._per_second: float = 0
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def of(self, key: str, per_second: float) -> RateLimit:
        """The limit of a key. Another rate than before starts all limits again."""
        if per_second != self._per_second:
            self._per_second = per_second
            self._limits.clear()
        limit = self._limits.get(key)
        if limit is None:
            limit = self._limits[key] = RateLimit(self._clock, per_second)
            if len(self._limits) > MAX_KEYS:
                self._limits.popitem(last=False)
        self._limits.move_to_end(key)
        return limit
