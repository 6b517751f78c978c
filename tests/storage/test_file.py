"""The file storage: the contract, and what files can suffer."""

from dhtwisted.storage.file import FileStorage
from dhtwisted.testing.storage import DurableStorageContract, EntityStorageContract, MessageStorageContract


class TestFileStorage(EntityStorageContract, MessageStorageContract, DurableStorageContract):
    def make_storage(self, reactor, directory):
        return FileStorage(str(directory / "data.sqlite"), reactor)
