"""Reads what the strict decoder refuses but DeviceHive clients send (WebSocket reference, section 2.2).

Numbers for texts, digits in strings for numbers, ``""`` for no timestamp: the reference server's parser took them all. Here each member is
first cut out as raw JSON, then turned into the type that the action declares. "Any JSON" members are never taken apart, so a payload
comes through unchanged on this way too.
"""

from __future__ import annotations

import re
import types
from collections import namedtuple
from functools import lru_cache
from typing import Annotated, Union, get_args, get_origin

import msgspec
from msgspec import Raw

from dhtwisted.errors import MalformedJson
from dhtwisted.schema import Timestamp
from dhtwisted.timestamps import parse_timestamp

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_elements = msgspec.json.Decoder(list[Raw]).decode
_value = msgspec.json.Decoder().decode
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
REFUSED = (ValueError, TypeError, OverflowError, RecursionError)
"""What a converter raises for a value it does not take; msgspec's errors are ValueErrors."""


def coerce(kind, members):
    """Build a struct from raw members.

    :param kind: a struct class of requests.
    :param members: wire name -> raw JSON.
    :raises MalformedJson: a member cannot be read as its declared type.
    """
    values = {}
    for wire_name, name, convert, error in _plan(kind):
        raw = members.get(wire_name)
        if raw is None:
            continue
        try:
            value = convert(raw)
        except REFUSED:
            raise error() from None
        if value is not None:
            values[name] = value
    return kind(**values)


Reader = namedtuple("Reader", "name kind is_list read")
"""How one member is read: its field, its type without ``None``, whether that is a list, and a function of its raw JSON, which raises one
of :data:`REFUSED`."""


def readers(kind):
    """The members of a struct, for whoever gets them one by one.

    :returns: wire name -> :class:`Reader`.
    """
    return {
        field.encode_name: Reader(field.name, _plain(field.type), get_origin(_plain(field.type)) is list, _converter(field.type))
        for field in msgspec.structs.fields(kind)
    }


@lru_cache(maxsize=None)
def _plan(kind):
    return tuple((field.encode_name, field.name, _converter(field.type), _error_of(field.type)) for field in msgspec.structs.fields(kind))


def _plain(annotation):
    """Take ``Annotated`` and ``None`` away from a declared type."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(_plain(choice) for choice in get_args(annotation) if choice is not type(None))
    return annotation


def _error_of(annotation):
    for choice in (annotation, *get_args(annotation)):
        for note in getattr(choice, "__metadata__", ()):
            if note.extra:
                return note.extra["error"]
    return MalformedJson


def _converter(annotation):
    plain = _plain(annotation)
    if plain is Raw:
        return _to_raw
    if get_origin(plain) is list:
        convert = _converter(get_args(plain)[0])
        return lambda raw: None if raw == _NULL else [_present(convert(element)) for element in _elements(raw)]
    if issubclass(plain, msgspec.Struct):
        return lambda raw: None if raw == _NULL else coerce(plain, _members(raw))
    return _SCALARS[plain]


_NULL = Raw(b"null")


def _present(value):
    if value is None:
        raise TypeError("a list has no place for null")
    return value


def _to_raw(raw):
    return raw


def _to_text(raw):
    value = _value(raw)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        raise TypeError("a text cannot be read from an array or object")
    return bytes(raw).decode("ascii")


def _to_integer(raw):
    value = _value(raw)
    if isinstance(value, str) and _INTEGER.fullmatch(value) is None:
        raise ValueError("no integer")
    if isinstance(value, (bool, list, dict)) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError("no integer")
    if value is None:
        return None
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError("beyond 64 bits")
    return number


def _to_boolean(raw):
    value = _value(raw)
    if isinstance(value, (list, dict)):
        raise TypeError("no boolean")
    return None if value is None else value is True or str(value).lower() == "true"


def _to_timestamp(raw):
    value = _value(raw)
    return None if value in (None, "") else Timestamp(parse_timestamp(value))


_SCALARS = {str: _to_text, int: _to_integer, bool: _to_boolean, Timestamp: _to_timestamp}
