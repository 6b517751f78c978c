"""Follows single users, devices and addresses through the log (``log.trace``): for whoever asks why something does not arrive.

Nothing here is called while nobody is followed.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import msgspec
from msgspec import Raw, Struct
from twisted.logger import Logger

from dhtwisted.logs.masking import digest, is_secret_name
from dhtwisted.wire.fields import Timestamp

NAMESPACE = "dhtwisted.trace"
"""The logger of these lines. The log writes them at every level, and any number of them."""

LONGEST = 4096
"""Bytes of a request, an answer or an event that are shown."""

_HIDDEN = b'"***"'
_KINDS = ("user", "device", "address")

log = Logger(NAMESPACE)
encode = msgspec.json.Encoder().encode


def parse_target(text: str) -> tuple[str, Any]:
    """Read one entry of ``log.trace``.

    :returns: ``("user", id)``, ``("device", id)`` or ``("address", address)``.
    :raises ValueError: it is none of these.
    """
    kind, _, value = text.partition(":")
    if kind not in _KINDS or not value:
        raise ValueError("is no user, device or address")
    if kind == "user" and not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ValueError("has no number of a user")
    if kind == "address":
        try:
            return kind, str(ip_address(value))
        except ValueError:
            raise ValueError("has no network address") from None
    return kind, int(value) if kind == "user" else value


class Trace:
    """Writes a line for each request, answer, event and refusal of whom it follows.

    :param targets: entries of ``log.trace``.
    """

    def __init__(self, targets: tuple[str, ...]):
        pairs = set(map(parse_target, targets))
        self._users, self._devices, self._addresses = ({value for kind, value in pairs if kind == wanted} for wanted in _KINDS)

    def execute(self, execute: Callable, request, done: Callable) -> bool:
        """Run a request, and write it and its answer if it is of anybody who is followed.

        :param execute: runs it; see :meth:`~dhtwisted.core.server.Server.execute`, also for the rest.
        """
        fields = request.fields
        devices = {getattr(fields, "device_id", None), *(getattr(fields, "device_ids", None) or ())}
        is_followed = not self._devices.isdisjoint(devices) or self._follows(request.principal, request.session.output.address)
        if is_followed:
            log.info("request: {body}", body=_cut(encode(_shown(request.action.name, fields))), **_of_request(request))

        def answered(request, members, error):
            if is_followed or self._follows(request.principal or request.session.principal, request.session.output.address):
                self._answer(request, members, error)
            done(request, members, error)

        return execute(request, answered)

    def refused(self, client, action: str | None, error, request_id: bytes | None = None) -> None:
        """Write that a request was refused unread.

        :param client: a session or REST caller.
        :param action: its name; ``None`` when that is not known.
        :param error: the :class:`~dhtwisted.errors.ApiError` that the client was told.
        :param request_id: its ``requestId``, as JSON.
        """
        if self._follows(client.principal, client.output.address):
            whose = _of(client, client.principal) | {"action": action} | _numbered(request_id)
            log.info("answer {code}: {error}", code=error.code, error=error.logged, **whose)

    def event(self, session, principal, message, event_body: bytes, subscription_id: int | None) -> None:
        """Write that a client is sent an event.

        :param event_body: of :func:`~dhtwisted.wire.events.event_body`, which has no opening brace.
        :param principal: on whose behalf the client subscribed.
        :param subscription_id: ``None`` for the update of a command that the client has inserted.
        """
        if message.device_id in self._devices or self._follows(principal, session.output.address):
            log.info("event: {body}", body=_cut(b"{" + event_body), subscription=subscription_id, **_of(session, principal))

    def connection(self, text: str, address: str, **fields) -> None:
        """Write what became of a connection of an address that is followed.

        :param text: what, a format with ``fields``.
        """
        if address in self._addresses:
            log.info("connection: {text}", text=text.format_map(fields), address=address, **fields)

    def _follows(self, principal, address) -> bool:
        return address in self._addresses or (principal is not None and principal.user_id in self._users)

    def _answer(self, request, members, error):
        whose = _of_request(request)
        if error is not None:
            log.info("answer {code}: {error}", code=error.code, error=error.logged, **whose)
        else:
            # Of a list that is sent in portions the first.
            members = getattr(members, "beginning", members)
            body = b"{}" if members is None else encode(_shown(request.action.name, members))
            log.info("answer: {body}", body=_cut(body), **whose)


def _cut(body):
    return body[:LONGEST].decode(errors="replace")


def _of(client, principal):
    """Fields of a line that say whose it is."""
    return {
        "connection": client.output.number,
        "address": client.output.address,
        "user": None if principal is None else principal.user_id,
    }


def _of_request(request):
    fields = _of(request.session, request.principal or request.session.principal) | {"action": request.action.name}
    return fields | _numbered(bytes(request.fields.request_id))


def _numbered(request_id):
    return {} if request_id in (None, b"", b"null") else {"request": request_id[:64].decode(errors="replace")}


def _shown(action, value):
    """What there is in a struct, as JSON would have it, without passwords and tokens. The value of a configuration may be a secret that
    does not look like one.
    """
    if isinstance(value, list):
        return [_shown(action, element) for element in value]
    if not isinstance(value, Struct):
        # The number of milliseconds that a client's time is has a type of its own, which JSON does not know.
        return int(value) if type(value) is Timestamp else value
    present = {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
    present = {name: _shown(action, part) for name, part in present.items() if _is_there(part) and name != "requestId"}
    if action.startswith("configuration/") and "value" in present:
        present["value"] = Raw(_HIDDEN)
    if action == "token" and isinstance(present.get("login"), str):
        # Many a password was typed in the wrong place.
        present["login"] = digest(present["login"])
    # The mask of the log sees no more than text, in which a quote within a password may end it.
    return {name: Raw(_HIDDEN) if isinstance(part, str) and is_secret_name(name) else part for name, part in present.items()}


def _is_there(value):
    """Whether a client sent it: any JSON that was not sent is an empty ``Raw``, which equals no bytes."""
    return value is not None and not (isinstance(value, Raw) and not bytes(value))
