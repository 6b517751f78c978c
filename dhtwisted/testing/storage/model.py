"""The simplest implementation of a storage, for comparison: lists that are searched completely."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from msgspec.structs import replace

from dhtwisted.errors import Duplicate
from dhtwisted.model import Command, Entity, EntityQuery, MessageQuery

T = TypeVar("T")


class EntityModel:
    """Entities of one kind with an integer key.

    :ivar entities: all of them.
    """

    def __init__(self, kind: type[Entity]) -> None:
        self.kind = kind
        self.entities: list[Any] = []
        self._last_key = 0

    def insert(self, entity: Any) -> Any:
        """Add an entity, and set its key."""
        self._check_unique(entity)
        self._last_key += 1
        self.entities.append(replace(entity, id=self._last_key))
        return self.entities[-1]

    def update(self, key: int, changes: dict[str, Any]) -> Any:
        """Change an entity that exists."""
        (old,) = (entity for entity in self.entities if entity.id == key)
        new = replace(old, **changes)
        self._check_unique(new)
        self.entities[self.entities.index(old)] = new
        return new

    def delete(self, key: int) -> bool:
        """Remove an entity.

        :returns: whether there was one.
        """
        kept = [entity for entity in self.entities if entity.id != key]
        gone = len(kept) < len(self.entities)
        self.entities = kept
        return gone

    def matching(self, query: EntityQuery) -> list[Any]:
        """The entities that match a query, before sorting and paging."""
        return [
            entity
            for entity in self.entities
            if all(getattr(entity, field) == value for field, value in query.equal.items())
            and all(getattr(entity, field) in values for field, values in query.within.items())
            and all(is_like(getattr(entity, field), pattern) for field, pattern in query.like.items())
        ]

    def find(self, query: EntityQuery) -> list[Any]:
        """The entities that a query finds, in its order."""
        found = sorted(self.matching(query), key=lambda entity: entity.id)
        field = query.sort or self.kind.KEY
        found.sort(key=lambda entity: (getattr(entity, field) is not None, getattr(entity, field)), reverse=query.descending)
        return page([entity for entity in found if self._is_behind(entity, query)], query)

    def _is_behind(self, entity: Any, query: EntityQuery) -> bool:
        """Whether an entity comes behind ``query.after``."""
        *field, key = query.after or (None,)
        if key is None:
            return True
        if not field or getattr(entity, query.sort) == field[0]:
            return (entity.id > key) != (not field and query.descending) and entity.id != key
        own, other = getattr(entity, query.sort), field[0]
        comes_later = other is None or (own is not None and own > other)
        return comes_later != query.descending

    def _check_unique(self, entity: Any) -> None:
        for field in self.kind.UNIQUE:
            if any(other.id != entity.id and getattr(other, field) == getattr(entity, field) for other in self.entities):
                raise Duplicate(self.kind, field, getattr(entity, field))


def is_like(text: str | None, pattern: str) -> bool:
    """Whether a text matches an SQL LIKE pattern."""
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    return text is not None and re.fullmatch(expression, text, re.DOTALL) is not None


def page(found: list[T], query: EntityQuery | MessageQuery) -> list[T]:
    """Apply ``skip`` and ``take`` of a query."""
    found = found[query.skip :]
    return found if query.take is None else found[: query.take]


def find_messages(messages: Iterable[Any], query: MessageQuery) -> list[Any]:
    """The messages of one kind that a query finds, in its order."""
    found = sorted((message for message in messages if matches(message, query)), key=lambda message: sort_key(message, query))
    found = found[::-1] if query.descending else found
    return page([message for message in found if _is_message_behind(message, query)], query)


def _is_message_behind(message: Any, query: MessageQuery) -> bool:
    """Whether a message comes behind ``query.behind``."""
    if query.behind is None:
        return True
    *value, time, message_id = query.behind
    value = value[0] if value else time
    place = value is not None, value or type(value)(), time, message_id
    return sort_key(message, query) < place if query.descending else sort_key(message, query) > place


def matches(message: Any, query: MessageQuery) -> bool:
    """Whether a message meets all conditions of a query."""
    return (
        (query.device_ids is None or message.device_id in query.device_ids)
        and (query.names is None or message.name in query.names)
        and (query.since is None or time_of(message, query) >= query.since)
        and (query.before is None or time_of(message, query) < query.before)
        and (query.after is None or (time_of(message, query), message.id) > query.after)
        and (not isinstance(message, Command) or _command_matches(message, query))
    )


def time_of(message: Any, query: MessageQuery) -> int:
    """The time of a message that a query uses."""
    if query.by_arrival:
        return message.arrived
    return message.last_updated if query.by_update else message.timestamp


def sort_key(message: Any, query: MessageQuery) -> tuple[bool, Any, int, int]:
    """The place of a message in the ascending order of a query."""
    value: Any = time_of(message, query) if query.sort == "timestamp" else getattr(message, query.sort)
    return value is not None, value or type(value)(), time_of(message, query), message.id


def _command_matches(command: Command, query: MessageQuery) -> bool:
    status_fits = query.status is None or (command.status is not None and command.status.casefold() == query.status.casefold())
    return status_fits and (command.updated or not query.updated)
