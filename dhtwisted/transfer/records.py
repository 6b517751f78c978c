"""What a line of an export holds: one object, as JSON.

The records are made of the model's own classes, so that no field can be left out. They differ in four things: a field of bytes, which
holds the text of any JSON, is a string with that text, so that it comes back byte for byte; keys and ids are there and positive; times
are within what can be shown to clients; a user's ``login_key`` follows from the login. A new kind or field of the model needs a new
:data:`~dhtwisted.transfer.stream.VERSION`: older programs refuse what they do not know.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import fields

from dhtwisted.errors import UNREADABLE, MalformedJson, TransferError
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, StoredBytes, User, fold_login
from dhtwisted.wire.payloads import check_json

LARGEST_ID = 2**53 - 1
"""The largest integer that every client can hold; ids go on above those of the file, and there must be room for them."""

KINDS: tuple[Any, ...] = (*(kind for kind in ENTITY_KINDS.values() if kind not in (User, StoredBytes)), *MESSAGE_KINDS.values(), User)
"""All kinds in the order of a file. Users are last: a storage without users is nobody's yet. What is used of a quota today stays behind."""

END = "end"
"""The member of the last line; it holds how many objects of each kind there are."""

_Id = Annotated[int, Meta(ge=1, le=LARGEST_ID)]
_Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Raisable = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
_TYPES = {
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
_REQUIRED = ("id", "timestamp", "last_updated")
_JSON, _TEXT = bytes | None, str | None
_LEFT_OUT = ("login_key", "update_id")
"""What follows from other fields, or says something within its storage alone."""


def _member(field):
    kind = _TEXT if field.type == _JSON else _TYPES.get(field.name, {}).get(field.type, field.type)
    return (field.name, kind) if field.required or field.name in _REQUIRED else (field.name, kind, field.default)


def _fields(kind):
    return [field for field in fields(kind) if field.name not in _LEFT_OUT]


def _record(kind):
    return msgspec.defstruct(kind.KIND, map(_member, _fields(kind)), kw_only=True, forbid_unknown_fields=True)


_RECORDS = {kind: _record(kind) for kind in KINDS}
_KINDS_OF_RECORDS = {record: kind for kind, record in _RECORDS.items()}
_JSON_FIELDS = {kind: [field.name for field in fields(kind) if field.type == _JSON] for kind in KINDS}
_Line = msgspec.defstruct(
    "Line",
    [*((kind.KIND, record | UnsetType, UNSET) for kind, record in _RECORDS.items()), (END, dict[str, int] | UnsetType, UNSET)],
    forbid_unknown_fields=True,
)
# Sets have no order of their own; two exports of the same data are to be equal.
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(_Line).decode


def identity(item):
    """What an object is called in messages, such as ``command 7``."""
    return f"{item.KIND} {item.id if type(item) in MESSAGE_KINDS.values() else item.key!r}"


def encode_item(item):
    """Write an object as the JSON of a line.

    :raises TransferError: it has text that is no Unicode; the server lets none in.
    """
    kind = type(item)
    try:
        values = {field.name: getattr(item, field.name) for field in _fields(kind)}
        for name in _JSON_FIELDS[kind]:
            if values[name] is not None:
                values[name] = values[name].decode()
        return _encode({kind.KIND: _RECORDS[kind](**values)})
    except UnicodeError as error:
        raise TransferError(f"{identity(item)} has text that is no Unicode: it cannot be exported") from error


def encode_counts(counts):
    """Write the JSON of the last line.

    :param counts: name of a kind -> how many objects of it there are.
    """
    return _encode({END: counts})


def decode_line(text):
    """Read the JSON of a line.

    :returns: an object of the model, or the counts of the last line as a ``dict``.
    :raises ValueError: it is neither; says why.
    """
    try:
        line = _decode(text)
    except UNREADABLE as error:
        raise ValueError(f"is not as it should be: {error}" if _is_utf_8(text) else "is not UTF-8") from error
    members = [name for name in _Line.__struct_fields__ if getattr(line, name) is not UNSET]
    if len(members) != 1:
        raise ValueError(f"has {len(members)} objects, not one")
    record = getattr(line, members[0])
    return record if members[0] == END else _item(record)


def _is_utf_8(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _item(record):
    kind = _KINDS_OF_RECORDS[type(record)]
    values = msgspec.structs.asdict(record)
    for name in _JSON_FIELDS[kind]:
        if values[name] is not None:
            values[name] = _json(name, values[name])
    return kind(**values, login_key=fold_login(values["login"])) if kind is User else kind(**values)


def _json(name, text):
    """The JSON text of a field, which is sent to clients as it is, and so must be what a client could have sent."""
    try:
        data = text.encode()
        check_json(data)
    except MalformedJson:
        data = b""
    if not data:
        raise ValueError(f"is not as it should be: {name} is no JSON text")
    return data
