"""The cache over the entity storage."""

from unittest.mock import patch

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.core import entity_cache as module
from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.request_deadlines import Deadlines
from dhtwisted.errors import Duplicate, Missing, StorageUnavailable, Unstorable
from dhtwisted.model import Device, EntityQuery, Network, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once
from tests.support.delaying import DelayingStorage


@pytest.fixture
def truth():
    return MemoryStorage(Clock())


@pytest.fixture
def storage(truth):
    return DelayingStorage(truth)


@pytest.fixture
def published():
    """What other nodes are told."""
    return []


@pytest.fixture
def entities(storage, published):
    return EntityCache(storage, lambda *change: published.append(change), Deadlines(Clock()))


def begin(coroutine):
    """Start what may wait; returns a list that gets ``(result, error)``."""
    outcome = []
    run(coroutine, lambda *result: outcome.append(result))
    return outcome


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


OTHER_VALUES = {
    "login": "berta",
    "password": "$other$",
    "role": 0,
    "status": 2,
    "all_device_types_available": False,
    "network_ids": frozenset({7}),
    "device_type_ids": frozenset({7}),
    "valid_from": 1,
    "login_key": "berta",
}
OTHER_NOTES = {"data": b"{}", "intro_reviewed": True, "last_login": 1, "known_addresses": (("192.0.2.1", 1),)}


@pytest.mark.parametrize(("name", "grows"), [(name, True) for name in OTHER_VALUES] + [(name, False) for name in OTHER_NOTES])
def test_the_epoch_grows_when_rights_may_have_changed(entities, storage, name, grows):
    """A login, which is noted in the user, must not make the server look at the rights of all clients."""
    at_once(entities.insert(User(login="anna")))
    value, epoch = (OTHER_VALUES | OTHER_NOTES)[name], entities.users_epoch
    at_once(entities.update(User, 1, {name: value}))
    assert getattr(entities.user(1), name) == value
    assert (entities.users_epoch > epoch) == grows
    at_once(storage.update(User, 1, {name: getattr(User(login="anna"), name)}))
    epoch = entities.users_epoch
    at_once(entities.changed_elsewhere([(User, 1)]))
    assert (entities.users_epoch > epoch) == grows


def test_each_field_of_a_user_counts_for_the_epoch_or_not():
    assert OTHER_VALUES.keys() | OTHER_NOTES.keys() == set(User.__struct_fields__) - {"id"}


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
    found = begin(entities.get(Device, "lamp"))
    at_once(entities.update(Device, "lamp", {"network_id": 2}))
    storage.release_all()
    assert found == [(device("lamp", 2), None)]
    assert entities.device("lamp").network_id == 2


def test_a_read_that_a_deletion_overtakes_finds_nothing(entities, storage):
    at_once(storage.insert(device("lamp", 1)))
    storage.delay("get")
    found = begin(entities.get(Device, "lamp"))
    at_once(entities.delete(Device, "lamp"))
    storage.release_all()
    assert found == [(None, None)]
    assert entities.device("lamp") is None


def test_devices_make_room_and_users_stay(storage, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEVICES", 2)
    entities = EntityCache(storage, lambda *change: None, Deadlines(Clock()))
    for number in range(5):
        at_once(entities.insert(User(login=f"user {number}")))
        at_once(entities.insert(device(f"device-{number}")))
    assert [entities.user(number) is not None for number in range(1, 6)] == [True] * 5
    assert [entities.device(f"device-{number}") is not None for number in range(5)] == [False] * 3 + [True] * 2
    assert at_once(entities.get(Device, "device-0")) == device("device-0")


def test_devices_weigh_what_they_hold(storage, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEVICE_BYTES", 2500)
    entities = EntityCache(storage, lambda *change: None, Deadlines(Clock()))
    for number in range(4):
        at_once(entities.insert(replace(device(f"device-{number}"), data=b"1" * 1000)))
    assert [entities.device(f"device-{number}") is not None for number in range(4)] == [False] * 2 + [True] * 2
    at_once(entities.update(Device, "device-3", {"data": b"1" * 3000}))
    assert [entities.device(f"device-{number}") is not None for number in range(4)] == [False] * 4
    assert at_once(entities.get(Device, "device-3")).data == b"1" * 3000
    at_once(entities.delete(Device, "device-2"))
    at_once(entities.update(Device, "device-1", {"data": None}))
    assert entities.device("device-1") is not None


# Other nodes


def test_what_was_written_is_told_when_it_is_stored(entities, storage, published):
    storage.delay("insert", "update", "delete")
    for write, change in (
        (entities.insert(User(login="anna")), (User, 1)),
        (entities.insert(Network(name="Garden")), (Network, 1)),
        (entities.update(Network, 1, {"name": "Field"}), (Network, 1)),
        (entities.update(User, 1, {"status": 2}), (User, 1)),
        (entities.delete(User, 1), (User, 1)),
    ):
        outcome = begin(write)
        assert published == []
        storage.release()
        assert outcome
        assert published.pop() == change


def test_a_refused_change_is_told_to_nobody(entities, published):
    with pytest.raises(Missing):
        at_once(entities.update(User, 5, {"status": 2}))
    assert published == []


def test_a_user_changed_elsewhere_is_replaced_and_never_away(entities, storage):
    for login in ("anna", "berta"):
        at_once(entities.insert(User(login=login)))
    before, epoch = entities.user(1), entities.users_epoch
    at_once(storage.update(User, 1, {"status": 2}))
    storage.delay("find")
    changed = begin(entities.changed_elsewhere([(User, 1), (User, 77), (Network, 1), (User, 1)]))
    assert entities.user(1) is before
    storage.release_all()
    assert changed == [(None, None)]
    assert entities.user(1).status == 2
    assert entities.user(2).login == "berta"
    assert entities.user(77) is None
    assert entities.users_epoch > epoch


def test_a_user_deleted_elsewhere_is_forgotten(entities, storage):
    at_once(entities.insert(User(login="anna")))
    at_once(storage.delete(User, 1))
    epoch = entities.users_epoch
    at_once(entities.changed_elsewhere([(User, 1)]))
    assert entities.user(1) is None
    assert entities.users_epoch > epoch


def test_nothing_is_read_of_what_nobody_asked_for(entities, storage):
    at_once(storage.insert(User(login="anna")))
    at_once(storage.insert(device("lamp")))
    storage.fail("get", "find")
    at_once(entities.changed_elsewhere([(User, 1), (Device, "lamp"), (Network, 1)]))
    at_once(entities.changed_elsewhere(None))
    assert entities.user(1) is None
    assert entities.device("lamp") is None


def test_a_device_changed_elsewhere_is_read_when_it_is_asked_for(entities, storage):
    at_once(entities.insert(device("lamp", 1)))
    at_once(storage.update(Device, "lamp", {"network_id": 2}))
    at_once(entities.changed_elsewhere([(Device, "lamp")]))
    assert entities.device("lamp") is None
    assert at_once(entities.get(Device, "lamp")).network_id == 2
    at_once(storage.delete(Device, "lamp"))
    at_once(entities.changed_elsewhere([(Device, "lamp")]))
    assert at_once(entities.get(Device, "lamp")) is None


def test_when_anything_may_have_changed_all_users_are_read_a_portion_at_a_time(entities, storage, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    for number in range(5):
        at_once(entities.insert(User(login=f"user-{number}")))
    at_once(entities.insert(device("lamp", 1)))
    users = [entities.user(number) for number in range(1, 6)]
    at_once(storage.delete(User, 2))
    at_once(storage.update(User, 5, {"status": 2}))
    storage.delay("find")
    changed = begin(entities.changed_elsewhere(None))
    portions = 0
    while storage.waiting:
        assert [entities.user(user.id) is not None for user in users].count(False) <= 1
        portions += storage.release()
    assert (portions, changed) == (3, [(None, None)])
    assert [entities.user(user.id) is not None for user in users] == [True, False, True, True, True]
    assert entities.user(5).status == 2
    assert entities.device("lamp") is None


def test_a_storage_that_cannot_answer_fails_the_account_and_keeps_users(entities, storage):
    user = at_once(entities.insert(User(login="anna")))
    storage.fail("find")
    with pytest.raises(StorageUnavailable):
        at_once(entities.changed_elsewhere([(User, 1)]))
    assert entities.user(1) is user


@pytest.mark.parametrize("keys", [[(Device, "lamp"), (User, 1)], None], ids=["named", "any"])
def test_a_read_that_a_change_overtakes_brings_what_is_newer(entities, storage, keys):
    at_once(storage.insert(device("lamp", 1)))
    at_once(storage.insert(User(login="anna")))
    storage.delay("get")
    lamp, anna = begin(entities.get(Device, "lamp")), begin(entities.get(User, 1))
    at_once(storage.update(Device, "lamp", {"network_id": 2}))
    at_once(storage.update(User, 1, {"status": 2}))
    at_once(entities.changed_elsewhere(keys))
    storage.release_all()
    assert lamp[0][0].network_id == entities.device("lamp").network_id == 2
    assert anna[0][0].status == entities.user(1).status == 2


def test_a_write_of_ones_own_is_not_undone_by_a_change_that_is_being_read(entities, storage):
    at_once(entities.insert(User(login="anna")))
    storage.delay("find")
    changed = begin(entities.changed_elsewhere([(User, 1)]))
    at_once(entities.update(User, 1, {"status": 2}))
    storage.release()
    assert entities.user(1).status == 2
    assert changed == [], "it was read too early, and is read again"
    storage.release_all()
    assert changed == [(None, None)]
    assert entities.user(1).status == 2


def test_a_change_elsewhere_is_not_undone_by_the_late_answer_to_a_write(entities, storage, truth):
    at_once(entities.insert(User(login="anna")))
    storage.delay("update")
    written = begin(entities.update(User, 1, {"last_login": 5}))
    at_once(truth.update(User, 1, {"status": 2}))
    at_once(entities.changed_elsewhere([(User, 1)]))
    assert entities.user(1).status == 2
    storage.release_all()
    assert written
    assert (entities.user(1).status, entities.user(1).last_login) == (2, 5)


def test_more_changes_than_are_remembered(entities, storage, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    at_once(storage.insert(device("lamp", 1)))
    storage.delay("get")
    lamp = begin(entities.get(Device, "lamp"))
    at_once(storage.update(Device, "lamp", {"network_id": 2}))
    at_once(entities.changed_elsewhere([(Device, "lamp"), *((Device, f"device-{number}") for number in range(10))]))
    storage.release_all()
    assert lamp[0][0].network_id == 2


class TellingStorage:
    """A storage that tells a function of every change that it makes, before it answers."""

    def __init__(self, storage, tell):
        self.durability, self.state_directory = storage.durability, storage.state_directory
        self.get, self.find = storage.get, storage.find
        self._storage = storage
        self._tell = tell

    async def insert(self, entity):
        return self._told(type(entity), entity.key, await self._storage.insert(entity))

    async def update(self, kind, key, changes):
        return self._told(kind, key, await self._storage.update(kind, key, changes))

    async def delete(self, kind, key):
        return self._told(kind, key, await self._storage.delete(kind, key))

    def _told(self, kind, key, answer):
        self._tell((kind, key))
        return answer


class Nodes:
    """Two caches over one storage, each with a slow way to it; a change on one is heard of on the other, late or before its answer."""

    def __init__(self):
        self.truth = MemoryStorage(Clock())
        self.heard = [[], []]
        self.storages = [DelayingStorage(TellingStorage(self.truth, self.heard[1 - node].append)) for node in range(2)]
        self.entities = [EntityCache(storage, lambda kind, key: None, Deadlines(Clock())) for storage in self.storages]
        for kind, entity in ((User, User(login="anna")), (Device, device("lamp"))):
            at_once(self.truth.insert(entity))
            for entities in self.entities:
                at_once(entities.get(kind, KEYS[kind]))

    def step(self, node, name, *arguments):
        getattr(self, f"do_{name}")(node, *arguments)

    def do_update(self, node, kind, value):
        field = {User: "status", Device: "network_id"}[kind]
        begin(self.entities[node].update(kind, KEYS[kind], {field: value}))

    def do_replace(self, node):
        begin(self._replace(self.entities[node]))

    async def _replace(self, entities):
        if await entities.delete(Device, "lamp"):
            await entities.insert(device("lamp"))

    def do_get(self, node, kind):
        begin(self.entities[node].get(kind, KEYS[kind]))

    def do_hear(self, node, all_at_once):
        heard = self.heard[node]
        if heard:
            begin(self.entities[node].changed_elsewhere(None if all_at_once else [heard[0]]))
            del heard[: None if all_at_once else 1]

    def do_delay(self, node, method, late):
        self.storages[node].delay(method, late=late)

    def do_release(self, node, method):
        self.storages[node].release(method)

    def settle(self):
        for node in range(2):
            while self.heard[node]:
                self.do_hear(node, False)
        for storage in self.storages:
            storage.prompt()
        while any([storage.release() for storage in self.storages]) or any(self.heard):
            for node in range(2):
                self.do_hear(node, False)


KEYS = {User: 1, Device: "lamp"}
METHODS = ["update", "get", "find", "delete", "insert"]
kinds = st.sampled_from([User, Device])
steps = st.one_of(
    st.tuples(st.just("update"), kinds, st.integers(0, 9)),
    st.tuples(st.just("replace")),
    st.tuples(st.just("get"), kinds),
    st.tuples(st.just("hear"), st.booleans()),
    st.tuples(st.just("delay"), st.sampled_from(METHODS), st.booleans()),
    st.tuples(st.just("release"), st.sampled_from(METHODS) | st.none()),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 1), steps).map(lambda step: (step[0], *step[1])), max_size=30), st.sampled_from([1, 2, 10_000]))
def test_every_node_comes_to_know_what_is_stored(steps, remembered):
    with patch.object(module, "MAX_REMEMBERED", remembered):
        nodes = Nodes()
        for step in steps:
            nodes.step(*step)
        nodes.settle()
    for entities in nodes.entities:
        assert entities.user(1) == at_once(nodes.truth.get(User, 1))
        assert entities.device("lamp") in (None, at_once(nodes.truth.get(Device, "lamp")))


def test_who_asks_while_others_are_told_is_told_after_them(entities, storage, truth):
    at_once(truth.insert(device("lamp")))
    order = []

    async def ask(name):
        await entities.get(Device, "lamp")
        order.append(name)
        if name == "first":
            begin(ask("last"))

    storage.delay("get")
    for name in ("first", "second", "third"):
        begin(ask(name))
    storage.release()
    assert order == ["first", "second", "third", "last"]
    assert not entities.reading
