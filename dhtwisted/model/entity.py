"""What all kinds of entities have in common.

An entity is a frozen struct. Its class attributes let a storage treat all kinds in the same way: ``KIND`` is the name in records; ``KEY``
is the field that identifies an entity; ``UNIQUE`` has further fields whose values must be unique; ``LARGE`` has the fields that clients may
make as large as they like; ``OWNER`` is the field with the id of the user for whom the entity counts.

``MANY`` is for kinds of which there may be millions. It is the field with the name of a group, such as a session. The key of such an entity
is a text made by :func:`member_key`, so that the entities of a group follow each other. The server reads them by group, in order of keys,
in portions. A storage with a disk should not keep them in memory.

Kinds with ``BULK`` are changed many at a time, by :class:`~dhtwisted.interfaces.IBulkStorage`. They have a text as key, no ``UNIQUE``
fields and no ``OWNER``, and no server caches them for others. All kinds with ``MANY`` are such kinds.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Entity(Struct, frozen=True, kw_only=True):
    """Base of the entities. An integer key of 0 means that the storage gives one at insert."""

    KIND: ClassVar[str]
    KEY: ClassVar[str] = "id"
    UNIQUE: ClassVar[tuple[str, ...]] = ()
    LARGE: ClassVar[tuple[str, ...]] = ()
    OWNER: ClassVar[str] = ""
    MANY: ClassVar[str] = ""
    BULK: ClassVar[bool] = False

    @property
    def key(self) -> int | str:
        """The value that identifies this entity within its kind."""
        return getattr(self, self.KEY)

    @property
    def owner(self) -> int | None:
        """The id of the user for whom this entity counts; ``None`` for nobody."""
        return getattr(self, self.OWNER) if self.OWNER else None


class Holding(Struct, frozen=True):
    """The entities of one kind that count for one user.

    :ivar count: how many entities.
    :ivar size: the sum of their :func:`entity_size`.
    """

    count: int = 0
    size: int = 0


NUMBER_DIGITS = 16
"""Hexadecimal digits of a number in a key: all 64 bits."""


def member_key(group: str, number: int) -> str:
    """Make the key of an entity whose kind has ``MANY``: the group, a space, and a number with a fixed width. So the keys of a group are in
    the order of their numbers, and no key of a group is a key of another.

    :param number: at least 0, unique within the group.
    """
    return f"{group} {number:0{NUMBER_DIGITS}x}"


def group_range(group: str) -> tuple[str, str]:
    """Two texts between which all keys of a group are, by code point. Keys of other groups may be there too, but these are longer."""
    return f"{group} ", f"{group}!"
