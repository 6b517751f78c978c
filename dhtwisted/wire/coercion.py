"""Reads requests that the strict decoder refuses but DeviceHive clients send (WebSocket reference, section 2.2).

DeviceHive takes a number in place of a text, digits in a string in place of a number, and ``""`` in place of no timestamp. Here, each
member is first cut out as raw JSON, and then converted to the type that the action declares. A member that may be any JSON is not
converted: a payload stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import FieldInfo

from dhtwisted.errors import UNREADABLE, BadRequest, MalformedJson
from dhtwisted.wire.declared import notes, plain_type
from dhtwisted.wire.fields import Timestamp
from dhtwisted.wire.json_faults import fault
from dhtwisted.wire.timestamps import parse_timestamp

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_elements = msgspec.json.Decoder(list[Raw]).decode
_value = msgspec.json.Decoder().decode
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
REFUSED = (ValueError, TypeError, OverflowError, RecursionError)
"""What a converter raises for a value of the wrong type. The errors of msgspec are ValueErrors."""

Kind = TypeVar("Kind", bound=Struct)

Converter = Callable[[Raw], Any]
"""From raw JSON to a value of the declared type; ``None`` for null."""

Part = tuple[Any, Converter, Raw, str, str]
"""Declared type, converter, raw JSON, beginning and end of the path."""


def coerce(kind: type[Kind], members: Mapping[str, Raw]) -> Kind:
    """Build the struct of a request from raw members.

    :param members: wire name -> raw JSON.
    :raises MalformedJson: a member cannot be read as its declared type.
    """
    try:
        return _build(kind, members)
    except REFUSED:
        raise _misfit_among(_parts(kind, members, "")) or MalformedJson() from None


def _build(kind: type[Kind], members: Mapping[str, Raw]) -> Kind:
    values = {}
    for wire_name, name, convert in _plan(kind):
        raw = members.get(wire_name)
        if raw is None:
            continue
        value = convert(raw)
        if value is not None:
            values[name] = value
    return kind(**values)


def misfit(annotation: Any, raw: Raw, path: str) -> BadRequest:
    """The error about a value that does not have its declared type.

    :param annotation: the type. The caller knows that the value does not have it.
    :param path: of the value in the request.
    :returns: an error whose detail names the innermost wrong member.
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


def _inside(plain: Any, raw: Raw, path: str) -> Iterable[Part]:
    """The parts of an array or object; none if the value is something else."""
    try:
        if get_origin(plain) is list:
            (kind,) = get_args(plain)
            convert = _present_only(_converter(kind))
            return ((kind, convert, element, path, f"[{index}]") for index, element in enumerate(_elements(raw)))
        if issubclass(plain, Struct):
            return _parts(plain, _members(raw), f"{path}.")
    except REFUSED:
        pass
    return ()


def _parts(kind: type[Struct], members: Mapping[str, Raw], prefix: str) -> Iterator[Part]:
    """The members that were sent."""
    for field in msgspec.structs.fields(kind):
        if field.encode_name in members:
            yield field.type, _converter(field.type), members[field.encode_name], prefix, field.encode_name


def _misfit_among(parts: Iterable[Part]) -> BadRequest | None:
    """The error about the first part that cannot be read; ``None`` if all can."""
    for annotation, convert, raw, *path in parts:
        try:
            convert(raw)
        except REFUSED:
            return misfit(annotation, raw, "".join(path))
    return None


def _described(plain: Any) -> str:
    """Words for a value of a type, after "must be"."""
    if get_origin(plain) is list:
        return "an array"
    return DESCRIPTIONS.get(plain, "an object")


class Reader(NamedTuple):
    """How one member is read.

    :ivar name: of its field.
    :ivar type: its declared type.
    :ivar kind: the same without ``None`` and notes.
    :ivar read: raises one of :data:`REFUSED`.
    """

    name: str
    type: Any
    kind: Any
    is_list: bool
    read: Converter


@lru_cache(maxsize=None)
def readers(kind: type[Struct]) -> dict[str, Reader]:
    """How each member of a struct is read, for REST, where members come one by one.

    This is worked out once for each struct: it takes 20 ms for all of them, and tests start many servers.

    :returns: wire name -> reader. All callers get the same dict.
    """
    return {field.encode_name: _reader(field) for field in msgspec.structs.fields(kind)}


def _reader(field: FieldInfo) -> Reader:
    plain = plain_type(field.type)
    return Reader(field.name, field.type, plain, get_origin(plain) is list, _converter(field.type))


@lru_cache(maxsize=None)
def _plan(kind: type[Struct]) -> tuple[tuple[str, str, Converter], ...]:
    return tuple((field.encode_name, field.name, _converter(field.type)) for field in msgspec.structs.fields(kind))


def _error_of(annotation: Any) -> type[BadRequest]:
    errors = (note.extra["error"] for note in notes(annotation) if note.extra and "error" in note.extra)
    return next(errors, MalformedJson)


def _converter(annotation: Any) -> Converter:
    plain = plain_type(annotation)
    if plain is Raw:
        return _to_raw
    if get_origin(plain) is list:
        convert = _present_only(_converter(get_args(plain)[0]))
        return lambda raw: None if raw == _NULL else [convert(element) for element in _elements(raw)]
    if issubclass(plain, Struct):
        return lambda raw: None if raw == _NULL else _build(plain, _members(raw))
    return _SCALARS[plain]


_NULL = Raw(b"null")


def _present_only(convert: Converter) -> Converter:
    """A converter for the elements of a list, where null is not permitted."""

    def read(raw: Raw) -> Any:
        value = convert(raw)
        if value is None:
            raise TypeError("null")
        return value

    return read


def _to_raw(raw: Raw) -> Raw:
    return raw


def _to_text(raw: Raw) -> str | None:
    value = _value(raw)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        raise TypeError("a text cannot be read from an array or object")
    return bytes(raw).decode("ascii")


def _to_integer(raw: Raw) -> int | None:
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


def _to_boolean(raw: Raw) -> bool | None:
    value = _value(raw)
    if isinstance(value, (list, dict)):
        raise TypeError("no boolean")
    return None if value is None else value is True or str(value).lower() == "true"


def _to_timestamp(raw: Raw) -> Timestamp | None:
    value = _value(raw)
    return None if value in (None, "") else Timestamp(parse_timestamp(value))


_SCALARS: dict[Any, Converter] = {str: _to_text, int: _to_integer, bool: _to_boolean, Timestamp: _to_timestamp}

DESCRIPTIONS: dict[Any, str] = {
    str: "a string",
    int: "an integer of at most 64 bits",
    bool: "true or false",
    Timestamp: "a timestamp: ISO 8601 such as 2026-01-02T03:04:05.678, or milliseconds since 1970",
    Raw: "JSON",
}
"""Type -> words for a value of it, after "must be"."""
