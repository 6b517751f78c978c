"""The action table: every message of the API is declared once, here to be found by its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from dhtwisted.core.access import Permission
from dhtwisted.core.batches import Batching
from dhtwisted.wire.declared import plain_type
from dhtwisted.wire.fields import Fields

Handler = Callable[[Any], Any]
H = TypeVar("H", bound=Handler)

ACTIONS: dict[str, Action] = {}
"""What WebSocket clients can ask for, by its wire name."""

REST_ONLY: dict[str, Action] = {}
"""What only REST has: ``info`` as HTTP clients know it, and the long polls."""

WHOLE = "*"
MORE = "more"
"""The member of a reply that says that its list was cut; REST has no place for it, and cuts none."""

_PLACE = re.compile(r"\{(\w+)\}")


class Route:
    """How REST offers an action (REST reference, section 8).

    :ivar method: ``GET``, ``POST``, ``PUT`` or ``DELETE``; ``HEAD`` and ``OPTIONS`` follow from it.
    :ivar path: below a base, such as ``/device/{deviceId}``; a place is the wire name of a member of the request.
    :ivar body: the member that the request's body is; :data:`WHOLE` when it is all members together; ``None`` when a body is not read, and
        the members that the path does not give come from the query.
    :ivar status: of a success with an answer; one without is 204.
    :ivar object_first: that there is no body is left to the handler to tell, after it has looked for the object of the path.
    :ivar bad_id: what a path is answered whose last place is no id, though it should be: 404 like any unknown path, or 400.
    :ivar request_headers: member of the request -> the header that it comes from, beside a body that is another member.
    :ivar reply_headers: member of the reply -> the header that it is; the answer then has no body, and is 204.
    """

    __slots__ = ("bad_id", "body", "method", "object_first", "path", "places", "reply_headers", "request_headers", "status")

    def __init__(
        self,
        method: str,
        path: str,
        body: str | None = None,
        status: int = 200,
        bad_id: int = 404,
        object_first: bool = False,
        request_headers: dict[str, str] | None = None,
        reply_headers: dict[str, str] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.body = body
        self.object_first = object_first
        self.status = status
        self.bad_id = bad_id
        self.request_headers = request_headers or {}
        self.reply_headers = reply_headers or {}
        self.places = tuple(_PLACE.findall(path))


class Action:
    """One declared action.

    :ivar name: the wire name, such as ``device/save``.
    :ivar fields: the struct of its request members.
    :ivar permissions: any one of these is needed; empty for an action that works before ``authenticate``.
    :ivar handler: ``async (request) -> members``: a struct of the reply's own members, or ``None``. What is called for most messages
        is no coroutine function, and returns them as they are when nothing waits.
    :ivar reply: the struct that the handler returns, from its annotation; ``None`` when there is none.
    :ivar answer: the one member of ``reply`` that REST answers alone; ``None`` when it answers the struct as it is.
    :ivar routes: the :class:`Route` objects by which REST offers it.
    :ivar batching: how its requests are done in a batch, a :class:`~dhtwisted.core.batches.Batching`; ``None`` where each is done alone.
    :ivar overlaps: may be begun while others of this sort from the same connection are under way.
    :ivar own_token: its ``token`` member is its own, and not an authorization of this one request.
    :ivar waits: it is a long poll: it may take a minute, and errors are held back from clients that repeat at once.
    :ivar audit: what the audit log records of it, one of the declarations of :mod:`dhtwisted.actions.audit`; ``None`` for nothing.
    :ivar documentation: what it does, for the reference.
    :ivar reply_head: the beginning of its replies, up to the request's id.
    """

    __slots__ = (
        "answer",
        "audit",
        "batching",
        "documentation",
        "fields",
        "handler",
        "name",
        "overlaps",
        "own_token",
        "permissions",
        "reply",
        "reply_head",
        "routes",
        "waits",
    )

    def __init__(
        self,
        fields: type[Fields],
        handler: Handler,
        permissions: Iterable[Permission],
        routes: tuple[Route, ...],
        overlaps: bool,
        own_token: bool,
        waits: bool,
        audit: Any,
        batching: Batching | None = None,
    ) -> None:
        self.name = str(fields.__struct_config__.tag)
        self.fields = fields
        self.handler = handler if audit is None else audit.wrap(handler)
        self.permissions = frozenset(permissions)
        self.routes = routes
        self.overlaps = overlaps
        self.own_token = own_token
        self.waits = waits
        self.audit = audit
        self.batching = batching
        self.documentation = inspect.getdoc(handler) or ""
        self.reply_head = b'{"action":%b,"requestId":' % msgspec.json.encode(self.name)
        self.reply = _returned(handler)
        self.answer = _only_object(self.reply)


def _returned(handler: Handler) -> type[msgspec.Struct] | None:
    """The struct among what a handler says that it returns."""
    returned = get_type_hints(handler).get("return")
    return next((kind for kind in (returned, *get_args(returned)) if isinstance(kind, type) and issubclass(kind, msgspec.Struct)), None)


def _only_object(reply: type[msgspec.Struct] | None) -> str | None:
    """A reply of one member that is an object or a list is an envelope that REST does not have; one of a plain value is an object there."""
    fields = [field for field in msgspec.structs.fields(reply) if field.name != MORE] if reply is not None else ()
    if len(fields) != 1:
        return None
    plain = plain_type(fields[0].type)
    return fields[0].name if get_origin(plain) is list or issubclass(plain, msgspec.Struct) else None


def action(
    fields: type[Fields],
    *permissions: Permission,
    rest: Route | Iterable[Route] = (),
    overlaps: bool = False,
    own_token: bool = False,
    audit: Any = None,
    batching: Batching | None = None,
) -> Callable[[H], H]:
    """Declare the decorated function as the handler of the action that ``fields`` is tagged with.

    Its return annotation, a struct, describes the reply.

    :param rest: a :class:`Route`, or several.
    :param audit: what the audit log records of it. Whatever writes entities or makes tokens has to say; tests/actions/test_table.py asks.
    :param batching: how several requests that come together are done together.
    :raises ValueError: the action is declared already.
    """
    properties = {"overlaps": overlaps, "own_token": own_token, "waits": False, "audit": audit, "batching": batching}
    return _declare(ACTIONS, fields, permissions, rest, **properties)


def endpoint(fields: type[Fields], *permissions: Permission, rest: Route | Iterable[Route], waits: bool = False) -> Callable[[H], H]:
    """The same for what only REST has; ``fields`` is tagged with a name of our own."""
    return _declare(REST_ONLY, fields, permissions, rest, overlaps=False, own_token=False, waits=waits, audit=None)


def put_in_order(modules: list[str]) -> None:
    """Sort the tables. Without it the order is that of imports, which changes with every import that is added.

    :param modules: full names of all modules that declare actions, the first one first.
    :raises LookupError: another module has declared an action.
    """
    for table in (ACTIONS, REST_ONLY):
        unknown = {declared.handler.__module__ for declared in table.values()} - set(modules)
        if unknown:
            raise LookupError(f"these modules declare actions and are missing in dhtwisted.actions.MODULES: {', '.join(sorted(unknown))}")
        in_order = sorted(table.items(), key=lambda item: modules.index(item[1].handler.__module__))
        table.clear()
        table.update(in_order)


def _declare(
    table: dict[str, Action], fields: type[Fields], permissions: Iterable[Permission], rest: Route | Iterable[Route], **properties: Any
) -> Callable[[H], H]:
    routes = (rest,) if isinstance(rest, Route) else tuple(rest)

    def declare(handler: H) -> H:
        name = str(fields.__struct_config__.tag)
        if name in ACTIONS or name in REST_ONLY:
            raise ValueError(f"the action {name} is declared twice")
        table[name] = Action(fields, handler, permissions, routes, **properties)
        return handler

    return declare
