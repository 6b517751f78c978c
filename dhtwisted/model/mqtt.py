"""What MQTT keeps: sessions, retained messages, and what has not reached its subscriber yet.

``properties`` are those of MQTT 5.0 that go on to subscribers unchanged, in the bytes of a PUBLISH, with their length; empty for none.
Message expiry interval, subscription identifiers and topic alias are not among them: ``expires`` says when a message ends.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from dhtwisted.model.entity import Entity, member_key

ANONYMOUS = 0
"""``user_id`` of a session without a user."""

NEVER = 0xFFFFFFFF
"""``expiry`` of a session that never ends."""

LONGEST_NAME = 1024
"""The most bytes of a client id whose session is kept, and of the topic of a retained message. They are keys, and not every storage has
longer ones."""

WAITS, SENT, RELEASED = 0, 1, 2
"""``state`` of an outgoing message: its PUBLISH has not left yet; it has left; its PUBREC has come, so that PUBREL is what follows."""


def session_key(user_id: int, client_id: str) -> str:
    """The key of a session. Nobody takes over the session of another user, so it has both.

    :param user_id: :data:`ANONYMOUS` for nobody.
    """
    return f"{user_id} {client_id}"


class MqttSubscription(Struct, frozen=True):
    """One filter of a session and its options, as in a SUBSCRIBE.

    :ivar filter: as the client gave it, such as ``dh/notification/#`` or ``$share/group/a/+``.
    :ivar qos: the granted one.
    :ivar identifier: the subscription identifier; 0 for none.
    :ivar is_plain: whether plain topics are routed by it.
    :ivar is_device: whether the topics of DeviceHive are.
    """

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int = 0
    is_plain: bool = False
    is_device: bool = False


class MqttWill(Struct, frozen=True):
    """The will of a session. It is published when the session ends, or ``delay`` after its connection broke.

    :ivar delay: seconds.
    :ivar expiry: seconds that the message is kept after it is published; ``None`` for no limit.
    """

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: bytes = b""
    delay: int = 0
    expiry: int | None = None


class MqttSession(Entity, frozen=True, kw_only=True):
    """A session that outlives its connection.

    :ivar id: from :func:`session_key`.
    :ivar version: the protocol level of the last CONNECT: 3, 4 or 5.
    :ivar expiry: seconds after the end of the connection when the session ends; :data:`NEVER` for no end.
    :ivar ended: when the connection ended; ``None`` while it lasts. After a crash of the server it is ``None`` too.
    :ivar will: what waits to be published when the connection breaks or its delay is over.
    :ivar claims: of the token with which its last client came, as JSON; empty for nobody. The will is published with these rights.
    :ivar device_state: what the part that is about the topics of DeviceHive keeps, such as the ids up to which all is acknowledged.
    :ivar last_packet_id: the last packet id that the server has used; the next one is looked for behind it.
    """

    KIND: ClassVar[str] = "mqttsession"
    BULK: ClassVar[bool] = True

    id: str
    user_id: int
    client_id: str
    created: int
    version: int = 4
    expiry: int = NEVER
    ended: int | None = None
    subscriptions: tuple[MqttSubscription, ...] = ()
    will: MqttWill | None = None
    claims: bytes = b""
    device_state: bytes = b""
    last_packet_id: int = 0

    @property
    def expires(self) -> int | None:
        """When it ends; ``None`` while it is connected, and if it never ends."""
        return None if self.ended is None or self.expiry == NEVER else self.ended + 1000 * self.expiry


class MqttRetained(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """The retained message of a topic.

    :ivar expires: ``None`` for never.
    :ivar user_id: who published it; :data:`ANONYMOUS` for nobody.
    :ivar published: when.
    """

    KIND: ClassVar[str] = "retainedmessage"
    KEY: ClassVar[str] = "topic"
    LARGE: ClassVar[tuple[str, ...]] = ("payload", "properties")
    BULK: ClassVar[bool] = True

    topic: str
    payload: bytes
    qos: int
    published: int
    user_id: int = ANONYMOUS
    client_id: str = ""
    properties: bytes = b""
    expires: int | None = None


class MqttQueued(Entity, frozen=True, kw_only=True, omit_defaults=True):
    """A message with QoS 1 or 2 that a session has not acknowledged completely: its own content, or a reference to a stored message.

    :ivar id: the session and the number, from :func:`~dhtwisted.model.entity.member_key`; see :meth:`of`.
    :ivar session: the key of the session.
    :ivar number: ascends within the session, in the order of delivery.
    :ivar packet_id: 0 before it is known.
    :ivar state: :data:`WAITS`, :data:`SENT` or :data:`RELEASED`.
    :ivar identifiers: subscription identifiers of all matching filters.
    :ivar message: of a reference: ``notification``, ``command`` or ``command_update``; empty for a message with a content of its own.
    :ivar device_id: of the stored message.
    :ivar message_id: of the stored message; of an update its ``update_id``.
    """

    KIND: ClassVar[str] = "queuedmessage"
    LARGE: ClassVar[tuple[str, ...]] = ("payload", "properties")
    MANY: ClassVar[str] = "session"
    BULK: ClassVar[bool] = True

    id: str
    session: str
    number: int
    topic: str
    qos: int
    packet_id: int = 0
    state: int = WAITS
    retain: bool = False
    payload: bytes = b""
    properties: bytes = b""
    identifiers: tuple[int, ...] = ()
    expires: int | None = None
    message: str = ""
    device_id: str = ""
    message_id: int = 0

    @classmethod
    def of(cls, session: str, number: int, **fields: object) -> MqttQueued:
        """Make one with its key."""
        return cls(id=member_key(session, number), session=session, number=number, **fields)  # type: ignore[arg-type]


class MqttReceived(Entity, frozen=True, kw_only=True):
    """The packet id of a PUBLISH with QoS 2 that was accepted and whose PUBREL has not come. The same PUBLISH once more stores nothing.

    :ivar id: the session and the packet id, from :func:`~dhtwisted.model.entity.member_key`; see :meth:`of`.
    :ivar session: the key of the session.
    :ivar reason_code: of the PUBREC that was sent for it.
    """

    KIND: ClassVar[str] = "receivedpacket"
    MANY: ClassVar[str] = "session"
    BULK: ClassVar[bool] = True

    id: str
    session: str
    packet_id: int
    reason_code: int = 0

    @classmethod
    def of(cls, session: str, packet_id: int, reason_code: int = 0) -> MqttReceived:
        """Make one with its key."""
        return cls(id=member_key(session, packet_id), session=session, packet_id=packet_id, reason_code=reason_code)
