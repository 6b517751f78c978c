"""A set of changes to entities in memory that takes effect as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from dhtwisted.errors import Duplicate, Missing
from dhtwisted.kit.entity_tables import EntityTable, Key
from dhtwisted.model import Entity, changed


def _accept(entity: Entity) -> None:
    """Accept every entity."""


class Transaction:
    """Changes on top of the tables. Each sees those before it. The tables see none of them until :meth:`apply`.

    A storage with a disk writes the changes before it applies them, and drops the transaction when the write fails.

    :param tables: kind -> :class:`~dhtwisted.kit.entity_tables.EntityTable`.
    :param sequences: name of a kind -> the last integer key that was given. It changes at once: pass a copy if the transaction may be
        dropped.
    :param check: called with each new state of an entity before it counts. An error that it raises refuses that change alone.
    :ivar changes: ``(kind, key)`` -> entity, or ``None`` if it is deleted.
    """

    def __init__(
        self,
        tables: Mapping[type[Entity], EntityTable],
        sequences: dict[str, int],
        check: Callable[[Entity], object] = _accept,
    ) -> None:
        self._tables = tables
        self._sequences = sequences
        self._check = check
        self.changes: dict[tuple[type[Entity], Key], Entity | None] = {}

    def insert(self, entity: Entity) -> Entity:
        """Add an entity. It gets a key if it has none.

        :raises Duplicate: the key or a unique value is taken.
        """
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

    def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Entity:
        """Change some fields of an entity.

        :param changes: as for :func:`dhtwisted.model.changed`.
        :raises Missing: there is no such entity.
        :raises Duplicate: a unique value is taken.
        """
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

    def delete(self, kind: type[Entity], key: Key) -> bool:
        """Remove an entity.

        :returns: whether there was one.
        """
        if self._get(kind, key) is None:
            return False
        self.changes[kind, key] = None
        return True

    def put_all(self, entities: Sequence[Entity]) -> None:
        """Store entities of kinds with ``BULK``, each in the place of the one that has its key. If one is refused, none is stored."""
        for entity in entities:
            self._check(entity)
        for entity in entities:
            self.changes[type(entity), entity.key] = entity

    def apply(self) -> None:
        """Make the changes in the tables. Removals come first, because another entity may have taken over a unique value."""
        for kind, key in self.changes:
            self._tables[kind].put(key, None)
        for (kind, key), entity in self.changes.items():
            self._tables[kind].put(key, entity)

    def _get(self, kind: type[Entity], key: Key) -> Entity | None:
        if (kind, key) in self.changes:
            return self.changes[kind, key]
        return self._tables[kind].entities.get(key)

    def _check_unique(self, entity: Entity) -> None:
        kind = type(entity)
        for field, keys in self._tables[kind].unique_keys.items():
            value = getattr(entity, field)
            if value is not None and self._is_taken(kind, field, value, keys.get(value), entity.key):
                raise Duplicate(kind, field, value)

    def _is_taken(self, kind: type[Entity], field: str, value: Any, committed_key: Key | None, key: Key) -> bool:
        """Whether another entity has a unique value.

        :param committed_key: of the entity in the tables that has it.
        """
        for (other_kind, other_key), other in self.changes.items():
            if other_kind is kind and other_key != key and other is not None and getattr(other, field) == value:
                return True
        return committed_key not in (None, key) and (kind, committed_key) not in self.changes
