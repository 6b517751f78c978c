"""What a storage measures about itself: how long it takes, and how much it does at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OPERATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts values by size.

    :param bounds: ascending upper bounds; a value counts for the first bound that it does not exceed.
    :ivar counts: one for each bound, and one for values above the last bound.
    :ivar sum: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class StorageStatistics:
    """Measures a storage: each commit and each read from the disk or the database, never each message.

    :param seconds: gives the time, such as ``reactor.seconds``.
    :ivar commit_seconds: from the start of a commit until it succeeded or failed.
    :ivar commit_operations: how many callers shared a commit.
    :ivar read_seconds: from a query until its answer, including the time in the queue.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.commit_seconds = Histogram(SECONDS)
        self.commit_operations = Histogram(OPERATIONS)
        self.read_seconds = Histogram(SECONDS)
        self._seconds = seconds

    def measure_commit(self, done: Deferred[T], operations: int) -> Deferred[T]:
        """Measure a commit that starts now.

        :param done: fires when the commit ends. Its result is not changed.
        :param operations: how many callers share the commit.
        :returns: ``done``.
        """
        self.commit_operations.observe(operations)
        return done.addBoth(self._observe, self.commit_seconds, self._seconds())

    def measure_read(self, done: Deferred[T]) -> Deferred[T]:
        """Measure a read that starts now; as :meth:`measure_commit`."""
        return done.addBoth(self._observe, self.read_seconds, self._seconds())

    def _observe(self, result: T, histogram: Histogram, started_at: float) -> T:
        # The clock may have been set back since then.
        histogram.observe(max(0.0, self._seconds() - started_at))
        return result
