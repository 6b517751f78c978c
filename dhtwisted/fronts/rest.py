"""REST without any network: a request in, a status and a body out, from the same table of actions as everything else.

No endpoint is written here. The routes of the table say where an action is found, which member the body is, and what a success is
called (REST reference, section 8); what HTTP itself asks for is the work of :mod:`dhtwisted.transports.http.rest`.
"""

from __future__ import annotations

import re
from collections import namedtuple
from difflib import get_close_matches
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.actions.lists import Streamed
from dhtwisted.actions.table import WHOLE
from dhtwisted.core.client import REST, IPollingClient
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.server import Request
from dhtwisted.errors import (
    UNREADABLE,
    BadRequest,
    DeadlinePassed,
    MalformedJson,
    MethodNotAllowed,
    MissingBody,
    NoSuchPath,
    TooDeep,
    UnknownParameter,
    UnparseableTimestamp,
    UnsupportedMediaType,
)
from dhtwisted.interfaces import IConnection
from dhtwisted.wire.coercion import REFUSED, coerce, misfit, readers
from dhtwisted.wire.envelope import encode, encode_text
from dhtwisted.wire.fields import Timestamp, decode_hook
from dhtwisted.wire.json_faults import fault, read_object
from dhtwisted.wire.payloads import exceeds_depth, too_deep

if TYPE_CHECKING:
    from collections.abc import Callable

    from dhtwisted.core.access import Principal

HELD_ERROR = 1.0
"""Seconds by which the error of a poll is held back: clients ask again at once (REST reference, section 9.3)."""

COMMON = frozenset({"requestId", "token"})
"""Members of every request that REST does not read: who asks is in the header."""

STRICT = "strict"
"""The parameter, of every query, that has others refused which the route does not have."""

LONGEST_NAME, MOST_NAMED = 64, 10
"""Of unknown parameters: characters of a name that is told, and names in a line of the log."""

_LOST_PLUS = re.compile(r"(:\d\d(?:\.\d*)?) (?=\d\d:?\d\d$)", re.ASCII)
_members = msgspec.json.Decoder(dict[str, Raw]).decode

Call = namedtuple("Call", "method segments query body content_type authorization caller header", defaults=(lambda name: None,))
"""One request.

``segments``: the path below its base, percent-decoded; ``query``: name -> list of texts; ``content_type`` and ``authorization``: header or
``None``; ``caller``: a :class:`Caller`; ``header``: called with the name of any other header, gives its text or ``None``.
"""


@implementer(IPollingClient, IConnection)
class Caller:
    """The client of one request, and its own connection: there is none that outlives the answer."""

    __slots__ = ("_end", "address", "number", "principal", "websocket_url")
    conventions = REST

    def __init__(self, address: str, websocket_url: str, number: int = 0) -> None:
        self.address = address
        self.number = number
        self.principal: Principal | None = None
        self.websocket_url = websocket_url
        self._end: Callable[[], None] | None = None

    @property
    def output(self) -> Caller:
        """The caller itself."""
        return self

    def remember_command(self, command_id: int) -> None:
        """Do nothing: there is no way back to this client."""

    def end_when_gone(self, end: Callable[[], None] | None) -> None:
        """Call a function when the client goes away or closes its side; see :class:`~dhtwisted.core.client.IPollingClient`."""
        self._end = end

    def close(self) -> None:
        """The client is gone, or has closed its side."""
        if self._end is not None:
            self._end()


class _HeldError:
    """An answer that waits."""

    def __init__(self, reactor, answer):
        self._call = reactor.callLater(HELD_ERROR, answer)

    def end(self):
        """Wait no longer."""
        if self._call.active():
            self._call.reset(0)


class _UnderWay:
    """A call that is not answered yet, for the deadline.

    :param server: the :class:`~dhtwisted.core.server.Server`.
    :param prepared: called with ``None`` and an error, when it is due before it is known what is asked.
    :param finished: called as of ``Server.execute``, when it is due later.
    :ivar request: the :class:`~dhtwisted.core.server.Request`, once it is known.
    """

    __slots__ = ("_due", "_finished", "_prepared", "_server", "is_answered", "request")

    def __init__(self, server, prepared, finished):
        self.request = None
        self.is_answered = False
        self._server = server
        self._prepared = prepared
        self._finished = finished
        self._due = server.deadlines.due()

    def begin(self, request):
        """Take note of what is asked. From here on the request has the deadline, since a poll moves it."""
        self.request = request
        request.due = self._due

    def end(self):
        """It is answered."""
        self.is_answered = True
        self._server.deadlines.forget(self)

    def answer_due(self, sweep):
        """See :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`."""
        request = self.request
        if sweep < (self._due if request is None else request.due):
            return True
        if request is None:
            self._prepared(None, DeadlinePassed(PATIENCE))
        else:
            self._server.expire(request, self._finished)
        return False


class Endpoint:
    """One route of one action, ready to read requests."""

    def __init__(self, action, route):
        self.action = action
        self.route = route
        self._readers = readers(action.fields)
        self._query = frozenset(self._readers) - COMMON - frozenset(route.places) if route.body is None else frozenset()
        if route.body is not None:
            self._body = self._readers[route.body] if route.body != WHOLE else None
            self._body_kind = action.fields if self._body is None else self._body.kind
            self._decode_body = msgspec.json.Decoder(self._body_kind, dec_hook=decode_hook).decode if self._body else None

    def read(self, places, call, depth):
        """Make the request's fields of a call.

        :param places: the texts in the path, in order.
        :raises ApiError: something cannot be read.
        """
        values = {}
        for wire_name, text in zip(self.route.places, places, strict=True):
            reader = self._readers[wire_name]
            values[reader.name] = self._read_place(reader, wire_name, text)
        for wire_name, header in self.route.request_headers.items():
            values[self._readers[wire_name].name] = call.header(header)
        if self.route.body is None:
            for wire_name in call.query.keys() & self._query:
                self._read_query(self._readers[wire_name], wire_name, call.query[wire_name], values)
        elif self._body is not None:
            values[self._body.name] = self._read_body(call, depth)
        else:
            return self._read_whole(call, depth, values)
        return self.action.fields(**values)

    def unknown(self, query):
        """The parameters of a query that this route does not have, sorted."""
        return sorted(query.keys() - self._query - {STRICT})

    def refuse_unknown(self, query):
        """Hold a query to the parameters that this route has.

        :raises UnknownParameter: it has another.
        """
        for name in self.unknown(query):
            near = get_close_matches(name, self._query, n=1)
            raise UnknownParameter(name[:LONGEST_NAME], near + sorted(self._query - set(near)))

    def _read_place(self, reader, wire_name, text):
        raw = encode_text(text)
        try:
            return reader.read(raw)
        except REFUSED:
            is_wrong = wire_name == self.route.places[-1] and self.route.bad_id == 400
            detail = f"the path parameter {misfit(reader.type, raw, wire_name).detail}"
            raise (BadRequest if is_wrong else NoSuchPath)(detail=detail) from None

    @staticmethod
    def _read_query(reader, wire_name, texts, values):
        """An empty value is an absent one; lists come with commas, repeated, or both (REST reference, section 6)."""
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
            detail = misfit(reader.type, raw, wire_name).detail
            raise (UnparseableTimestamp if reader.kind is Timestamp else BadRequest)(detail=detail) from None

    def _read_body(self, call, depth):
        if self.route.object_first and _is_missing(call.body.strip()):
            return None
        body = _checked_body(call, depth, levels_around=1)
        try:
            value = self._decode_body(body)
        except UNREADABLE:
            value = coerce(self._body_kind, _object(body))
        return value

    def _read_whole(self, call, depth, values):
        members = _object(_checked_body(call, depth))
        fields = coerce(self._body_kind, {name: raw for name, raw in members.items() if name not in COMMON})
        for name, value in values.items():
            setattr(fields, name, value)
        return fields


def _with_plus(text):
    """A query's plus sign stands for a space; between a time and a zone it was meant as it is."""
    return _LOST_PLUS.sub(r"\1+", text)


def _is_missing(body):
    return not body or body == b"null"


def _checked_body(call, depth, levels_around=0):
    """The body, if it can be read.

    :param levels_around: how much deeper the same is in a request by WebSocket: what one takes the other takes too.
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
        # What stays raw JSON is not looked into by the decoder.
        body.decode()
    except UnicodeDecodeError:
        raise MalformedJson(detail=f"the body {fault(body)}") from None
    return body


def _object(body):
    try:
        return _members(body)
    except UNREADABLE:
        raise MalformedJson(detail=f"the body {read_object(body)[1]}") from None


class _Node:
    """A place in the tree of paths. Literal parts win over places for values."""

    __slots__ = ("endpoints", "literals", "value")

    def __init__(self):
        self.literals = {}
        self.value = None
        self.endpoints = {}

    def below(self, part):
        """The node for one part of a template, made when it is new."""
        if part.startswith("{"):
            self.value = self.value or _Node()
            return self.value
        return self.literals.setdefault(part, _Node())

    def find(self, segments, values=()):
        """``(node, values)`` of a path; ``None`` when there is none."""
        if not segments:
            return (self, values) if self.endpoints else None
        found = None
        literal = self.literals.get(segments[0])
        if literal is not None:
            found = literal.find(segments[1:], values)
        if found is None and self.value is not None:
            found = self.value.find(segments[1:], (*values, segments[0]))
        return found


class RestApi:
    """Answers REST requests of one server.

    :param server: a started :class:`~dhtwisted.core.server.Server`.
    """

    log = Logger()

    def __init__(self, server):
        self._server = server
        self._depth = server.settings.limits.json_depth
        self._root = _Node()
        for action in (*ACTIONS.values(), *REST_ONLY.values()):
            for route in action.routes:
                node = self._root
                for part in route.path.strip("/").split("/"):
                    node = node.below(part)
                node.endpoints[route.method] = Endpoint(action, route)

    def methods(self, segments):
        """What may be done with a path.

        :returns: a sorted list such as ``["GET", "HEAD", "OPTIONS"]``; ``None`` when there is nothing at it.
        """
        found = self._root.find(segments)
        if found is None:
            return None
        methods = set(found[0].endpoints) | {"OPTIONS"}
        return sorted(methods | {"HEAD"} if "GET" in methods else methods)

    def handle(self, call, done):
        """Answer a request.

        :param call: a :class:`Call`; its method is one of a :class:`~dhtwisted.actions.table.Route`.
        :param done: called once with the status and the body, ``None`` for no body; and with lines of headers, each with its end, where
            there are any. The body of a long list is an asynchronous iterator of bytes, whose first needs no waiting: each further one is
            read when it is asked for. What it raises is in the log; the client must not take what it has for the whole.
        """
        found = self._root.find(call.segments)
        endpoint = found[0].endpoints.get(call.method) if found is not None else None

        def refuse(error, body_member=None):
            self._answer_error(error, endpoint, call, done, body_member)

        def finished(_, members, error):
            under_way.end()
            if error is not None:
                refuse(error, endpoint.route.body)
            else:
                done(*_success(endpoint, members))

        def prepared(request, error):
            if under_way.is_answered:
                return
            if error is not None:
                under_way.end()
                action = None if endpoint is None else endpoint.action
                client_error = self._server.client_error(error, "a request" if action is None else action.name, call.caller)
                self._server.metrics.refused_request(client_error)
                if self._server.trace is not None:
                    self._server.trace.refused(call.caller, action and action.name, client_error)
                if self._server.audit.is_on:
                    self._server.audit.failed(action, call.caller, client_error, has_token=call.authorization is not None)
                refuse(client_error)
            else:
                under_way.begin(request)
                self._server.execute(request, finished)

        under_way = _UnderWay(self._server, prepared, finished)
        run(self._prepare(call, found, endpoint), prepared)
        if not under_way.is_answered:
            self._server.deadlines.watch(under_way)

    async def _prepare(self, call, found, endpoint):
        """Who asks comes before what there is, and whether he may before what he says (REST reference, sections 3.1 and 7)."""
        principal = None
        if call.authorization is not None:
            principal = call.caller.principal = await self._server.authenticate_by_header(call.authorization)
        if found is None:
            raise NoSuchPath()
        if endpoint is None:
            raise MethodNotAllowed()
        self._server.check(endpoint.action, principal)
        if call.query:
            self._look_for_unknown(endpoint, call)
        return Request(self._server, call.caller, endpoint.action, endpoint.read(found[1], call, self._depth), principal)

    def _look_for_unknown(self, endpoint, call):
        """Refuse parameters that the route does not have, when the client asks for that; else name them in the log, at ``debug``."""
        if call.query.get(STRICT, [""])[0].lower() == "true":
            endpoint.refuse_unknown(call.query)
        elif self._server.settings.log.level == "debug" and (unknown := endpoint.unknown(call.query)):
            self.log.debug(
                "{action} has no parameters {names}, which were ignored",
                action=endpoint.action.name,
                names=", ".join(name[:LONGEST_NAME] for name in unknown[:MOST_NAMED]) + (", ..." if len(unknown) > MOST_NAMED else ""),
                connection=call.caller.number,
                address=call.caller.address,
            )

    def _answer_error(self, error, endpoint, call, done, body_member):
        answer = (*error_answer(error, body_member), retry_line(error))
        if endpoint is None or not endpoint.action.waits or call.query.get("waitTimeout", [""])[0] == "0":
            done(*answer)
            return
        call.caller.end_when_gone(_HeldError(self._server.reactor, lambda: done(*answer)).end)


def _success(endpoint, members):
    if members is None:
        return 204, None
    if endpoint.route.reply_headers:
        return 204, None, _headers(members, endpoint.route.reply_headers)
    answer = endpoint.action.answer
    if isinstance(members, Streamed):
        return endpoint.route.status, members.portions(answer)
    return endpoint.route.status, encode(members if answer is None else getattr(members, answer))


def _headers(members, names):
    """The members of a reply, plain texts, as lines of headers."""
    values = ((names[field.encode_name], getattr(members, field.name)) for field in msgspec.structs.fields(members))
    return b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in values if value is not None)


def error_answer(error, body_member=None):
    """Status and body of an :class:`~dhtwisted.errors.ApiError` (REST reference, section 4).

    :param body_member: the member of the request that its body was; the detail then calls it the body.
    """
    code = error.rest_code or error.code
    body = b'{"error":%d,"message":%b' % (code, encode_text(error.rest_text or error.text))
    if error.detail is not None:
        body += b',"detail":%b' % encode_text(_from_body(error.detail, body_member))
    return code, body + (b"}" if error.retry_after is None else b',"retryAfter":%d}' % error.retry_after)


def _from_body(detail, member):
    """A detail about ``device.name`` in the words of a client to whom ``device`` is the body."""
    first, space, rest = detail.partition(" ")
    if first == member:
        return f"the body{space}{rest}"
    return detail.removeprefix(f"{member}.")


def retry_line(error):
    """The line of a header that says when to come again (RFC 9110, section 10.2.3); empty where nobody can say."""
    return b"" if error.retry_after is None else b"Retry-After: %d\r\n" % error.retry_after
