"""What one batch of packets changes in the storage: all of it, or nothing."""

from __future__ import annotations

from dhtwisted.model import Entity


class Changes:
    """Collects entities to put and keys to delete, in order.

    :ivar puts: entities that are inserted, or replace those with the same key.
    :ivar deletes: kind and key of each.
    """

    __slots__ = ("deletes", "puts")

    def __init__(self) -> None:
        self.puts: list[Entity] = []
        self.deletes: list[tuple[type[Entity], str]] = []

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)
