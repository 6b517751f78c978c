"""Many changes of entities of kinds with ``BULK`` in one call, also for a storage that has no such call.

Without :class:`~dhtwisted.interfaces.IBulkStorage` each change is a commit of its own, and after a crash only the first of them may be
there. What is stored comes before what is removed. So something may be there once too often, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dhtwisted.errors import Duplicate, Missing
from dhtwisted.interfaces import IBulkStorage
from dhtwisted.model import Entity, EntityQuery

PORTION = 100
"""Entities of a group that are read at once, to be removed."""

Removed = Sequence[tuple[type[Entity], str]]


def bulk_changes(storage: Any) -> Any:
    """Find the two methods of :class:`~dhtwisted.interfaces.IBulkStorage`.

    :param storage: an opened ``IEntityStorage``.
    :returns: the storage itself, or a :class:`SingleChanges` of it.
    """
    return storage if IBulkStorage.providedBy(storage) else SingleChanges(storage)


class SingleChanges:
    """Does the same with the methods that every storage has.

    :param storage: an opened ``IEntityStorage``.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    async def change_many(self, put: Sequence[Entity], removed: Removed, messages: Sequence[Any] = ()) -> None:
        """Append, store and remove, one after the other."""
        if messages:
            await self._storage.append(messages)
        for entity in put:
            await self._put(entity)
        for kind, key in removed:
            await self._storage.delete(kind, key)

    async def remove_group(self, kind: type[Entity], group: str) -> None:
        """Remove the entities of a group, one after the other."""
        query = EntityQuery(equal={kind.MANY: group}, take=PORTION)
        while found := await self._storage.find(kind, query):
            for entity in found:
                await self._storage.delete(kind, entity.key)

    async def _put(self, entity: Entity) -> None:
        kind = type(entity)
        changes = {field: getattr(entity, field) for field in kind.__struct_fields__ if field != kind.KEY}
        try:
            await self._storage.insert(entity)
        except Duplicate:
            try:
                await self._storage.update(kind, entity.key, changes)
            except Missing:
                # It was removed between the two calls.
                await self._storage.insert(entity)
