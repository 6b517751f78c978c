"""Stored events as one client gets them with QoS 1 and 2: what it missed, and what was in flight before a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt.event_messages import EventMessage, event_payload
from dhtwisted.fronts.mqtt.event_topics import FLOWS, MAPPED_COMMANDS, UPDATES, Flow, event_path
from dhtwisted.fronts.mqtt.events import mapped_message, private, receiver_of
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.payloads import from_json
from dhtwisted.model import Device, MessageQuery, MqttQueued
from dhtwisted.model import Message as StoredMessage
from dhtwisted.wire.mqtt.topics import DEVICEHIVE

if TYPE_CHECKING:
    from dhtwisted.core.server import Server

MOST_UPDATES = 100
"""Among so many latest updates of its device an update that was in flight is looked for after a restart."""


async def choose(session: Any, flow: Flow, source: StoredMessage, number: int) -> tuple[Device, EventMessage, int, tuple[int, ...]] | None:
    """What a client gets of a stored event with QoS 1 or 2.

    :param session: its :class:`~dhtwisted.fronts.mqtt.event_subscriber.EventSubscriber`.
    :returns: the device, the message, its QoS and the subscription identifiers; ``None`` if it does not get it.
    """
    entities = session.server.entities
    device = entities.device(source.device_id) or await entities.get(Device, source.device_id)
    if device is None or not session.may_receive(flow, device):
        return None
    path = event_path(flow, device.network_id, device.device_type_id, source)
    receivers = session.own_tree().match(path, source.name)
    filters = [one for receiver in receivers for one in receiver.filters if one.since < number]
    if not filters or not any(one.qos for one in filters):
        return None
    receiver = receiver_of(session, filters)
    if flow is MAPPED_COMMANDS:
        message = mapped_message(receiver, source, device)
        if message is None:
            return None
    else:
        action = flow.kind.name
        message = EventMessage(DEVICEHIVE + path, event_payload(action, source), 2, source=source, action=action)
        if receiver.is_private:
            message = private(message, receiver)
    if session.server.trace is not None:
        session.trace(source, message)
    return device, message, receiver.qos, receiver.identifiers


async def recall(server: Server, record: MqttQueued) -> tuple[Message, Any] | None:
    """See :meth:`IDeviceSession.recall <dhtwisted.fronts.mqtt.interfaces.IDeviceSession.recall>`."""
    flow = next((flow for flow in FLOWS if flow.level == record.message), None)
    source = None if flow is None else await _find(server, flow, record)
    if flow is None or source is None:
        return None
    action, is_mapped = flow.kind.name, flow is MAPPED_COMMANDS
    payload = from_json(source.parameters) if is_mapped else event_payload(action, source)
    return EventMessage(record.topic, payload, 2, source=source, action=action), (flow.index, record.message_id)


async def _find(server: Server, flow: Flow, record: MqttQueued) -> Any:
    find, kind = server.messages, flow.kind.message_kind
    if flow is not UPDATES:
        return await find.get_message(kind, record.device_id, record.message_id)
    query = MessageQuery(device_ids=(record.device_id,), updated=True, by_update=True, descending=True, take=MOST_UPDATES)
    return next((one for one in await find.find_messages(kind, query) if one.update_id == record.message_id), None)
