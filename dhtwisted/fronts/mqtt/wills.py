"""Wills: what the server publishes for a client whose connection breaks (MQTT 5.0, section 3.1.2.5)."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec.structs import replace
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.publishing import Route, forwarded
from dhtwisted.fronts.mqtt.session import ClientSession, Will
from dhtwisted.wire.mqtt.packets import Connect
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import check_topic

log = Logger()

FULL = Refusal(ReasonCode.QUOTA_EXCEEDED, "the server keeps as many wills as it may (mqtt.wills, mqtt.will_bytes)")

NO_RIGHTS = Refusal(ReasonCode.NOT_AUTHORIZED, "the user or the token is not valid any more")


def read(packet: Connect) -> Will | None:
    """The will of a CONNECT.

    :raises InvalidPacket: its topic is no topic.
    """
    will = packet.will
    if will is None:
        return None
    try:
        check_topic(will.topic, 0)
    except ValueError as error:
        raise InvalidPacket(ReasonCode.TOPIC_NAME_INVALID, f"the topic of the will {error}") from None
    properties = will.properties
    message = Message(will.topic, will.payload, will.qos, will.retain, forwarded(properties))
    if properties is None:
        return Will(message)
    return Will(message, properties.will_delay_interval or 0, properties.message_expiry_interval)


def set_will(broker: Any, session: ClientSession, will: Will | None) -> Refusal | None:
    """Give a session the will of its new connection, in place of an older one.

    :returns: why it cannot be kept; the session then has none.
    """
    forget(broker, session)
    if will is None:
        return None
    settings = broker.server.settings.mqtt
    size = broker.will_size + will.message.size
    if 0 < settings.wills <= broker.will_count or 0 < settings.will_bytes < size:
        broker.counters.bounds["wills"] += 1
        return FULL
    broker.will_count += 1
    broker.will_size = size
    session.will = will
    return None


def forget(broker: Any, session: ClientSession) -> None:
    """Delete the will of a session, as a clean DISCONNECT and a return in time do ([MQTT-3.1.2-10], [MQTT-3.1.3-9])."""
    will, session.will = session.will, None
    if will is not None:
        broker.will_count -= 1
        broker.will_size -= will.message.size


def connection_broke(broker: Any, session: ClientSession) -> None:
    """Publish the will of a session, now or after its delay ([MQTT-3.1.2-8]). When the session ends earlier, it is published then."""
    will = session.will
    if will is None:
        return
    if will.delay and session.expiry:
        broker.timers.call(will.delay, partial(_delay_over, broker, session, will))
    else:
        _publish(broker, session)


def wait_again(broker: Any, session: ClientSession, waited: float) -> None:
    """After a restart of the server: publish the will of a session when the rest of its delay is over.

    :param waited: seconds since the connection ended.
    """
    will = session.will
    if will is not None:
        broker.timers.call(max(0.0, will.delay - waited), partial(_delay_over, broker, session, will))


def session_ends(broker: Any, session: ClientSession) -> None:
    """Publish a will that waits for its delay."""
    if session.will is not None:
        _publish(broker, session)


def _delay_over(broker: Any, session: ClientSession, will: Will) -> None:
    # The client may have come back, with another will or none.
    if session.will is will and session.connection is None:
        _publish(broker, session)
        broker.save_soon(session)


def _publish(broker: Any, session: ClientSession) -> None:
    will = session.will
    assert will is not None  # The callers have looked.
    forget(broker, session)
    message = replace(will.message, sender=session.key, expires=broker.now() + will.lifetime if will.lifetime else 0)
    principal = session.principal
    if principal is not None and not principal.is_valid:
        route = Route(refusal=NO_RIGHTS)
    else:
        route = broker.route(message.topic, principal, session.client_id)
    if route.refusal is not None:
        broker.counters.refused[route.refusal.reason_code] += 1
        log.info("a will was not published: {reason}", reason=route.refusal.text, client=session.client_id)
    if route.is_device and session.device is not None:
        outcomes = session.device.publish([message])
        if not isinstance(outcomes, list):
            run(_wait(outcomes), _published)
    if route.is_plain:
        broker.publish(message)


async def _wait(outcomes: object) -> None:
    await outcomes  # type: ignore[misc]  # It is an awaitable.


def _published(_: None, error: BaseException | None) -> None:
    if error is not None:
        log.failure("a will could not be published", failure=Failure(error))
