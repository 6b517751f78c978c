"""What goes to a client: its messages in their form for this client, and answers with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.session import ClientSession
from dhtwisted.model.mqtt import SENT, WAITS
from dhtwisted.wire.mqtt.encoding import encode_within
from dhtwisted.wire.mqtt.packets import Properties, Puback, Publish, Pubrec

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.interfaces import IMqttOutput

PUBACK, PUBREC = b"\x40\x02", b"\x50\x02"
"""Acknowledgements without a reason code, up to the packet id: the same in all versions."""

ANY_SIZE = 2**32


class PacketSender:
    """The sending half of a connection.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :param output: the way to the client.
    :ivar session: the session; ``None`` before the CONNECT has been accepted, and after the end.
    :ivar version: the protocol level; 0 before the CONNECT.
    :ivar gives_reasons: whether the client wants reason strings.
    :ivar max_packet: the largest packet that the client takes, in bytes.
    :ivar most_in_flight: how many messages with QoS 1 and 2 may be in flight to the client.
    :ivar quota: how many more may be.
    :ivar aliases: topic -> topic alias towards the client; ``None`` if it allows none.
    :ivar most_aliases: how many there may be.
    """

    __slots__ = (
        "aliases",
        "broker",
        "gives_reasons",
        "is_v5",
        "max_packet",
        "most_aliases",
        "most_in_flight",
        "output",
        "quota",
        "session",
        "version",
    )

    def __init__(self, broker: Any, output: IMqttOutput) -> None:
        self.broker = broker
        self.output = output
        self.session: ClientSession | None = None
        self.version = 0
        self.is_v5 = False
        self.gives_reasons = True
        self.max_packet = ANY_SIZE
        self.quota = self.most_in_flight = 0
        self.aliases: dict[str, int] | None = None
        self.most_aliases = 0

    def send(self, delivery: Delivery) -> None:
        """Send a message with QoS 1 or 2, for the first time or again."""
        message, dup = delivery.message, delivery.state != WAITS
        delivery.state, delivery.is_counted = SENT, True
        self.quota -= 1
        now = self.broker.now() if message.expires else 0
        qos, retain, identifiers, packet_id = delivery.qos, delivery.retain, delivery.identifiers, delivery.packet_id
        if self.aliases is None:
            data = message.encode(self.is_v5, qos, retain, packet_id, dup, identifiers, now)
        else:
            data = self._with_alias(message, qos, retain, packet_id, dup, identifiers, now)
        if len(data) > self.max_packet:
            # [MQTT-3.1.2-25]
            self.quota += 1
            self.current_session().outgoing.drop(delivery)
            self.left_out(delivery, "too_large")
        else:
            self.broker.counters.published += 1
            self.output.write(data)

    def send_at_most_once(self, message: Message, retain: bool, identifiers: tuple[int, ...]) -> bool:
        """Send a message with QoS 0.

        :returns: whether it was sent. A client that does not read, or takes no packets of this size, does not get it.
        """
        if self.output.congested:
            self.broker.counters.dropped["not_reading"] += 1
            return False
        now = self.broker.now() if message.expires else 0
        if self.aliases is None:
            data = message.encode(self.is_v5, 0, retain, 0, False, identifiers, now)
        else:
            data = self._with_alias(message, 0, retain, 0, False, identifiers, now)
        if len(data) > self.max_packet:
            self.broker.counters.dropped["too_large"] += 1
            return False
        self.broker.counters.published += 1
        self.output.write(data)
        return True

    def _with_alias(
        self, message: Message, qos: int, retain: bool, packet_id: int, dup: bool, identifiers: tuple[int, ...], now: float
    ) -> bytes:
        """A PUBLISH for a client that allows topic aliases, at most as many as it allows ([MQTT-3.1.2-26])."""
        aliases, topic = self.aliases, message.topic
        assert aliases is not None  # The callers have looked.
        alias = aliases.get(topic, 0)
        is_new = not alias and len(aliases) < self.most_aliases
        if is_new:
            alias = aliases[topic] = len(aliases) + 1
        data = message.encode_with_alias(qos, retain, packet_id, dup, identifiers, now, alias, is_new or not alias)
        if is_new and len(data) > self.max_packet:
            # The client will not hear of this alias.
            del aliases[topic]
        return data

    def left_out(self, delivery: Delivery, reason: str) -> None:
        """A message was dropped instead of sent: it is over as if the client had acknowledged it.

        :param reason: one of :data:`~dhtwisted.fronts.mqtt.counters.DROPS`.
        """
        self.broker.counters.dropped[reason] += 1
        self.broker.complete(self.current_session(), delivery)

    def acknowledge(self, packet: Publish, reason_code: int, text: str = "") -> None:
        """Answer a PUBLISH with QoS 1 or 2 otherwise than by success."""
        kind: Any = Puback if packet.qos == 1 else Pubrec
        self.answer(PUBACK if packet.qos == 1 else PUBREC, kind, packet.packet_id, reason_code, text)

    def answer(self, plain: bytes, kind: Any, packet_id: int, reason_code: int, text: str = "") -> None:
        """Send an acknowledgement: without a reason code where none is needed, or the client has none."""
        if self.is_v5 and reason_code:
            self.write(kind(packet_id, reason_code, self.reason(text)))
        else:
            self.broker.counters.sent[kind] += 1
            self.output.write(plain + packet_id.to_bytes(2, "big"))

    def reason(self, text: str) -> Properties | None:
        """Properties with a reason string, if the client wants to know reasons ([MQTT-3.1.2-29])."""
        return Properties(reason_string=text) if text and self.is_v5 and self.gives_reasons else None

    def write(self, packet: Any) -> bool:
        """Send a packet; without its reason string, if that makes it larger than the client permits ([MQTT-3.2.2-19] and others).

        An answer that is too large all the same ends the connection: the client would wait for it for ever.

        :returns: whether it was sent.
        """
        data = encode_within(packet, self.version, self.max_packet)
        if data is None:
            self.cannot_send(packet)
            return False
        self.broker.counters.sent[type(packet)] += 1
        self.output.write(data)
        return True

    def cannot_send(self, packet: Any) -> None:
        """An answer is too large for the client."""
        raise NotImplementedError

    def current_session(self) -> ClientSession:
        """The session, where there must be one."""
        assert self.session is not None
        return self.session
