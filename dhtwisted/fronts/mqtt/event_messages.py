"""Events as MQTT messages: their payloads and properties."""

from __future__ import annotations

from typing import Any

from dhtwisted.fronts.mqtt.event_topics import SHOWN
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.model import Command, Notification
from dhtwisted.wire.events import event_body, event_prefix
from dhtwisted.wire.mqtt.body import encode_text, encode_varint
from dhtwisted.wire.mqtt.encoding import PublishForm
from dhtwisted.wire.mqtt.packets import Properties
from dhtwisted.wire.timestamps import format_timestamp

PREFIXES = {flow.kind.name: event_prefix(flow.kind.name, None) for flow in SHOWN}
"""Action -> the first part of an event. ``subscriptionId`` is null: a SUBSCRIBE is answered without one, and so all clients get the same
bytes."""


_USER_PROPERTY = b"\x26"
_ID, _TIMESTAMP = _USER_PROPERTY + encode_text("id"), _USER_PROPERTY + encode_text("timestamp")
_ACTIONS = {flow.kind.name: _USER_PROPERTY + encode_text("action") + encode_text(flow.kind.name) for flow in SHOWN}

Form = tuple[int, bytes, bytes]
"""The first byte of a PUBLISH, all that stands before its packet id, and all behind it."""

_NO_FORM: Form = (0, b"", b"")


class EventMessage(Message):
    """An event on one topic.

    Clients of MQTT 5.0 get the id and the time of the notification or command, and the action, as user properties, so that they need not
    read the payload for them. Those of 3.x do not pay for that.

    :ivar source: the notification or command.
    :ivar topic_field: the topic as it stands in a packet; empty if it is not known.
    """

    source: Any = None
    action: str = ""
    topic_field: bytes = b""
    _old: Form = _NO_FORM
    _new: Form = _NO_FORM

    def encode(self, is_v5: bool, qos: int, retain: bool, packet_id: int, dup: bool, identifiers: tuple[int, ...], now: float) -> bytes:
        """See :meth:`Message.encode`. It costs a third: one form at a time is kept, since most events have few receivers."""
        if is_v5 and identifiers:
            form = self._form or self._make_form(now)
            return form.encode_for(qos, retain, packet_id, dup, subscription_identifiers=identifiers)
        first = 0x30 | dup << 3 | qos << 1 | retain
        found = self._new if is_v5 else self._old
        if found[0] != first:
            found = self._make(is_v5, first)
        if not qos:
            return found[1]
        return b"%b%b%b" % (found[1], packet_id.to_bytes(2, "big"), found[2])

    def _make(self, is_v5: bool, first: int) -> Form:
        topic = self.topic_field or encode_text(self.topic)
        tail = self.payload
        if is_v5:
            properties = self._properties()
            tail = b"%b%b%b" % (encode_varint(len(properties)), properties, tail)
        with_id = first & 0x06 != 0
        head = b"%c%b%b" % (first, encode_varint(len(topic) + 2 * with_id + len(tail)), topic)
        form = (first, head, tail) if with_id else (first, head + tail, b"")
        if is_v5:
            self._new = form
        else:
            self._old = form
        return form

    def _properties(self) -> bytes:
        source = self.source
        time, number = format_timestamp(source.timestamp), str(source.id)
        return b"%b%b%b%b%b" % (_ID, encode_text(number), _TIMESTAMP, encode_text(time), _ACTIONS[self.action])

    def _make_form(self, now: float) -> PublishForm:
        source = self.source
        pairs = (("id", str(source.id)), ("timestamp", format_timestamp(source.timestamp)), ("action", self.action))
        self._form = PublishForm(self.topic, self.payload, Properties(user_property=pairs))
        return self._form


def event_payload(action: str, message: Command | Notification) -> bytes:
    """The payload of an event: the same object as over a WebSocket."""
    return PREFIXES[action] + event_body(message)
