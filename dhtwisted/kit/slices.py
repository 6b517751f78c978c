"""Long walks through what is in memory, a slice at a time: nobody else waits for longer than a slice takes.

Such work is a generator, which yields between its slices and returns the result.
"""

from heapq import merge
from itertools import islice

from twisted.internet.task import deferLater

from dhtwisted.errors import Overloaded
from dhtwisted.kit.turns import Turns

SLICE = 2048
"""Entities or messages that are looked at in a row: a few milliseconds."""

AT_ONCE = 2
"""Works that go on, each of another client: each has a list of what it goes through."""

SECONDS = 5
"""For one work."""

PATIENCE = 3
"""Seconds that it waits for its turn. With those of its own it is done, or refused, within ten."""


class Slices:
    """Does the work of clients in turn. The first slice of each, which is nearly always all of it, is done at once.

    :param reactor: for time and delayed calls.
    """

    def __init__(self, reactor):
        self._reactor = reactor
        self._turns = Turns(reactor, AT_ONCE, "the memory", PATIENCE)

    async def run(self, begin, *arguments):
        """Do some work.

        :param begin: makes the generator. It is begun anew when it has its turn: what it goes through has changed since.
        :returns: its result.
        :raises Overloaded: it takes too long, or waits too long for its turn.
        """
        work = begin(*arguments)
        try:
            next(work)
        except StopIteration as stop:
            return stop.value
        work.close()
        return await self._turns.run(self._do, begin(*arguments))

    async def _do(self, work):
        latest = self._reactor.seconds() + SECONDS
        try:
            # Nothing comes between the first slice and the second, which takes down what is left.
            next(work)
            while self._reactor.seconds() < latest:
                next(work)
                await deferLater(self._reactor, 0)
        except StopIteration as stop:
            return stop.value
        work.close()
        raise Overloaded(f"a walk through the memory took longer than {SECONDS} seconds")


def at_once(work):
    """Do some work, however long it takes.

    :returns: its result.
    """
    try:
        while True:
            next(work)
    except StopIteration as stop:
        return stop.value


def sifted(walk, matches, most=None):
    """Work: find what matches, in the order of the walk.

    :param most: so many, and no more; ``None`` for all.
    """
    walk = iter(walk)
    found = list(islice(filter(matches, islice(walk, SLICE)), most))
    if most is None or len(found) < most:
        for portion in _rest(walk):
            yield
            found += filter(matches, portion)
            if most is not None and len(found) >= most:
                break
    return found[:most]


def in_order(walk, matches, key, descending=False, most=None):
    """Work: find what matches, sorted; equal ones stay in the order of the walk.

    :param most: only the first so many; ``None`` for all.
    """
    walk = iter(walk)
    parts = [sorted(filter(matches, islice(walk, SLICE)), key=key, reverse=descending)[:most]]
    for portion in _rest(walk):
        yield
        parts.append(sorted(filter(matches, portion), key=key, reverse=descending)[:most])
    ordered, found = islice(merge(*parts, key=key, reverse=descending), most), []
    while portion := list(islice(ordered, SLICE)):
        if found:
            yield
        found += portion
    return found


def counted(walk, matches):
    """Work: count what matches."""
    walk = iter(walk)
    count = sum(map(matches, islice(walk, SLICE)))
    for portion in _rest(walk):
        yield
        count += sum(map(matches, portion))
    return count


def _rest(walk):
    """What is left of a walk, in slices, which is taken down when the second of them is asked for: the first has but one."""
    first = list(islice(walk, 1))
    if first:
        yield first
        rest = list(walk)
        for start in range(0, len(rest), SLICE):
            yield rest[start : start + SLICE]
