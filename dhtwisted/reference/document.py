"""The OpenAPI document: every route of the action table."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.actions.table import WHOLE, Action, Route
from dhtwisted.errors import (
    AccessDenied,
    ApiError,
    BadRequest,
    BodyTooLarge,
    HeadTooLarge,
    InternalError,
    NotFound,
    ObjectChanged,
    RequestTimeout,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from dhtwisted.reference.groups import GROUPS, group_of
from dhtwisted.reference.members import members, published
from dhtwisted.reference.schemas import Schema, Schemas

SCHEME = "accessToken"
EVERYWHERE: tuple[type[ApiError], ...] = (BadRequest, Unauthorized, InternalError, ServiceUnavailable)
"""Errors of every request. A wrong ``Authorization`` is refused even where none is needed."""

ALSO: dict[str, tuple[type[ApiError], ...]] = {
    "token": (TooManyRequests,),
    "token/create": (NotFound,),
    "user/getCurrent": (ObjectChanged,),
}
"""Action -> errors that cannot be seen from its route."""

ERRORS: tuple[type[ApiError], ...] = (
    *EVERYWHERE,
    AccessDenied,
    NotFound,
    RequestTimeout,
    ObjectChanged,
    BodyTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    HeadTooLarge,
)

DESCRIPTION = """\
The REST API of a DeviceHive-compatible server. `HEAD` works wherever `GET` does. `OPTIONS` works everywhere.

A client identifies itself with `Authorization: Bearer` and an access token. `POST /token` returns one. Every error has a body with its
status and a message. The server writes timestamps in UTC: `2026-01-02T03:04:05.678`. A client's timestamp may have a zone, and may be
milliseconds since 1970. In a request, null means the same as an absent member unless the description says otherwise. The server ignores
members that are not described here. It also accepts numbers for texts, and texts for numbers and booleans. A list in a query may be
separated by commas, repeated, or both. With `strict=true` in the query, the server refuses unknown parameters with 400; otherwise it
ignores them.
"""


def openapi(base: str, version: str) -> dict[str, Any]:
    """Describe the REST API.

    :param base: the path below which it is served, such as ``/api/rest``.
    :param version: of the server.
    :returns: an OpenAPI 3.1 document.
    """
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for action in (*ACTIONS.values(), *REST_ONLY.values()):
        for route in action.routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(schemas, action, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "DeviceHive REST API", "version": version, "description": DESCRIPTION},
        "servers": [{"url": base}],
        "tags": _tags(paths),
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": {"Error": _error_schema()} | dict(sorted(schemas.components.items())),
            "responses": {kind.__name__: _error_response(kind) for kind in ERRORS},
            "securitySchemes": {SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _tags(paths: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    used = {tag for operations in paths.values() for operation in operations.values() for tag in operation["tags"]}
    return [{"name": group.name, "description": group.description} for group in GROUPS if group.name in used]


def _error_schema() -> Schema:
    properties = {
        "error": {"type": "integer", "minimum": 400, "maximum": 599, "description": "the status"},
        "message": {"type": "string", "description": "what is wrong"},
        "detail": {"type": "string", "description": "which member is wrong, and what was expected. For people, not for programs"},
        "retryAfter": {"type": "integer", "minimum": 1, "description": "seconds to wait before you try again; with 429, if known"},
    }
    return {"type": "object", "properties": properties, "required": ["error", "message"]}


def _error_response(kind: type[ApiError]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": published(kind.__doc__ or ""), "content": content}


def _operation(schemas: Schemas, action: Action, route: Route) -> dict[str, Any]:
    operation = {
        "operationId": operation_id(action, route),
        "tags": [group_of(action).name],
        "summary": _summary(action),
        "description": published(action.documentation),
        "security": [{SCHEME: [permission.wire_name]} for permission in sorted(action.permissions)],
        "parameters": _parameters(schemas, action, route),
        "responses": _responses(schemas, action, route),
    }
    return operation if route.body is None else operation | {"requestBody": _body(schemas, action, route)}


def operation_id(action: Action, route: Route) -> str:
    """A name such as ``deviceSave``. If an action has several routes, the longer ones add their places: ``commandPollByDeviceId``."""
    first, *others = action.name.split("/")
    name = first + "".join(other[0].upper() + other[1:] for other in others)
    fewest = min((other.places for other in action.routes), key=len)
    return name + "".join(f"By{place[0].upper()}{place[1:]}" for place in route.places if len(action.routes) > 1 and place not in fewest)


def _summary(action: Action) -> str:
    """The first sentence of an action's documentation, without its full stop."""
    return published(action.documentation).split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def _parameters(schemas: Schemas, action: Action, route: Route) -> list[dict[str, Any]]:
    parameters = []
    for field in members(action.fields):
        name = field.encode_name
        header = route.request_headers.get(name)
        if name not in route.places and route.body is not None and header is None:
            continue
        place = "header" if header else "path" if name in route.places else "query"
        parameter: dict[str, Any] = {"name": header or name, "in": place}
        schema = schemas.of_member(field, may_be_null=False)
        meaning = schema.pop("description", None)
        parameter |= {"description": meaning} if meaning else {}
        parameter |= {"required": True} if name in route.places else {}
        parameter |= {"explode": False} if schema.get("type") == "array" else {}
        parameters.append(parameter | {"schema": schema})
    return parameters


def _body(schemas: Schemas, action: Action, route: Route) -> dict[str, Any]:
    if route.body == WHOLE:
        schema = schemas.of_struct(action.fields, hidden=route.places)
    else:
        field = next(field for field in members(action.fields) if field.encode_name == route.body)
        schema = schemas.of_value(field.type)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(schemas: Schemas, action: Action, route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if action.reply is not None and not route.reply_headers:
        kind = action.reply
        field = next((field for field in msgspec.structs.fields(kind) if field.name == action.answer), None)
        schema = schemas.of(kind if field is None else field.type)
        responses[str(route.status)] = {"description": "Success", "content": {"application/json": {"schema": schema}}}
    if may_be_nothing(action):
        responses["204"] = {"description": "No content" if action.reply is not None and not route.reply_headers else "Success"}
    if route.reply_headers and action.reply is not None:
        responses["204"]["headers"] = {
            route.reply_headers[field.encode_name]: {"schema": schemas.of_member(field, may_be_null=False)}
            for field in members(action.reply)
        }
    for error in sorted(_errors(action, route), key=lambda error: error.code):
        responses[str(error.code)] = {"$ref": f"#/components/responses/{error.__name__}"}
    return responses


def may_be_nothing(action: Action) -> bool:
    """Whether the reply of a success can be without members."""
    return action.reply is None or NoneType in get_args(get_type_hints(action.handler)["return"])


def _errors(action: Action, route: Route) -> Iterator[type[ApiError]]:
    """The errors of an operation."""
    yield from (*EVERYWHERE, *ALSO.get(action.name, ()))
    if action.permissions:
        yield AccessDenied
    if route.places or action.waits:
        yield NotFound
    if route.body is None and len(members(action.fields)) > len(route.places):
        yield HeadTooLarge
    if route.body is not None:
        yield from (RequestTimeout, BodyTooLarge, UnsupportedMediaType)
    if route.method != "GET":
        yield ObjectChanged
    if action.waits:
        yield TooManyRequests
