"""A line of an export: one object as JSON.

The records are made from the classes of the model, so that no field can be forgotten. They differ in four things:

- A field of bytes, which holds the text of any JSON, is a string with that text, and so comes back byte for byte.
- Keys and ids are required and positive.
- Times are within the range that can be shown to clients.
- A user has no ``login_key``, because it follows from the login.

A new kind or field of the model needs a new :data:`~dhtwisted.transfer.stream.VERSION`: older programs refuse unknown members.
"""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import FieldInfo, fields

from dhtwisted.errors import UNREADABLE, MalformedJson, TransferError
from dhtwisted.model import (
    ENTITY_KINDS,
    MESSAGE_KINDS,
    MqttQueued,
    MqttRetained,
    MqttSession,
    StoredBytes,
    User,
    fold_login,
)
from dhtwisted.wire.payloads import check_json

LARGEST_ID = 2**53 - 1
"""The largest integer that every client can read. New ids are given above those of the file, and there must be room for them."""

KINDS: tuple[Any, ...] = (*(kind for kind in ENTITY_KINDS.values() if kind not in (User, StoredBytes)), *MESSAGE_KINDS.values(), User)
"""All kinds in the order of a file. Users are last: a storage without users counts as unused. Bytes stored today are not exported."""

END = "end"
"""The member of the last line: how many objects of each kind the file has."""

_Id = Annotated[int, Meta(ge=1, le=LARGEST_ID)]
_Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Raisable = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
_TYPES: dict[str, dict[Any, Any]] = {
    "id": {int: _Id},
    "timestamp": {int | None: _Time},
    "arrived": {int | None: _Time | None},
    "last_updated": {int | None: _Time},
    "last_login": {int | None: _Time | None},
    "created": {int: _Time},
    "expires": {int: _Time},
    "valid_from": {int: _Raisable},
    "network_id": {int: _Id},
    "device_type_id": {int: _Id},
    "user_id": {int: _Id, int | None: _Id | None},
    "owner_id": {int | None: _Id | None},
    "network_ids": {frozenset[int]: frozenset[_Id]},
    "device_type_ids": {frozenset[int]: frozenset[_Id]},
    "entity_version": {int: _Id},
    "lifetime": {int | None: _Int64 | None},
    "known_addresses": {tuple[tuple[str, int], ...]: tuple[tuple[str, _Time], ...]},
}
_PerhapsNobody = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
_TYPES_OF: dict[type, dict[str, Any]] = {
    MqttSession: {"user_id": _PerhapsNobody, "ended": _Time | None},
    MqttRetained: {"user_id": _PerhapsNobody, "published": _Time, "expires": _Time | None},
    MqttQueued: {"number": _Raisable, "message_id": _PerhapsNobody, "expires": _Time | None},
}
"""Kind -> the types of fields that differ from those above."""
_REQUIRED = ("id", "timestamp", "last_updated")
_JSON, _TEXT = bytes | None, str | None
_LEFT_OUT = ("login_key", "update_id")
"""Fields that follow from others, or have a meaning only within their storage."""


def _member(kind: Any, field: FieldInfo) -> tuple[Any, ...]:
    found = _TEXT if field.type == _JSON else _TYPES.get(field.name, {}).get(field.type, field.type)
    found = _TYPES_OF.get(kind, {}).get(field.name, found)
    return (field.name, found) if field.required or field.name in _REQUIRED else (field.name, found, field.default)


def _fields(kind: Any) -> list[FieldInfo]:
    return [field for field in fields(kind) if field.name not in _LEFT_OUT]


def _record(kind: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct(kind.KIND, map(partial(_member, kind), _fields(kind)), kw_only=True, forbid_unknown_fields=True)


_RECORDS = {kind: _record(kind) for kind in KINDS}
_KINDS_OF_RECORDS = {record: kind for kind, record in _RECORDS.items()}
_JSON_FIELDS = {kind: [field.name for field in fields(kind) if field.type == _JSON] for kind in KINDS}
_Line = msgspec.defstruct(
    "Line",
    [*((kind.KIND, record | UnsetType, UNSET) for kind, record in _RECORDS.items()), (END, dict[str, int] | UnsetType, UNSET)],
    forbid_unknown_fields=True,
)
# Sets have no order, and two exports of the same data must be equal.
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(_Line).decode


def identity(item: Any) -> str:
    """The name of an object in error texts, such as ``command 7``."""
    return f"{item.KIND} {item.id if type(item) in MESSAGE_KINDS.values() else item.key!r}"


def encode_item(item: Any) -> bytes:
    """Write an object as the JSON of a line.

    :raises TransferError: a text is not valid Unicode; the server accepts no such text.
    """
    kind = type(item)
    try:
        values = {field.name: getattr(item, field.name) for field in _fields(kind)}
        for name in _JSON_FIELDS[kind]:
            if values[name] is not None:
                values[name] = values[name].decode()
        return _encode({kind.KIND: _RECORDS[kind](**values)})
    except UnicodeError as error:
        raise TransferError(f"{identity(item)} has a text that is not valid Unicode: it cannot be exported") from error


def encode_counts(counts: dict[str, int]) -> bytes:
    """Write the JSON of the last line.

    :param counts: name of a kind -> how many objects of it the file has.
    """
    return _encode({END: counts})


def decode_line(text: bytes) -> Any:
    """Read the JSON of a line.

    :returns: an object of the model, or the counts of the last line as a ``dict``.
    :raises ValueError: the line is neither; the text says why.
    """
    try:
        line = _decode(text)
    except UNREADABLE as error:
        raise ValueError(f"is not valid: {error}" if _is_utf_8(text) else "is not UTF-8") from error
    members = [name for name in _Line.__struct_fields__ if getattr(line, name) is not UNSET]
    if len(members) != 1:
        raise ValueError(f"has {len(members)} objects instead of one")
    record = getattr(line, members[0])
    return record if members[0] == END else _item(record)


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _item(record: msgspec.Struct) -> Any:
    kind = _KINDS_OF_RECORDS[type(record)]
    values = msgspec.structs.asdict(record)
    for name in _JSON_FIELDS[kind]:
        if values[name] is not None:
            values[name] = _json(name, values[name])
    return kind(**values, login_key=fold_login(values["login"])) if kind is User else kind(**values)


def _json(name: str, text: str) -> bytes:
    """Check the JSON text of a field. The server sends it to clients as it is, so it must be what a client could have sent."""
    try:
        data = text.encode()
        check_json(data)
    except MalformedJson:
        data = b""
    if not data:
        raise ValueError(f"is not valid: {name} is not a JSON text")
    return data
