"""A message on its way through the server, encoded once for all its receivers."""

from __future__ import annotations

from math import ceil

from msgspec import Struct
from msgspec.structs import replace

from dhtwisted.wire.mqtt.encoding import PublishForm
from dhtwisted.wire.mqtt.packets import V3_1_1, V5, Properties

OVERHEAD = 100
"""Bytes that a message counts besides its payload."""


class Message(Struct, gc=False, eq=False):
    """One message. It is not changed once it is routed.

    :ivar properties: those that are forwarded; ``None`` for none.
    :ivar expires: when its lifetime is over, in seconds of the clock; 0 for never.
    :ivar sender: the key of the session that published it, for subscriptions without local messages; ``None`` for the server itself.
    """

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None
    expires: float = 0
    sender: tuple[int, str] | None = None
    _form: PublishForm | None = None
    _second: int = 0

    @property
    def size(self) -> int:
        """Bytes that it counts while it is kept."""
        return len(self.payload) + OVERHEAD

    def encode(self, is_v5: bool, qos: int, retain: bool, packet_id: int, dup: bool, identifiers: tuple[int, ...], now: float) -> bytes:
        """The packet for one receiver. All but the packet id is encoded once.

        :param identifiers: subscription identifiers; of use only to MQTT 5.0.
        :param now: seconds of the clock; matters only if the message expires.
        """
        form = self._form
        if form is None or (self.expires and self._second != int(now)):
            form = self._make_form(now)
        if is_v5:
            if identifiers:
                return form.encode_for(qos, retain, packet_id, dup, subscription_identifiers=identifiers)
            return form.encode(V5, qos, retain, packet_id, dup)
        return form.encode(V3_1_1, qos, retain, packet_id, dup)

    def encode_with_alias(
        self, qos: int, retain: bool, packet_id: int, dup: bool, identifiers: tuple[int, ...], now: float, alias: int, with_topic: bool
    ) -> bytes:
        """The packet for a receiver of MQTT 5.0 that allows topic aliases.

        :param alias: 0 for none.
        :param with_topic: whether the receiver does not know the alias yet.
        """
        form = self._form
        if form is None or (self.expires and self._second != int(now)):
            form = self._make_form(now)
        return form.encode_for(qos, retain, packet_id, dup, subscription_identifiers=identifiers, topic_alias=alias, with_topic=with_topic)

    def _make_form(self, now: float) -> PublishForm:
        properties = self.properties
        if self.expires:
            # What is left of its lifetime ([MQTT-3.3.2-6]).
            properties = replace(properties or Properties(), message_expiry_interval=max(1, ceil(self.expires - now)))
            self._second = int(now)
        form = self._form = PublishForm(self.topic, self.payload, properties)
        return form
