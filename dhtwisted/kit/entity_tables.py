"""Entities in memory: keys, unique fields, queries. Every storage of this package keeps its entities in these tables.

Changes go through a :class:`Transaction`, which sees its own changes on top of the tables and leaves the tables alone until it is applied:
a storage with a disk writes them in between, and forgets the transaction when that fails.
"""

import re
from functools import lru_cache
from itertools import chain

from msgspec.structs import replace

from dhtwisted.errors import Duplicate, Missing
from dhtwisted.kit.entity_index import INDEXED, EntityIndex
from dhtwisted.kit.ordered_keys import OrderedKeys
from dhtwisted.kit.slices import at_once, counted, sifted
from dhtwisted.model import ENTITY_KINDS, Holding, changed, cut_to_size, entity_size

NOTHING = Holding()

FEW, SPARSE = 1000, 16
"""So many entities, or one in so many of all, are sooner sorted than found by a walk along the order of all."""


class EntityTable:
    """The entities of one kind.

    :ivar entities: key -> entity.
    :ivar owners: unique field -> its value -> key of the entity that has it.
    :ivar holdings: id of a user -> the :class:`~dhtwisted.model.Holding` of what counts for them.
    """

    def __init__(self, kind):
        self.kind = kind
        self.entities = {}
        self.owners = {field: {} for field in kind.UNIQUE}
        self._keys = OrderedKeys()
        self._orders = {}
        self._indexes = [EntityIndex(fields) for fields in INDEXED.get(kind, ())]
        self.holdings = {}

    def put(self, key, entity):
        """Set what a key stands for; ``None`` removes it. Uniqueness has been checked."""
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
            self._hold(old, -1)
            self._hold(entity, 1)
        for field, owners in self.owners.items():
            if old is not None and owners.get(getattr(old, field)) == key:
                del owners[getattr(old, field)]
            if entity is not None and getattr(entity, field) is not None:
                owners[getattr(entity, field)] = key
        if entity is not None:
            self.entities[key] = entity

    def _hold(self, entity, count):
        if entity is None or entity.owner is None:
            return
        held = self.holdings.get(entity.owner, NOTHING)
        held = Holding(held.count + count, held.size + count * entity_size(entity))
        if held.count:
            self.holdings[entity.owner] = held
        else:
            self.holdings.pop(entity.owner, None)

    def find(self, query):
        """List what a query asks for."""
        return at_once(self.search(query))

    def count(self, query):
        """Count what a query matches."""
        return at_once(self.reckoning(query))

    def search(self, query):
        """Work of :mod:`~dhtwisted.kit.slices`: list what a query asks for."""
        walk = self._by_key(query) if query.sort in ("", self.kind.KEY) else self._by_field(query)
        found = yield from sifted(walk, _condition(query), None if query.take is None else query.skip + query.take)
        found = found[query.skip :]
        return found if query.size is None else cut_to_size(found, query.size, entity_size)

    def reckoning(self, query):
        """Work of the same sort: count what a query matches."""
        if not (query.equal or query.within or query.like):
            return len(self.entities)
        for index in self._indexes:
            if index.covers(query):
                return sum(map(len, index.find(query)))
        candidates = self._candidates(query, len(self.entities))
        count = yield from counted(self.entities.values() if candidates is None else candidates, _condition(query))
        return count

    def _by_key(self, query):
        """Go through what a query may match in the order of its key; no further than somebody asks."""
        candidates = self._candidates(query)
        keys = self._keys if candidates is None else OrderedKeys({entity.key for entity in candidates})
        return filter(None, map(self.entities.get, keys.walk(query.descending, query.after)))

    def _by_field(self, query):
        """The same, sorted by another field. The order of all entities is kept from the first time that it is asked for: a long list is
        read in many portions.
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
        # Places that were left may be among them.
        return (entity for each, entity in found if entity is not None and place(entity) == each)

    def _candidates(self, query, few=None):
        """Fewer entities than all, where the query names some: a login must not look at every user. Else ``None``.

        :param few: up to so many are worth the making of a list; ``None`` for what is better sorted than found along the order of all.
        """
        for field, value in query.equal.items():
            if field == self.kind.KEY:
                return self._existing([value])
            if field in self.owners and value is not None:
                return self._existing([self.owners[field].get(value)])
        if self.kind.KEY in query.within:
            return self._existing(query.within[self.kind.KEY])
        found = [groups for index in self._indexes if (groups := index.find(query)) is not None]
        if not found:
            return None
        groups = min(found, key=lambda groups: sum(map(len, groups)))
        few = max(FEW, len(self.entities) // SPARSE) if few is None else few
        return self._existing(chain.from_iterable(groups)) if sum(map(len, groups)) <= few else None

    def _existing(self, keys):
        return [self.entities[key] for key in keys if key in self.entities]


def entity_tables():
    """An empty table for each kind."""
    return {kind: EntityTable(kind) for kind in ENTITY_KINDS.values()}


def holdings(tables, owner):
    """See ``IEntityStorage.holdings``.

    :param tables: kind -> :class:`EntityTable`.
    """
    return {kind: table.holdings[owner] for kind, table in tables.items() if owner in table.holdings}


class Transaction:
    """Changes on top of the tables: each sees those before it, the tables see none until :meth:`apply`.

    :ivar changes: ``(kind, key)`` -> entity, or ``None`` where it is deleted.

    :param tables: kind -> :class:`EntityTable`.
    :param sequences: kind's name -> the integer key given last; changed at once, so hand in a copy if the transaction may be forgotten.
    :param check: called with each new state of an entity before it counts; what it raises refuses that change alone.
    """

    def __init__(self, tables, sequences, check=lambda entity: None):
        self._tables = tables
        self._sequences = sequences
        self._check = check
        self.changes = {}

    def insert(self, entity):
        """Add an entity, giving it a key where it has none."""
        kind = type(entity)
        if entity.key == 0:
            entity = replace(entity, **{kind.KEY: self._sequences.get(kind.KIND, 0) + 1})
        if self._get(kind, entity.key) is not None:
            raise Duplicate(kind, kind.KEY, entity.key)
        self._check_unique(entity)
        self._check(entity)
        if isinstance(entity.key, int):
            self._sequences[kind.KIND] = max(self._sequences.get(kind.KIND, 0), entity.key)
        self.changes[kind, entity.key] = entity
        return entity

    def update(self, kind, key, changes):
        """Replace some fields of an entity."""
        old = self._get(kind, key)
        if old is None:
            raise Missing(kind, key)
        if kind.KEY in changes:
            raise TypeError(f"the key {kind.KEY} of a {kind.__name__} cannot be changed")
        entity = changed(old, changes)
        if entity == old:
            return old
        self._check_unique(entity)
        self._check(entity)
        self.changes[kind, key] = entity
        return entity

    def delete(self, kind, key):
        """Remove an entity, and say whether there was one."""
        if self._get(kind, key) is None:
            return False
        self.changes[kind, key] = None
        return True

    def apply(self):
        """Make the changes in the tables. Removals come first: another entity may have taken over a unique value."""
        for (kind, key), _ in self.changes.items():
            self._tables[kind].put(key, None)
        for (kind, key), entity in self.changes.items():
            self._tables[kind].put(key, entity)

    def _get(self, kind, key):
        if (kind, key) in self.changes:
            return self.changes[kind, key]
        return self._tables[kind].entities.get(key)

    def _check_unique(self, entity):
        kind = type(entity)
        for field, owners in self._tables[kind].owners.items():
            value = getattr(entity, field)
            if value is not None and self._has_other_owner(kind, field, value, owners.get(value), entity.key):
                raise Duplicate(kind, field, value)

    def _has_other_owner(self, kind, field, value, committed_owner, key):
        for (other_kind, other_key), other in self.changes.items():
            if other_kind is kind and other_key != key and other is not None and getattr(other, field) == value:
                return True
        return committed_owner not in (None, key) and (kind, committed_owner) not in self.changes


def _condition(query):
    """Whether an entity is what a query asks for, as a function."""
    equal, within = list(query.equal.items()), list(query.within.items())
    patterns = [(field, like_pattern(pattern)) for field, pattern in query.like.items()]

    def matches(entity):
        for field, value in equal:
            if getattr(entity, field) != value:
                return False
        for field, values in within:
            if getattr(entity, field) not in values:
                return False
        return all(_is_like(getattr(entity, field), pattern) for field, pattern in patterns)

    return matches


def _place_by(field):
    """The place of an entity in the order by a field, as a function."""

    def place(entity):
        value = getattr(entity, field)
        return value is not None, value, entity.key

    return place


def _none_first(value):
    return (value is not None, value)


def _is_like(value, pattern):
    return value is not None and pattern.fullmatch(value) is not None


@lru_cache(maxsize=256)
def like_pattern(pattern):
    """Compile an SQL LIKE pattern.

    Each part after a ``%`` is an atomic group: it takes the first place where it fits and is never tried again, which is right because
    further ``%`` follow. Without it a pattern of many ``%`` from a client would take a time that grows with a power of the text's length.
    """
    first, *rest = ("".join("." if character == "_" else re.escape(character) for character in part) for part in pattern.split("%"))
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)
