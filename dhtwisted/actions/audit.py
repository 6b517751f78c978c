"""Classes that decide what the audit log records of an action. The declaration of the action names one as ``audit=``.

If the log is on, ``run`` of that class calls the handler and records its success. A failure is recorded by
:meth:`dhtwisted.logs.audit.Audit.failed`. So a new action needs only its declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import isawaitable
from operator import attrgetter
from typing import Any

from msgspec.structs import asdict

from dhtwisted.actions.renewal import RenewedTokens
from dhtwisted.core.accounts import audited_rights
from dhtwisted.core.server import Request
from dhtwisted.errors import InvalidCredentials, StorageError
from dhtwisted.logs.audit import LONGEST
from dhtwisted.logs.masking import digest, encodable
from dhtwisted.model import Claims, EntityQuery
from dhtwisted.wire.fields import Fields, Members

WITH_VALUES = frozenset(
    {
        "role",
        "status",
        "network_ids",
        "device_type_ids",
        "all_device_types_available",
        "network_id",
        "device_type_id",
        "is_blocked",
        "device_id",
        "user_id",
    }
)
"""Fields of entities whose values are recorded, since they are or give rights."""

_UNIMPORTANT = frozenset({"last_login", "entity_version", "known_addresses", "login_key"})
"""Fields that change without a request, or together with another field."""


Handler = Callable[[Request], Any]
"""The handler of an action."""


class Refusals:
    """Records only failures: for ``authenticate``."""

    def wrap(self, handler: Handler) -> Handler:
        """The handler of the action."""
        return handler

    def about(self, request: Request) -> dict[str, Any]:
        """Members of the record that come from the request alone."""
        return {}


class _Recorded(Refusals):
    """Records successes too."""

    def wrap(self, handler: Handler) -> Handler:
        """A handler that is recorded if the log is on."""

        @wraps(handler)
        def recorded(request: Request) -> Any:
            return self.run(request, handler) if request.server.audit.is_on else handler(request)

        return recorded

    async def run(self, request: Request, handler: Handler) -> Any:
        """Call the handler, and record its success."""
        raise NotImplementedError


class MadeTokens(_Recorded):
    """Records new tokens: their user, rights and expiry."""

    async def run(self, request: Request, handler: Handler) -> Any:
        members = await _result(handler(request))
        claims, details = _claims_of(request, members), self.about(request)
        if claims is not None:
            is_login = request.principal is None or bool(details)
            details = details | audited_rights(claims) | (self._owner(request, claims.user_id) if is_login else {})
        request.server.audit.succeeded(request, details)
        return members

    def about(self, request: Request) -> dict[str, Any]:
        """The login as a digest, since it may be a password in the wrong field. A success records the user's login itself."""
        login = getattr(request.fields, "login", None)
        return {"login": digest(login)} if login else {}

    @staticmethod
    def _owner(request: Request, user_id: int) -> dict[str, Any]:
        """The user who logs in or refreshes: the one in the token."""
        user = request.server.entities.user(user_id)
        return {"user": user_id} | ({} if user is None else {"login": user.login})


def _claims_of(request: Request, members: Any) -> Claims | None:
    """The claims of the access token in a reply; ``None`` if the provider cannot verify its own tokens here."""
    try:
        return request.server.auth.verify(members.access_token)
    except InvalidCredentials:
        return None


class Written(_Recorded):
    """Records the creation, change or deletion of one entity.

    :param kind: its class in :mod:`dhtwisted.model`.
    :param key: the path of its key in the request, such as ``fields.user_id``; empty if the reply has it, as the only member's ``id``.
    :param field: the field of the entity that ``key`` refers to; empty for its key.
    :param only_changes: do not record a success that changed nothing.
    """

    def __init__(self, kind: Any, key: str = "", field: str = "", only_changes: bool = False) -> None:
        self._kind = kind
        self._key = attrgetter(key) if key else None
        self._field = field
        self._only_changes = only_changes

    async def run(self, request: Request, handler: Handler) -> Any:
        before = await self._find(request, self._key and self._key(request))
        members = await _result(handler(request))
        key = self._key(request) if self._key is not None else getattr(members, members.__struct_fields__[0]).id
        after = await self._find(request, key)
        details = {"kind": self._kind.KIND} | _difference(before, after)
        if details.get("change") == "changed" and (asked := _asked(request.fields, details["values"])):
            details["asked"] = asked
        if isinstance(members, RenewedTokens) and (claims := _claims_of(request, members)) is not None:
            details["renewed"] = audited_rights(claims)
        if details.get("changed") != [] or not self._only_changes:
            request.server.audit.succeeded(request, details)
        return members

    def about(self, request: Request) -> dict[str, Any]:
        key = self._key(request) if self._key is not None and request.principal is not None else None
        return {"kind": self._kind.KIND} | ({} if key is None else {"id": _cut(key)})

    async def _find(self, request: Request, key: Any) -> Any:
        """The current entity; ``None`` if there is none, or if the storage fails, which the handler then reports itself."""
        entities = request.server.entities
        if key is None:
            return None
        try:
            if not self._field:
                return await entities.get(self._kind, key)
            found = await entities.find(self._kind, EntityQuery(equal={self._field: key}))
        except StorageError:
            return None
        return found[0] if found else None


def _asked(fields: Fields, values: dict[str, list[Any]]) -> dict[str, Any]:
    """Rights in the request that the recorded change does not show: another request may have changed them meanwhile."""
    asked: dict[str, Any] = {}
    for part in (getattr(fields, name) for name in fields.__struct_fields__):
        if isinstance(part, Members):
            given = ((name, getattr(part, name)) for name in part.__struct_fields__ if name in WITH_VALUES)
            asked |= {_wire(name): value for name, value in given if value is not None}
    return {name: value for name, value in asked.items() if name not in values or values[name][1] != value}


async def _result(outcome: Any) -> Any:
    return await outcome if isawaitable(outcome) else outcome


def _difference(before: Any, after: Any) -> dict[str, Any]:
    """Members of a record that describe the change of an entity. Fields have the names that clients use."""
    entity = after or before
    if entity is None:
        return {}
    label = next((getattr(entity, name) for name in ("login", "name", "label") if hasattr(entity, name)), None)
    members = {"id": _cut(entity.key), "name": _cut(label)}
    new = {} if after is None else asdict(after)
    if before is None:
        return members | {"change": "created", "values": {_wire(name): _plain(new[name]) for name in new if name in WITH_VALUES}}
    if after is None:
        return members | {"change": "deleted"}
    old = asdict(before)
    changed = [name for name in new if old[name] != new[name] and name not in _UNIMPORTANT]
    values = {_wire(name): [_plain(old[name]), _plain(new[name])] for name in changed if name in WITH_VALUES}
    return members | {"change": "changed", "changed": [_wire(name) for name in changed], "values": values}


def _wire(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _cut(value: Any) -> Any:
    return encodable(value[:LONGEST]) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    return _sorted(value) if isinstance(value, frozenset) else value


def _sorted(ids: Iterable[Any] | None) -> list[Any] | None:
    return None if ids is None else sorted(ids)
