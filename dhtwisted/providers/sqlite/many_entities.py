"""The calls of an entity storage for kinds with ``MANY``: each reads from the file, since nothing of these kinds is in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from dhtwisted.errors import Missing
from dhtwisted.kit.entity_tables import EntityTable, Key
from dhtwisted.model import Entity, EntityQuery, changed, entity_size
from dhtwisted.providers.sqlite.bulk_operations import DeleteRow, InsertRow, ReplaceRow
from dhtwisted.providers.sqlite.many_rows import COUNTED_ROWS, MANY_TABLES, CountedRows, ManyTable
from dhtwisted.providers.sqlite.operations import Operation

Read = Callable[[ManyTable | CountedRows, str, Sequence[Any], int | None], Awaitable[list[Any]]]
Write = Callable[[Operation], Awaitable[Any]]


class ManyEntities:
    """Finds and changes entities in the file.

    :param read: ``read(table, sql, parameters, size)`` gives what ``table`` makes of the rows, up to the one that reaches ``size``.
    :param write: commits an operation, and gives its result.
    """

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def get(self, kind: type[Entity], key: Key) -> Any:
        """Find one entity, or ``None``."""
        found = await self._get(kind, key)
        return None if found is None else found[0]

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        """List entities."""
        table = MANY_TABLES[kind]
        if not table.is_plain(query):
            return (await self._in_memory(table, query)).find(query)
        if query.size is None:
            return [entity for entity, _ in await self._read(table, *table.find(query), None)]
        return await self._find_to_size(table, query, query.size)

    async def count(self, kind: type[Entity], query: EntityQuery) -> int:
        """Count entities."""
        table = MANY_TABLES[kind]
        if not table.is_plain(query):
            return (await self._in_memory(table, query)).count(query)
        (count,) = await self._read(COUNTED_ROWS, *table.count(query), None)
        return count

    async def insert(self, entity: Entity) -> Any:
        """Add an entity."""
        return await self._write(InsertRow(entity))

    async def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Any:
        """Change some fields of an entity. If it changes meanwhile, the change is tried again on the new one."""
        if kind.KEY in changes:
            raise TypeError(f"the key {kind.KEY} of a {kind.__name__} cannot be changed")
        while (found := await self._get(kind, key)) is not None:
            old, body = found
            new = changed(old, changes)
            if new == old or await self._write(ReplaceRow(new, body)):
                return new
        raise Missing(kind, key)

    async def delete(self, kind: type[Entity], key: Key) -> bool:
        """Remove an entity, and return whether there was one."""
        return await self._write(DeleteRow(kind, key))

    async def _get(self, kind: type[Entity], key: Key) -> tuple[Any, bytes] | None:
        table = MANY_TABLES[kind]
        found = await self._read(table, *table.get(key), None)
        return found[0] if found else None

    async def _find_to_size(self, table: ManyTable, query: EntityQuery, size: int) -> list[Any]:
        """Read portions up to the entity that reaches the size. A portion never goes beyond it, because a body is larger than what counts
        of its entity.
        """
        found: list[Any] = []
        while size > 0 and query.take != 0:
            portion = await self._read(table, *table.find(query), size)
            entities = [entity for entity, _ in portion]
            found += entities
            if sum(len(body) for _, body in portion) < size:
                break
            size -= sum(map(entity_size, entities))
            take = None if query.take is None else query.take - len(entities)
            query = replace(query, skip=0, after=query.place(entities[-1]), take=take)
        return found

    async def _in_memory(self, table: ManyTable, query: EntityQuery) -> EntityTable:
        return table.in_memory(entity for entity, _ in await self._read(table, *table.candidates(query), None))
