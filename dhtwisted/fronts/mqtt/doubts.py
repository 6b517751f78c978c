"""Publishes with QoS 2 of which nobody knows whether they are stored: the storage has failed in the middle of a commit.

A client of MQTT 3 is disconnected then, and sends the same exchange again ([MQTT-4.4.0-1]). Before it may, the storage is asked which
packet ids it has: their messages are not stored twice. A client of MQTT 5.0 got an error, which ends the exchange. If its message was
stored nevertheless, the packet id must go: the next message that has it is another one.

That is for the topics of DeviceHive. A plain message that could not be stored is forgotten, and stored anew when it comes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.small_maps import UNUSED

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.session import ClientSession


def doubt(session: ClientSession, packet_id: int, is_over: bool) -> None:
    """Note that a publish with this packet id was perhaps stored.

    :param is_over: the client got an error, so it begins a new exchange with this packet id.
    """
    if session.is_kept:
        if session.doubtful is UNUSED:
            session.doubtful = {}
        session.doubtful[packet_id] = is_over


async def settle(broker: Any, session: ClientSession) -> None:
    """Find out about all of them, before the client of a session sends anything.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :raises StorageError: it cannot be known now.
    """
    if not session.doubtful:
        return
    stored = await broker.store.read_received(session)
    changes = Changes()
    for packet_id in stored.keys() & session.doubtful.keys() - session.received.keys():
        if session.doubtful[packet_id]:
            broker.store.note_released(changes, session, packet_id)
        else:
            session.note_received(packet_id, stored[packet_id])
    await broker.commit(changes)
    session.doubtful = UNUSED
