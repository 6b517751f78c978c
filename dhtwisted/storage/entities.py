"""Entities in memory: keys, unique fields, queries. Every storage of this package keeps its entities in these tables.

Changes go through a :class:`Transaction`, which sees its own changes on top of the tables and leaves the tables alone until it is applied:
a storage with a disk writes them in between, and forgets the transaction when that fails.
"""

import re
from functools import lru_cache

from msgspec.structs import replace

from dhtwisted.errors import Duplicate, Missing
from dhtwisted.model import ENTITY_KINDS, changed


class EntityTable:
    """The entities of one kind.

    :ivar entities: key -> entity.
    :ivar owners: unique field -> its value -> key of the entity that has it.
    """

    def __init__(self, kind):
        self.kind = kind
        self.entities = {}
        self.owners = {field: {} for field in kind.UNIQUE}

    def put(self, key, entity):
        """Set what a key stands for; ``None`` removes it. Uniqueness has been checked."""
        old = self.entities.pop(key, None)
        for field, owners in self.owners.items():
            if old is not None and owners.get(getattr(old, field)) == key:
                del owners[getattr(old, field)]
            if entity is not None and getattr(entity, field) is not None:
                owners[getattr(entity, field)] = key
        if entity is not None:
            self.entities[key] = entity

    def find(self, query):
        """List what a query asks for."""
        found = sorted(self._matching(query), key=lambda entity: entity.key, reverse=query.descending and not query.sort)
        if query.sort:
            found.sort(key=lambda entity: _none_first(getattr(entity, query.sort)), reverse=query.descending)
        return found[query.skip : None if query.take is None else query.skip + query.take]

    def count(self, query):
        """Count what a query matches."""
        return sum(1 for _ in self._matching(query))

    def _matching(self, query):
        patterns = [(field, like_pattern(pattern)) for field, pattern in query.like.items()]
        for entity in self._candidates(query):
            if (
                all(getattr(entity, field) == value for field, value in query.equal.items())
                and all(getattr(entity, field) in values for field, values in query.within.items())
                and all(_is_like(getattr(entity, field), pattern) for field, pattern in patterns)
            ):
                yield entity

    def _candidates(self, query):
        """Fewer entities than all, where the query names some: a login must not look at every user."""
        for field, value in query.equal.items():
            if field == self.kind.KEY:
                return self._existing([value])
            if field in self.owners and value is not None:
                return self._existing([self.owners[field].get(value)])
        if self.kind.KEY in query.within:
            return self._existing(query.within[self.kind.KEY])
        return self.entities.values()

    def _existing(self, keys):
        return [self.entities[key] for key in keys if key in self.entities]


def entity_tables():
    """An empty table for each kind."""
    return {kind: EntityTable(kind) for kind in ENTITY_KINDS.values()}


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
