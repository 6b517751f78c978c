"""The audit log: who did what to users, networks, device types, devices, configuration and tokens, and who was refused.

What of an action is recorded is declared with the action, as ``audit=``, by one of the classes here. An action that succeeds passes through
the ``run`` of its declaration, and only when the log is on; one that fails passes through :meth:`Audit.failed`. The values of passwords,
payloads and texts are never recorded, nor are tokens.
"""

from __future__ import annotations

import json
import time
from functools import wraps
from inspect import isawaitable
from operator import attrgetter

from msgspec.structs import asdict
from twisted.logger import Logger

from dhtwisted.access import Permission
from dhtwisted.errors import InvalidCredentials, StorageError, Unauthorized
from dhtwisted.line_limit import LineLimit
from dhtwisted.masking import encodable, mask
from dhtwisted.model import EntityQuery, User
from dhtwisted.timestamps import format_timestamp

LONGEST = 128
"""Characters of a login, a name or an id that a client made up."""

WITH_VALUES = frozenset(
    {"role", "status", "network_ids", "device_type_ids", "all_device_types_available", "network_id", "device_type_id", "is_blocked"}
)
"""Fields of entities whose values are recorded, since they are rights or give rights."""

_UNIMPORTANT = frozenset({"last_login", "entity_version"})
"""Fields that change by themselves."""

SUCCESS, FAILED, REFUSED = "success", "failed", "refused"
REFUSALS = (401, 403, 429)


class Audit:
    """Writes the records of one server; without a file, none.

    :param file: its ``write(line)`` takes bytes and raises ``OSError``.
    :param clock: gives the time in seconds.
    :ivar is_on: whether there is a file.
    :ivar lost: how many records could not be written.
    """

    log = Logger()

    def __init__(self, file=None, clock=time.time):
        self.is_on = file is not None
        self.lost = 0
        self._file = file
        self._clock = clock
        self._limit = LineLimit(clock)
        self._is_failing = False
        self._has_started = False

    def succeeded(self, request, details):
        """Record what a request did.

        :param details: members of the record.
        """
        self._record(request.action.name, SUCCESS, _who(request.session, request.principal) | details)

    def failed(self, action, session, error, request=None):
        """Record an action that did not succeed, if it is one that is recorded, or a token that was not good. Many of a kind are counted
        and not written: strangers can cause them.

        :param action: the ``Action``; ``None`` for a request that names none.
        :param session: whose it was, a ``Session`` or what stands for it.
        :param error: the ``ApiError`` that the client is told.
        :param request: the :class:`~dhtwisted.server.Request`; ``None`` when it was not read.
        """
        principal = session.principal if request is None else request.principal
        if action is not None and action.audit is not None:
            details = {} if request is None else action.audit.about(request)
            self._refused(action.name, _who(session, principal) | details, error)
        elif isinstance(error, Unauthorized) and (request is None or request.fields.token is not None):
            self.failed_authentication(session.output, error)

    def failed_authentication(self, output, error):
        """Record a token that was not good.

        :param output: the way to the client, an ``IOutput``.
        """
        self._refused("authenticate", _where(output), error)

    def started(self, **details):
        """Record that the server serves clients."""
        self._has_started = True
        self._record("server/start", SUCCESS, details)

    def reloaded(self, is_good, changed):
        """Record that the configuration was read again.

        :param changed: names of the options that it changed.
        """
        self._record("server/reload", SUCCESS if is_good else FAILED, {"changed": list(changed)})

    def reopen(self):
        """Go on in the file that has the path now.

        :raises OSError: it cannot be opened; the old one goes on.
        """
        if self.is_on:
            self._file.reopen()

    def close(self):
        """Record the end, and let go of the file."""
        if not self.is_on:
            return
        self._tell_left_out(at_once=True)
        if self._has_started:
            self._record("server/stop", SUCCESS, {})
        self.is_on = False
        self._file.close()

    def _refused(self, event, details, error):
        if not self.is_on:
            return
        self._tell_left_out()
        if self._limit.admits((event, details.get("user")), None):
            self._record(
                event,
                REFUSED if error.code in REFUSALS else FAILED,
                details | {"code": error.code, "error": mask(error.text[: 2 * LONGEST])},
            )

    def _tell_left_out(self, at_once=False):
        for kind, count in self._limit.left_out(at_once):
            event, user = kind or ("of various kinds", None)
            self._record("audit/limited", FAILED, {"of": event, "count": count} | ({} if user is None else {"user": user}))

    def _record(self, event, result, details):
        if not self.is_on:
            return
        members = {"time": f"{format_timestamp(int(self._clock() * 1000))}Z", "event": event, "result": result} | details
        line = json.dumps({name: encodable(value) if isinstance(value, str) else value for name, value in members.items()})
        try:
            self._file.write(line.encode())
        except OSError as error:
            # The operator's disk must not take the server from its clients; but he has to know.
            self.lost += 1
            if not self._is_failing:
                self._is_failing = True
                self.log.error("The audit log cannot be written, the server goes on without it: {error}", error=str(error))
            return
        if self._is_failing:
            self._is_failing = False
            self.log.warn("The audit log is written again; it lacks {count} events since the start of the server", count=self.lost)
            self._record("audit/lost", FAILED, {"count": self.lost})


def _who(session, principal):
    """Members about the client and its user."""
    if principal is None:
        return _where(session.output)
    user = principal.user
    return {"user": principal.user_id} | ({} if user is None else {"login": user.login}) | _where(session.output)


def _where(output):
    return {"address": output.address, "connection": output.number}


class Refusals:
    """Only what fails is recorded: ``authenticate``."""

    def wrap(self, handler):
        """The handler of the action."""
        return handler

    def about(self, request):
        """Members of a record that are known from the request alone."""
        return {}


class _Recorded(Refusals):
    """What succeeds is recorded too."""

    def wrap(self, handler):
        """The handler of the action, recorded where the log is on."""

        @wraps(handler)
        def recorded(request):
            return self.run(request, handler) if request.server.audit.is_on else handler(request)

        return recorded

    async def run(self, request, handler):
        """Call the handler, and record what it did."""
        raise NotImplementedError


class MadeTokens(_Recorded):
    """Tokens are made: for whom, with what rights, until when."""

    async def run(self, request, handler):
        members = await _result(handler(request))
        try:
            claims = request.server.auth.verify(members.access_token)
        except InvalidCredentials:
            # A provider may have tokens that it only takes elsewhere. What is known is recorded.
            details = {}
        else:
            details = _rights(claims) | ({} if request.principal is not None else self._owner(request, claims.user_id))
        request.server.audit.succeeded(request, self.about(request) | details)
        return members

    def about(self, request):
        login = getattr(request.fields, "login", None)
        return {"login": login[:LONGEST]} if login else {}

    @staticmethod
    def _owner(request, user_id):
        """Who logs in, or refreshes, is whom the token is for."""
        user = request.server.entities.user(user_id)
        return {"user": user_id} | ({} if user is None else {"login": user.login})


def _rights(claims):
    rights = claims.actions
    names = None if rights is None else "*" if Permission.ANY in rights else sorted(Permission(right).wire_name for right in rights)
    return {
        "for": claims.user_id,
        "rights": names,
        "networks": _sorted(claims.network_ids),
        "deviceTypes": _sorted(claims.device_type_ids),
        "expires": f"{format_timestamp(max(claims.expires, 0))}Z",
    }


class Written(_Recorded):
    """One entity is created, changed or deleted.

    :param kind: its class in :mod:`dhtwisted.model`.
    :param key: where the request has its key, such as ``fields.user_id``; empty when the reply has it, as the only member's ``id``.
    :param field: the field of the entity that this is, when it is not the key.
    :param only_changes: record no success that changed nothing.
    """

    def __init__(self, kind, key="", field="", only_changes=False):
        self._kind = kind
        self._key = attrgetter(key) if key else None
        self._field = field
        self._only_changes = only_changes

    async def run(self, request, handler):
        before = await self._find(request, self._key and self._key(request))
        members = await _result(handler(request))
        key = self._key(request) if self._key is not None else getattr(members, members.__struct_fields__[0]).id
        after = await self._find(request, key)
        details = {"kind": self._kind.KIND} | _difference(before, after)
        if details.get("changed") != [] or not self._only_changes:
            request.server.audit.succeeded(request, details)
        return members

    def about(self, request):
        key = self._key(request) if self._key is not None and request.principal is not None else None
        return {"kind": self._kind.KIND} | ({} if key is None else {"id": _cut(key)})

    async def _find(self, request, key):
        """The entity as it is now; ``None`` when there is none, or it cannot be asked for, which the handler meets by itself."""
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


async def _result(outcome):
    return await outcome if isawaitable(outcome) else outcome


def _difference(before, after):
    """Members that say what became of an entity; names of fields as clients have them."""
    entity = after or before
    if entity is None:
        return {}
    label = entity.login if isinstance(entity, User) else entity.name
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


def _wire(name):
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _cut(value):
    return encodable(value[:LONGEST]) if isinstance(value, str) else value


def _plain(value):
    return _sorted(value) if isinstance(value, frozenset) else value


def _sorted(ids):
    return None if ids is None else sorted(ids)
