"""What a storage may tell of itself: how long it takes, and how much it does at once."""

from bisect import bisect_left

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OPERATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts values by size.

    :param bounds: ascending; a value counts for the first bound that it does not exceed.
    :ivar counts: one for each bound, and one for what exceeds them all.
    :ivar sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def observe(self, value):
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class StorageStatistics:
    """How a storage fares. Measured for each commit and each question to the disk or the database, never for each message.

    :param seconds: the clock, a function; ``reactor.seconds``.
    :ivar commit_seconds: from the begin of a commit until it is safe, or has failed.
    :ivar commit_operations: how many callers shared it.
    :ivar read_seconds: from a question until its answer, the wait for its turn included.
    """

    def __init__(self, seconds):
        self.commit_seconds = Histogram(SECONDS)
        self.commit_operations = Histogram(OPERATIONS)
        self.read_seconds = Histogram(SECONDS)
        self._seconds = seconds

    def measure_commit(self, done, operations):
        """Count a commit that begins now.

        :param done: the Deferred that fires at its end, whose result is left alone.
        :returns: the same.
        """
        self.commit_operations.observe(operations)
        return done.addBoth(self._observe, self.commit_seconds, self._seconds())

    def measure_read(self, done):
        """Count a question that is asked now; as :meth:`measure_commit`."""
        return done.addBoth(self._observe, self.read_seconds, self._seconds())

    def _observe(self, result, histogram, begun_at):
        # The clock may be set back meanwhile.
        histogram.observe(max(0.0, self._seconds() - begun_at))
        return result
