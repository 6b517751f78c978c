"""Requests out of JSON, replies and events into JSON (WebSocket reference, section 2).

The usual request is decoded once, straight into the struct of its action. Whatever that refuses takes the slow path: coercion, or the
error reply that still names the action and the request id where they can be read.
"""

from __future__ import annotations

import json
import sys
from typing import Union

import msgspec
from msgspec import Raw

from dhtwisted.errors import UNREADABLE, BadRequest, IllegalAction, MalformedJson, TooDeep, UnknownEndpoint
from dhtwisted.wire.coercion import coerce
from dhtwisted.wire.fields import NULL, decode_hook
from dhtwisted.wire.json_faults import fault, read_object
from dhtwisted.wire.payloads import exceeds_depth, too_deep

encode = msgspec.json.Encoder().encode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder().decode

NOTHING = b"null"


class Refused(Exception):
    """A request that gets no further than its envelope.

    :ivar action: its action as JSON; ``None`` when there is nothing to echo at all.
    :ivar request_id: its id as JSON.
    :ivar error: the :class:`~dhtwisted.errors.ApiError` to answer.
    """

    def __init__(self, error, action=None, request_id=NOTHING):
        super().__init__(str(error))
        self.error = error
        self.action = action
        self.request_id = request_id


class RequestDecoder:
    """Decodes the requests of a set of actions.

    :param kinds: the ``Fields`` structs of the actions, each tagged with its action's name.
    :param depth: deepest permitted nesting, 0 for any.
    """

    def __init__(self, kinds, depth):
        self._kinds = {kind.__struct_config__.tag: kind for kind in kinds}
        self._decode = msgspec.json.Decoder(Union[tuple(self._kinds.values())], dec_hook=decode_hook).decode
        self._depth = depth
        self._long_enough = 2 * depth if depth else sys.maxsize

    def decode(self, text):
        """Read one request.

        :param text: the message as bytes, known to be UTF-8.
        :returns: the struct of its action.
        :raises Refused: it is no request of these actions.
        """
        if len(text) > self._long_enough and exceeds_depth(text, self._depth):
            raise self._too_deep(text)
        try:
            fields = self._decode(text)
            if fields.request_id is not NULL:
                # It has been skipped, not read, and may hold a number that others cannot read. This is 70 ns.
                _value(fields.request_id)
        except UNREADABLE:
            return self._decode_slowly(text)
        return fields

    def _decode_slowly(self, text):
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

    def _unreadable(self, text):
        """Tell JSON that cannot be kept (lone surrogates) from what is no JSON object at all."""
        members, what = read_object(text)
        error = MalformedJson(detail=f"the message {what}")
        return Refused(error) if members is None else Refused(error, *(_echo(members.get(name)) for name in ("action", "requestId")))

    def _too_deep(self, text):
        error = TooDeep(detail=too_deep("the message", self._depth))
        try:
            members = _members(text)
        except UNREADABLE:
            return Refused(error)
        action, request_id = (members.get(name, NULL) for name in ("action", "requestId"))
        return Refused(
            error, *(NOTHING if exceeds_depth(bytes(raw), self._depth) else _echo_raw(raw) or NOTHING for raw in (action, request_id))
        )


def _echo_raw(raw):
    """JSON to be sent back as it is; ``None`` when others could not read it."""
    try:
        _value(raw)
    except UNREADABLE:
        return None
    return bytes(raw)


def _echo(value):
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # A number beyond a double was read as infinite, and a lone surrogate is no UTF-8.
        return NOTHING


def _action_name(members):
    """The action as JSON to be echoed, and its name; ``None`` when it is missing, empty or no primitive."""
    raw = bytes(members.get("action", NULL))
    try:
        value = _value(raw)
    except UNREADABLE:
        return NOTHING, None
    if isinstance(value, (list, dict)):
        return NOTHING, None
    name = value if isinstance(value, str) else None if value is None else raw.decode("ascii")
    return raw, name or None


def reply(head, request_id, members):
    """Encode a success reply.

    :param head: the action's ``reply_head``.
    :param request_id: raw JSON.
    :param members: a struct with the action's own members, or ``None``.
    """
    if members is None:
        return b"".join((head, request_id, b',"status":"success"}'))
    return b"".join((head, request_id, b',"status":"success",', encode(members)[1:]))


def error_reply(error, action=None, request_id=NOTHING):
    """Encode an error reply.

    :param action: JSON text of the action; ``None`` when the request could not be read at all.
    """
    body = b'"status":"error","code":%d,"error":%b' % (error.code, encode_text(error.text))
    if error.detail is not None:
        body += b',"detail":%b' % encode_text(error.detail)
    body += b"}" if error.retry_after is None else b',"retryAfter":%d}' % error.retry_after
    return b"{" + body if action is None else b'{"action":%b,"requestId":%b,%b' % (action, request_id, body)


def encode_text(text):
    """Encode a text that may hold anything; what strict readers cannot read, which is lone surrogates, becomes a question mark each."""
    try:
        return encode(text)
    except UnicodeEncodeError:
        return encode(text.encode(errors="replace").decode())
