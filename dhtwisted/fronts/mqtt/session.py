"""What may outlive a connection: the filters of a client, its exchanges under way, and its will."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dhtwisted.fronts.mqtt.filters import matches
from dhtwisted.fronts.mqtt.in_flight import Outgoing
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.small_maps import UNUSED, FewItems
from dhtwisted.model.mqtt import session_key
from dhtwisted.wire.mqtt.topics import parse_filter

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.interfaces import IDeviceSession
    from dhtwisted.wire.mqtt.packets import Subscription

Key = tuple[int, str]
"""What identifies a session: the id of the user, :data:`~dhtwisted.model.mqtt.ANONYMOUS` for nobody, and the client id."""


class Subscribed(Struct, gc=False, eq=False):
    """One filter of a session.

    :ivar options: as the client gave them; their ``qos`` is the granted one.
    :ivar identifier: the subscription identifier; 0 for none.
    :ivar is_plain: whether plain topics are routed by it.
    :ivar is_device: whether the topics of DeviceHive are.
    """

    session: ClientSession
    options: Subscription
    identifier: int = 0
    is_plain: bool = False
    is_device: bool = False


class Will(Struct, gc=False):
    """The will of a session.

    :ivar delay: seconds after the end of the connection.
    :ivar lifetime: seconds that the message is kept after it is published; ``None`` for any time.
    """

    message: Message
    delay: int = 0
    lifetime: int | None = None


class ClientSession:
    """The session of one client.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :ivar key: the user and the client id.
    :ivar principal: whose it is now; ``None`` for nobody.
    :ivar expiry: seconds for which it outlives its connection.
    :ivar is_kept: whether it outlives its connection: then it is stored, and so is all that it must not lose.
    :ivar is_stored: whether the storage has a record of it.
    :ivar connection: its :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`; ``None`` for none.
    :ivar filters: filter as the client gave it -> :class:`Subscribed`.
    :ivar outgoing: its messages with QoS 1 and 2.
    :ivar doubtful: packet ids of publishes with QoS 2 of which it is not known whether they are stored -> whether their
        exchange is over, see :mod:`~dhtwisted.fronts.mqtt.doubts`.
    :ivar received: packet ids of publishes with QoS 2 whose PUBREL has not come, each with the reason code of its PUBREC.
    :ivar will: ``None`` for none.
    :ivar device: its part that is about the topics of DeviceHive; ``None`` if the server has none of them.
    :ivar ended_at: when its connection ended, in seconds of the clock; 0 while it is connected.
    :ivar unsettled: a connection that has ended, and of which something was under way then; ``None`` for none.
    :ivar is_over: whether it has ended for good.
    """

    __slots__ = (
        "_broker",
        "connection",
        "created",
        "device",
        "ended_at",
        "expiry",
        "filters",
        "is_kept",
        "is_over",
        "is_stored",
        "key",
        "outgoing",
        "principal",
        "doubtful",
        "received",
        "timer",
        "unsettled",
        "version",
        "will",
    )

    def __init__(self, broker: Any, key: Key) -> None:
        self._broker = broker
        self.key = key
        self.principal: Principal | None = None
        self.version = 0
        self.created = 0
        self.expiry = 0
        self.is_kept = self.is_stored = False
        self.connection: Any = None
        self.filters: MutableMapping[str, Subscribed] = FewItems()
        self.outgoing = Outgoing(broker)
        self.received: dict[int, int] = UNUSED
        self.doubtful: dict[int, bool] = UNUSED
        self.will: Will | None = None
        self.device: IDeviceSession | None = None
        self.ended_at = 0.0
        self.timer: Any = None
        self.unsettled: Any = None
        self.is_over = False

    @property
    def record_key(self) -> str:
        """The key of its record in the storage."""
        return session_key(*self.key)

    @property
    def client_id(self) -> str:
        """The client id."""
        return self.key[1]

    def note_received(self, packet_id: int, reason_code: int) -> None:
        """A publish with QoS 2 has begun: PUBREC leaves, or has left, with this reason code."""
        if self.received is UNUSED:
            self.received = {}
        self.received[packet_id] = reason_code

    def hears(self, topic: str) -> bool:
        """Whether a filter for plain topics matches a topic."""
        return any(matches(parse_filter(one.options.filter, 0).levels, topic) for one in self.filters.values() if one.is_plain)

    def send_more(self) -> None:
        """Send what waits, since there may be room now."""
        self.outgoing.pump()
        if self.device is not None and self.outgoing.has_room:
            self.device.writable()

    # For the topics of DeviceHive

    @property
    def has_room(self) -> bool:
        """Whether an event with QoS 1 or 2 would leave at once: the client reads, and fewer than its receive maximum are in flight."""
        return self.outgoing.has_room

    def deliver(
        self, message: Message, qos: int, retain: bool = False, identifiers: tuple[int, ...] = (), token: Any = None, record: Any = None
    ) -> bool:
        """Send an event of ``dh/``, encoded once for all sessions that get the same ``message``.

        :param qos: the granted one, at most that of the message.
        :param retain: only for what answers a SUBSCRIBE.
        :param identifiers: the subscription identifiers of all filters that it matches.
        :param token: given to ``IDeviceSession.acknowledged`` when the client has it; only for QoS 1 and 2.
        :param record: for QoS 2 in a session that is kept: ``(message, device_id, message_id)`` of a
            :class:`~dhtwisted.model.mqtt.MqttQueued`, stored before the event leaves, so that its packet id outlives the process.
        :returns: whether it was taken. With QoS 0, an event for a client that does not read is dropped and counted. With QoS 1 and 2 there
            must be room: otherwise nothing happens.
        """
        outgoing = self.outgoing
        connection = outgoing.link
        if not qos:
            return connection is not None and connection.send_at_most_once(message, retain, identifiers)
        if connection is None or connection.quota <= 0 or outgoing.queue or outgoing.backlog is not None or connection.output.congested:
            return False
        if qos == 2 and record is not None and self.is_kept:
            if len(outgoing.pending) >= connection.most_in_flight:
                # Those that are being stored take no room of the connection yet.
                return False
            self._broker.store_event(self, outgoing.hold(message, qos, retain, identifiers, token), record)
        else:
            connection.send(outgoing.add(message, qos, retain, identifiers, token))
        return True

    def save(self) -> None:
        """Store the session, if it is kept. Nobody waits."""
        self._broker.save_soon(self)

    def authenticate(self, principal: Principal) -> None:
        """Take on an identity, as a client that connected without one does later.

        :raises QuotaExceeded: the user has no room for the connection; the old identity stays.
        """
        if self.connection is not None:
            self.connection.authenticate(principal)
        self.principal = principal
        if self.connection is not None:
            self.connection.rights_changed()
