"""What is known of the members of a struct: its fields, and the words of the :mod:`~dhtwisted.reference.vocabulary`."""

from __future__ import annotations

import re
from inspect import cleandoc

from msgspec.structs import fields as fields_of

from dhtwisted.reference.vocabulary import MEMBERS, REQUIRED, Member
from dhtwisted.wire.fields import Fields

ENVELOPE = frozenset({"requestId", "token"})
"""Members of every request; REST has a header for the one and no need of the other."""


def describe(kind, wire_name):
    """What is known of a member.

    :param kind: a struct class.
    :returns: a :class:`Member`; one that says nothing where nothing is known.
    """
    own = (MEMBERS.get(f"{base.__name__}.{wire_name}") for base in kind.__mro__)
    return next(filter(None, own), None) or MEMBERS.get(wire_name) or Member("", {})


def required(kind):
    """Wire names of the members without which a request is refused, as a set."""
    return frozenset(REQUIRED.get(kind.__name__, "").split())


def members(kind, own_token=False):
    """The fields of a struct that say something of their own.

    :param kind: a struct class.
    :param own_token: keep the token of a request.
    :returns: a list of ``msgspec.structs.FieldInfo``.
    """
    hidden = ENVELOPE - ({"token"} if own_token else set()) if issubclass(kind, Fields) else frozenset()
    return [field for field in fields_of(kind) if field.encode_name not in hidden]


_CITED = re.compile(r" ?\((?:\w+ reference, )?sections? [^)]*\)|\w+ reference, sections? \d[\w., ]*?\.(?:\s|$)")


def published(text):
    """A docstring as readers of the reference get it: as Markdown, without citations of the maintainers' notes."""
    return cleandoc(_CITED.sub("", text).replace("``", "`"))
