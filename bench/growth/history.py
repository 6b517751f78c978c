"""What is stored when growth is measured, and the program that fills and empties storages: ``python -m bench.growth.history``."""

import os
import sys
import zlib
from dataclasses import dataclass
from functools import cached_property

from bench.filling import SHARE, Filling
from bench.processes import cpu_seconds

SILENT = "silent"
"""A device that sent :data:`SILENT_COUNT` messages long ago, and none since."""

SILENT_COUNT = 1000
SILENT_TIME = 0.6, 0.7
"""The part of the time in which it sent. What lies before is deleted bit by bit, when the cost of deleting is measured."""

COMMIT = {"file": 50_000, "postgres": 5_000}
"""Messages of a commit when a storage is filled: so many that pages are written seldom, and that PostgreSQL keeps its time limit."""

SLICE = 100
"""So many messages are deleted at a time, as a server does it."""


@dataclass(frozen=True)
class History(Filling):
    """Messages of a day, numbered from 0. Which device sends next is as good as random, as in the field."""

    def device_id(self, number):
        """Whose message it is."""
        if number in self.silent:
            return SILENT
        if number % SHARE == 0:
            return super().device_id(number)
        return f"o-{zlib.crc32(number.to_bytes(8, 'big')) % self.devices:06d}"

    @cached_property
    def silent(self):
        """The numbers of the messages of :data:`SILENT`, ascending."""
        first, end = (int(self.count * part) for part in SILENT_TIME)
        step = (end - first) // SILENT_COUNT
        return range(first + 1, first + 1 + step * SILENT_COUNT, step)


def storage_of(place, reactor):
    """Make the storage that a server would have.

    :param place: ``file:PATH`` or ``postgres:DSN``.
    """
    from dhtwisted.providers.postgres.storage import PostgresStorage
    from dhtwisted.providers.sqlite.storage import FileStorage

    provider, _, rest = place.partition(":")
    return (FileStorage if provider == "file" else PostgresStorage)(rest, reactor)


async def fill(reactor, place, now, count, devices):
    """Put a history into a storage that a server has made."""
    history, size = History(int(now), int(count), int(devices)), COMMIT[place.partition(":")[0]]
    storage = storage_of(place, reactor)
    await storage.open()
    try:
        for first in range(0, history.count, size):
            await storage.append(history.messages(first, size))
    finally:
        await storage.close()


async def expire(reactor, place, count, *pids):
    """Delete the messages that arrived first, and say how many seconds of processor time that took.

    :param pids: of the database.
    """
    from dhtwisted.model import MessageQuery, Notification

    storage = storage_of(place, reactor)
    await storage.open()
    try:
        begin = cpu_seconds(os.getpid(), *pids)
        for _ in range(int(count) // SLICE):
            await storage.forget_messages(Notification, MessageQuery(by_arrival=True, take=SLICE))
        sys.stdout.write(f"{cpu_seconds(os.getpid(), *pids) - begin}\n")
    finally:
        await storage.close()


def main(task, *arguments):
    """Do a task, and end."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    react(lambda reactor: Deferred.fromCoroutine({"fill": fill, "expire": expire}[task](reactor, *arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])
