"""Write into a storage until killed, and print what was acknowledged: ``python -m dhtwisted.testing.crash DIRECTORY [METHOD]``.

The pickled description of the contract class comes on standard input; see :mod:`dhtwisted.testing.killed_process`.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from dhtwisted.interfaces import IBulkStorage, IEntityStorage, IMessageStorage
from dhtwisted.kit.bulk_changes import bulk_changes
from dhtwisted.model import Command, MqttQueued, Network, Notification
from dhtwisted.testing.killed_process import read_contract
from dhtwisted.testing.storage.base import check_empty
from dhtwisted.testing.storage.last_calls import LAST_CALLS

WRITERS = 20
"""Concurrent writers: enough to share commits."""


BULK_WRITERS = 4


def acknowledge(line: str) -> None:
    """Print a line at once: a line in a buffer would be lost with the process, and the test could not check it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def write_messages(storage: Any, writer: int) -> None:
    """Append a command and a notification of the same name, again and again."""
    for number in count():
        name = f"{writer}-{number}"
        notification = Notification(name=name, device_id="a", network_id=1, device_type_id=1, parameters=b"{}")
        await storage.append([Command(name=name, device_id="a", network_id=1, device_type_id=1), notification])
        acknowledge(f"message {name} {notification.id}")


async def write_entities(storage: Any) -> None:
    """Insert networks, again and again."""
    for number in count():
        await storage.insert(Network(name=str(number)))
        acknowledge(f"network {number}")


async def write_in_bulk(storage: Any, writer: int) -> None:
    """Queue a message for a session, and remove the one before it, again and again. If the storage keeps messages in the same commit,
    append one too.
    """
    session, changes = f"1 {writer}", bulk_changes(storage)
    is_one_commit = IBulkStorage.providedBy(storage) and IMessageStorage.providedBy(storage)
    for number in count(1):
        named = [Notification(name=f"bulk-{writer}-{number}", device_id="b", network_id=1, device_type_id=1)] if is_one_commit else []
        removed = [(MqttQueued, MqttQueued.of(session, number - 1, topic="a", qos=1).key)]
        await changes.change_many([MqttQueued.of(session, number, topic="a", qos=1)], removed, named)
        acknowledge(f"queued {writer} {number}")


async def write_for_ever(storage: Any) -> None:
    """Write everything that the storage keeps."""
    writers = [write_messages(storage, writer) for writer in range(WRITERS)]
    if IEntityStorage.providedBy(storage):
        writers.append(write_entities(storage))
        writers += [write_in_bulk(storage, writer) for writer in range(BULK_WRITERS)]
    await gatherResults([Deferred.fromCoroutine(writer) for writer in writers])


async def call_and_die(storage: Any, method: str) -> None:
    """Make one call, and kill this process at the moment when it completes."""
    last = LAST_CALLS[method]
    await last.prepare(storage)
    await last.call(storage)
    acknowledge(method)
    os.kill(os.getpid(), signal.SIGKILL)


async def write(reactor: Any, contract: Any, directory: str, method: str | None = None) -> None:
    """Open the storage that a contract class makes, and write."""
    storage = contract.make_storage(reactor, Path(directory))
    await storage.open()
    # Data of an earlier run would look like data that were acknowledged now.
    await check_empty(storage)
    await (write_for_ever(storage) if method is None else call_and_die(storage, method))


if __name__ == "__main__":
    described = sys.stdin.buffer.read()
    react(lambda reactor: Deferred.fromCoroutine(write(reactor, read_contract(described), *sys.argv[1:])))
