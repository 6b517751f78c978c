"""What goes to a client with QoS 1 or 2, from the moment when it is the session's until the client has acknowledged it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from dhtwisted.fronts.mqtt.message import OVERHEAD, Message
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.model.mqtt import RELEASED, SENT, WAITS

MOST_PACKET_IDS = 65_535
MOST_PENDING = 60_000
"""Messages of one session that have a packet id, at most, whatever is configured: ids must be left, and quickly found."""


class Delivery(Struct, gc=False, eq=False):
    """One message for one session with QoS 1 or 2.

    :ivar identifiers: the subscription identifiers of the filters that it matches.
    :ivar packet_id: given at once, so that it is stored with the message.
    :ivar state: :data:`~dhtwisted.model.mqtt.WAITS`, :data:`~dhtwisted.model.mqtt.SENT` or :data:`~dhtwisted.model.mqtt.RELEASED`.
    :ivar number: of its record in the storage; 0 if it has none.
    :ivar is_held: it is being stored, and may not leave before that.
    :ivar is_counted: it takes room of the receive maximum of the present connection ([MQTT-3.3.4-9]).
    :ivar token: of an event of ``dh/``, for its acknowledgement; ``None`` for a plain message.
    :ivar share: the shared filter by which the session was chosen; empty for any other.
    """

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    packet_id: int
    state: int = WAITS
    number: int = 0
    is_held: bool = False
    is_counted: bool = False
    token: Any = None
    share: str = ""

    @property
    def size(self) -> int:
        """Bytes that it counts for the bounds of the session."""
        return len(self.message.payload) + OVERHEAD


class Outgoing:
    """The messages with QoS 1 and 2 of one session, in their order.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :ivar pending: packet id -> :class:`Delivery`, of all that the client has not acknowledged completely: those in flight, those that wait,
        and those whose PUBREL is to be answered, in the order of their PUBREC.
    :ivar queue: those of them that have not left.
    :ivar size: their bytes.
    :ivar link: the :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`; ``None`` for none.
    """

    __slots__ = ("_broker", "_last_id", "_last_number", "link", "pending", "queue", "size")

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._last_id = self._last_number = 0
        self.pending: dict[int, Delivery] = UNUSED
        self.queue: deque[Delivery] = EMPTY
        self.size = 0
        self.link: Any = None

    def restore(self, deliveries: Iterable[Delivery], last_id: int) -> None:
        """Take what was stored before a restart, in its order."""
        self.pending = {delivery.packet_id: delivery for delivery in deliveries} or UNUSED
        for delivery in self.pending.values():
            self.size += delivery.size
            self._last_number = max(self._last_number, delivery.number)
        self._last_id = last_id

    @property
    def last_id(self) -> int:
        """The packet id that was given last."""
        return self._last_id

    def has_room_for(self, message: Message) -> bool:
        """Whether the bounds of a session leave room for one more plain message."""
        broker = self._broker
        return len(self.pending) < broker.most_messages and self.size + len(message.payload) + OVERHEAD <= broker.most_bytes

    @property
    def has_room_for_more(self) -> bool:
        """Whether the bounds are not reached."""
        return len(self.pending) < self._broker.most_messages and self.size < self._broker.most_bytes

    def give(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...], token: Any = None) -> Delivery:
        """Take a message that need not be stored; send it at once if possible."""
        delivery = self.add(message, qos, retain, identifiers, token)
        link = self.link
        if link is not None and link.quota > 0 and not self.queue and not link.output.congested:
            link.send(delivery)
        else:
            self.queue = append(self.queue, delivery)
        return delivery

    def hold(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...], token: Any = None) -> Delivery:
        """Take a message that is to be stored first. :meth:`release` or :meth:`drop` follows."""
        delivery = self.add(message, qos, retain, identifiers, token)
        delivery.is_held = True
        self._last_number = delivery.number = self._last_number + 1
        return delivery

    def release(self, delivery: Delivery) -> None:
        """A held message is stored: send it when possible."""
        delivery.is_held = False
        if delivery.packet_id in self.pending:
            self.queue = append(self.queue, delivery)
            self.pump()

    def drop(self, delivery: Delivery) -> None:
        """Forget a message: it could not be stored, or nobody is to get it any more."""
        if self.pending.pop(delivery.packet_id, None) is not None:
            self.size -= delivery.size

    def add(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...], token: Any) -> Delivery:
        """Take a message that is sent at once, or queued."""
        packet_id, pending = self._last_id % MOST_PACKET_IDS + 1, self.pending
        if pending is UNUSED:
            pending = self.pending = {}
        while packet_id in pending:
            packet_id = packet_id % MOST_PACKET_IDS + 1
        self._last_id = packet_id
        delivery = pending[packet_id] = Delivery(message, qos, retain, identifiers, packet_id, token=token)
        self.size += len(message.payload) + OVERHEAD
        return delivery

    @property
    def has_room(self) -> bool:
        """Whether a message would leave at once."""
        link = self.link
        return link is not None and link.quota > 0 and not self.queue and not link.output.congested

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        link, queue = self.link, self.queue
        if link is None or not queue:
            return
        while queue and link.quota > 0 and not link.output.congested:
            delivery = queue.popleft()
            if self.pending.get(delivery.packet_id) is not delivery:
                continue
            if delivery.state == WAITS and 0 < delivery.message.expires <= self._broker.now():
                self.drop(delivery)
                link.left_out(delivery, "expired")
            else:
                link.send(delivery)
        if not queue:
            self.queue = EMPTY

    def resume(self) -> list[Delivery]:
        """Begin on a new connection: what had left is queued again, in its order ([MQTT-4.4.0-1], [MQTT-4.6.0-1]).

        :returns: those whose PUBREL is sent again, in the order of their PUBREC.
        """
        for delivery in self.pending.values():
            delivery.is_counted = False
        released = [delivery for delivery in self.pending.values() if delivery.state == RELEASED]
        waiting = [delivery for delivery in self.pending.values() if delivery.state != RELEASED and not delivery.is_held]
        # Python's sort is stable: what had left goes first. Both sorts are in order already, unless something was held longer than others.
        waiting.sort(key=_has_not_left)
        self.queue = deque(waiting) if waiting else EMPTY
        return released

    # What the client answers

    def acknowledge(self, packet_id: int, qos: int) -> Delivery | None:
        """Complete an exchange.

        :param qos: 1 for PUBACK, 2 for PUBCOMP.
        :returns: what is complete; ``None`` if nothing with this packet id and QoS is in flight.
        """
        delivery = self.pending.get(packet_id)
        if delivery is None or delivery.state != (SENT if qos == 1 else RELEASED) or delivery.qos != qos:
            return None
        del self.pending[packet_id]
        self.size -= delivery.size
        return delivery

    def received(self, packet_id: int) -> Delivery | None:
        """A PUBREC without an error: PUBREL follows, and the message never again ([MQTT-4.3.3-4]).

        :returns: whose packet id it is; ``None`` if nothing with it is in flight.
        """
        delivery = self.pending.get(packet_id)
        if delivery is None or delivery.state == WAITS or delivery.qos != 2:
            return None
        if delivery.state == SENT:
            # It moves to the end: PUBREL are sent again in the order of their PUBREC ([MQTT-4.6.0-4] of 3.1.1).
            self.pending[packet_id] = self.pending.pop(packet_id)
            delivery.state = RELEASED
        return delivery

    def refused(self, packet_id: int) -> Delivery | None:
        """A PUBREC with an error ends an exchange, and its packet id is free."""
        delivery = self.pending.get(packet_id)
        if delivery is None or delivery.state != SENT or delivery.qos != 2:
            return None
        self.drop(delivery)
        return delivery

    def clear(self) -> None:
        """Forget everything: the session has ended."""
        self.pending.clear()
        self.queue = EMPTY
        self.size = 0


def _has_not_left(delivery: Delivery) -> bool:
    return delivery.state == WAITS
