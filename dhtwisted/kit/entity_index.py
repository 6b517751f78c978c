"""Indexes of entities by the values of some fields, so that a query for these values costs what it finds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dhtwisted.model import Device, DeviceToken, Entity, EntityQuery, MqttQueued, MqttReceived, MqttSession

INDEXED: dict[type[Entity], list[tuple[str, ...]]] = {
    Device: [("network_id", "device_type_id"), ("name",)],
    DeviceToken: [("device_id",), ("user_id",)],
    MqttSession: [("user_id",)],
    MqttQueued: [("session",)],
    MqttReceived: [("session",)],
}
"""Kind -> the fields of each of its indexes. An index of two fields must have few pairs of values."""


class EntityIndex:
    """The keys of entities by their values of some fields.

    :param fields: names of fields.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self._groups: dict[tuple[Any, ...], dict[int | str, None]] = {}

    def add(self, entity: Entity) -> None:
        """Add an entity."""
        self._groups.setdefault(self._values(entity), {})[entity.key] = None

    def remove(self, entity: Entity) -> None:
        """Remove an entity, which must be there."""
        values = self._values(entity)
        group = self._groups[values]
        del group[entity.key]
        if not group:
            del self._groups[values]

    def find(self, query: EntityQuery) -> list[Collection[int | str]] | None:
        """Find the groups of keys that contain everything that a query matches.

        :returns: ``None`` if the query has no condition for these fields.
        """
        wanted: list[Collection[Any] | None] = [query.within.get(field) for field in self.fields]
        for place, field in enumerate(self.fields):
            if field in query.equal:
                wanted[place] = {query.equal[field]}
        if wanted == [None] * len(wanted):
            return None
        if len(wanted) == 1:
            return [self._groups[value,] for value in wanted[0] or () if (value,) in self._groups]
        return [
            group
            for values, group in self._groups.items()
            if all(some is None or value in some for some, value in zip(wanted, values, strict=True))
        ]

    def covers(self, query: EntityQuery) -> bool:
        """Tell whether :meth:`find` finds exactly what the query matches."""
        asked = [*query.equal, *query.within]
        return not query.like and len(asked) == len(set(asked)) and set(asked) <= set(self.fields)

    def _values(self, entity: Entity) -> tuple[Any, ...]:
        return tuple(getattr(entity, field) for field in self.fields)
