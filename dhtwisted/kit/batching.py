"""Group commit: operations that arrive during one commit share the next one.

A commit waits for the disk. It costs about the same for one row as for a hundred. So there is one commit at a time and no timer: a single
caller is served at once, and many callers share a commit.

Many callers wait for an answer before they ask again. If the next commit started when the last one ends, half of them would be in the one
and half in the other for ever. So after a large commit its callers get their answers first, and a few turns of the reactor to come again,
some microseconds each. With 128 requests in flight a commit then has 120 and not 64 of them, and an insert takes 0.8 of the processor time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from dhtwisted.errors import Overloaded, StorageUnavailable
from dhtwisted.kit.deadline import Deadline
from dhtwisted.kit.waiter import Waiter

HANG_SECONDS = 7
"""After so many seconds a commit counts as hanging. Callers that wait for the next one then get an error before their clients give up."""

GATHERING_TURNS = 8
"""The most turns of the reactor between a large commit and the next one. With four, clients on the same machine were sometimes too late."""

GATHERING_SECONDS = 0.01
"""No further turn begins after so long. A turn takes milliseconds while the server also answers long lists, and the disk would have nothing
to do. For 128 requests in flight all turns take less."""

LARGE = 16
"""A commit with so many rows is large. After a smaller one there are too few callers to wait for."""

Operation = TypeVar("Operation")


class Batcher(Generic[Operation]):
    """Collects operations into batches, and gives each caller the result of their own operation.

    :param commit: ``commit(operations)`` returns a Deferred of a list with one outcome for each operation: its result, or a ``Failure`` of
        that operation alone. It fails with ``StorageUnavailable`` if nothing was done and no operation is at fault. It fails with anything
        else if nothing was done because one operation is at fault. Then each is tried alone.
    :param max_rows: a batch with so many rows takes no more operations. Larger batches were not faster, and callers wait longer.
    :param max_waiting: how many rows may wait; further operations are refused.
    :param patient: if false, a commit that fails with ``StorageUnavailable`` also fails all operations that wait. Use this where commits
        fail by a time limit: otherwise the waiting operations would wait for several time limits.
    :param deadline: its ``expired`` function should call :meth:`reject_waiting`. ``None`` where commits have a time limit of their own.
    :param reactor: gives its turns to gather callers after a large commit. ``None``: the next commit starts at once.
    """

    def __init__(
        self,
        commit: Callable[[list[Operation]], Deferred[list[Any]]],
        max_rows: int = 128,
        max_waiting: int = 100_000,
        patient: bool = True,
        deadline: Deadline | None = None,
        reactor: IReactorTime | None = None,
    ) -> None:
        self._commit = commit
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._patient = patient
        self._deadline = deadline
        self._reactor = reactor
        self._gathering: IDelayedCall | None = None
        self._enough = 0
        self._hang: str | None = None
        self._waiting: deque[_Entry[Operation]] = deque()
        self._waiting_rows = 0
        self._suspects = 0
        self._finished: deque[tuple[_Batch[Operation], list[Any]]] = deque()
        self._in_flight = False
        self._pumping = False
        self._drained: list[Deferred[None]] = []

    def submit(self, operation: Operation, rows: int = 1) -> Waiter[Any]:
        """Ask for an operation.

        :param operation: anything that ``commit`` understands.
        :param rows: about how much work it is.
        :returns: a Deferred of its result, for this caller alone.
        :raises Overloaded: too many operations wait.
        :raises StorageUnavailable: the running commit hangs.
        """
        if self._hang is not None:
            raise StorageUnavailable(self._hang)
        if self._waiting_rows >= self._max_waiting:
            raise Overloaded("too many operations wait for the storage")
        waiter: Waiter[Any] = Waiter()
        self._waiting.append((operation, rows, waiter))
        self._waiting_rows += rows
        if self._waiting_rows >= self._enough:
            self._stop_gathering()
        if not (self._in_flight or self._gathering):
            self._pump()
        return waiter

    def reject_waiting(self, reason: str) -> None:
        """Fail all waiting operations because the running commit hangs, and refuse new ones until it ends.

        The failed operations are never started. The running commit is answered when it ends.

        :param reason: one line.
        """
        self._hang = reason
        entries = list(self._waiting)
        self._clear_waiting()
        for _, _, waiter in entries:
            waiter.fire(Failure(StorageUnavailable(reason)))
        self._report_drained()

    def drain(self) -> Deferred[None]:
        """Wait until all submitted operations are answered, or the running commit hangs."""
        waiter: Deferred[None] = Deferred()
        self._drained.append(waiter)
        if self._hang is not None:
            self._report_drained()
        else:
            self._stop_gathering()
            self._pump()
        return waiter

    def _clear_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_rows = self._suspects = 0

    def _report_drained(self) -> None:
        drained, self._drained = self._drained, []
        for waiter in drained:
            waiter.callback(None)

    def _pump(self) -> None:
        """Do what can be done now. Unless callers are gathered, the next batch starts before the last one is answered, so the disk works
        while the callers do.

        This is a loop, because thousands of commits that fail at once must not nest.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            self._work()
        finally:
            self._pumping = False
        if not (self._in_flight or self._gathering):
            self._report_drained()

    def _work(self) -> None:
        while True:
            if self._waiting and not (self._in_flight or self._gathering):
                self._start(self._take())
            elif self._finished:
                self._answer(*self._finished.popleft())
            else:
                return

    def _take(self) -> _Batch[Operation]:
        """Take the next batch: up to ``max_rows``, or one operation while the one at fault in a failed batch is searched."""
        if self._suspects:
            # Not by rows: operations without rows would join, and the one at fault would never be alone.
            self._suspects -= 1
            entry = self._waiting.popleft()
            self._waiting_rows -= entry[1]
            return [entry]
        if self._waiting_rows <= self._max_rows:
            all_waiting, self._waiting, self._waiting_rows = self._waiting, deque(), 0
            return all_waiting
        batch, rows = [], 0
        while self._waiting and rows < self._max_rows:
            entry = self._waiting.popleft()
            batch.append(entry)
            rows += entry[1]
        self._waiting_rows -= rows
        return batch

    def _start(self, batch: _Batch[Operation]) -> None:
        self._in_flight = True
        if self._deadline is not None:
            self._deadline.start(HANG_SECONDS)
        done = maybeDeferred(self._commit, [operation for operation, _, _ in batch])
        done.addCallbacks(self._succeeded, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))

    def _ended(self) -> None:
        self._in_flight = False
        self._hang = None
        if self._deadline is not None:
            self._deadline.stop()

    def _succeeded(self, outcomes: list[Any], batch: _Batch[Operation]) -> None:
        self._ended()
        self._finished.append((batch, outcomes))
        rows = sum(rows for _, rows, _ in batch)
        if self._reactor is not None and rows >= LARGE:
            self._enough = min(self._waiting_rows + rows, self._max_rows)
            self._gather(self._reactor, GATHERING_TURNS, self._reactor.seconds() + GATHERING_SECONDS)
        self._pump()

    def _gather(self, reactor: IReactorTime, turns: int, until: float) -> None:
        """Let no batch start for some turns of the reactor, unless as many rows come as were answered, or fill a batch."""
        if turns and self._waiting_rows < self._enough and reactor.seconds() < until:
            self._gathering = reactor.callLater(0, self._gather, reactor, turns - 1, until)
        else:
            self._gathering = None
            self._pump()

    def _stop_gathering(self) -> None:
        if self._gathering:
            self._gathering.cancel()
            self._gathering = None

    def _failed(self, failure: Failure, batch: _Batch[Operation]) -> None:
        self._ended()
        if len(batch) > 1 and not failure.check(StorageUnavailable):
            self._waiting.extendleft(reversed(batch))
            self._waiting_rows += sum(rows for _, rows, _ in batch)
            self._suspects = len(batch)
        else:
            if not self._patient and failure.check(StorageUnavailable):
                batch = [*batch, *self._waiting]
                self._clear_waiting()
            self._finished.append((batch, [failure] if len(batch) == 1 else _one_for_each(failure, batch)))
        self._pump()

    def _answer(self, batch: _Batch[Operation], outcomes: list[Any]) -> None:
        for (_, _, waiter), outcome in zip(batch, outcomes, strict=True):
            waiter.fire(outcome)


_Entry = tuple[Operation, int, Waiter[Any]]
_Batch = list[_Entry[Operation]] | deque[_Entry[Operation]]


def _one_for_each(failure: Failure, batch: _Batch[Any]) -> list[Failure]:
    """Make one error for each caller. An error that is raised in many places collects all their tracebacks."""
    return [Failure(StorageUnavailable(str(failure.value))) for _ in batch]
