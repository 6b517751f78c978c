"""What a declared type says: the annotation of a member, taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from msgspec import Meta, UnsetType

_ABSENT = (NoneType, UnsetType)


def plain_type(annotation: Any) -> Any:
    """A declared type without its notes, without ``None``, and without what says that the member may be absent."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if _is_union(annotation):
        return next(plain_type(choice) for choice in get_args(annotation) if choice not in _ABSENT)
    return annotation


def allows(annotation: Any, absence: type) -> bool:
    """Tell whether a declared type has a choice.

    :param absence: ``NoneType`` or ``UnsetType``.
    """
    if get_origin(annotation) is Annotated:
        return allows(get_args(annotation)[0], absence)
    return _is_union(annotation) and any(choice is absence or allows(choice, absence) for choice in get_args(annotation))


def notes(annotation: Any) -> Iterator[Meta]:
    """The notes on a declared type, the outermost first; those on the elements of a list are not among them."""
    if get_origin(annotation) is Annotated:
        inner, *found = get_args(annotation)
        yield from reversed(found)
        yield from notes(inner)
    elif _is_union(annotation):
        for choice in get_args(annotation):
            yield from notes(choice)


def meaning(annotation: Any) -> str:
    """What a member means to a client; empty when nothing is said. The outermost note counts."""
    return next((note.description for note in notes(annotation) if note.description), "")


def is_required(annotation: Any) -> bool:
    """Tell whether a request without the member is refused: see :data:`~dhtwisted.wire.members.REQUIRED`."""
    return any((note.extra or {}).get("required", False) for note in notes(annotation))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
