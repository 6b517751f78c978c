"""Limits on how often something may happen, over a window that slides: nothing is locked for longer than the window."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW = 60.0
MAX_KEYS = 10_000

NEARLY_ONE = 0.99
"""Enough to take one: after exactly :attr:`RateLimit.delay` the rounding of large clock values may leave a little less than one."""


class FailureThrottle:
    """Counts failures by key over the last minute.

    Keys come from clients (addresses, logins), so their number is bounded: above :data:`MAX_KEYS` the longest unused is forgotten.

    :param clock: gives ``seconds()``.
    :param per_minute: failures permitted for each key; 0 for any number.
    """

    def __init__(self, clock, per_minute):
        self._clock = clock
        self._per_minute = per_minute
        self._failures: OrderedDict[tuple, deque] = OrderedDict()

    def set_limit(self, per_minute):
        """Permit another number; what was counted is forgotten."""
        if per_minute != self._per_minute:
            self._per_minute = per_minute
            self._failures.clear()

    def permits(self, *keys):
        """Tell whether another try is permitted under all the keys."""
        return not self.wait(*keys)

    def wait(self, *keys):
        """Seconds until another try is permitted under all the keys; 0 when it is now."""
        if not self._per_minute:
            return 0
        now = self._clock.seconds()
        return max((self._wait(key, now) for key in keys), default=0)

    def _wait(self, key, now):
        return WINDOW - (now - self._failures[key][0]) if self._recent(key, now) >= self._per_minute else 0

    def failed(self, *keys):
        """Count a failure under each of the keys."""
        if not self._per_minute:
            return
        for key in keys:
            times = self._failures.setdefault(key, deque(maxlen=self._per_minute))
            times.append(self._clock.seconds())
            self._failures.move_to_end(key)
            if len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)

    def _recent(self, key, now):
        times = self._failures.get(key)
        if times is None:
            return 0
        # A time that is yet to come is of before the clock was set back: it would lock for as long.
        while times and not now - WINDOW < times[0] <= now:
            times.popleft()
        if not times:
            del self._failures[key]
        return len(times)


class RateLimit:
    """A bucket of requests that fills at ``per_second`` and holds one second's worth.

    :param per_second: 0 for any rate.
    """

    __slots__ = ("_available", "_clock", "_per_second", "_seen")

    def __init__(self, clock, per_second):
        self._clock = clock
        self._per_second = per_second
        self._available = per_second
        self._seen = clock.seconds()

    def take(self):
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
    def delay(self):
        """Seconds until there is one again."""
        return max(0.0, (1 - self._available) / self._per_second)


class RateLimits:
    """A :class:`RateLimit` for each of many keys, which come from clients: above :data:`MAX_KEYS` the longest unused is forgotten."""

    def __init__(self, clock):
        self._clock = clock
        self._per_second = 0
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def of(self, key, per_second):
        """The limit of a key; with another rate than before, all begin anew."""
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
