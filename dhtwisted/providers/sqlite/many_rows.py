"""Entities of kinds with ``MANY``: they are in the same table of the file as the others, and not in memory.

The file is asked for one key, or for a group or all in the order of their keys. That is what the server does with them. For any other query
all rows of the group or kind are read, and the query is answered from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dhtwisted.errors import RowDamaged
from dhtwisted.kit.entity_tables import EntityTable
from dhtwisted.model import ENTITY_KINDS, Entity, EntityQuery
from dhtwisted.model.entity import NUMBER_DIGITS, group_range
from dhtwisted.providers.sqlite.entity_bodies import body_decoder, encode_body
from dhtwisted.providers.sqlite.row_checksum import checksum_of, first_damaged

LARGEST = 2**63 - 1
PUT = "INSERT OR REPLACE INTO entity (kind, key, body, checksum) VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM entity WHERE kind = ? AND key = ?"
DELETE_GROUP = "DELETE FROM entity WHERE kind = ? AND key > ? AND key < ? AND length(key) = ?"
REPLACE = "UPDATE entity SET body = ?, checksum = ? WHERE kind = ? AND key = ? AND body = ?"
TAKEN = "SELECT key FROM entity WHERE kind = ? AND key = ?"

_SELECT = "SELECT kind, key, body, checksum FROM entity WHERE kind = ?"
_OF_GROUP = " AND key > ? AND key < ? AND length(key) = ?"


def row_of(entity: Entity) -> tuple[str, str, bytes, int]:
    """Make the row of an entity.

    :raises Unstorable: a value cannot be kept.
    """
    row = entity.KIND, str(entity.key), encode_body(entity)
    return (*row, checksum_of(row))


def group_parameters(group: str) -> tuple[str, str, int]:
    """The parameters of the condition for a group. Keys of other groups between the two texts are longer."""
    return (*group_range(group), len(group) + 1 + NUMBER_DIGITS)


class ManyTable:
    """Reads the rows of one kind.

    :param kind: one with ``MANY``.
    :ivar payloads: the places in a row whose bytes count when an answer has a size.
    """

    payloads = (2,)

    def __init__(self, kind: type[Entity]) -> None:
        self.kind = kind
        self._decode = body_decoder(kind)

    def objects(self, rows: list[Any]) -> list[tuple[Any, bytes]]:
        """Make the entities of rows.

        :returns: each with its body as stored.
        :raises RowDamaged: a row was changed on the disk.
        """
        damaged = first_damaged(rows)
        if damaged is not None:
            raise RowDamaged(self.kind.KIND, damaged[1])
        return [(self._decode(row[2]), row[2]) for row in rows]

    def get(self, key: object) -> tuple[str, Sequence[Any]]:
        """The statement for one entity: SQL and its parameters."""
        return f"{_SELECT} AND key = ?", (self.kind.KIND, str(key))

    def find(self, query: EntityQuery) -> tuple[str, Sequence[Any]]:
        """The statement for a query that :meth:`is_plain`."""
        sql, parameters = self.candidates(query)
        if query.after:
            sql, parameters = f"{sql} AND key {'<' if query.descending else '>'} ?", (*parameters, query.after[-1])
        take = LARGEST if query.take is None else min(query.take, LARGEST)
        sql = f"{sql} ORDER BY key {'DESC' if query.descending else 'ASC'} LIMIT ? OFFSET ?"
        return sql, (*parameters, take, min(query.skip, LARGEST))

    def candidates(self, query: EntityQuery) -> tuple[str, Sequence[Any]]:
        """The statement for everything that a query may match: a group, or all."""
        group = query.equal.get(self.kind.MANY)
        if isinstance(group, str):
            return _SELECT + _OF_GROUP, (self.kind.KIND, *group_parameters(group))
        return _SELECT, (self.kind.KIND,)

    def is_plain(self, query: EntityQuery) -> bool:
        """Whether a query asks for a group or for all, in the order of the keys."""
        return query.sort in ("", self.kind.KEY) and not (query.like or query.within or query.equal.keys() - {self.kind.MANY})

    def count(self, query: EntityQuery) -> tuple[str, Sequence[Any]]:
        """The statement that counts what a query that :meth:`is_plain` matches."""
        sql, parameters = self.candidates(query)
        return f"SELECT count(*) FROM ({sql})", parameters

    def in_memory(self, entities: Iterable[Entity]) -> EntityTable:
        """Make a table in memory that answers any query about these entities."""
        table = EntityTable(self.kind)
        for entity in entities:
            table.put(entity.key, entity)
        return table


class CountedRows:
    """Reads the answers of :meth:`ManyTable.count`."""

    payloads = ()

    def objects(self, rows: list[Any]) -> list[int]:
        """Take the counts out of their rows."""
        return [count for (count,) in rows]


COUNTED_ROWS = CountedRows()
MANY_TABLES = {kind: ManyTable(kind) for kind in ENTITY_KINDS.values() if kind.MANY}
