"""One route of one action: makes a request's fields of path, query, headers and body (REST reference, sections 6 and 8)."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from dhtwisted.actions.table import WHOLE
from dhtwisted.errors import (
    UNREADABLE,
    BadRequest,
    MalformedJson,
    MissingBody,
    NoSuchPath,
    TooDeep,
    UnknownParameter,
    UnparseableTimestamp,
    UnsupportedMediaType,
)
from dhtwisted.wire.coercion import REFUSED, coerce, misfit, readers
from dhtwisted.wire.envelope import encode, encode_text
from dhtwisted.wire.fields import Timestamp, decode_hook
from dhtwisted.wire.json_faults import fault, read_object
from dhtwisted.wire.payloads import exceeds_depth, too_deep

if TYPE_CHECKING:
    from dhtwisted.actions.table import Action, Route
    from dhtwisted.fronts.rest.caller import Call
    from dhtwisted.wire.fields import Fields

Query = dict[str, list[str]]

COMMON = frozenset({"requestId", "token"})
"""Members of every request that REST does not read: the token is in a header."""

STRICT = "strict"
"""A parameter of every query: ``true`` refuses parameters that the route does not have."""

LONGEST_NAME = 64
"""Characters of an unknown parameter that are shown."""

_LOST_PLUS = re.compile(r"(:\d\d(?:\.\d*)?) (?=\d\d:?\d\d$)", re.ASCII)
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Endpoint:
    """One route of one action: reads requests."""

    def __init__(self, action: Action, route: Route) -> None:
        self.action = action
        self.route = route
        self._readers = readers(action.fields)
        self._query = frozenset(self._readers) - COMMON - frozenset(route.places) if route.body is None else frozenset()
        if route.body is not None:
            self._body = self._readers[route.body] if route.body != WHOLE else None
            self._body_kind = action.fields if self._body is None else self._body.kind
            self._decode_body: Any = msgspec.json.Decoder(self._body_kind, dec_hook=decode_hook).decode if self._body else None

    def read(self, places: tuple[str, ...], call: Call, depth: int) -> Fields:
        """Make the fields of a request.

        :param places: the texts in the places of the path, in order.
        :param depth: ``limits.json_depth``.
        :raises ApiError: something cannot be read.
        """
        values = {}
        for wire_name, text in zip(self.route.places, places, strict=True):
            reader = self._readers[wire_name]
            values[reader.name] = self._read_place(reader, wire_name, text)
        for wire_name, header in self.route.request_headers.items():
            values[self._readers[wire_name].name] = call.header(header)
        if self.route.body is None:
            for wire_name, texts in call.query.items():
                if wire_name in self._query:
                    self._read_query(self._readers[wire_name], wire_name, texts, values)
        elif self._body is not None:
            values[self._body.name] = self._read_body(call, depth)
        else:
            return self._read_whole(call, depth, values)
        return self.action.fields(**values)

    def unknown(self, query: Query) -> list[str]:
        """The parameters of a query that this route does not have, sorted."""
        return sorted(query.keys() - self._query - {STRICT})

    def refuse_unknown(self, query: Query) -> None:
        """Refuse a query with parameters that this route does not have.

        :raises UnknownParameter: there is one.
        """
        for name in self.unknown(query):
            near = get_close_matches(name, self._query, n=1)
            raise UnknownParameter(name[:LONGEST_NAME], near + sorted(self._query - set(near)))

    def _read_place(self, reader: Any, wire_name: str, text: str) -> Any:
        raw = encode_text(text)
        try:
            return reader.read(raw)
        except REFUSED:
            is_wrong = wire_name == self.route.places[-1] and self.route.bad_id == 400
            detail = f"the path parameter {misfit(reader.type, Raw(raw), wire_name).detail}"
            raise (BadRequest if is_wrong else NoSuchPath)(detail=detail) from None

    @staticmethod
    def _read_query(reader: Any, wire_name: str, texts: list[str], values: dict[str, Any]) -> None:
        """Read a parameter. An empty value counts as absent; lists come with commas, repeated, or both (REST reference, section 6)."""
        if reader.is_list:
            parts = [part for text in texts for part in text.split(",") if part]
            raw = encode(parts) if parts else None
        else:
            raw = encode_text(_with_plus(texts[0]) if reader.kind is Timestamp else texts[0]) if texts[0] else None
        if raw is None:
            return
        try:
            values[reader.name] = reader.read(raw)
        except REFUSED:
            detail = misfit(reader.type, Raw(raw), wire_name).detail
            raise (UnparseableTimestamp if reader.kind is Timestamp else BadRequest)(detail=detail) from None

    def _read_body(self, call: Call, depth: int) -> Any:
        if self.route.object_first and _is_missing(call.body.strip()):
            return None
        body = _checked_body(call, depth, levels_around=1)
        try:
            return self._decode_body(body)
        except UNREADABLE:
            return coerce(self._body_kind, _object(body))

    def _read_whole(self, call: Call, depth: int, values: dict[str, Any]) -> Fields:
        members = _object(_checked_body(call, depth))
        fields = coerce(self._body_kind, {name: raw for name, raw in members.items() if name not in COMMON})
        for name, value in values.items():
            setattr(fields, name, value)
        return fields


def _with_plus(text: str) -> str:
    """A plus sign in a query stands for a space. Between a time and a zone the client meant a plus sign."""
    return _LOST_PLUS.sub(r"\1+", text)


def _is_missing(body: bytes) -> bool:
    return not body or body == b"null"


def _checked_body(call: Call, depth: int, levels_around: int = 0) -> bytes:
    """The body, if it can be read.

    :param levels_around: how much deeper the same value is in a WebSocket message: both fronts take the same values.
    """
    body = call.body.strip()
    if _is_missing(body):
        raise MissingBody()
    content_type = (call.content_type or "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaType()
    if depth and exceeds_depth(body, depth - levels_around):
        raise TooDeep(detail=too_deep("the body", depth - levels_around))
    try:
        # The decoder does not look into what stays raw JSON.
        body.decode()
    except UnicodeDecodeError:
        raise MalformedJson(detail=f"the body {fault(body)}") from None
    return body


def _object(body: bytes) -> dict[str, Raw]:
    try:
        return _members(body)
    except UNREADABLE:
        raise MalformedJson(detail=f"the body {read_object(body)[1]}") from None
