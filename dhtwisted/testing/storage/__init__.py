"""The contract suites of storages, for ours and for strangers'.

Write a class in a test module, say which storage is meant, and run it with pytest and pytest-twisted::

    class TestMessages(MessageStorageContract):
        def make_storage(self, reactor, directory):
            return MyStorage(directory / "messages", reactor)

A provider of messages alone takes :class:`MessageStorageContract`, one of everything :class:`EntityStorageContract` as well. One that says
``durable`` takes :class:`DurableStorageContract` too, and one that copies itself (``IBackedUpStorage``) :class:`BackedUpStorageContract`.
A provider that can be examined (``IExaminableProvider``) takes :class:`ExaminableStorageContract`.
Each failure says in words what the interface asks for.
"""

from dhtwisted.testing.storage.backup import BackedUpStorageContract
from dhtwisted.testing.storage.durable import DurableStorageContract
from dhtwisted.testing.storage.entities import EntityStorageContract
from dhtwisted.testing.storage.examining import ExaminableStorageContract
from dhtwisted.testing.storage.messages import MessageStorageContract

__all__ = [
    "BackedUpStorageContract",
    "DurableStorageContract",
    "EntityStorageContract",
    "ExaminableStorageContract",
    "MessageStorageContract",
]
