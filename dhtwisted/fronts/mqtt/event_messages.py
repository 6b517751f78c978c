"""Events as MQTT messages: their payloads and properties."""

from __future__ import annotations

from typing import Any

from dhtwisted.fronts.mqtt.event_topics import SHOWN
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.model import Command, Notification
from dhtwisted.wire.events import event_body, event_prefix
from dhtwisted.wire.mqtt.encoding import PublishForm
from dhtwisted.wire.mqtt.packets import V3_1_1, Properties
from dhtwisted.wire.timestamps import format_timestamp

PREFIXES = {flow.kind.name: event_prefix(flow.kind.name, None) for flow in SHOWN}
"""Action -> the first part of an event. ``subscriptionId`` is null: a SUBSCRIBE is answered without one, and so all clients get the same
bytes."""


class EventMessage(Message):
    """An event on one topic.

    Clients of MQTT 5.0 get the id and the time of the notification or command, and the action, as user properties, so that they need not
    read the payload for them.

    :ivar source: the notification or command.
    """

    source: Any = None
    action: str = ""
    _form_of_old: PublishForm | None = None

    def encode(self, is_v5: bool, qos: int, retain: bool, packet_id: int, dup: bool, identifiers: tuple[int, ...], now: float) -> bytes:
        """See :meth:`Message.encode`. Clients of MQTT 3.x need no properties, which cost a microsecond."""
        if not is_v5:
            form = self._form_of_old
            if form is None:
                form = self._form_of_old = PublishForm(self.topic, self.payload)
            return form.encode(V3_1_1, qos, retain, packet_id, dup)
        form = self._form or self._make_form(now)
        if identifiers:
            return form.encode_for(qos, retain, packet_id, dup, subscription_identifiers=identifiers)
        return form.encode(5, qos, retain, packet_id, dup)

    def _make_form(self, now: float) -> PublishForm:
        source = self.source
        pairs = (("id", str(source.id)), ("timestamp", format_timestamp(source.timestamp)), ("action", self.action))
        self._form = PublishForm(self.topic, self.payload, Properties(user_property=pairs))
        return self._form


def event_payload(action: str, message: Command | Notification) -> bytes:
    """The payload of an event: the same object as over a WebSocket."""
    return PREFIXES[action] + event_body(message)
