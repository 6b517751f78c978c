"""Which members of a struct the reference shows, and docstrings as it prints them."""

from __future__ import annotations

import re
from inspect import cleandoc

from msgspec import Struct
from msgspec.structs import FieldInfo
from msgspec.structs import fields as fields_of

from dhtwisted.wire.fields import Fields

ENVELOPE = frozenset({"requestId", "token"})
"""Members of every request. REST has a header for ``token``, and does not need ``requestId``."""


def members(kind: type[Struct], own_token: bool = False) -> list[FieldInfo]:
    """The fields of a struct that the reference shows: for a request all but those of every request.

    :param own_token: keep ``token``, since it is a member of this request alone.
    """
    hidden = ENVELOPE - ({"token"} if own_token else set()) if issubclass(kind, Fields) else frozenset()
    return [field for field in fields_of(kind) if field.encode_name not in hidden]


_CITED = re.compile(r" ?\((?:\w+ reference, )?sections? [^)]*\)|\w+ reference, sections? \d[\w., ]*?\.(?:\s|$)")


def published(text: str) -> str:
    """A docstring as Markdown, without citations of the protocol notes."""
    return cleandoc(_CITED.sub("", text).replace("``", "`"))
