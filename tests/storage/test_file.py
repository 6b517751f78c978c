"""The file storage: the contract, and what files can suffer."""

from dhtwisted.storage.file import FileStorage
from dhtwisted.testing.storage_entities import EntityStorageContract


class TestEntities(EntityStorageContract):
    def make_storage(self, reactor, directory):
        return FileStorage(str(directory / "data.sqlite"), reactor)
