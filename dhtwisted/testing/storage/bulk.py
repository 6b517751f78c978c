"""The contract of entities that come in masses: kinds with ``MANY``, and many changes in one call.

A storage without :class:`~dhtwisted.interfaces.IBulkStorage` is called one entity at a time, as the server does.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from dhtwisted.errors import Unstorable
from dhtwisted.interfaces import IBoundedAnswers, IBulkStorage, IMessageStorage
from dhtwisted.kit.bulk_changes import bulk_changes
from dhtwisted.model import (
    ENTITY_KINDS,
    Entity,
    EntityQuery,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Notification,
    entity_size,
)
from dhtwisted.model.entity import member_key
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.storage.base import EVERYTHING, StorageContract, notification, results
from dhtwisted.testing.strategies import mqtt_queued, mqtt_received, mqtt_retained, mqtt_sessions

EVERY_ENTITY = EntityQuery()
BULK_KINDS = [kind for kind in ENTITY_KINDS.values() if kind.BULK]

_entities = mqtt_sessions | mqtt_retained | mqtt_queued | mqtt_received
_changes = st.lists(
    st.tuples(
        st.lists(_entities, max_size=5, unique_by=lambda entity: (type(entity), entity.key)), st.sets(st.integers(0, 20), max_size=5)
    ),
    min_size=1,
    max_size=4,
)


def queued(session: str, number: int, payload: bytes = b"", **values: Any) -> MqttQueued:
    """A queued message with QoS 1."""
    return MqttQueued.of(session, number, topic="a/b", qos=1, payload=payload, **values)


def _of(session: str, **conditions: Any) -> EntityQuery:
    return EntityQuery(equal={"session": session}, **conditions)


async def _numbers(storage: Watched, session: str, **conditions: Any) -> list[int]:
    return [each.number for each in await storage.find(MqttQueued, _of(session, **conditions))]


class BulkContract(StorageContract):
    """What :class:`~dhtwisted.testing.storage.EntityStorageContract` says of entities in masses."""

    def test_provides_bulk_storage_if_it_has_its_methods(self, storage: Watched) -> None:
        if hasattr(storage.provider, "change_many"):
            assert verifyObject(IBulkStorage, storage.provider), (
                "a storage that has change_many must declare it with implementer(IBulkStorage)"
            )

    @pytest_twisted.ensureDeferred
    async def test_many_changes_are_as_one_after_the_other(self) -> None:
        async def example(storage: Watched, changes: list[tuple[list[Entity], set[int]]]) -> None:
            expected: dict[tuple[type[Entity], Any], Entity] = {}
            for put, places in changes:
                known = [key for key in expected if key not in {(type(entity), entity.key) for entity in put}]
                removed = [known[place] for place in sorted(places) if place < len(known)]
                await bulk_changes(storage).change_many(put, [*removed, (MqttRetained, "never stored")])
                expected |= {(type(entity), entity.key): entity for entity in put}
                for key in removed:
                    del expected[key]
            for kind in BULK_KINDS:
                found = await storage.find(kind, EVERY_ENTITY)
                wanted = sorted((each for each in expected.values() if type(each) is kind), key=lambda each: each.key)
                assert found == wanted, f"change_many must store, replace and remove each {kind.__name__}, and nothing else"

        await self.for_all(example, changes=_changes)

    @pytest_twisted.ensureDeferred
    async def test_a_group_is_read_in_order_and_in_portions(self, storage: Watched) -> None:
        groups = ("1 a", "1 a ", "1 a 0000000000000003", "1 ab", "1 A", "10 a", "1 \U0001f321", "1 a!", "1 %", "1 _")
        for group in groups:
            await bulk_changes(storage).change_many([queued(group, number) for number in (10, 9, 2**40, 1)], [])
        for group in groups:
            assert await _numbers(storage, group) == [1, 9, 10, 2**40], "a group must be found by its field, in the order of keys"
            assert await storage.count(MqttQueued, _of(group)) == 4, "count must count a group"
            first, *_ = await storage.find(MqttQueued, _of(group, take=1))
            assert await _numbers(storage, group, after=(first.key,), take=2) == [9, 10], "a group is read in portions"
            assert await _numbers(storage, group, descending=True, take=2) == [2**40, 10], "a group is read from its end, too"
            assert await _numbers(storage, group, skip=1, take=1) == [9], "skip must leave out the first of a group"
        assert await storage.count(MqttQueued, EVERY_ENTITY) == 4 * len(groups), "count must count all groups"
        assert await _numbers(storage, "nobody") == [], "a group that does not exist is empty"
        assert await storage.count(MqttQueued, EntityQuery(equal={"number": 9}, like={"session": "1 a%"})) == 5, (
            "any query must be answered"
        )
        found = await storage.find(MqttQueued, EntityQuery(within={"session": frozenset({"1 a", "10 a"})}, sort="number", take=3))
        assert [each.number for each in found] == [1, 1, 9], "any query must be answered"

    @pytest_twisted.ensureDeferred
    async def test_what_is_put_takes_the_place_of_what_has_its_key(self, storage: Watched) -> None:
        """As when a message is sent, and its packet id and state are noted, and when a session is stored again."""
        changes = bulk_changes(storage)
        before: list[Any] = [
            queued("1 a", 1, b"x" * 5000),
            queued("1 a", 2, b"y"),
            MqttSession(id="1 a", user_id=1, client_id="a", created=1),
        ]
        after = [queued("1 a", 1, b"", state=2, packet_id=7), queued("1 a", 3, b"z"), replace(before[2], last_packet_id=7)]
        await changes.change_many(before, [])
        await changes.change_many(after, [])
        found = await storage.find(MqttQueued, _of("1 a"))
        assert found == [after[0], before[1], after[1]], (
            "change_many must put an entity in the place of the one with its key, with all its fields, and leave the others as they are"
        )
        assert await storage.get(MqttSession, "1 a") == after[2], "change_many must put an entity in the place of the one with its key"
        await changes.change_many([queued("1 a", 4)], [(MqttQueued, before[1].id), (MqttSession, "1 a")])
        assert await _numbers(storage, "1 a") == [1, 3, 4], "one call of change_many may both store and remove; this one did not do all"
        assert await storage.get(MqttSession, "1 a") is None, "one call of change_many may change several kinds; this one did not"

    @pytest_twisted.ensureDeferred
    async def test_a_range_of_a_group_is_read_page_by_page(self, storage: Watched) -> None:
        """As when a client comes back: what it acknowledges is removed while the next page is read, and more comes behind."""
        changes = bulk_changes(storage)
        await changes.change_many([queued(group, number, b"x" * 100) for group in ("1 a", "1 b") for number in range(1, 101)], [])
        read: list[int] = []
        while read[-1:] < [80]:
            place = member_key("1 a", read[-1] if read else 20)
            page = await storage.find(MqttQueued, _of("1 a", after=(place,), take=10, size=550))
            assert page, "a page that begins behind a key must be found, also when the entity of that key was removed meanwhile"
            read += [each.number for each in page]
            more = queued("1 a", 100 + len(read))
            await changes.change_many([more], [(MqttQueued, each.id) for each in page])
        assert read == list(range(21, read[-1] + 1)), "pages of a group must follow each other: in order, without a hole, and none twice"
        left = await _numbers(storage, "1 a", take=21)
        assert left == [*range(1, 21), read[-1] + 1], "what was read in pages and removed must be gone, and nothing else"
        assert await storage.count(MqttQueued, _of("1 b")) == 100, "another group must stay as it is"

    @pytest_twisted.ensureDeferred
    async def test_one_call_may_have_thousands_of_changes(self, storage: Watched) -> None:
        """As when a session ends for which many messages wait."""
        changes, count = bulk_changes(storage), 5000 if IBulkStorage.providedBy(storage) else 50
        await changes.change_many([queued("1 a", number) for number in range(count)], [])
        assert await storage.count(MqttQueued, _of("1 a")) == count, f"change_many must store all of {count} entities"
        put = [queued("1 b", number) for number in range(count)]
        await changes.change_many(put, [(MqttQueued, member_key("1 a", number)) for number in range(1, count)])
        assert await _numbers(storage, "1 a") == [0], f"change_many must remove all of {count - 1} entities, and no other"
        assert await storage.count(MqttQueued, _of("1 b")) == count, "change_many must store and remove in one call"

    @pytest_twisted.ensureDeferred
    async def test_many_groups_are_kept_apart(self, storage: Watched) -> None:
        """As with many absent clients, which all wait for the same messages."""
        groups = [f"{number % 7} client-{number}" for number in range(300 if IBulkStorage.providedBy(storage) else 30)]
        changes = bulk_changes(storage)
        await results(*(changes.change_many([queued(group, number) for group in groups], []) for number in (1, 2, 3)))
        await changes.change_many([], [(MqttQueued, member_key(group, 2)) for group in groups])
        await changes.remove_group(MqttQueued, groups[5])
        for group in groups:
            wanted = [] if group == groups[5] else [1, 3]
            assert await _numbers(storage, group) == wanted, f"with {len(groups)} groups each must have its own, and only that"

    @pytest_twisted.ensureDeferred
    async def test_large_contents_come_back_byte_for_byte(self, storage: Watched) -> None:
        large = bytes(range(256)) * 4096
        kept = [queued("1 a", 1, large), queued("1 a", 2), queued("1 a", 3, large[::-1]), queued("1 b", 1, large)]
        retained = MqttRetained(topic="t", payload=large, qos=1, published=1, properties=large[:70_000])
        await bulk_changes(storage).change_many([*kept, retained], [])
        assert await storage.find(MqttQueued, EVERY_ENTITY) == kept, "contents of a megabyte must be kept byte for byte"
        assert await storage.get(MqttRetained, "t") == retained, "contents of a megabyte must be kept byte for byte"
        assert await _numbers(storage, "1 a", take=2) == [1, 2], "large entities are read in portions as small ones are"

    @pytest_twisted.ensureDeferred
    async def test_a_portion_of_a_group_may_end_at_its_size(self, storage: Watched) -> None:
        if not IBoundedAnswers.providedBy(storage):
            pytest.skip("this storage does not say that its answers end at size: this test does not apply")
        entities = [queued("1 a", number, b"x" * 1000) for number in range(10)]
        await bulk_changes(storage).change_many(entities, [])
        for size in (1, 1000, 1001, 4500, 10_000, 20_000):
            found = await storage.find(MqttQueued, _of("1 a", size=size))
            assert found == entities[: -(-size // 1000)], (
                "IBoundedAnswers: an answer ends with the entity that reaches size, not before or after"
            )
            assert await storage.find(MqttQueued, _of("1 a", size=size, take=2, skip=1)) == entities[1 : 1 + min(2, len(found))]
        assert entity_size(entities[0]) == 1000

    @pytest_twisted.ensureDeferred
    async def test_one_of_many_is_changed_as_any_other_entity(self, storage: Watched) -> None:
        before = await storage.insert(queued("1 a", 1, b"\x00\xff"))
        updates = ({"state": 1, "packet_id": 7}, {"payload": b""}, {"expires": 5})
        await results(*(storage.update(MqttQueued, before.key, changes) for changes in updates))
        found = await storage.get(MqttQueued, before.key)
        assert (found.state, found.packet_id, found.payload, found.expires) == (1, 7, b"", 5), "concurrent updates must all take effect"
        assert await storage.delete(MqttQueued, before.key), "delete must say that there was one"
        assert not await storage.delete(MqttQueued, before.key), "delete must say that there was none"
        assert await storage.get(MqttQueued, before.key) is None, "what was deleted is not there"

    @pytest_twisted.ensureDeferred
    async def test_a_group_is_removed_as_a_whole(self, storage: Watched) -> None:
        groups = ("1 a", "1 a 0000000000000003", "1 ab", "10 a")
        changes = bulk_changes(storage)
        await results(
            *(changes.change_many([queued(group, number), MqttReceived.of(group, number)], []) for group in groups for number in (1, 2))
        )
        await changes.remove_group(MqttQueued, "1 a")
        await changes.remove_group(MqttQueued, "nobody")
        assert {each.session for each in await storage.find(MqttQueued, EVERY_ENTITY)} == set(groups[1:]), (
            "remove_group must remove the group, and no other"
        )
        assert await storage.count(MqttReceived, EVERY_ENTITY) == 8, "remove_group must remove only entities of its kind"

    @pytest_twisted.ensureDeferred
    async def test_changes_take_effect_in_the_order_of_their_calls(self, storage: Watched) -> None:
        if not IBulkStorage.providedBy(storage):
            pytest.skip("this storage has no IBulkStorage: this test does not apply")
        entity, done = queued("1 a", 1), []

        async def change(number: int) -> None:
            put, removed = ([entity], []) if number % 2 == 0 else ([], [(MqttQueued, entity.id)])
            await storage.change_many(put, removed)
            done.append(number)

        await results(*(change(number) for number in range(51)))
        assert done == list(range(51)), "calls of change_many must complete in their order"
        assert await storage.find(MqttQueued, EVERY_ENTITY) == [entity], "calls of change_many must take effect in their order"
        await results(storage.change_many([queued("1 a", 2)], []), storage.remove_group(MqttQueued, "1 a"))
        assert await storage.find(MqttQueued, EVERY_ENTITY) == [], "remove_group must remove what earlier calls stored"

    @pytest_twisted.ensureDeferred
    async def test_messages_and_entities_are_stored_together(self, storage: Watched) -> None:
        if not (IBulkStorage.providedBy(storage) and IMessageStorage.providedBy(storage)):
            pytest.skip("this storage does not keep both in one call: this test does not apply")
        sent = notification("n")
        await storage.change_many([queued("1 a", 1)], [], [sent])
        assert (sent.id, await storage.find_messages(Notification, EVERYTHING)) == (1, [sent]), "change_many must append and stamp messages"
        await storage.change_many([], [], [notification("m")])
        refused = notification("refused")
        session = MqttSession(id="1 a", user_id=1, client_id="a", created=1)
        odd = queued("1 a", 2, device_id="\ud800")
        try:
            await storage.change_many([session, odd], [(MqttQueued, member_key("1 a", 1))], [refused])
        except Unstorable:
            pass
        else:
            assert await _numbers(storage, "1 a") == [2], "what change_many does not refuse it must store"
            return
        assert refused.id == 0, "when change_many is refused, its messages must not change"
        assert [each.name for each in await storage.find_messages(Notification, EVERYTHING)] == ["n", "m"], (
            "a refused change_many stores nothing"
        )
        assert await _numbers(storage, "1 a") == [1], "a refused change_many changes nothing"
        assert await storage.get(MqttSession, "1 a") is None, "a refused change_many changes nothing"
