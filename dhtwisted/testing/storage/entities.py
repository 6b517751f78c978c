"""The contract of an entity storage."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import pytest_twisted
from hypothesis import strategies as st
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from dhtwisted.errors import Duplicate, Missing
from dhtwisted.interfaces import IBoundedAnswers, IEntityStorage
from dhtwisted.model import (
    ENTITY_KINDS,
    Added,
    Configuration,
    Device,
    DeviceType,
    Entity,
    EntityQuery,
    Holding,
    Network,
    Raised,
    StoredBytes,
    User,
    With,
    Without,
    entity_size,
)
from dhtwisted.testing.contract import Watched, must_raise
from dhtwisted.testing.storage.base import outcomes, refuses_when_closed, results
from dhtwisted.testing.storage.bulk import BulkContract
from dhtwisted.testing.storage.model import EntityModel
from dhtwisted.testing.strategies import (
    descriptions,
    device_tokens,
    devices,
    entities,
    json_texts,
    names,
    network_queries,
    networks,
    owners,
)

EVERYTHING = EntityQuery()

_network_changes = st.fixed_dictionaries({}, optional={"name": names, "description": descriptions})
_steps = st.lists(
    st.tuples(st.just("insert"), st.builds(Network, name=names, description=descriptions))
    | st.tuples(st.just("update"), st.integers(1, 6), _network_changes)
    | st.tuples(st.just("delete"), st.integers(1, 6)),
    max_size=15,
)


def device(device_id: str, **values: Any) -> Device:
    """A device, by default of network 1 and device type 1."""
    fields: dict[str, Any] = {"id": device_id, "name": device_id, "network_id": 1, "device_type_id": 1}
    return Device(**(fields | values))


async def insert_all(storage: Watched, *new: Entity) -> list[Any]:
    """Insert one after the other."""
    return [await storage.insert(entity) for entity in new]


_OWNED = [kind for kind in ENTITY_KINDS.values() if kind.OWNER]


def _holdings(entities: Iterable[Entity], owner: int) -> dict[type[Entity], Holding]:
    found = {kind: [entity for entity in entities if type(entity) is kind and entity.owner == owner] for kind in _OWNED}
    return {kind: Holding(len(owned), sum(entity_size(entity) for entity in owned)) for kind, owned in found.items() if owned}


async def _insert_what_can_be(storage: Watched, new: Iterable[Entity]) -> list[Any]:
    stored = []
    for entity in new:
        with suppress(Duplicate):
            stored.append(await storage.insert(entity))
    return stored


class EntityStorageContract(BulkContract):
    """What the server relies on when it keeps users, networks, device types, devices and configuration."""

    def test_provides_entity_storage(self, storage: Watched) -> None:
        assert verifyObject(IEntityStorage, storage.provider), "a storage must have every method of IEntityStorage, with its arguments"

    @pytest_twisted.ensureDeferred
    async def test_what_was_never_inserted_is_none(self, storage: Watched) -> None:
        assert await storage.get(User, 1) is None, "get must return None for an unknown key"
        assert await storage.get(Device, "nobody") is None, "get must return None for an unknown key"
        assert await storage.find(User, EVERYTHING) == [], "find must return an empty list when there is nothing"

    @pytest_twisted.ensureDeferred
    async def test_an_entity_comes_back_as_it_went_in(self) -> None:
        async def example(storage: Watched, entity: Entity) -> None:
            stored = await storage.insert(entity)
            assert stored.key, "insert must replace an integer key of 0 by the next key of the kind"
            assert await storage.get(type(entity), stored.key) == stored, "get must return what insert returned"
            for field in entity.__struct_fields__:
                if field != "id":
                    assert getattr(stored, field) == getattr(entity, field), f"the field {field} comes back unchanged, with its type"

        await self.for_all(example, entity=entities)

    @pytest_twisted.ensureDeferred
    async def test_ids_ascend_from_one_for_each_kind(self, storage: Watched) -> None:
        stored = await insert_all(storage, User(login="a"), User(login="b"), Network(name="a"), DeviceType(name="a"), User(login="c"))
        assert [entity.id for entity in stored] == [1, 2, 1, 1, 3], "integer keys must begin at 1, for each kind separately"

    @pytest_twisted.ensureDeferred
    async def test_a_key_of_ones_own_is_kept(self, storage: Watched) -> None:
        first, second, third = await insert_all(storage, Network(id=40, name="a"), Network(id=3, name="b"), Network(name="c"))
        assert (first.id, second.id) == (40, 3), "insert must keep a key other than 0"
        assert third.id == 41, "a new key must be above all used keys"

    @pytest_twisted.ensureDeferred
    async def test_a_key_is_never_given_twice(self, storage: Watched) -> None:
        last = (await insert_all(storage, Network(name="a"), Network(name="b")))[-1]
        await storage.delete(Network, last.id)
        assert (await storage.insert(Network(name="c"))).id > last.id, "a key that was used before must not be used again"

    @pytest_twisted.ensureDeferred
    async def test_a_taken_key_is_refused(self, storage: Watched) -> None:
        await insert_all(storage, device("a", name="first"), Configuration(id=7, name="a", value="first"))
        for entity in (device("a", name="second"), Configuration(id=7, name="b", value="second")):
            with must_raise(Duplicate, f"insert of a taken {entity.KEY}") as caught:
                await storage.insert(entity)
            assert caught.value.field == entity.KEY, "Duplicate.field must be the name of the field whose value is taken"
        assert (await storage.get(Device, "a")).name == "first", "a refused insert must not change anything"

    @pytest_twisted.ensureDeferred
    async def test_a_taken_unique_value_is_refused(self, storage: Watched) -> None:
        await storage.insert(User(login="a"))
        with must_raise(Duplicate, "insert of a taken login") as caught:
            await storage.insert(User(login="a"))
        assert caught.value.field == "login", "Duplicate.field must be the name of the field whose value is taken"
        assert await storage.count(User, EVERYTHING) == 1, "a refused insert must not change anything"
        assert (await storage.insert(User(login="A"))).login == "A", "unique values must be compared exactly: upper and lower case differ"

    @pytest_twisted.ensureDeferred
    async def test_an_absent_unique_value_is_no_value(self, storage: Watched) -> None:
        first, second, _ = await insert_all(storage, User(login="a"), User(login="b"), User(login="c", login_key="c"))
        await storage.update(User, first.id, {"login_key": "a"})
        for change in (storage.insert(User(login="A", login_key="a")), storage.update(User, second.id, {"login_key": "a"})):
            with must_raise(Duplicate, "a login_key that another user has") as caught:
                await change
            assert caught.value.field == "login_key", "Duplicate.field must be the name of the field whose value is taken"
        assert await storage.count(User, EVERYTHING) == 3, "two users without a login_key must be possible"
        found = await storage.find(User, EntityQuery(equal={"login_key": "a"}))
        assert [user.id for user in found] == [first.id], "find must find a user by login_key"

    @pytest_twisted.ensureDeferred
    async def test_known_addresses_come_back(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a"))
        assert (await storage.get(User, user.id)).known_addresses == (), "known_addresses must be empty at first"
        known = (("192.0.2.1", 1_700_000_000_000), ("2001:db8::/64", 1_700_000_000_001))
        await storage.update(User, user.id, {"known_addresses": known, "last_login": 7})
        assert (await storage.get(User, user.id)).known_addresses == known, "known_addresses must come back in their order, as tuples"

    @pytest_twisted.ensureDeferred
    async def test_of_equal_inserts_at_once_one_succeeds(self, storage: Watched) -> None:
        found = await outcomes(*(storage.insert(User(login="a")) for _ in range(10)), *(storage.insert(device("a")) for _ in range(10)))
        for part in (found[:10], found[10:]):
            refused = [outcome for outcome in part if isinstance(outcome, Duplicate)]
            assert len(refused) == 9, f"of ten equal inserts at once nine are a Duplicate, here: {part}"
        assert await storage.count(User, EVERYTHING) == 1, "one of ten equal inserts must be stored"

    @pytest_twisted.ensureDeferred
    async def test_concurrent_changes_of_one_set_all_take_effect(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a", network_ids=frozenset({100, 101})))
        changes = [With(frozenset({number})) for number in range(20)] + [Without(frozenset({100, 7777}))]
        await outcomes(*(storage.update(User, user.id, {"network_ids": change}) for change in changes))
        stored = await storage.get(User, user.id)
        assert stored.network_ids == frozenset({*range(20), 101}), (
            "With must add elements and Without must remove them, also in concurrent updates"
        )
        both = await storage.update(User, user.id, {"network_ids": Without(frozenset(range(20))), "device_type_ids": With(frozenset({5}))})
        assert (both.network_ids, both.device_type_ids) == (frozenset({101}), frozenset({5})), (
            "one update must be able to change several sets"
        )
        assert await storage.get(User, user.id) == both, "update must return the stored value, not the change"

    @pytest_twisted.ensureDeferred
    async def test_concurrent_raises_of_one_number_all_take_effect(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a"))
        raised = await results(*(storage.update(User, user.id, {"valid_from": Raised(to)}) for to in (5, 1000, 7, 3, 900)))
        numbers = [entity.valid_from for entity in raised]
        assert len(set(numbers)) == 5, "each of several concurrent model.Raised must raise the number"
        assert max(numbers) >= 1000, "model.Raised must make the number at least `to`"
        assert (await storage.get(User, user.id)).valid_from == max(numbers), (
            "and never falls: tokens that were revoked would be good again"
        )

    @pytest_twisted.ensureDeferred
    async def test_all_that_is_added_to_a_number_at_once_counts(self, storage: Watched) -> None:
        await storage.insert(StoredBytes(id="a", size=100))
        found = await results(*(storage.update(StoredBytes, "a", {"size": Added(amount)}) for amount in (1, 20, -50, 2**40)))
        assert (await storage.get(StoredBytes, "a")).size == 71 + 2**40, "concurrent model.Added must all count"
        assert max(entity.size for entity in found) >= 2**40, "update must return the stored number, not the change"

    @pytest_twisted.ensureDeferred
    async def test_holdings_are_what_is_there(self) -> None:
        async def example(storage: Watched, new: list[Entity], changes: dict[str, Any], removed: int) -> None:
            stored = await _insert_what_can_be(storage, new)
            for entity in stored[removed:]:
                await storage.delete(type(entity), entity.key)
            for entity in stored[:removed]:
                fields = {field: value for field, value in changes.items() if hasattr(entity, field)}
                await storage.update(type(entity), entity.key, fields)
            there = [entity for kind in _OWNED for entity in await storage.find(kind, EVERYTHING)]
            for owner in range(1, 10):
                found = {kind: held for kind, held in (await storage.holdings(owner)).items() if held.count}
                assert found == _holdings(there, owner), "holdings must count the entities with this OWNER, and their entity_size"

        owned = st.lists(networks | devices | device_tokens, max_size=12)
        changes = st.fixed_dictionaries({}, optional={"owner_id": owners, "data": st.none() | json_texts, "description": descriptions})
        await self.for_all(example, new=owned, changes=changes, removed=st.integers(0, 12))

    @pytest_twisted.ensureDeferred
    async def test_concurrent_inserts_all_count_as_holdings(self, storage: Watched) -> None:
        new = [device(f"a-{number}", owner_id=1 + number % 2, data=b"12345") for number in range(20)]
        await outcomes(*(storage.insert(entity) for entity in new))
        assert await storage.holdings(1) == {Device: Holding(10, 50)}, "holdings must count all concurrent inserts"
        await outcomes(*(storage.delete(Device, entity.id) for entity in new[:10]))
        assert await storage.holdings(2) == {Device: Holding(5, 25)}, "holdings must not count deleted entities"
        assert await storage.holdings(2**60) == {}, "holdings of a user without entities must be an empty dict"

    @pytest_twisted.ensureDeferred
    async def test_a_number_is_raised_only_when_another_field_changes(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a", role=1, valid_from=7))
        same = await storage.update(User, user.id, {"role": 1, "valid_from": Raised(1000, when="role")})
        assert (same.role, same.valid_from) == (1, 7), "Raised with when: the field had this value, so the number stays"
        other = await storage.update(User, user.id, {"role": 0, "valid_from": Raised(1000, when="role")})
        assert (other.role, other.valid_from) == (0, 1000), "Raised with when: the field had another value, so the number is raised"
        roles = (1, 0) * 5
        raised = await results(*(storage.update(User, user.id, {"role": role, "valid_from": Raised(5, when="role")}) for role in roles))
        numbers = {entity.valid_from: entity.role for entity in raised}
        assert all(numbers[entity.valid_from] == entity.role for entity in raised), (
            "what the field had is what is stored at that moment, however many come at once: a number belongs to one role"
        )
        ascending = [numbers[number] for number in sorted(numbers)]
        assert all(one != next_one for one, next_one in pairwise(ascending)), (
            "model.Raised with `when` must raise the number once for each change of the field"
        )

    @pytest_twisted.ensureDeferred
    async def test_update_replaces_what_it_names(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a", password="secret", data=b"{}"))
        changed = await storage.update(User, user.id, {"login": "b", "data": None, "network_ids": frozenset({1})})
        assert (changed.login, changed.data, changed.network_ids) == ("b", None, frozenset({1})), "update must set the given fields"
        assert changed.password == "secret", "update must not change other fields"
        assert await storage.get(User, user.id) == changed, "update must return the changed entity"

    @pytest_twisted.ensureDeferred
    async def test_update_of_nothing_is_missing(self, storage: Watched) -> None:
        with must_raise(Missing, "update of an entity that does not exist"):
            await storage.update(User, 1, {"login": "a"})

    @pytest_twisted.ensureDeferred
    async def test_update_keeps_unique_values_unique(self, storage: Watched) -> None:
        first, second = await insert_all(storage, Network(name="a"), Network(name="b"))
        with must_raise(Duplicate, "update to a taken name"):
            await storage.update(Network, second.id, {"name": "a", "description": "changed"})
        assert await storage.get(Network, second.id) == second, "a refused update must not change anything"
        same = await storage.update(Network, first.id, {"name": "a"})
        assert same == first, "an update to the entity's own unique value must succeed"

    @pytest_twisted.ensureDeferred
    async def test_updates_of_different_fields_at_once_all_count(self, storage: Watched) -> None:
        user = await storage.insert(User(login="a"))
        changes = ({"data": b"1"}, {"status": 2}, {"role": 0}, {"last_login": 7}, {"intro_reviewed": True})
        await results(*(storage.update(User, user.id, change) for change in changes))
        found = await storage.get(User, user.id)
        for change in changes:
            for field, value in change.items():
                assert getattr(found, field) == value, f"the change of {field} was lost: update replaces fields, not the whole entity"

    @pytest_twisted.ensureDeferred
    async def test_delete_says_whether_there_was_one(self, storage: Watched) -> None:
        await storage.insert(device("a"))
        assert await storage.delete(Device, "a") is True, "delete must return true when it removed something"
        assert await storage.delete(Device, "a") is False, "delete must return false when there was nothing"
        assert await storage.get(Device, "a") is None, "a deleted entity must be gone"

    @pytest_twisted.ensureDeferred
    async def test_a_unique_value_is_free_again(self, storage: Watched) -> None:
        first, second = await insert_all(storage, Network(name="a"), Network(name="b"))
        await storage.delete(Network, first.id)
        await storage.update(Network, second.id, {"name": "a"})
        assert (await storage.insert(Network(name="b"))).name == "b", (
            "a unique value must be free when its entity is deleted or has another value"
        )

    @pytest_twisted.ensureDeferred
    async def test_sorting_by_an_absent_value(self, storage: Watched) -> None:
        await insert_all(storage, *(Network(name=str(n), description=text) for n, text in enumerate(["b", None, "a", None, "B", ""])))
        ascending = await storage.find(Network, EntityQuery(sort="description"))
        assert [n.description for n in ascending] == [None, None, "", "B", "a", "b"], (
            "absent values must come first, then texts by code point"
        )
        assert [n.id for n in ascending][:2] == [2, 4], "equal values must be sorted by key"
        descending = await storage.find(Network, EntityQuery(sort="description", descending=True))
        assert [n.id for n in descending] == [1, 3, 5, 6, 2, 4], (
            "descending must reverse the field; equal values must be sorted by ascending key"
        )

    @pytest_twisted.ensureDeferred
    async def test_names_sort_by_code_point(self, storage: Watched) -> None:
        texts = ["\U0001f600", "ä", "a", "Z", "\uff5e", "z", "-", "", "a-b", "ab"]
        await insert_all(storage, *(Network(name=text) for text in texts))
        found = [network.name for network in await storage.find(Network, EntityQuery(sort="name"))]
        assert found == sorted(texts), 'texts sort by code point, as Python and COLLATE "C" do, not by the rules of a language'

    @pytest_twisted.ensureDeferred
    async def test_names_are_told_apart_exactly(self, storage: Watched) -> None:
        names = ["Ärger", "ärger", "Arger", "A\u0308rger", "arger ", "arger"]
        await insert_all(storage, *(Network(name=name) for name in names))
        for name in names:
            for query in (EntityQuery(equal={"name": name}), EntityQuery(like={"name": name})):
                found = [network.name for network in await storage.find(Network, query)]
                assert found == [name], f"{query}: equal and like tell upper and lower case apart, accents too, also beyond ASCII"

    @pytest_twisted.ensureDeferred
    async def test_paging_comes_after_sorting(self, storage: Watched) -> None:
        await insert_all(storage, *(device(name) for name in "dacbe"))
        query = EntityQuery(within={"network_id": frozenset({1})}, sort="name", skip=1, take=2)
        assert [d.id for d in await storage.find(Device, query)] == ["b", "c"], "find must filter, then sort, then skip and take"
        assert await storage.count(Device, query) == 5, "count must ignore skip and take"

    @pytest.mark.parametrize("sort", ["", "id", "description"])
    @pytest.mark.parametrize("descending", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_a_list_of_entities_goes_on_behind_a_place(self, storage: Watched, sort: str, descending: bool) -> None:
        await insert_all(storage, *(Network(name=str(n), description=text) for n, text in enumerate(["b", None, "a", None, "b", ""])))
        query = EntityQuery(sort=sort, descending=descending)
        found = await storage.find(Network, query)
        for index, network in enumerate(found):
            after = replace(query, after=query.place(network))
            assert await storage.find(Network, after) == found[index + 1 :], f"after: what comes behind {network}, in {query}"
            assert await storage.find(Network, replace(after, skip=1, take=2)) == found[index + 2 : index + 4], (
                "skip and take must count from the place in `after`"
            )
        await storage.delete(Network, found[2].id)
        after = replace(query, after=query.place(found[2]))
        assert await storage.find(Network, after) == found[3:], "`after` must work with the place of a deleted entity"

    @pytest_twisted.ensureDeferred
    async def test_an_answer_of_entities_may_end_where_it_has_its_bytes(self, storage: Watched) -> None:
        sizes = (10, 30, 0, 60, 5)
        await insert_all(storage, *(device(f"d{n}", data=b'"%b"' % (b"x" * (size - 2)) if size else None) for n, size in enumerate(sizes)))
        for size in (1, 10, 11, 40, 41, 100, 101, 1000):
            for query in (EntityQuery(size=size), EntityQuery(size=size, sort="name", descending=True), EntityQuery(size=size, skip=1)):
                found, whole = await storage.find(Device, query), await storage.find(Device, replace(query, size=None))
                assert found == whole[: len(found)], f"{query}: an answer that ends early is the first part of the whole one"
                assert len(found) == len(whole) or sum(map(entity_size, found)) >= size, f"{query}: it ends only when it has so many bytes"
                if IBoundedAnswers.providedBy(storage):
                    assert sum(map(entity_size, found[:-1])) < size, (
                        f"IBoundedAnswers: an answer ends with what reaches size, this one goes on. Stop there, or do not say so: {query}"
                    )
        users = [User(login=f"u{n}", network_ids=frozenset(range(n)), data=b"{}" if n % 2 else None) for n in range(1, 6)]
        await insert_all(storage, *users)
        found, whole = await storage.find(User, EntityQuery(size=40)), await storage.find(User, EVERYTHING)
        assert found == whole[: len(found)] and (len(found) == len(whole) or sum(map(entity_size, found)) >= 40), (
            "`size` must count the elements of sets too"
        )

    @pytest_twisted.ensureDeferred
    async def test_an_empty_set_permits_nothing(self, storage: Watched) -> None:
        await storage.insert(device("a"))
        for field in ("id", "network_id"):
            query = EntityQuery(within={field: frozenset()})
            assert await storage.find(Device, query) == [], "an empty set in `within` must match nothing"
            assert await storage.count(Device, query) == 0, "count and find must agree"

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("%", {"abc", "Abc", "a%c", "", "a\nc"}),
            ("a_c", {"abc", "a%c", "a\nc"}),
            ("a%c", {"abc", "a%c", "a\nc"}),
            ("%b%", {"abc", "Abc"}),
            ("abc", {"abc"}),
            ("", {""}),
            ("_", set()),
            ("a.c", set()),
            ("a\\%c", set()),
            ("%c%c", set()),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_patterns(self, storage: Watched, pattern: str, expected: set[str]) -> None:
        await insert_all(storage, *(Network(name=name) for name in ("abc", "Abc", "a%c", "", "a\nc")))
        found = await storage.find(Network, EntityQuery(like={"name": pattern}))
        assert {n.name for n in found} == expected, "in `like`, % must match any text and _ one character; upper and lower case differ"

    @pytest_twisted.ensureDeferred
    async def test_a_pattern_does_not_match_what_is_absent(self, storage: Watched) -> None:
        await insert_all(storage, Network(name="a"), Network(name="b", description=""))
        found = await storage.find(Network, EntityQuery(like={"description": "%"}))
        assert [n.name for n in found] == ["b"], "an absent value must not match a `like` pattern"

    @pytest_twisted.ensureDeferred
    async def test_does_what_the_model_does(self) -> None:
        async def example(storage: Watched, steps: list[Any], queries: list[EntityQuery]) -> None:
            model = EntityModel(Network)
            for step, *arguments in steps:
                expected = _attempt_model(model, step, *arguments)
                arguments = arguments if step == "insert" else [Network, *arguments]
                assert _described((await outcomes(getattr(storage, step)(*arguments)))[0]) == expected, f"after {step} {arguments}"
            for query in (EVERYTHING, *queries):
                assert await storage.find(Network, query) == model.find(query), f"find {query}"
                assert await storage.count(Network, query) == len(model.matching(query)), f"count {query}"

        await self.for_all(example, steps=_steps, queries=st.lists(network_queries, max_size=5))

    @pytest_twisted.ensureDeferred
    async def test_a_closed_storage_refuses_entities(self, storage: Watched) -> None:
        await storage.insert(device("a"))
        await storage.close()
        await refuses_when_closed(
            storage,
            ("get", Device, "a"),
            ("find", Device, EVERYTHING),
            ("count", Device, EVERYTHING),
            ("insert", device("b")),
            ("update", Device, "a", {"name": "b"}),
            ("delete", Device, "a"),
        )


def _attempt_model(model: EntityModel, step: str, *arguments: Any) -> Any:
    if step == "update" and arguments[0] not in {entity.id for entity in model.entities}:
        return Missing
    try:
        return getattr(model, step)(*arguments)
    except Duplicate:
        return Duplicate


def _described(outcome: object) -> object:
    return type(outcome) if isinstance(outcome, Exception) else outcome
