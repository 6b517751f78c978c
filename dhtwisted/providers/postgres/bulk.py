"""Many changes of entities of kinds with ``BULK``, as parts of one statement.

The writer's connection executes it, with the messages that wait: so a message and what MQTT notes of it are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import json

from dhtwisted.kit.entity_tables import Key
from dhtwisted.model import ENTITY_KINDS, Entity
from dhtwisted.providers.postgres.entities import BYTES, ENTITY_TABLES, PARSED
from dhtwisted.providers.postgres.values import integer_column, text_column

BULK_KINDS = [kind for kind in ENTITY_KINDS.values() if kind.BULK]
Changes = dict[tuple[type[Entity], Key], Entity | None]
"""Kind and key -> the entity that is to be there; ``None`` for none."""


class _Field(NamedTuple):
    """A field in many rows.

    :ivar type: of the parameter.
    :ivar cast: SQL that makes the value of the column from the element of the parameter, with a place for its name.
    :ivar encode: makes the parameter from a list of values.
    """

    name: str
    type: str
    cast: str
    encode: Callable[[list[Any]], Any]


def _hex_column(values: list[bytes]) -> Any:
    return text_column([value.hex() for value in values])


def _json_column(values: list[Any]) -> Any:
    return text_column([None if value is None else json.encode(value).decode() for value in values])


def _field(kind: type[Entity], name: str) -> _Field:
    if name in BYTES:
        return _Field(name, "text[]", "decode({}, 'hex')", _hex_column)
    if name in PARSED:
        return _Field(name, "text[]", "{}::json", _json_column)
    annotation = kind.__annotations__[name]
    if annotation == "str":
        return _Field(name, "text[]", "{}", text_column)
    return _Field(name, "boolean[]", "{}", list) if annotation == "bool" else _Field(name, "bigint[]", "{}", integer_column)


_FIELDS = {kind: [_field(kind, name) for name in kind.__struct_fields__] for kind in BULK_KINDS}

TYPES = [each for kind in BULK_KINDS for each in (*(field.type for field in _FIELDS[kind]), "text[]")]
"""The types of the parameters: for each kind its fields, and the keys that are removed."""


def parts(places: Sequence[str]) -> list[str]:
    """The parts of the statement.

    :param places: of the parameters, such as ``$5``.
    """
    found, rest = [], list(places)
    for kind in BULK_KINDS:
        count = len(_FIELDS[kind])
        found += _parts_of(kind, rest[:count], rest[count])
        rest = rest[count + 1 :]
    return found


def _parts_of(kind: type[Entity], places: Sequence[str], keys: str) -> list[str]:
    fields, table, key = _FIELDS[kind], ENTITY_TABLES[kind].name, kind.KEY
    names = ", ".join(field.name for field in fields)
    selected = ", ".join(field.cast.format(f"given.{field.name}") for field in fields)
    changed = ", ".join(f"{field.name} = excluded.{field.name}" for field in fields if field.name != key)
    given = f"unnest({', '.join(places)}) AS given ({names})"
    put = f"INSERT INTO {table} ({names}) SELECT {selected} FROM {given} ON CONFLICT ({key}) DO UPDATE SET {changed}"
    return [f"put_{table} AS ({put})", f"removed_{table} AS (DELETE FROM {table} WHERE {key} = ANY({keys}))"]


def values(changes: Changes) -> list[Any]:
    """The values of the parameters."""
    found: list[Any] = []
    for kind in BULK_KINDS:
        put = [entity for (changed, _), entity in changes.items() if changed is kind and entity is not None]
        removed = [key for (changed, key), entity in changes.items() if changed is kind and entity is None]
        found += [field.encode(list(map(attrgetter(field.name), put))) for field in _FIELDS[kind]]
        found.append(removed)
    return found
