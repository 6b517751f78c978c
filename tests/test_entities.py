"""The cache over the entity storage."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted import entities as module
from dhtwisted.coroutines import run
from dhtwisted.entities import Entities
from dhtwisted.errors import Duplicate, Missing, StorageUnavailable, Unstorable
from dhtwisted.model import Device, EntityQuery, Network, User
from dhtwisted.storage.memory import MemoryStorage
from dhtwisted.testing.server import at_once
from tests.delaying import DelayingStorage


@pytest.fixture
def storage(server):
    return DelayingStorage(MemoryStorage(server.clock))


@pytest.fixture
def entities(storage):
    return Entities(storage, lambda kind, key: None)


def device(device_id, network_id=1):
    """Make a device."""
    return Device(id=device_id, name=device_id, network_id=network_id, device_type_id=1)


def test_what_was_written_is_at_hand(entities):
    user = at_once(entities.insert(User(login="anna")))
    assert user.id == 1
    assert entities.user(1) is user
    lamp = at_once(entities.insert(device("lamp")))
    assert entities.device("lamp") is lamp
    changed = at_once(entities.update(Device, "lamp", {"network_id": 2}))
    assert entities.device("lamp") is changed
    assert at_once(entities.delete(Device, "lamp")) is True
    assert entities.device("lamp") is None
    assert at_once(entities.get(Device, "lamp")) is None
    assert at_once(entities.delete(Device, "lamp")) is False


def test_texts_that_not_every_storage_can_keep_are_refused(entities):
    at_once(entities.insert(Network(name="Garden")))
    with pytest.raises(Unstorable):
        at_once(entities.insert(Network(name="Field", description="a\0b")))
    with pytest.raises(Unstorable):
        at_once(entities.update(Network, 1, {"name": "a\0b"}))
    assert [found.name for found in at_once(entities.find(Network, EntityQuery()))] == ["Garden"]


@pytest_twisted.ensureDeferred
async def test_who_asks_for_the_same_goes_on_in_the_order_of_asking(entities, storage):
    await storage.insert(device("lamp"))
    order = []

    async def ask(number):
        await entities.get(Device, "lamp")
        order.append(number)

    storage.delay("get")
    asked = [Deferred.fromCoroutine(ask(number)) for number in range(5)]
    assert storage.waiting == ["get"], "it is read once"
    storage.release_all()
    asked.append(Deferred.fromCoroutine(ask(5)))
    for each in asked:
        await each
    storage.prompt()
    assert order == list(range(6))
    storage.fail("get")
    found = [Deferred.fromCoroutine(entities.get(Device, "other")) for _ in range(2)]
    for each in found:
        with pytest.raises(StorageUnavailable):
            await each


def test_what_others_wrote_comes_with_get(entities, storage):
    at_once(storage.insert(device("lamp")))
    assert entities.device("lamp") is None
    assert at_once(entities.get(Device, "lamp")) == device("lamp")
    assert entities.device("lamp") == device("lamp")


def test_other_kinds_are_not_kept_but_pass(entities):
    network = at_once(entities.insert(Network(name="Garden")))
    assert at_once(entities.get(Network, network.id)) == network
    assert at_once(entities.update(Network, network.id, {"name": "Field"})).name == "Field"
    assert [found.name for found in at_once(entities.find(Network, EntityQuery()))] == ["Field"]
    assert at_once(entities.count(Network, EntityQuery())) == 1
    assert at_once(entities.delete(Network, network.id))
    assert at_once(entities.get(Network, network.id)) is None


def test_a_refused_change_changes_nothing_here(entities):
    at_once(entities.insert(device("lamp")))
    with pytest.raises(Duplicate):
        at_once(entities.insert(device("lamp", 2)))
    assert entities.device("lamp").network_id == 1
    with pytest.raises(Missing):
        at_once(entities.update(Device, "other", {"name": "x"}))
    assert entities.device("other") is None


def test_the_epoch_grows_with_every_change_of_a_user_alone(entities):
    epochs = [entities.users_epoch]

    def note(coroutine):
        at_once(coroutine)
        epochs.append(entities.users_epoch)

    note(entities.insert(User(login="anna")))
    note(entities.update(User, 1, {"status": 2}))
    note(entities.delete(User, 1))
    assert epochs == sorted(set(epochs))
    note(entities.insert(device("lamp")))
    note(entities.delete(Device, "lamp"))
    assert epochs[-3] == epochs[-2] == epochs[-1]


def test_an_answer_older_than_a_change_is_not_kept(entities, storage):
    at_once(storage.insert(device("lamp", 1)))
    storage.delay("get")
    found = []
    run(entities.get(Device, "lamp"), lambda *outcome: found.append(outcome))
    at_once(entities.update(Device, "lamp", {"network_id": 2}))
    storage.release_all()
    assert found == [(device("lamp", 2), None)]
    assert entities.device("lamp").network_id == 2


def test_a_read_that_a_deletion_overtakes_finds_nothing(entities, storage):
    at_once(storage.insert(device("lamp", 1)))
    storage.delay("get")
    found = []
    run(entities.get(Device, "lamp"), lambda *outcome: found.append(outcome))
    at_once(entities.delete(Device, "lamp"))
    storage.release_all()
    assert found == [(None, None)]
    assert entities.device("lamp") is None


def test_devices_make_room_and_users_stay(entities, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEVICES", 2)
    for number in range(5):
        at_once(entities.insert(User(login=f"user {number}")))
        at_once(entities.insert(device(f"device-{number}")))
    assert [entities.user(number) is not None for number in range(1, 6)] == [True] * 5
    assert [entities.device(f"device-{number}") is not None for number in range(5)] == [False] * 3 + [True] * 2
    assert at_once(entities.get(Device, "device-0")) == device("device-0")
