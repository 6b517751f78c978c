"""Requests from JSON, and replies to JSON (WebSocket reference, section 2).

A usual request is decoded once, into the struct of its action. What the decoder refuses takes the slow path: its members are converted, or
there is an error reply, which repeats the action and the request id if they can be read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Union

import msgspec
from msgspec import Raw, Struct

from dhtwisted.errors import UNREADABLE, ApiError, BadRequest, IllegalAction, MalformedJson, TooDeep, UnknownEndpoint
from dhtwisted.wire.coercion import coerce
from dhtwisted.wire.fields import NULL, Fields, decode_hook
from dhtwisted.wire.json_faults import fault, read_object
from dhtwisted.wire.payloads import exceeds_depth, too_deep

encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder().decode

NOTHING = b"null"


class Refused(Exception):
    """A request that could not be read.

    :ivar action: its action as JSON; ``None`` if the reply has neither an action nor a request id.
    :ivar request_id: its id as JSON.
    :ivar error: the answer.
    """

    def __init__(self, error: ApiError, action: bytes | None = None, request_id: bytes = NOTHING) -> None:
        super().__init__(str(error))
        self.error = error
        self.action = action
        self.request_id = request_id


class RequestDecoder:
    """Decodes the requests of a set of actions.

    :param kinds: the structs of the actions, each tagged with the name of its action.
    :param depth: the deepest permitted nesting; 0 for any.
    """

    def __init__(self, kinds: Iterable[type[Fields]], depth: int) -> None:
        self._kinds = {kind.__struct_config__.tag: kind for kind in kinds}
        self._decode = msgspec.json.Decoder(Union[tuple(self._kinds.values())], dec_hook=decode_hook).decode
        self._depth = depth
        self._long_enough = 2 * depth if depth else sys.maxsize

    def decode(self, text: bytes) -> Fields:
        """Read one request.

        :param text: the message. It must be UTF-8.
        :returns: the struct of its action.
        :raises Refused: it is no request of these actions.
        """
        if len(text) > self._long_enough and exceeds_depth(text, self._depth):
            raise self._too_deep(text)
        try:
            fields = self._decode(text)
            if fields.request_id is not NULL:
                # The decoder has only skipped it. It may contain a number that others cannot read. This takes 70 ns.
                _value(fields.request_id)
        except UNREADABLE:
            return self._decode_slowly(text)
        return fields

    def decode_many(self, texts: Sequence[bytes]) -> list[Fields | Refused]:
        """Read several requests, each as :meth:`decode`. In the place of one that cannot be read is what :meth:`decode` raises.

        For sixteen it takes 0.1 us less for each.
        """
        depth, long_enough = self._depth, self._long_enough
        if not [True for text in texts if len(text) > long_enough and exceeds_depth(text, depth)]:
            try:
                requests = list(map(self._decode, texts))
                for fields in requests:
                    if fields.request_id is not NULL:
                        _value(fields.request_id)
            except UNREADABLE:
                pass
            else:
                return requests
        return [self._decoded_or_refused(text) for text in texts]

    def _decoded_or_refused(self, text: bytes) -> Fields | Refused:
        try:
            return self.decode(text)
        except Refused as refused:
            return refused

    def _decode_slowly(self, text: bytes) -> Fields:
        try:
            members = _members(text)
        except UNREADABLE:
            raise self._unreadable(text) from None
        action, name = _action_name(members)
        request_id = _echo_raw(members.get("requestId", NULL))
        if request_id is None:
            raise Refused(MalformedJson(detail=f"requestId {fault(bytes(members['requestId']))}"), action)
        if name is None:
            raise Refused(UnknownEndpoint(), action, request_id)
        if name not in self._kinds:
            raise Refused(IllegalAction(name), action, request_id)
        try:
            return coerce(self._kinds[name], members)
        except BadRequest as error:
            raise Refused(error, action, request_id) from None

    def _unreadable(self, text: bytes) -> Refused:
        """The error about text that is no JSON object, or an object with numbers or escapes that others cannot read."""
        members, what = read_object(text)
        error = MalformedJson(detail=f"the message {what}")
        return Refused(error) if members is None else Refused(error, *(_echo(members.get(name)) for name in ("action", "requestId")))

    def _too_deep(self, text: bytes) -> Refused:
        error = TooDeep(detail=too_deep("the message", self._depth))
        try:
            members = _members(text)
        except UNREADABLE:
            return Refused(error)
        action, request_id = (members.get(name, NULL) for name in ("action", "requestId"))
        return Refused(
            error, *(NOTHING if exceeds_depth(bytes(raw), self._depth) else _echo_raw(raw) or NOTHING for raw in (action, request_id))
        )


def _echo_raw(raw: Raw) -> bytes | None:
    """JSON to send back as it is; ``None`` if others cannot read it."""
    try:
        _value(raw)
    except UNREADABLE:
        return None
    return bytes(raw)


def _echo(value: Any) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # A number that is too large was read as infinity, and a lone surrogate cannot be UTF-8.
        return NOTHING


def _action_name(members: dict[str, Raw]) -> tuple[bytes, str | None]:
    """The action as JSON to send back, and its name; ``None`` if it is missing, empty, an array or an object."""
    raw = bytes(members.get("action", NULL))
    try:
        value = _value(raw)
    except UNREADABLE:
        return NOTHING, None
    if isinstance(value, (list, dict)):
        return NOTHING, None
    name = value if isinstance(value, str) else None if value is None else raw.decode("ascii")
    return raw, name or None


def reply(head: bytes, request_id: Raw, members: Struct | None) -> bytes:
    """Encode the reply of a success.

    :param head: the ``reply_head`` of the action.
    :param members: the members of this action's reply.
    """
    if members is None:
        return b"".join((head, request_id, b',"status":"success"}'))
    return b"".join((head, request_id, b',"status":"success",', encode(members)[1:]))


def reply_form(action: str, members: bytes = b"") -> bytes:
    """Make a form of the same replies, to be filled in with ``%``: first the request's id, then what ``members`` has places for.

    :param members: a form of the members as JSON, without braces; empty for none.
    """
    return b'{"action":%b,"requestId":%%b,"status":"success"%b}' % (encode(action), members and b"," + members)


def error_reply(error: ApiError, action: bytes | None = None, request_id: bytes | Raw = NOTHING) -> bytes:
    """Encode the reply of an error.

    :param action: JSON of the action; ``None`` if the request could not be read at all.
    """
    body = b'"status":"error","code":%d,"error":%b' % (error.code, encode_text(error.text))
    if error.detail is not None:
        body += b',"detail":%b' % encode_text(error.detail)
    body += b"}" if error.retry_after is None else b',"retryAfter":%d}' % error.retry_after
    return b"{" + body if action is None else b'{"action":%b,"requestId":%b,%b' % (action, request_id, body)


def encode_text(text: str) -> bytes:
    """Encode any text. A lone surrogate, which strict readers cannot read, becomes a question mark."""
    try:
        return encode(text)
    except UnicodeEncodeError:
        return encode(text.encode(errors="replace").decode())
