"""Write into a storage until killed, telling each acknowledgement: ``python -m dhtwisted.testing.crash MODULE CLASS DIRECTORY``."""

import sys
from functools import reduce
from importlib import import_module
from itertools import count
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import Command, Network, Notification

WRITERS = 20
"""So many write at the same time, so that they meet in commits."""


def acknowledge(line):
    """Tell the parent at once: what waits in a buffer would be lost with the process, and not be checked."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def write_messages(storage, writer):
    """Append a command and a notification of the same name, again and again."""
    for number in count():
        name = f"{writer}-{number}"
        notification = Notification(name=name, device_id="a", network_id=1, device_type_id=1, parameters=b"{}")
        await storage.append([Command(name=name, device_id="a", network_id=1, device_type_id=1), notification])
        acknowledge(f"message {name} {notification.id}")


async def write_entities(storage):
    """Insert networks, again and again."""
    for number in count():
        await storage.insert(Network(name=str(number)))
        acknowledge(f"network {number}")


async def write_for_ever(reactor, module, name, directory):
    """Open the storage that a contract class makes, and write."""
    contract = reduce(getattr, name.split("."), import_module(module))
    storage = contract().make_storage(reactor, Path(directory))
    await storage.open()
    writers = [write_messages(storage, writer) for writer in range(WRITERS)]
    if IEntityStorage.providedBy(storage):
        writers.append(write_entities(storage))
    await gatherResults([Deferred.fromCoroutine(writer) for writer in writers])


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(write_for_ever(reactor, *sys.argv[1:])))
