"""The topics below ``dh/``: what events are published on, and what a client publishes."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED, EventKind
from dhtwisted.core.rules import is_id
from dhtwisted.fronts.mqtt.filters import split_owner
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.model import Message
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import DEVICEHIVE, ONE, REST

REQUEST = "dh/request"
RESPONSE = "dh/response/"
OWNER = "@"


class Flow(Struct, frozen=True):
    """One sort of events as MQTT shows them. Their numbers ascend in the order in which they are stored.

    :ivar index: its place in :data:`FLOWS`.
    :ivar level: the second level of its topics.
    :ivar kind: which events.
    """

    index: int
    level: str
    kind: EventKind


NOTIFICATIONS = Flow(0, "notification", NOTIFICATION_INSERTED)
COMMANDS = Flow(1, "command", COMMAND_INSERTED)
UPDATES = Flow(2, "command_update", COMMAND_UPDATED)
MAPPED_COMMANDS = Flow(3, "mapped", COMMAND_INSERTED)
"""Commands on topics of ``mqtt.map``. ``level`` is no level of a topic here; it only keeps them apart."""

FLOWS = (NOTIFICATIONS, COMMANDS, UPDATES, MAPPED_COMMANDS)
SHOWN = FLOWS[:3]
"""Those below ``dh/``."""

FLOWS_BY_ACTION = {flow.kind.name: flow for flow in SHOWN}
FLOWS_BY_LEVEL = {flow.level: flow for flow in SHOWN}

_ESCAPES = str.maketrans({ONE: "%2B", REST: "%23", OWNER: "%40", "\0": "%00"})


def event_path(flow: Flow, network_id: int, device_type_id: int, message: Message) -> str:
    """The topic of an event without ``dh/``. Characters that a topic cannot have, or that mean something else there, are escaped as in a
    URL: the name is any text.

    :param network_id: where the device is now; ``device_type_id`` likewise.
    """
    path = f"{flow.level}/{network_id}/{device_type_id}/{message.device_id}/{message.name}"
    return path.translate(_ESCAPES) if ONE in path or REST in path or OWNER in path or "\0" in path else path


class EventTopic(NamedTuple):
    """A topic on which a client publishes a notification, a command or an update.

    :ivar network_id: ``None`` if the level is empty; ``device_type_id`` likewise.
    :ivar name: the levels behind that of the device; the name of a message may have slashes.
    """

    flow: Flow
    network_id: int | None
    device_type_id: int | None
    device_id: str
    name: str


FORMS = "dh/notification/NETWORK/TYPE/DEVICE/NAME, dh/command/... or dh/command_update/...; NETWORK and TYPE may be empty"


def read_topic(topic: str) -> EventTopic | Refusal:
    """Read a topic to which a client publishes.

    :param topic: below ``dh/``.
    """
    body, owner = split_owner(topic)
    if owner is not None:
        return _refused("leave out the @ and the client id behind it: they are for filters only")
    levels = body.removeprefix(DEVICEHIVE).split("/", 4)
    flow = FLOWS_BY_LEVEL.get(levels[0])
    if flow is None or len(levels) < 4:
        return _refused(f"nothing can be published here; the topics are dh/request, {FORMS}")
    if len(levels) < 5 and flow is not UPDATES:
        return _refused(f"the topic has no name; the form is {FORMS}")
    places: list[int | None] = []
    for level in levels[1:3]:
        if level and not is_id(level):
            return _refused("the levels of network and device type must be ids, or empty")
        places.append(int(level) if level else None)
    return EventTopic(flow, places[0], places[1], levels[3], levels[4] if len(levels) == 5 else "")


def _refused(text: str) -> Refusal:
    return Refusal(ReasonCode.TOPIC_NAME_INVALID, text)
