"""What plugs into the MQTT front: the transport below it, and the topics of DeviceHive beside the plain ones."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from msgspec import Struct
from zope.interface import Attribute, Interface

from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.interfaces import IConnection
from dhtwisted.model import MqttQueued
from dhtwisted.wire.mqtt.packets import Publish, Subscription


class Refusal(Struct, frozen=True):
    """Why a publish or a subscription was refused.

    :ivar reason_code: of MQTT 5.0, from 0x80 on.
    :ivar text: a sentence for the author of the client, sent as reason string.
    :ivar is_temporary: the same message may succeed later. MQTT 3.x cannot say so: its connection ends without an acknowledgement, and the
        client sends the message again.
    """

    reason_code: int
    text: str
    is_temporary: bool = False


Outcome = Refusal | None
"""What became of a publish; ``None``: it is stored."""


class IMqttOutput(IConnection):
    """The way to a client; each transport has one. It calls the connection's ``receive`` with the packets of one read together,
    ``malformed`` with the error of the decoder, ``writable`` when the client reads again, and ``connection_lost`` once at the end.
    """

    congested: bool = Attribute("True while the client does not read what is sent.")
    ended: bool = Attribute("True when the connection is closed or being closed: nothing more is written, and nothing more is received.")
    account: Any = Attribute("The client's ``core.budget.Account``. The transport closes it when the connection has ended.")

    def write(data: bytes) -> None:
        """Send whole packets. All that is written in one turn of the reactor leaves together."""

    def close() -> None:
        """Close after what was written has left. The transport reads on for a moment, so that TCP does not discard the last packet."""

    def abort(reason: str) -> None:
        """End the connection at once.

        :param reason: a few words, for the log.
        """

    def pause() -> None:
        """Read nothing more until :meth:`resume`."""

    def resume() -> None:
        """Read again."""


class IDeviceTopics(Interface):
    """The topics below ``dh/`` and the mapped topics of one server."""

    def takes(topic: str) -> bool:
        """Whether a publish on a topic that is not below ``dh/`` is mapped. The answer may be kept for as long as a connection lives."""

    def takes_filter(filter: str) -> bool:
        """Whether a filter can match topics below ``dh/``, or mapped ones. Filters that begin with ``dh/`` are not asked for."""

    def begin(session: Any, state: bytes) -> IDeviceSession:
        """Begin a session.

        :param session: a :class:`~dhtwisted.fronts.mqtt.session.MqttSession`.
        :param state: what :meth:`IDeviceSession.state` gave before a restart of the server; empty for a new session.
        """


class IDeviceSession(Interface):
    """The part of a session that is about the topics of DeviceHive. It lives as long as the session, over any number of connections."""

    def connected(is_present: bool) -> None:
        """The session has a connection (again): CONNACK is written, and so are the exchanges of before that are not complete.

        :param is_present: whether the client was told that its session is present.
        """

    def disconnected() -> None:
        """The connection has ended. The session may go on."""

    def ended() -> None:
        """The session has ended for good; :meth:`disconnected` was called before, if there was a connection."""

    def state() -> bytes:
        """What must outlive the process, such as the id up to which each filter was acknowledged. It is stored with the session whenever
        that is stored; ``session.save()`` asks for it.
        """

    def publish(messages: Sequence[Message | Publish], packet_ids: Sequence[int] = ()) -> list[Outcome] | Awaitable[list[Outcome]]:
        """Take messages of the client in their order, also its will after the connection has ended.

        Nothing else that the client sends begins before the answer is there. ``session.principal`` is whose they are.

        :param messages: of each, only topic and payload matter.
        :param packet_ids: of the messages with QoS 2, if the session is kept: they should be stored in the same commit. 0 for others; empty
            if there are none.
        :returns: for each what became of it, or an awaitable of that, which does not fail.
        """

    def recall(record: MqttQueued) -> Awaitable[tuple[Message, Any] | None]:
        """Read an event that was in flight before a restart.

        :param record: as it was given to ``session.deliver``.
        :returns: the message and its token; ``None`` if it is not there any more, or has changed.
        """

    def may_have(messages: Sequence[Any]) -> Awaitable[list[bool]]:
        """Look at the rights of the client, as they are now, for events that are to be sent again; their devices may have to be read.

        :param messages: each an :class:`~dhtwisted.fronts.mqtt.event_messages.EventMessage`.
        :returns: for each whether the client may have it. Nothing is awaited after the last look.
        :raises StorageError: a device cannot be read.
        """

    def subscribe(subscriptions: Sequence[Subscription], identifier: int) -> list[int | Refusal] | Awaitable[list[int | Refusal]]:
        """Begin or replace subscriptions. A filter may also match plain topics (``#``); then the client is refused only if both refuse.

        :param identifier: the subscription identifier; 0 for none.
        :returns: for each the granted QoS, or a refusal.
        """

    def unsubscribe(filters: Sequence[str]) -> list[bool] | Awaitable[list[bool]]:
        """End subscriptions.

        :returns: for each whether there was one.
        """

    def acknowledged(tokens: Sequence[Any]) -> None:
        """Events that were given to ``session.deliver`` with these tokens and QoS 1 or 2 are acknowledged: PUBACK, or PUBREC, has come.
        After PUBCOMP, which makes room, it is called again. An event that the client refused, or that is too large for it, counts as
        acknowledged.
        """

    def writable() -> None:
        """``session.has_room`` was false and is true now. It need not be: look again after each event."""

    def refused(message: Message | Publish, refusal: Refusal) -> None:
        """A message of a client of MQTT 3.x was refused, plain ones as well. The protocol cannot say so, except on a topic of ours."""


class IPlainAccess(Interface):
    """Who may do what with plain topics."""

    def may_publish(principal: Any, client_id: str, topic: str) -> bool:
        """Whether a client may publish on a topic.

        :param principal: a :class:`~dhtwisted.core.access.Principal`; ``None`` for a client without credentials.
        """

    def may_subscribe(principal: Any, client_id: str, pattern: str) -> bool:
        """Whether a client may hear all topics of a filter.

        :param pattern: a filter without ``$share/GROUP/``.
        """


class IMqttStore(Interface):
    """Keeps sessions, retained messages and what is under way. ``note_...`` only collects; :meth:`commit` stores."""

    def commit(changes: Any) -> Awaitable[None]:
        """Store what was collected, all or none, after everything that was committed before.

        :param changes: a :class:`~dhtwisted.fronts.mqtt.changes.Changes`.
        :returns: :data:`~dhtwisted.kit.waiter.DONE` if it is stored already.
        :raises StorageError: nothing was stored, or perhaps all if the answer was lost.
        """

    def read_queued(session: Any, first: int, last: int) -> Awaitable[tuple[list[Any], bool]]:
        """Read deliveries of a session that are stored.

        :param first: the first number.
        :param last: the last number.
        :returns: some of them from the first on, in the order of their numbers; and whether there are no more up to ``last``.
        """

    def read_received(session: Any) -> Awaitable[dict[int, int]]:
        """Read the packet ids of publishes with QoS 2 that are stored, each with its reason code."""

    def note_session(changes: Any, session: Any) -> None:
        """Keep a session as it is now: its filters, its expiry, its will, and whether it has a connection."""

    def note_session_ended(changes: Any, session: Any) -> None:
        """Forget a session and all that belongs to it."""

    def note_queued(changes: Any, session: Any, delivery: Any, record: tuple[str, str, int] | None = None) -> None:
        """Keep a :class:`~dhtwisted.fronts.mqtt.in_flight.Delivery` as it is now.

        :param record: instead of its content, which stored message it is.
        """

    def note_acknowledged(changes: Any, session: Any, delivery: Any) -> None:
        """Forget a delivery."""

    def note_received(changes: Any, session: Any, packet_id: int) -> None:
        """Keep the packet id of an accepted publish with QoS 2."""

    def note_released(changes: Any, session: Any, packet_id: int) -> None:
        """Forget such a packet id."""

    def note_retained(changes: Any, message: Message) -> None:
        """Keep a retained message; without a payload, forget the one of its topic."""
