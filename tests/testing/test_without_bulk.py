"""A storage that changes one entity at a time, without ``IBulkStorage``: it keeps the contract of entities in masses too."""

from zope.interface import implementer_only

from dhtwisted.interfaces import IBulkStorage, IStorage
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.storage.bulk import BulkContract


@implementer_only(IStorage)
class SingleStorage(MemoryStorage):
    """Has no method that changes many."""

    change_many = remove_group = property()


class TestSingleStorage(BulkContract):
    """What MQTT asks of it is done one by one."""

    def make_storage(self, reactor, directory):
        return SingleStorage(reactor)


def test_it_has_no_bulk_methods(reactor):
    storage = SingleStorage(reactor)
    assert not IBulkStorage.providedBy(storage)
    assert not hasattr(storage, "change_many")
