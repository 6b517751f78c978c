"""Reads what the strict decoder refuses but DeviceHive clients send (WebSocket reference, section 2.2).

Numbers for texts, digits in strings for numbers, ``""`` for no timestamp: the reference server's parser took them all. Here each member is
first cut out as raw JSON, then turned into the type that the action declares. "Any JSON" members are never taken apart, so a payload
comes through unchanged on this way too.
"""

from __future__ import annotations

import re
from collections import namedtuple
from functools import lru_cache
from typing import get_args, get_origin

import msgspec
from msgspec import Raw

from dhtwisted.errors import UNREADABLE, MalformedJson
from dhtwisted.wire.declared import notes, plain_type
from dhtwisted.wire.fields import Timestamp
from dhtwisted.wire.json_faults import fault
from dhtwisted.wire.timestamps import parse_timestamp

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
    try:
        return _build(kind, members)
    except REFUSED:
        raise _misfit_among(_parts(kind, members, "")) from None


def _build(kind, members):
    values = {}
    for wire_name, name, convert in _plan(kind):
        raw = members.get(wire_name)
        if raw is None:
            continue
        value = convert(raw)
        if value is not None:
            values[name] = value
    return kind(**values)


def misfit(annotation, raw, path):
    """The error about a value that is not of its declared type.

    :param annotation: the type, which the value is known not to have.
    :param raw: JSON.
    :param path: of the value in the request.
    :returns: a :class:`~dhtwisted.errors.BadRequest` whose detail names the innermost member at fault.
    """
    plain = plain_type(annotation)
    try:
        _value(raw)
    except UNREADABLE:
        what = fault(bytes(raw))
    else:
        inner = _misfit_among(_inside(plain, raw, path))
        if inner is not None:
            return inner
        what = f"must be {_described(plain)}"
    return _error_of(annotation)(detail=f"{path} {what}")


def _inside(plain, raw, path):
    """The parts of an array or object, as of :func:`_parts`; none when it is something else than declared."""
    try:
        if get_origin(plain) is list:
            (kind,) = get_args(plain)
            convert = _present_only(_converter(kind))
            return ((kind, convert, element, path, f"[{index}]") for index, element in enumerate(_elements(raw)))
        if issubclass(plain, msgspec.Struct):
            return _parts(plain, _members(raw), f"{path}.")
    except REFUSED:
        pass
    return ()


def _parts(kind, members, prefix):
    """``(type, converter, raw JSON, beginning of the path, end of the path)`` of each member that came."""
    for field in msgspec.structs.fields(kind):
        if field.encode_name in members:
            yield field.type, _converter(field.type), members[field.encode_name], prefix, field.encode_name


def _misfit_among(parts):
    """The error about the first part that cannot be read; ``None`` when there is none."""
    for annotation, convert, raw, *path in parts:
        try:
            convert(raw)
        except REFUSED:
            return misfit(annotation, raw, "".join(path))
    return None


def _described(plain):
    """What a value of a type is called, after "must be"."""
    if get_origin(plain) is list:
        return "an array"
    return DESCRIPTIONS.get(plain, "an object")


Reader = namedtuple("Reader", "name type kind is_list read")
"""How one member is read: its field, its declared type, that without ``None``, whether it is a list, and a function of its raw JSON, which
raises one of :data:`REFUSED`."""


@lru_cache(maxsize=None)
def readers(kind):
    """The members of a struct, for whoever gets them one by one.

    They are found once for each kind: to evaluate all annotations takes 20 ms, and tests make many servers.

    :returns: wire name -> :class:`Reader`; all callers share it.
    """
    return {field.encode_name: _reader(field) for field in msgspec.structs.fields(kind)}


def _reader(field):
    plain = plain_type(field.type)
    return Reader(field.name, field.type, plain, get_origin(plain) is list, _converter(field.type))


@lru_cache(maxsize=None)
def _plan(kind):
    return tuple((field.encode_name, field.name, _converter(field.type)) for field in msgspec.structs.fields(kind))


def _error_of(annotation):
    errors = (note.extra["error"] for note in notes(annotation) if note.extra and "error" in note.extra)
    return next(errors, MalformedJson)


def _converter(annotation):
    plain = plain_type(annotation)
    if plain is Raw:
        return _to_raw
    if get_origin(plain) is list:
        convert = _present_only(_converter(get_args(plain)[0]))
        return lambda raw: None if raw == _NULL else [convert(element) for element in _elements(raw)]
    if issubclass(plain, msgspec.Struct):
        return lambda raw: None if raw == _NULL else _build(plain, _members(raw))
    return _SCALARS[plain]


_NULL = Raw(b"null")


def _present_only(convert):
    """A converter for the elements of a list, which has no place for null."""

    def read(raw):
        value = convert(raw)
        if value is None:
            raise TypeError("null")
        return value

    return read


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

DESCRIPTIONS = {
    str: "a string",
    int: "an integer of at most 64 bits",
    bool: "true or false",
    Timestamp: "a timestamp: ISO 8601 such as 2026-01-02T03:04:05.678, or milliseconds since 1970",
    Raw: "JSON",
}
"""Type -> what a value of it is called, after "must be"."""
