"""Entities in memory: keys, unique fields, queries. The memory and SQLite storages keep their entities in these tables.

Changes are made by a :class:`~dhtwisted.kit.entity_transaction.Transaction`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from dhtwisted.kit.entity_index import INDEXED, EntityIndex
from dhtwisted.kit.ordered_keys import OrderedKeys
from dhtwisted.kit.slices import Walk, count, run_to_end, select
from dhtwisted.model import ENTITY_KINDS, Entity, EntityQuery, Holding, cut_to_size, entity_size

Key = int | str

NOTHING = Holding()

FEW, SPARSE = 1000, 16
"""Up to ``FEW`` entities, or one in ``SPARSE`` of all, are sorted faster than they are found on a walk along the order of all entities."""


class EntityTable:
    """The entities of one kind.

    :ivar entities: key -> entity.
    :ivar unique_keys: unique field -> its value -> key of the entity that has it.
    :ivar holdings: id of a user -> the :class:`~dhtwisted.model.Holding` of this user's entities.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self.kind = kind
        self.entities: dict[Key, Any] = {}
        self.unique_keys: dict[str, dict[Any, Key]] = {field: {} for field in kind.UNIQUE}
        self._keys = OrderedKeys()
        self._orders: dict[str, OrderedKeys] = {}
        self._indexes = [EntityIndex(fields) for fields in INDEXED.get(kind, ())]
        self.holdings: dict[int, Holding] = {}

    def put(self, key: Key, entity: Entity | None) -> None:
        """Set the entity of a key; ``None`` removes it. The caller has checked that unique values are free."""
        old = self.entities.pop(key, None)
        if old is None and entity is not None:
            self._keys.add(key)
        elif old is not None and entity is None:
            self._keys.remove(key)
        for index in self._indexes:
            if old is not None:
                index.remove(old)
            if entity is not None:
                index.add(entity)
        for field, order in self._orders.items():
            place = _place_by(field)
            if old is not None:
                order.remove(place(old))
            if entity is not None:
                order.add(place(entity))
        if self.kind.OWNER:
            self._add_to_holding(old, -1)
            self._add_to_holding(entity, 1)
        for field, keys in self.unique_keys.items():
            if old is not None and keys.get(getattr(old, field)) == key:
                del keys[getattr(old, field)]
            if entity is not None and getattr(entity, field) is not None:
                keys[getattr(entity, field)] = key
        if entity is not None:
            self.entities[key] = entity

    def _add_to_holding(self, entity: Entity | None, count: int) -> None:
        if entity is None or entity.owner is None:
            return
        holding = self.holdings.get(entity.owner, NOTHING)
        holding = Holding(holding.count + count, holding.size + count * entity_size(entity))
        if holding.count:
            self.holdings[entity.owner] = holding
        else:
            self.holdings.pop(entity.owner, None)

    def find(self, query: EntityQuery) -> list[Any]:
        """List the entities that a query matches."""
        return run_to_end(self.find_in_slices(query))

    def count(self, query: EntityQuery) -> int:
        """Count the entities that a query matches."""
        return run_to_end(self.count_in_slices(query))

    def find_in_slices(self, query: EntityQuery) -> Walk[list[Any]]:
        """As :meth:`find`, as a walk of :mod:`~dhtwisted.kit.slices`."""
        walk = self._by_key(query) if query.sort in ("", self.kind.KEY) else self._by_field(query)
        found = yield from select(walk, _condition(query), None if query.take is None else query.skip + query.take)
        found = found[query.skip :]
        return found if query.size is None else cut_to_size(found, query.size, entity_size)

    def count_in_slices(self, query: EntityQuery) -> Walk[int]:
        """As :meth:`count`, as a walk of :mod:`~dhtwisted.kit.slices`."""
        if not (query.equal or query.within or query.like):
            return len(self.entities)
        for index in self._indexes:
            if index.covers(query):
                return sum(map(len, index.find(query) or ()))
        candidates = self._candidates(query, len(self.entities))
        found = yield from count(self.entities.values() if candidates is None else candidates, _condition(query))
        return found

    def _by_key(self, query: EntityQuery) -> Iterator[Any]:
        """Walk through the candidates of a query in the order of their keys, only as far as somebody asks."""
        candidates = self._candidates(query)
        keys = self._keys if candidates is None else OrderedKeys({entity.key for entity in candidates})
        return filter(None, map(self.entities.get, keys.walk(query.descending, query.after)))

    def _by_field(self, query: EntityQuery) -> Iterator[Any]:
        """Walk through the candidates of a query in the order of another field.

        The order of all entities is kept from its first use, because a long list is read in many portions.
        """
        place, candidates = _place_by(query.sort), self._candidates(query)
        if candidates is not None:
            order = OrderedKeys(map(place, candidates))
        elif query.sort in self._orders:
            order = self._orders[query.sort]
        else:
            order = self._orders[query.sort] = OrderedKeys(map(place, self.entities.values()))
        after = query.after and ((*_none_first(query.after[0]), query.after[1]),)
        places = order.walk_down_groups(2, after) if query.descending else order.walk(after=after)
        found = ((each, self.entities.get(each[2])) for each in places)
        # Some places may be out of date: their entities were removed or have moved.
        return (entity for each, entity in found if entity is not None and place(entity) == each)

    def _candidates(self, query: EntityQuery, few: int | None = None) -> list[Any] | None:
        """List fewer entities than all, if the query names some: a login must not visit every user. Otherwise return ``None``.

        :param few: the highest number of entities for which a list is made; by default as many as are sorted faster than found on a walk.
        """
        for field, value in query.equal.items():
            if field == self.kind.KEY:
                return self._existing([value])
            if field in self.unique_keys and value is not None:
                return self._existing([self.unique_keys[field].get(value)])
        if self.kind.KEY in query.within:
            return self._existing(query.within[self.kind.KEY])
        found = [groups for index in self._indexes if (groups := index.find(query)) is not None]
        if not found:
            return None
        groups = min(found, key=lambda groups: sum(map(len, groups)))
        few = max(FEW, len(self.entities) // SPARSE) if few is None else few
        return self._existing(chain.from_iterable(groups)) if sum(map(len, groups)) <= few else None

    def _existing(self, keys: Iterable[Any]) -> list[Any]:
        return [self.entities[key] for key in keys if key in self.entities]


def entity_tables() -> dict[type[Entity], EntityTable]:
    """Make an empty table for each kind."""
    return {kind: EntityTable(kind) for kind in ENTITY_KINDS.values()}


def holdings(tables: Mapping[type[Entity], EntityTable], owner: int) -> dict[type[Entity], Holding]:
    """Implement ``IEntityStorage.holdings``.

    :param tables: kind -> :class:`EntityTable`.
    """
    return {kind: table.holdings[owner] for kind, table in tables.items() if owner in table.holdings}


def _condition(query: EntityQuery) -> Callable[[Any], bool]:
    """Make a function that tells whether an entity matches a query."""
    equal, within = list(query.equal.items()), list(query.within.items())
    patterns = [(field, like_pattern(pattern)) for field, pattern in query.like.items()]

    def matches(entity: Any) -> bool:
        for field, value in equal:
            if getattr(entity, field) != value:
                return False
        for field, values in within:
            if getattr(entity, field) not in values:
                return False
        return all(_is_like(getattr(entity, field), pattern) for field, pattern in patterns)

    return matches


def _place_by(field: str) -> Callable[[Any], tuple[Any, ...]]:
    """Make a function that gives the place of an entity in the order of a field."""

    def place(entity: Any) -> tuple[Any, ...]:
        value = getattr(entity, field)
        return value is not None, value, entity.key

    return place


def _none_first(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def _is_like(value: str | None, pattern: re.Pattern[str]) -> bool:
    return value is not None and pattern.fullmatch(value) is not None


@lru_cache(maxsize=256)
def like_pattern(pattern: str) -> re.Pattern[str]:
    """Compile an SQL LIKE pattern.

    Each part after a ``%`` is an atomic group. It takes the first place where it fits and is never tried again, which is right because
    another ``%`` follows. Without this, a client's pattern with many ``%`` would take a time that grows with a power of the text's length.
    """
    first, *rest = ("".join("." if character == "_" else re.escape(character) for character in part) for part in pattern.split("%"))
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)
