"""What one batch of packets changes in the storage: all of it, or nothing."""

from __future__ import annotations

from typing import Any


class Changes:
    """Collects records to put and keys to delete; the store alone knows their form.

    :ivar puts: records that are inserted, or replace those with the same key.
    :ivar deletes: keys of records, which go after the puts.
    """

    __slots__ = ("deletes", "puts")

    def __init__(self) -> None:
        self.puts: list[Any] = []
        self.deletes: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)
