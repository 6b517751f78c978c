"""Traces single users, devices and addresses in the log (``log.trace``), to find out why something does not arrive.

Nothing here is called while nobody is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct
from twisted.logger import Logger

from dhtwisted.errors import ApiError
from dhtwisted.logs.masking import digest, is_secret_name
from dhtwisted.wire.fields import Timestamp

NAMESPACE = "dhtwisted.trace"
"""The logger of these lines. The log writes all of them, at every level."""

LONGEST = 4096
"""Bytes of a request, an answer or an event that are shown."""

_HIDDEN = b'"***"'
_SHOWN_OF_PACKETS = (
    *("version", "client_id", "clean_start", "keep_alive", "packet_id", "topic", "qos", "retain", "dup"),
    *("session_present", "reason_code", "reason_codes"),
)
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
        raise ValueError("has no id of a user")
    if kind == "address":
        try:
            return kind, str(ip_address(value))
        except ValueError:
            raise ValueError("has no network address") from None
    return kind, int(value) if kind == "user" else value


class Trace:
    """Writes a line for each request, answer, event and refusal of its targets.

    :param targets: entries of ``log.trace``.
    """

    def __init__(self, targets: tuple[str, ...]) -> None:
        pairs = set(map(parse_target, targets))
        self._users, self._devices, self._addresses = ({value for kind, value in pairs if kind == wanted} for wanted in _KINDS)

    def execute(self, execute: Callable[..., bool], request: Any, done: Callable[..., None]) -> bool:
        """Run a request. If it belongs to a target, log it and its answer.

        :param execute: runs it; see :meth:`~dhtwisted.core.server.Server.execute`, also for the rest.
        """
        fields = request.fields
        devices = {getattr(fields, "device_id", None), *(getattr(fields, "device_ids", None) or ())}
        is_followed = not self._devices.isdisjoint(devices) or self.follows(request.principal, request.session.output.address)
        if is_followed:
            log.info("request: {body}", body=_cut(encode(_shown(request.action.name, fields))), **_of_request(request))

        def answered(request: Any, members: Any, error: ApiError | None) -> None:
            if is_followed or self.follows(request.principal or request.session.principal, request.session.output.address):
                self._answer(request, members, error)
            done(request, members, error)

        return execute(request, answered)

    def refused(self, client: Any, action: str | None, error: ApiError, request_id: bytes | None = None) -> None:
        """Log that a request was refused before it was read.

        :param client: a session or REST caller.
        :param action: its name; ``None`` when that is not known.
        :param error: the :class:`~dhtwisted.errors.ApiError` that the client got.
        :param request_id: its ``requestId``, as JSON.
        """
        if self.follows(client.principal, client.output.address):
            whose = _of(client, client.principal) | {"action": action} | _numbered(request_id)
            log.info("answer {code}: {error}", code=error.code, error=error.logged, **whose)

    def event(self, session: Any, principal: Any, message: Any, event_body: bytes, subscription_id: int | None) -> None:
        """Log that an event is sent to a client.

        :param event_body: of :func:`~dhtwisted.wire.events.event_body`, which has no opening brace.
        :param principal: on whose behalf the client subscribed.
        :param subscription_id: ``None`` for the update of a command that the client has inserted.
        """
        if message.device_id in self._devices or self.follows(principal, session.output.address):
            log.info("event: {body}", body=_cut(b"{" + event_body), subscription=subscription_id, **_of(session, principal))

    def connection(self, text: str, address: str, **fields: Any) -> None:
        """Log what happens to a connection of a traced address.

        :param text: what, a format with ``fields``.
        """
        if address in self._addresses:
            log.info("connection: {text}", text=text.format_map(fields), address=address, **fields)

    def packets(self, client: Any, packets: Sequence[Any]) -> None:
        """Log the packets of MQTT that a client sends: what they are, without payloads and passwords.

        :param client: its connection, with ``principal``, ``output`` and ``identity``.
        """
        if self.follows(client.principal, client.output.address):
            for packet in packets:
                log.info("packet: {packet}", packet=_described(packet), **client.identity())

    def packets_sent(self, client: Any, packets: Sequence[Any]) -> None:
        """Log the packets of MQTT that the server sends to a client which is followed, as :meth:`packets`."""
        for packet in packets:
            log.info("packet to the client: {packet}", packet=_described(packet), **client.identity())

    def end(self, client: Any, reason_code: int, text: str) -> None:
        """Log that the server ends a connection of MQTT.

        :param client: as for :meth:`packets`.
        """
        if self.follows(client.principal, client.output.address):
            log.info("closed, reason {code}: {reason}", code=f"{reason_code:#04x}", reason=text, **client.identity())

    def follows(self, principal: Any, address: str) -> bool:
        """Whether a client is a target, by its user or its address."""
        return address in self._addresses or (principal is not None and principal.user_id in self._users)

    def _answer(self, request: Any, members: Any, error: ApiError | None) -> None:
        whose = _of_request(request)
        if error is not None:
            log.info("answer {code}: {error}", code=error.code, error=error.logged, **whose)
        else:
            # A list that is sent in portions: its first portion.
            members = getattr(members, "beginning", members)
            body = b"{}" if members is None else encode(_shown(request.action.name, members))
            log.info("answer: {body}", body=_cut(body), **whose)


def _cut(body: bytes) -> str:
    return body[:LONGEST].decode(errors="replace")


def _described(packet: Any) -> str:
    """A packet of MQTT as its type and what matters of it."""
    parts = [f"{name}={getattr(packet, name)!r}" for name in _SHOWN_OF_PACKETS if hasattr(packet, name)]
    parts += [f"{len(packet.payload)} bytes"] if hasattr(packet, "payload") else []
    filters: Sequence[Any] = getattr(packet, "subscriptions", ()) or getattr(packet, "filters", ())
    parts += [f"{getattr(each, 'filter', each)!r}" for each in filters]
    return " ".join([type(packet).__name__.upper(), *parts])[:LONGEST]


def _of(client: Any, principal: Any) -> dict[str, Any]:
    """Fields of a line that say who it is about."""
    return {
        "connection": client.output.number,
        "address": client.output.address,
        "user": None if principal is None else principal.user_id,
    }


def _of_request(request: Any) -> dict[str, Any]:
    fields = _of(request.session, request.principal or request.session.principal) | {"action": request.action.name}
    return fields | _numbered(bytes(request.fields.request_id))


def _numbered(request_id: bytes | None) -> dict[str, Any]:
    return {} if request_id in (None, b"", b"null") else {"request": request_id[:64].decode(errors="replace")}


def _shown(action: str, value: Any) -> Any:
    """The members of a struct as in JSON, without passwords and tokens. The value of a configuration is hidden too: it may be a secret that
    does not look like one.
    """
    if isinstance(value, list):
        return [_shown(action, element) for element in value]
    if not isinstance(value, Struct):
        # The time of a client has its own type, which the encoder does not know.
        return int(value) if type(value) is Timestamp else value
    present = {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
    present = {name: _shown(action, part) for name, part in present.items() if _is_there(part) and name != "requestId"}
    if action.startswith("configuration/") and "value" in present:
        present["value"] = Raw(_HIDDEN)
    if action == "token" and isinstance(present.get("login"), str):
        # It may be a password that was typed in the wrong field.
        present["login"] = digest(present["login"])
    # The mask of the log sees only text, where a quote in a password could end it.
    return {name: Raw(_HIDDEN) if isinstance(part, str) and is_secret_name(name) else part for name, part in present.items()}


def _is_there(value: Any) -> bool:
    """Whether it is sent. JSON that a client did not send is an empty ``Raw``, which does not equal empty bytes."""
    return value is not None and value is not UNSET and not (isinstance(value, Raw) and not bytes(value))
