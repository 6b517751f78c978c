"""Group commit: operations that arrive while one commit is under way share the next one.

A commit waits for the disk, and costs about the same for one row as for a hundred. So there is one commit at a time and no timer: a lone
caller is served at once, many callers share, and nobody waits for company.
"""

from collections import deque

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from dhtwisted.errors import Overloaded, StorageUnavailable
from dhtwisted.kit.waiter import Waiter

HANG = 7
"""Seconds after which a commit is said to hang. Those who wait for the next one are refused then, in time to hear why."""


class Batcher:
    """Gathers operations into batches, and tells each caller what became of his own.

    :param commit: ``commit(operations)`` returns, as a Deferred, a list with the outcome of each operation: its result, or a ``Failure``
        of that operation alone. It fails with ``StorageUnavailable`` when nothing was done and none of them is to blame, and with anything
        else when nothing was done because one of them is bad.
    :param max_rows: a batch takes no more operations when it has so many rows. Larger ones were not faster, and everybody waits longer.
    :param max_waiting: rows that may wait for their turn; what comes above it is refused.
    :param deadline: a :class:`~dhtwisted.kit.deadline.Deadline`, whose ``expired`` calls :meth:`give_up_waiting`; ``None`` where
        commits end by themselves in time.
    :param patient: false: when a commit fails with ``StorageUnavailable``, all that waits fails too. Where commits fail by a deadline,
        those behind would otherwise wait for a multiple of it.
    """

    def __init__(self, commit, max_rows=128, max_waiting=100_000, patient=True, deadline=None):
        self._commit = commit
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._patient = patient
        self._deadline = deadline
        self._hang = None
        self._waiting = deque()
        self._waiting_rows = 0
        self._suspects = 0
        self._finished = deque()
        self._in_flight = False
        self._pumping = False
        self._drained = []

    def submit(self, operation, rows=1):
        """Ask for an operation to be done.

        :param operation: anything that ``commit`` understands.
        :param rows: about how much work it is.
        :returns: a Deferred of its result, for this caller alone.
        :raises Overloaded: too many are waiting.
        :raises StorageUnavailable: the commit under way hangs.
        """
        if self._hang is not None:
            raise StorageUnavailable(self._hang)
        if self._waiting_rows >= self._max_waiting:
            raise Overloaded("too many operations wait for the storage")
        waiter = Waiter()
        self._waiting.append((operation, rows, waiter))
        self._waiting_rows += rows
        if not self._in_flight:
            self._pump()
        return waiter

    def give_up_waiting(self, reason):
        """Refuse what waits, and what comes from now on, since the commit under way hangs; until it ends, and is answered as it ends. What
        waits is never begun: by then its callers have been told otherwise.

        :param reason: of the hang, one line.
        """
        self._hang = reason
        entries = list(self._waiting)
        self._waiting.clear()
        self._waiting_rows = self._suspects = 0
        for _, _, waiter in entries:
            waiter.fire(Failure(StorageUnavailable(reason)))
        self._tell_drained()

    def drain(self):
        """Wait until all that was submitted is answered, or the commit under way hangs.

        :returns: a Deferred of ``None``.
        """
        waiter = Deferred()
        self._drained.append(waiter)
        if self._hang is not None:
            self._tell_drained()
        else:
            self._pump()
        return waiter

    def _tell_drained(self):
        drained, self._drained = self._drained, []
        for waiter in drained:
            waiter.callback(None)

    def _pump(self):
        """Do what can be done now. The next batch is handed over before the last one is answered: the disk then works while the callers do.

        A loop, because a commit that fails at once, thousands of times, must not nest.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            self._work()
        finally:
            self._pumping = False
        if not self._in_flight:
            self._tell_drained()

    def _work(self):
        while True:
            if self._waiting and not self._in_flight:
                self._start(self._take())
            elif self._finished:
                self._answer(*self._finished.popleft())
            else:
                return

    def _take(self):
        """Take what goes together: up to ``max_rows``, or a single operation while the culprit of a failed batch is looked for."""
        if self._suspects:
            # Not what makes one row: operations without rows would come along, and the culprit would never be alone.
            self._suspects -= 1
            batch = [self._waiting.popleft()]
            self._waiting_rows -= batch[0][1]
            return batch
        if self._waiting_rows <= self._max_rows:
            batch, self._waiting, self._waiting_rows = self._waiting, deque(), 0
            return batch
        batch, rows = [], 0
        while self._waiting and rows < self._max_rows:
            entry = self._waiting.popleft()
            batch.append(entry)
            rows += entry[1]
        self._waiting_rows -= rows
        return batch

    def _start(self, batch):
        self._in_flight = True
        if self._deadline is not None:
            self._deadline.start(HANG)
        done = maybeDeferred(self._commit, [operation for operation, _, _ in batch])
        done.addCallbacks(self._succeeded, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))

    def _ended(self):
        self._in_flight = False
        self._hang = None
        if self._deadline is not None:
            self._deadline.stop()

    def _succeeded(self, outcomes, batch):
        self._ended()
        self._finished.append((batch, outcomes))
        self._pump()

    def _failed(self, failure, batch):
        self._ended()
        if len(batch) > 1 and not failure.check(StorageUnavailable):
            self._waiting.extendleft(reversed(batch))
            self._waiting_rows += sum(rows for _, rows, _ in batch)
            self._suspects = len(batch)
        else:
            if not self._patient and failure.check(StorageUnavailable):
                batch = [*batch, *self._waiting]
                self._waiting.clear()
                self._waiting_rows = self._suspects = 0
            self._finished.append((batch, [failure] if len(batch) == 1 else _one_for_each(failure, batch)))
        self._pump()

    def _answer(self, batch, outcomes):
        for (_, _, waiter), outcome in zip(batch, outcomes, strict=True):
            waiter.fire(outcome)


def _one_for_each(failure, batch):
    """An error of its own for every caller: one that is raised in many places gathers all their tracebacks."""
    return [Failure(StorageUnavailable(str(failure.value))) for _ in batch]
