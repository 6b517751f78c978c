"""The contract suites of storages, for all providers.

Write a class in a test module, say which storage is meant, and run it with pytest and pytest-twisted::

    class TestMessages(MessageStorageContract):
        def make_storage(self, reactor, directory):
            return MyStorage(directory / "messages", reactor)

Every storage must pass :class:`MessageStorageContract`. A storage of entities must pass :class:`EntityStorageContract` too, a durable one
:class:`DurableStorageContract`, and one that copies itself (``IBackedUpStorage``) :class:`BackedUpStorageContract`. A provider that can be
examined (``IExaminableProvider``) must pass :class:`ExaminableStorageContract`. Each failure says what the interface demands.
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
