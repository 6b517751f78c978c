"""The acknowledgements of a client: PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.in_flight import SENT
from dhtwisted.wire.mqtt.packets import Puback, Pubcomp, Pubrec, Pubrel
from dhtwisted.wire.mqtt.reasons import FAILURE, ReasonCode

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.session import ClientSession

PUBREL, PUBCOMP = b"\x62\x02", b"\x70\x02"
"""Acknowledgements without a reason code, up to the packet id: the same in all versions."""

# Of messages to the client


def pubacks(connection: Any, packets: Sequence[Puback]) -> None:
    """Complete exchanges with QoS 1. Subscribers of many messages send many of them in one read, and the room that they make is used at
    once for all.

    :raises InvalidPacket: as :func:`complete`; those before are complete.
    """
    session, broker = connection.current_session(), connection.broker
    broker.counters.received[Puback] += len(packets)
    outgoing, had_no_room = session.outgoing, connection.quota <= 0
    tokens = []
    try:
        for packet in packets:
            delivery = outgoing.acknowledge(packet.packet_id, 1)
            if delivery is None:
                _check_order(session, packet.packet_id, 1)
                continue
            if delivery.is_counted:
                connection.quota += 1
            if delivery.number:
                broker.complete(session, delivery)
            elif delivery.token is not None:
                tokens.append(delivery.token)
    finally:
        if tokens and session.device is not None:
            session.device.acknowledged(tokens)
        if outgoing.queue or (had_no_room and connection.quota > 0):
            session.send_more()


def pubcomp(connection: Any, packet: Pubcomp) -> None:
    """Complete an exchange with QoS 2."""
    complete(connection, packet.packet_id, 2)


def complete(connection: Any, packet_id: int, qos: int) -> None:
    """Complete an exchange. One that is not known is none: the client may repeat itself.

    :raises InvalidPacket: the exchange is of another QoS, or not as far.
    """
    session = connection.current_session()
    delivery = session.outgoing.acknowledge(packet_id, qos)
    if delivery is not None:
        _free(connection, session, delivery)
    else:
        _check_order(session, packet_id, qos)


def _check_order(session: ClientSession, packet_id: int, qos: int) -> None:
    delivery = session.outgoing.pending.get(packet_id)
    if delivery is None:
        return
    if delivery.qos != qos:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "an acknowledgement is of another QoS than its PUBLISH")
    if qos == 2 and delivery.state == SENT:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "a PUBCOMP comes before the PUBREC")


def _free(connection: Any, session: ClientSession, delivery: Delivery) -> None:
    """An exchange is complete: there may be room for the next message."""
    if delivery.is_counted:
        connection.quota += 1
    if delivery.number or delivery.token is not None:
        connection.broker.complete(session, delivery)
    if session.outgoing.queue or connection.quota == 1:
        session.send_more()


def pubrec(connection: Any, packet: Pubrec) -> None:
    """Answer by PUBREL; if the client refuses the message, its exchange is complete.

    :raises InvalidPacket: the exchange is of another QoS.
    """
    session = connection.current_session()
    if packet.reason_code >= FAILURE:
        refused = session.outgoing.refused(packet.packet_id)
        if refused is not None:
            _free(connection, session, refused)
        else:
            _check_order(session, packet.packet_id, 2)
        return
    delivery = session.outgoing.received(packet.packet_id)
    if delivery is None:
        _check_order(session, packet.packet_id, 2)
        # It is of an exchange that we do not know ([MQTT-4.3.3-3] and 3.6.2.1): the client may free its side.
        connection.answer(PUBREL, Pubrel, packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    elif delivery.number:
        # Once PUBREL has left, the message must never be sent again, also after a crash.
        connection.broker.store_released(session, delivery, partial(release, connection))
    else:
        release(connection, delivery)


def release(connection: Any, delivery: Delivery) -> None:
    """Answer a PUBREC, for the first time or again."""
    connection.broker.counters.sent[Pubrel] += 1
    connection.output.write(PUBREL + delivery.packet_id.to_bytes(2, "big"))


# Of messages from the client


def pubrel(connection: Any, packet: Pubrel) -> None:
    """Complete a publish with QoS 2."""
    session, packet_id = connection.current_session(), packet.packet_id
    connection.receiving.pop(packet_id, None)
    if packet_id not in session.received:
        connection.answer(PUBCOMP, Pubcomp, packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    elif session.is_kept:
        # A new message with this packet id must not be taken for the old one, also after a crash.
        connection.broker.forget_received(session, packet_id, partial(_released, connection, session, packet_id))
    else:
        _released(connection, session, packet_id)


def _released(connection: Any, session: ClientSession, packet_id: int) -> None:
    session.received.pop(packet_id, None)
    connection.broker.counters.sent[Pubcomp] += 1
    connection.output.write(PUBCOMP + packet_id.to_bytes(2, "big"))
