"""The protocol of the control socket.

1. The server sends one line: a :class:`Greeting`, or a :class:`Reply` with an error.
2. The client sends one line: a command as JSON. Its member ``command`` is the command's name.
3. The server sends lines, each a :class:`Reply`. A reply with ``output`` is followed by that many bytes. The reply with ``error`` or
   ``done`` is the last.
"""

from __future__ import annotations

import hashlib
import json

import msgspec

from dhtwisted.config.settings import Settings
from dhtwisted.providers.opening import data_file

VERSION = 1
LONGEST_REQUEST = 64 * 1024
"""Bytes of a command."""

LONGEST_REPLY = 64 * 1024
"""Bytes of the line of a reply."""

PORTION = 256 * 1024
"""Most bytes of output after one reply."""

ALIVE_SECONDS = 3.0
"""How often a server that works on a command sends an empty reply."""

ANSWER_SECONDS = 15.0
"""How long a client waits for anything from the server."""


class Greeting(msgspec.Struct, tag_field="sort", tag="greeting", kw_only=True):
    """The first line.

    :ivar version: of this protocol.
    :ivar program: the version of the server.
    :ivar storage: identifies the data that the server works on, see :func:`data_id`.
    """

    version: int
    program: str
    storage: str


class Reply(msgspec.Struct, tag_field="sort", tag="reply", kw_only=True, omit_defaults=True):
    """Any other line.

    :ivar output: how many bytes follow.
    :ivar part: to which of several outputs these bytes belong.
    :ivar objects: how many objects are done, for a progress display.
    :ivar error: why the command failed, as one line.
    :ivar done: the command succeeded.
    :ivar line: a line for the operator.
    """

    output: int = 0
    part: str = ""
    objects: int | None = None
    error: str | None = None
    done: bool = False
    line: str | None = None


_encode = msgspec.json.Encoder().encode
decode_greeting = msgspec.json.Decoder(Greeting | Reply).decode
decode_reply = msgspec.json.Decoder(Reply).decode


def encode_line(message: msgspec.Struct) -> bytes:
    """Encode a message as one line."""
    return _encode(message) + b"\n"


def data_id(settings: Settings) -> str:
    """Identify the data that the configuration names. Client and server compare it, so that a command works on the right data. It is a
    hash, because a specification may contain a password.
    """
    named = {"storage": settings.storage.provider, "messages": settings.storage.messages}
    names = [data_file(role, specification) or specification for role, specification in named.items()]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
