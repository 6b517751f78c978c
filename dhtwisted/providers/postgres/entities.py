"""Entities as rows of PostgreSQL: the statements, and rows to objects and back. Nearly every change wakes the listeners in its own
transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import json
from msgspec.structs import asdict
from psycopg2 import Binary

from dhtwisted.kit.entity_tables import Key
from dhtwisted.model import (
    ELEMENT_SIZE,
    ENTITY_KINDS,
    Added,
    Configuration,
    Device,
    DeviceToken,
    DeviceType,
    Entity,
    EntityQuery,
    Holding,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Network,
    Raised,
    StoredBytes,
    User,
    With,
    Without,
)
from dhtwisted.model.entity import group_range
from dhtwisted.model.mqtt import MqttSubscription, MqttWill
from dhtwisted.providers.postgres.statements import NamedStatement, Statement, Term
from dhtwisted.providers.postgres.values import LARGEST, has_nul, is_bigint, up_to_size

_NAMES = {
    User: "users",
    Network: "networks",
    DeviceType: "device_types",
    Device: "devices",
    Configuration: "configurations",
    DeviceToken: "device_tokens",
    StoredBytes: "stored_bytes",
    MqttSession: "mqtt_sessions",
    MqttRetained: "mqtt_retained",
    MqttQueued: "mqtt_queued",
    MqttReceived: "mqtt_received",
}
_SETS = ("network_ids", "device_type_ids")
_JSON = ("data",)
BYTES = ("payload", "properties", "claims", "device_state")
PARSED: dict[str, Callable[[str], Any]] = {
    "known_addresses": json.Decoder(tuple[tuple[str, int], ...]).decode,
    "subscriptions": json.Decoder(tuple[MqttSubscription, ...]).decode,
    "will": json.Decoder(MqttWill).decode,
    "identifiers": json.Decoder(tuple[int, ...]).decode,
}
"""Fields with tuples or structs, as JSON, and what reads them."""

LONGEST_KEY = 4000
"""Bytes of a key that a notification carries; PostgreSQL takes 7,999 in all. Of a longer one it only says that something changed."""


class EntityTable:
    """The table of one kind of entity. Column names are the field names of the kind.

    :param kind: a class of ``model.ENTITY_KINDS``.
    :ivar name: of the table.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self.kind = kind
        self.name = _NAMES[kind]
        self._fields = kind.__struct_fields__
        self._columns = ", ".join(f"{field}::text" if field in _JSON or field in PARSED else field for field in self._fields)
        self._size = " + ".join(map(_size_of, kind.LARGE))
        notified_key = f"CASE WHEN octet_length({kind.KEY}::text) <= {LONGEST_KEY} THEN {kind.KEY}::text END"
        # Of the others no node keeps anything in memory that another may change.
        is_cached = kind is not StoredBytes and not kind.BULK
        notify = f"pg_notify(%(_channel)s, concat_ws(' ', 'entity', '{kind.KIND}', {notified_key}))" if is_cached else "NULL"
        self._answer = f"SELECT {self._columns}, {notify} FROM done"

    def entity(self, row: Sequence[Any]) -> Any:
        """The entity that a row stands for; what stands behind its columns is left out."""
        values = dict(zip(self._fields, row, strict=False))
        for field in _JSON:
            if values.get(field) is not None:
                values[field] = values[field].encode()
        for field in _SETS:
            if field in values:
                values[field] = frozenset(values[field])
        for field in BYTES:
            if field in values:
                values[field] = bytes(values[field])
        for field, decode in PARSED.items():
            if values.get(field) is not None:
                values[field] = decode(values[field])
        return self.kind(**values)

    def get(self, key: Key) -> Statement:
        """The statement for one entity, like the others: SQL and its values."""
        return f"SELECT {self._columns} FROM {self.name} WHERE {self.kind.KEY} = %s", (key,)

    def find(self, query: EntityQuery) -> Statement:
        """The statement for a query."""
        order = self._order(query)
        conditions, terms = _where(self._conditions(query) + self._behind(query))
        take = None if query.take is None else min(query.take, LARGEST)
        sql = f"SELECT {self._columns} FROM {self.name}{conditions} ORDER BY {order} LIMIT %s OFFSET %s"
        values = (*terms, take, min(query.skip, LARGEST))
        if query.size is None or not self._size:
            return sql, values
        return up_to_size(sql, self._fields, self._size, order), (*values, query.size)

    def count(self, query: EntityQuery) -> Statement:
        """The statement that counts what a query matches."""
        conditions, values = _where(self._conditions(query))
        return f"SELECT count(*) FROM {self.name}{conditions}", values

    def insert(self, entity: Entity, channel: str) -> NamedStatement:
        """The statement that inserts an entity and answers with its row. It gives a key where there is none, or keeps to a given one."""
        values = {field: _parameter(field, value) for field, value in asdict(entity).items()}
        places = {field: f"%({field})s" for field in values}
        counted = source = ""
        if isinstance(entity.key, int):
            last = f"greatest(last_id, {places[self.kind.KEY]})" if entity.key else "last_id + 1"
            counted = f"counter AS (UPDATE entity_counter SET last_id = {last} WHERE kind = '{self.kind.KIND}' RETURNING last_id), "
            source = " FROM counter"
            if not entity.key:
                places[self.kind.KEY] = "last_id"
        inserted = f"INSERT INTO {self.name} ({', '.join(places)}) SELECT {', '.join(places.values())}{source} RETURNING *"
        sql = f"WITH {counted}done AS ({inserted}) "
        return sql + self._answer, values | {"_channel": channel}

    def update(self, key: Key, changes: dict[str, Any], channel: str) -> NamedStatement:
        """The statement that changes an entity and answers with its row, or with none when there is no such entity."""
        if self.kind.KEY in changes:
            raise TypeError(f"the key {self.kind.KEY} of a {self.kind.__name__} cannot be changed")
        assignments = ", ".join(self._assignment(field, value) for field, value in changes.items()) or f"{self.kind.KEY} = {self.kind.KEY}"
        values = {field: _parameter(field, value) for field, value in changes.items()}
        sql = f"WITH done AS (UPDATE {self.name} SET {assignments} WHERE {self.kind.KEY} = %(_key)s RETURNING *) "
        return sql + self._answer, values | {"_key": key, "_channel": channel}

    def delete(self, key: Key, channel: str) -> NamedStatement:
        """The statement that deletes an entity and answers with its row, or with none."""
        sql = f"WITH done AS (DELETE FROM {self.name} WHERE {self.kind.KEY} = %(_key)s RETURNING *) "
        return sql + self._answer, {"_key": key, "_channel": channel}

    def delete_group(self, group: str) -> Statement:
        """The statement that deletes a group of a kind with ``MANY``."""
        conditions, values = _where(self._conditions(EntityQuery(equal={self.kind.MANY: group})))
        return f"DELETE FROM {self.name}{conditions}", values

    def _assignment(self, field: str, value: Any) -> str:
        self._check(field)
        if isinstance(value, With):
            return f"{field} = ARRAY(SELECT DISTINCT unnest({self.name}.{field} || %({field})s::bigint[]))"
        if isinstance(value, Without):
            return f"{field} = ARRAY(SELECT unnest({self.name}.{field}) EXCEPT SELECT unnest(%({field})s::bigint[]))"
        if isinstance(value, Added):
            return f"{field} = {self.name}.{field} + %({field})s"
        if isinstance(value, Raised):
            raised = f"greatest({self.name}.{field} + 1, %({field})s)"
            if not value.when:
                return f"{field} = {raised}"
            self._check(value.when)
            differs = f"{self.name}.{value.when} IS DISTINCT FROM %({value.when})s"
            return f"{field} = CASE WHEN {differs} THEN {raised} ELSE {self.name}.{field} END"
        return f"{field} = %({field})s"

    def _conditions(self, query: EntityQuery) -> list[Term]:
        """Terms of what a query asks for: SQL and its values."""
        terms: list[Term] = []
        for field, value in query.equal.items():
            self._check(field)
            if has_nul(value):
                return [("false", [])]
            if field == self.kind.MANY:
                terms.append((f"{self.kind.KEY} > %s AND {self.kind.KEY} < %s", group_range(value)))
            terms.append((f"{field} IS NULL", []) if value is None else (f"{field} = %s", [value]))
        for field, values in query.within.items():
            self._check(field)
            terms.append((f"{field} = ANY(%s)", [_array(values)]))
        for field, pattern in query.like.items():
            self._check(field)
            if has_nul(pattern):
                return [("false", [])]
            terms.append((f"{field} LIKE %s ESCAPE ''", [pattern]))
        return terms

    def _behind(self, query: EntityQuery) -> list[Term]:
        """Terms of the place in the order of a query behind which it begins."""
        if not query.after:
            return []
        key, last = self.kind.KEY, query.after[-1]
        if len(query.after) == 1:
            return [(f"{key} {'<' if query.descending else '>'} %s", [last])]
        field, value = query.sort, query.after[0]
        self._check(field)
        if value is None:
            ties = f"{field} IS NULL AND {key} > %s"
            return [(ties if query.descending else f"({field} IS NOT NULL OR {ties})", [last])]
        further = f"{field} < %s OR {field} IS NULL" if query.descending else f"{field} > %s"
        return [(f"({further} OR ({field} = %s AND {key} > %s))", [value, value, last])]

    def _order(self, query: EntityQuery) -> str:
        key = self.kind.KEY
        if not query.sort or query.sort == key:
            return f"{key} DESC" if query.descending else key
        self._check(query.sort)
        return f"{query.sort} DESC NULLS LAST, {key}" if query.descending else f"{query.sort} NULLS FIRST, {key}"

    def _check(self, field: str) -> None:
        if field not in self._fields:
            raise ValueError(f"a {self.kind.__name__} has no field {field!r}")


def _where(terms: list[Term]) -> tuple[str, list[Any]]:
    """The condition that all of some terms make, and their values."""
    conditions = " AND ".join(sql for sql, _ in terms)
    return f" WHERE {conditions}" if terms else "", [value for _, values in terms for value in values]


def _size_of(field: str) -> str:
    """SQL for what a field adds to :func:`~dhtwisted.model.entity_size`."""
    return f"{ELEMENT_SIZE} * cardinality({field})" if field in _SETS else f"coalesce(octet_length({field}), 0)"


def _parameter(field: str, value: Any) -> Any:
    """What stands for the value of a field."""
    if field in BYTES:
        return Binary(value)
    if field in PARSED:
        return None if value is None else json.encode(value).decode()
    if isinstance(value, (With, Without)):
        value = value.elements
    if isinstance(value, Raised):
        return value.to
    if isinstance(value, Added):
        return value.amount
    if isinstance(value, frozenset):
        return f"{{{','.join(map(str, value))}}}"
    return value.decode() if isinstance(value, bytes) else value


def _array(values: Iterable[Any]) -> list[Any] | str:
    """The values that a column can have, as an array; of texts or of integers."""
    values = [value for value in values if (is_bigint(value) if isinstance(value, int) else not has_nul(value))]
    return values or "{}"


HOLDINGS = "SELECT kind, count, size FROM holdings WHERE owner_id = %s"


def holdings(rows: Iterable[tuple[str, int, int]]) -> dict[type[Entity], Holding]:
    """What the rows of :data:`HOLDINGS` say, as ``IEntityStorage.holdings`` answers."""
    return {ENTITY_KINDS[kind]: Holding(count, size) for kind, count, size in rows}


ENTITY_TABLES = {kind: EntityTable(kind) for kind in ENTITY_KINDS.values()}
