"""The operations on entities that are not in memory, and on many entities at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dhtwisted.model import Entity, Message
from dhtwisted.providers.sqlite.many_rows import DELETE, DELETE_GROUP, PUT, REPLACE, TAKEN, group_parameters, row_of
from dhtwisted.providers.sqlite.operations import Append, Batch
from dhtwisted.providers.sqlite.steps import require_free, run, run_many

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Step


class ChangeMany:
    """Store entities, remove others, and append messages; see :meth:`dhtwisted.interfaces.IBulkStorage.change_many`."""

    def __init__(self, put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message]) -> None:
        self._put = put
        self._removed = removed
        self._append = Append(messages)

    def prepare(self, batch: Batch) -> None:
        """Add the changes. Whatever cannot be kept is refused before anything is added."""
        rows = [row_of(entity) for entity in self._put if entity.MANY]
        batch.entities.put_all([entity for entity in self._put if not entity.MANY])
        keys = [(kind.KIND, key) for kind, key in self._removed if kind.MANY]
        for kind, key in self._removed:
            if not kind.MANY:
                batch.entities.delete(kind, key)
        if rows:
            batch.add(run_many(PUT, rows))
        if keys:
            batch.add(run_many(DELETE, keys))
        self._append.prepare(batch)

    def finish(self) -> None:
        """There is no result."""


class RemoveGroup:
    """Remove the entities of a group."""

    def __init__(self, kind: type[Entity], group: str) -> None:
        self._parameters = kind.KIND, *group_parameters(group)

    def prepare(self, batch: Batch) -> None:
        """Add the deletion."""
        batch.add(run_many(DELETE_GROUP, [self._parameters]))

    def finish(self) -> None:
        """There is no result."""


class InsertRow:
    """Insert an entity that is not kept in memory. If its key is taken, nothing of the batch is done, and its operations are tried one by
    one.
    """

    def __init__(self, entity: Entity) -> None:
        self._entity = entity

    def prepare(self, batch: Batch) -> None:
        """Add the row."""
        kind, key, *_ = row = row_of(self._entity)
        batch.add(require_free(kind, TAKEN, (kind, key)))
        batch.add(run_many(PUT, [row]))

    def finish(self) -> Entity:
        """Return the entity."""
        return self._entity


class _ChangeRow:
    """A change of one row, which tells whether it found the row."""

    _found = False

    def take(self, count: int, rows: list[Any]) -> None:
        """Keep whether there was such a row. A step that was repeated counts nothing: what it finds was done."""
        self._found = count > 0 or bool(rows)

    def finish(self) -> bool:
        """Return whether there was such a row."""
        return self._found


class DeleteRow(_ChangeRow):
    """Delete an entity that is not kept in memory."""

    def __init__(self, kind: type[Entity], key: object) -> None:
        self._parameters = kind.KIND, str(key)

    def prepare(self, batch: Batch) -> None:
        """Add the deletion."""
        batch.ask(self, run(DELETE, self._parameters))

    def step_to_repeat(self) -> Step:
        """Make a step that finds a row: it was committed, and nobody can tell any more whether the row was there."""
        return run("SELECT 1", ())


class ReplaceRow(_ChangeRow):
    """Replace an entity that is not kept in memory, if it has not changed.

    :param old: its body, as stored.
    """

    def __init__(self, entity: Entity, old: bytes) -> None:
        self._entity = entity
        self._old = old

    def prepare(self, batch: Batch) -> None:
        """Add the change."""
        kind, key, self._body, checksum = row_of(self._entity)
        self._place = kind, key
        batch.ask(self, run(REPLACE, (self._body, checksum, *self._place, self._old)))

    def step_to_repeat(self) -> Step:
        """Make a step that finds the row if it is as this operation made it."""
        return run(f"{TAKEN} AND body = ?", (*self._place, self._body))
