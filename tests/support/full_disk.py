"""Use a file storage whose files cannot grow, as on a full disk, and print the results: ``python -m tests.support.full_disk PATH``.

This is a program because the limit concerns every file of a process. The process that writes for the storage gets the same limit.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from dhtwisted.model import EntityQuery, MessageQuery, Network, Notification
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import notification, outcomes
from tests.support.writers import writer_of


@contextmanager
def no_space(path: str | Path) -> Iterator[None]:
    """Forbid both processes to make a file larger than one kilobyte."""
    processes = [psutil.Process(), writer_of(path)]
    limits = [process.rlimit(psutil.RLIMIT_FSIZE) for process in processes]
    for process, (_, hard) in zip(processes, limits, strict=True):
        process.rlimit(psutil.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        for process, limit in zip(processes, limits, strict=True):
            process.rlimit(psutil.RLIMIT_FSIZE, limit)


async def report(reactor: Any, path: str) -> None:
    """Write while there is space, while there is none, and while there is space again."""
    storage = FileStorage(path, reactor)
    await storage.open()
    await storage.append([notification("before")])
    refused = notification("refused")
    with no_space(path):
        found = await outcomes(
            storage.append([refused]), storage.insert(Network(name="refused")), storage.append([notification("refused")])
        )
        readable = await storage.find_messages(Notification, MessageQuery())
    again = [notification("after"), refused]
    await storage.append(again[:1])
    await storage.append(again[1:])
    network = await storage.insert(Network(name="after"))
    await storage.close()
    await storage.open()
    stored = await storage.find_messages(Notification, MessageQuery())
    networks = await storage.find(Network, EntityQuery())
    await storage.close()
    print(
        json.dumps(
            {
                "refusals": [type(outcome).__name__ for outcome in found],
                "readable": [m.name for m in readable],
                "stored": [[m.id, m.name] for m in stored],
                "networks": [[n.id, n.name] for n in networks],
                "network": network.id,
            }
        )
    )


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(report(reactor, sys.argv[1])))
