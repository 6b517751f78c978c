"""What had left to a client when its connection ended, and would be sent again on the next one: only as its rights permit now.

A message with QoS 1 that the client may not have any more is dropped. Of one with QoS 2 only the PUBREL is sent: the client may have the
message already, and would take a later one with its packet id for a repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dhtwisted.errors import StorageError
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.event_messages import EventMessage
from dhtwisted.fronts.mqtt.publishing import is_below_dh
from dhtwisted.model.mqtt import RELEASED, SENT

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.delivery import Delivery
    from dhtwisted.fronts.mqtt.session import ClientSession


async def drop_forbidden(broker: Any, session: ClientSession) -> None:
    """Drop what the client of a session may not have any more. Nothing is awaited between the last look and the return.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :raises StorageError: the storage does not answer; the client comes again.
    """
    while forbidden := await _find_forbidden(broker, session):
        await _drop(broker, session, forbidden)


def may_have_again(broker: Any, session: ClientSession, delivery: Delivery) -> bool:
    """Whether the client may have a plain message once more. It need not be subscribed any more: what has begun to be sent is completed
    ([MQTT-3.10.4-3]).
    """
    topic = delivery.message.topic
    if is_below_dh(topic):
        # An answer to the client itself.
        return True
    is_on = broker.server.settings.mqtt.plain_topics
    return bool(is_on and broker.access.may_subscribe(session.principal, session.client_id, topic))


async def _find_forbidden(broker: Any, session: ClientSession) -> list[Delivery]:
    under_way = [delivery for delivery in session.outgoing.pending.values() if delivery.state != RELEASED]
    events = [delivery for delivery in under_way if isinstance(delivery.message, EventMessage)]
    found = []
    if events and session.device is not None:
        allowed = await session.device.may_have([delivery.message for delivery in events])
        found = [delivery for delivery, is_allowed in zip(events, allowed, strict=True) if not is_allowed]
    for delivery in under_way:
        if delivery.state == SENT and not isinstance(delivery.message, EventMessage) and not may_have_again(broker, session, delivery):
            found.append(delivery)
    return [delivery for delivery in found if session.outgoing.pending.get(delivery.packet_id) is delivery]


async def _drop(broker: Any, session: ClientSession, forbidden: Sequence[Delivery]) -> None:
    changes, released = Changes(), []
    for delivery in forbidden:
        if delivery.state == SENT and delivery.qos == 2:
            released.append(delivery)
            session.outgoing.received(delivery.packet_id)
            if delivery.token is not None and session.device is not None:
                session.device.acknowledged((delivery.token,))
            if delivery.number:
                broker.store.note_queued(changes, session, delivery)
        else:
            session.outgoing.drop(delivery)
            broker.complete(session, delivery)
        broker.counters.dropped["no_right"] += 1
    if changes:
        # PUBREL may leave only when it is stored that the message never will.
        broker.store.note_session(changes, session)
        try:
            await broker.commit(changes)
        except StorageError:
            for delivery in released:
                delivery.state = SENT
            raise
