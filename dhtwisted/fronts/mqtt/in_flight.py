"""What goes to a client with QoS 1 or 2, from the moment when it is the session's until the client has acknowledged it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

from dhtwisted.fronts.mqtt.backlog import Backlog
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.message import OVERHEAD, Message
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.model.mqtt import RELEASED, SENT, WAITS

MOST_PACKET_IDS = 65_535
MOST_PENDING = 60_000
"""Messages of one session that have a packet id, at most, whatever is configured: ids must be left, and quickly found."""


MOST_QUEUED = 128
"""Stored messages that are in memory for a client that takes them slower than they come. The others wait in the storage."""


class Outgoing:
    """The messages with QoS 1 and 2 of one session, in their order.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :ivar pending: packet id -> :class:`Delivery`, of what the client has not acknowledged completely and is in memory: those in flight,
        those that wait, and those whose PUBREL is to be answered, in the order of their PUBREC.
    :ivar queue: those of them that have not left.
    :ivar backlog: what waits in the storage, behind all these; ``None`` for nothing.
    :ivar size: the bytes of all.
    :ivar link: the :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`; ``None`` for none.
    """

    __slots__ = ("_broker", "_last_id", "_last_number", "backlog", "link", "pending", "queue", "size")

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._last_id = self._last_number = 0
        self.pending: dict[int, Delivery] = UNUSED
        self.queue: deque[Delivery] = EMPTY
        self.backlog: Backlog | None = None
        self.size = 0
        self.link: Any = None

    def restore(self, delivery: Delivery, maybe_sent: bool) -> None:
        """Take what was stored before a restart, one after the other. What waits stays in the storage.

        :param maybe_sent: what waits may have left.
        """
        self._put(delivery)
        self.size += delivery.size
        self._last_number, self._last_id = delivery.number, delivery.packet_id
        if delivery.state == RELEASED:
            return
        if delivery.token is None:
            self._leave_in_storage(delivery)
            if maybe_sent and self.backlog is not None:
                self.backlog.maybe_sent = delivery.number
        elif maybe_sent:
            delivery.state = SENT

    def _put(self, delivery: Delivery) -> None:
        if self.pending is UNUSED:
            self.pending = {}
        self.pending[delivery.packet_id] = delivery

    def go_on_behind(self, number: int, packet_id: int) -> None:
        """Give only numbers and packet ids behind those that were given before."""
        self._last_number, self._last_id = max(self._last_number, number), packet_id

    @property
    def last_id(self) -> int:
        """The packet id that was given last."""
        return self._last_id

    @property
    def last_number(self) -> int:
        """The number that was given last."""
        return self._last_number

    @property
    def count(self) -> int:
        """How many messages the client has not acknowledged completely."""
        return len(self.pending) + (0 if self.backlog is None else self.backlog.count)

    def numbers(self) -> Iterator[int]:
        """The numbers of all that is stored."""
        for delivery in self.pending.values():
            if delivery.number:
                yield delivery.number
        if self.backlog is not None:
            yield from self.backlog.numbers()

    def has_room_for(self, message: Message) -> bool:
        """Whether the bounds of a session leave room for one more plain message."""
        broker, backlog = self._broker, self.backlog
        # The ids of the backlog are not in memory, so the next ones must not come round to them.
        if backlog is not None and (backlog.first_id - self._last_id - 1) % MOST_PACKET_IDS <= len(self.pending):
            return False
        return self.count < broker.most_messages and self.size + len(message.payload) + OVERHEAD <= broker.most_bytes

    @property
    def has_room_for_more(self) -> bool:
        """Whether the bounds are not reached."""
        return self.count < self._broker.most_messages and self.size < self._broker.most_bytes

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
        """A held message is stored: send it when possible. Behind many others, and without a connection, it waits in the storage."""
        delivery.is_held = False
        if self.pending.get(delivery.packet_id) is not delivery:
            return
        if delivery.token is None and (self.backlog is not None or self.link is None or len(self.queue) >= MOST_QUEUED):
            self._leave_in_storage(delivery)
        else:
            # What was read meanwhile comes first, also when both are sent again.
            self.pending[delivery.packet_id] = self.pending.pop(delivery.packet_id)
            self.queue = append(self.queue, delivery)
        self.pump()

    def _leave_in_storage(self, delivery: Delivery) -> None:
        if self.backlog is None:
            self.backlog = Backlog(delivery.packet_id)
        self.backlog.add(delivery.number, delivery.size, delivery.share)
        del self.pending[delivery.packet_id]

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
        delivery = pending[packet_id] = Delivery(message, qos, retain, identifiers, packet_id, token=token, size=message.size)
        self.size += delivery.size
        return delivery

    @property
    def has_room(self) -> bool:
        """Whether a message would leave at once."""
        link = self.link
        return link is not None and link.quota > 0 and not self.queue and self.backlog is None and not link.output.congested

    def pump(self) -> None:
        """Send what waits, as far as the client takes it."""
        link, queue = self.link, self.queue
        if link is None:
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
            if self.backlog is not None and self.link is not None:
                self._broker.catch_up(link.current_session())

    # Without a connection

    def unload(self) -> None:
        """Keep only what no storage has: the connection has ended. What had left keeps its packet id, and its content is read again."""
        waiting = []
        for delivery in self.pending.values():
            if not delivery.number or delivery.token is not None or delivery.is_held:
                continue
            if delivery.state == WAITS:
                waiting.append(delivery)
            else:
                delivery.is_unread = delivery.state == SENT
                delivery.message = Message(delivery.message.topic)
        self.queue = EMPTY
        if waiting:
            if self.backlog is None:
                self.backlog = Backlog(0)
            self.backlog.put_back(waiting)
            for delivery in waiting:
                del self.pending[delivery.packet_id]

    def unread(self) -> list[int]:
        """The numbers of those whose content is in the storage alone."""
        return [delivery.number for delivery in self.pending.values() if delivery.is_unread]

    def reload(self, numbers: Collection[int], found: dict[int, Delivery]) -> None:
        """Give their content back to those that had left. What the storage has not any more is over.

        :param numbers: what was looked for.
        :param found: number -> what was read.
        """
        for delivery in [delivery for delivery in self.pending.values() if delivery.is_unread and delivery.number in numbers]:
            stored = found.get(delivery.number)
            if stored is None:
                self.drop(delivery)
            else:
                delivery.message, delivery.is_unread = stored.message, False

    def take(self, portion: tuple[int, int], found: list[Delivery], is_last: bool) -> list[Delivery]:
        """Take messages out of the backlog; :meth:`queue_up` follows for each that is to be sent.

        :param portion: of which they were read.
        :param is_last: whether they are all of it.
        """
        backlog = self.backlog
        if backlog is None:
            return []
        taken = backlog.take(portion, found, is_last)
        for delivery in taken:
            self._put(delivery)
            if delivery.number <= backlog.maybe_sent:
                # The message may have left ([MQTT-3.3.1-1]).
                delivery.state = SENT
        if not backlog.count:
            self.backlog = None
            self.size = sum(delivery.size for delivery in self.pending.values())
        return taken

    def queue_up(self, delivery: Delivery) -> None:
        """Send a message when possible."""
        self.queue = append(self.queue, delivery)

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
        self.queue, self.backlog = EMPTY, None
        self.size = 0


def _has_not_left(delivery: Delivery) -> bool:
    return delivery.state == WAITS
