"""What passes through the control socket.

The server greets: one line, a :class:`Greeting`, or a :class:`Reply` with an error. The client sends one line: a command as JSON, whose
member ``command`` names it. The server answers with lines, each a :class:`Reply`. A reply with ``output`` is followed by so many bytes. The
one with ``error`` or ``done`` is the last.
"""

import hashlib
import json

import msgspec

from dhtwisted.providers.opening import data_file

VERSION = 1
LONGEST_REQUEST = 64 * 1024
"""Bytes of a command."""

LONGEST_REPLY = 64 * 1024
"""Bytes of the line of a reply."""

PORTION = 256 * 1024
"""Bytes of output that follow one reply, at most."""

ALIVE_SECONDS = 3.0
"""How often a server that is at work says so."""

ANSWER_SECONDS = 15.0
"""How long a client waits for any sign of the server."""


class Greeting(msgspec.Struct, tag_field="sort", tag="greeting", kw_only=True):
    """The first line.

    :ivar version: of this protocol.
    :ivar program: version of the server's program.
    :ivar storage: says which data the server works on, see :func:`data_id`.
    """

    version: int
    program: str
    storage: str


class Reply(msgspec.Struct, tag_field="sort", tag="reply", kw_only=True, omit_defaults=True):
    """Any other line.

    :ivar output: how many bytes follow.
    :ivar part: to which of several outputs they belong.
    :ivar objects: how many objects are done by now; a client may show it.
    :ivar error: why it was not done, as one line.
    :ivar done: it was done.
    :ivar line: what to tell the operator of it, if anything.
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


def encode_line(message):
    """Write a line."""
    return _encode(message) + b"\n"


def data_id(settings):
    """Say which data the configuration names, so that a client finds out whether a server works on its own. It gives nothing away: a
    specification may hold a password.

    :param settings: a :class:`~dhtwisted.config.settings.Settings`.
    """
    named = {"storage": settings.storage.provider, "messages": settings.storage.messages}
    names = [data_file(role, specification) or specification for role, specification in named.items()]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
