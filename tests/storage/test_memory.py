"""The memory storage: the contract, and its bound."""

from dhtwisted.storage.memory import MemoryStorage
from dhtwisted.testing.storage_entities import EntityStorageContract


class TestEntities(EntityStorageContract):
    def make_storage(self, reactor, directory):
        return MemoryStorage(reactor)
