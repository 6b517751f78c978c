"""The column ``body`` of the table ``entity``: an entity as JSON, or as MessagePack where it contains bytes of clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dhtwisted.errors import Unstorable
from dhtwisted.model import Entity

_JSON = msgspec.json.Encoder()
_MESSAGE_PACK = msgspec.msgpack.Encoder()


def encode_body(entity: Entity) -> bytes:
    """Make the body of an entity. Kinds with ``BULK`` have payloads, which JSON would make larger by a third.

    :raises Unstorable: a value cannot be kept.
    """
    try:
        return (_MESSAGE_PACK if entity.BULK else _JSON).encode(entity)
    except (UnicodeEncodeError, OverflowError) as error:
        raise Unstorable(f"a {type(entity).__name__} cannot be kept: {type(error).__name__}") from error


def body_decoder(kind: type[Entity]) -> Callable[[bytes], Any]:
    """Make a function that makes the entity of a body. Before schema 10 all bodies were JSON, and they stay so until they change."""
    from_json = msgspec.json.Decoder(kind).decode
    if not kind.BULK:
        return from_json
    from_message_pack = msgspec.msgpack.Decoder(kind).decode
    # No object of MessagePack begins as one of JSON does: 0x7B is a number there.
    return lambda body: from_json(body) if body[:1] == b"{" else from_message_pack(body)
