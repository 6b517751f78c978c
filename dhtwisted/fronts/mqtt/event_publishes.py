"""What clients publish below ``dh/`` and on mapped topics, as requests: inserts and updates like those of a WebSocket."""

from __future__ import annotations

from typing import Any

from msgspec.json import Decoder

from dhtwisted.actions.command import CommandChange, CommandInsert, CommandUpdate, NewCommand
from dhtwisted.actions.notification import NewNotification, NotificationInsert
from dhtwisted.config.mqtt_tables import NOTIFICATION
from dhtwisted.errors import UNREADABLE, ApiError
from dhtwisted.fronts.mqtt.event_topics import NOTIFICATIONS, UPDATES, EventTopic
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.mappings import MappedTopic
from dhtwisted.fronts.mqtt.payloads import read_members, to_json
from dhtwisted.fronts.mqtt.refusals import refusal_of
from dhtwisted.wire.coercion import coerce
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.mqtt.reasons import ReasonCode

_WHOLE_NOTIFICATION, _WHOLE_COMMAND = b'"notification"', b'"command"'
_OF_NOTIFICATION = frozenset({"notification", "parameters", "timestamp"})
_OF_COMMAND = frozenset({"command", "parameters", "timestamp", "lifetime", "status", "result"})
_integer = Decoder(int).decode

OTHER_NAME = Refusal(ReasonCode.PAYLOAD_FORMAT_INVALID, "the payload has another name than the topic; leave one of them out")
NO_UPDATE = Refusal(
    ReasonCode.PAYLOAD_FORMAT_INVALID, 'an update is a JSON object with the id of the command: {"id": 7, "status": "done", "result": {}}'
)


def read_event(topic: EventTopic, payload: bytes, depth: int) -> Fields | Refusal:
    """The request that a publish on a topic of events is.

    :param depth: ``limits.json_depth``.
    """
    try:
        if topic.flow is UPDATES:
            return _update(topic.device_id, payload, depth)
        if topic.flow is NOTIFICATIONS:
            return _notification(topic.device_id, topic.name, payload, depth)
        return _command(topic.device_id, topic.name, payload, depth)
    except ApiError as error:
        return refusal_of(error)


def read_mapped(mapped: MappedTopic, payload: bytes, depth: int) -> Fields | Refusal:
    """The request that a publish on a mapped topic is. Its payload is always parameters."""
    try:
        value = to_json(payload, depth)
    except ApiError as error:
        return refusal_of(error)
    if mapped.mapping.kind == NOTIFICATION:
        return NotificationInsert(device_id=mapped.device_id, notification=NewNotification(notification=mapped.name, parameters=value))
    return CommandInsert(device_id=mapped.device_id, command=NewCommand(command=mapped.name, parameters=value))


def _notification(device_id: str, name: str, payload: bytes, depth: int) -> Fields | Refusal:
    value = to_json(payload, depth)
    if _WHOLE_NOTIFICATION in payload:
        whole = _whole(payload, "notification", _OF_NOTIFICATION, NewNotification)
        if whole is not None:
            if whole.notification not in (None, name):
                return OTHER_NAME
            whole.notification = name
            return NotificationInsert(device_id=device_id, notification=whole)
    return NotificationInsert(device_id=device_id, notification=NewNotification(notification=name, parameters=value))


def _command(device_id: str, name: str, payload: bytes, depth: int) -> Fields | Refusal:
    value = to_json(payload, depth)
    if _WHOLE_COMMAND in payload:
        whole = _whole(payload, "command", _OF_COMMAND, NewCommand)
        if whole is not None:
            if whole.command not in (None, name):
                return OTHER_NAME
            whole.command = name
            return CommandInsert(device_id=device_id, command=whole)
    return CommandInsert(device_id=device_id, command=NewCommand(command=name, parameters=value))


def _whole(payload: bytes, member: str, known: frozenset[str], kind: Any) -> Any:
    """The insert object, if the payload is one: an object with this member alone, which is an object with members of an insert.

    :raises BadRequest: one of these has a wrong type.
    """
    found = read_members(payload)
    if found is None or list(found) != [member]:
        return None
    members = read_members(found[member])
    return coerce(kind, members) if members and known.intersection(members) else None


def _update(device_id: str, payload: bytes, depth: int) -> Fields | Refusal:
    to_json(payload, depth)
    members = read_members(payload)
    if members is not None and list(members) == ["command"]:
        members = read_members(members["command"])
    if members is None or "id" not in members:
        return NO_UPDATE
    try:
        command_id = _integer(members["id"])
    except UNREADABLE:
        return NO_UPDATE
    change = coerce(CommandChange, {name: members[name] for name in ("status", "result") if name in members})
    return CommandUpdate(device_id=device_id, command_id=command_id, command=change)
