"""Long walks through data in memory, one slice at a time, so that nobody else waits for longer than a slice takes.

Such a walk is a generator. It yields between its slices and returns the result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dhtwisted.errors import Overloaded
from dhtwisted.kit.fair_queue import FairQueue

SLICE = 2048
"""Entities or messages in a slice. They take a few milliseconds."""

MAX_WALKS = 2
"""Long walks that run at once, each for another client. Each has a list of what it visits."""

WALK_SECONDS = 5
"""Time limit for one walk."""

MAX_WAIT_SECONDS = 3
"""How long a walk waits for its turn. Together with its own time limit it ends within ten seconds."""

T = TypeVar("T")
Walk = Generator[None, None, T]
"""Yields between slices, and returns the result."""


class Slices:
    """Runs the walks of clients in turn. The first slice, which is nearly always the whole walk, runs at once.

    :param reactor: for time and delayed calls.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._queue = FairQueue(reactor, MAX_WALKS, "the memory", MAX_WAIT_SECONDS)

    async def run(self, begin: Callable[..., Walk[T]], *arguments: Any) -> T:
        """Run a walk.

        :param begin: makes the generator. A long walk is made again when it has its turn, because the data have changed since.
        :returns: its result.
        :raises Overloaded: the walk takes too long, or waits too long for its turn.
        """
        walk = begin(*arguments)
        try:
            next(walk)
        except StopIteration as stop:
            return stop.value
        walk.close()
        return await self._queue.run(self._finish, begin(*arguments))

    async def _finish(self, walk: Walk[T]) -> T:
        latest = self._reactor.seconds() + WALK_SECONDS
        try:
            # No pause between the first slice and the second, which lists what is left.
            next(walk)
            while self._reactor.seconds() < latest:
                next(walk)
                await deferLater(self._reactor, 0)
        except StopIteration as stop:
            return stop.value
        walk.close()
        raise Overloaded(f"a walk through the memory took longer than {WALK_SECONDS} seconds")


def run_to_end(walk: Walk[T]) -> T:
    """Run a walk without pauses, however long it takes.

    :returns: its result.
    """
    try:
        while True:
            next(walk)
    except StopIteration as stop:
        return stop.value


def select(items: Iterable[T], matches: Callable[[T], Any] | None, limit: int | None = None) -> Walk[list[T]]:
    """List the items that match, in their order.

    :param matches: ``None`` for all items; then none may be false.
    :param limit: stop after so many; ``None`` for all.
    """
    iterator = iter(items)
    found = list(islice(filter(matches, islice(iterator, SLICE)), limit))
    if limit is None or len(found) < limit:
        for portion in _rest(iterator):
            yield
            found += filter(matches, portion)
            if limit is not None and len(found) >= limit:
                break
    return found[:limit]


def select_sorted(
    items: Iterable[T],
    matches: Callable[[T], Any] | None,
    key: Callable[[T], Any],
    descending: bool = False,
    limit: int | None = None,
) -> Walk[list[T]]:
    """List the items that match, sorted. Equal ones stay in their order.

    :param matches: as for :func:`select`.
    :param limit: only the first so many; ``None`` for all.
    """
    iterator = iter(items)
    parts = [sorted(filter(matches, islice(iterator, SLICE)), key=key, reverse=descending)[:limit]]
    for portion in _rest(iterator):
        yield
        parts.append(sorted(filter(matches, portion), key=key, reverse=descending)[:limit])
    ordered = islice(merge(*parts, key=key, reverse=descending), limit)
    found: list[T] = []
    while portion := list(islice(ordered, SLICE)):
        if found:
            yield
        found += portion
    return found


def count(items: Iterable[T], matches: Callable[[T], bool]) -> Walk[int]:
    """Count the items that match."""
    iterator = iter(items)
    found = sum(map(matches, islice(iterator, SLICE)))
    for portion in _rest(iterator):
        yield
        found += sum(map(matches, portion))
    return found


def _rest(iterator: Iterator[T]) -> Iterator[list[T]]:
    """Give what is left in slices. The first has one item; the list of the rest is made when the second is wanted."""
    first = list(islice(iterator, 1))
    if first:
        yield first
        rest = list(iterator)
        for start in range(0, len(rest), SLICE):
            yield rest[start : start + SLICE]
