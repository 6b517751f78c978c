"""Reads what waits for a session out of the storage: for its client in portions, as it takes them, and for others when the session ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.core.coroutines import run
from dhtwisted.fronts.mqtt.acknowledging import release
from dhtwisted.fronts.mqtt.backlog import extend
from dhtwisted.fronts.mqtt.sending_again import may_have_again
from dhtwisted.model.mqtt import SENT

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.delivery import Delivery
    from dhtwisted.fronts.mqtt.session import ClientSession

PAUSE = 10
"""Seconds after which the end of a session is tried again whose messages could not be read."""


def catch_up(broker: Any, session: ClientSession) -> None:
    """Read the next portion of what waits for a session with a connection, and send it. If that is impossible, the connection ends.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    """
    backlog = session.outgoing.backlog
    if backlog is not None and not backlog.is_reading:
        backlog.is_reading = True
        run(_catch_up(broker, session), partial(_caught_up, broker, session, backlog))


async def _catch_up(broker: Any, session: ClientSession) -> None:
    outgoing = session.outgoing
    while (backlog := outgoing.backlog) is not None and outgoing.link is not None and not outgoing.queue:
        is_checked, portion = backlog.is_checked, backlog.portion
        found, is_last = await broker.store.read_queued(session, *portion)
        if outgoing.link is None or outgoing.backlog is not backlog:
            return
        for delivery in outgoing.take(portion, found, is_last):
            if delivery.state == SENT:
                is_forbidden = not may_have_again(broker, session, delivery)
            else:
                is_forbidden = is_checked and not session.hears(delivery.message.topic)
            if is_forbidden:
                _drop(broker, session, delivery)
            else:
                outgoing.queue_up(delivery)
        outgoing.pump()


def _drop(broker: Any, session: ClientSession, delivery: Delivery) -> None:
    """Drop a message that the client may not have any more; see :mod:`~dhtwisted.fronts.mqtt.sending_again`."""
    broker.counters.dropped["no_right"] += 1
    if delivery.state == SENT and delivery.qos == 2:
        session.outgoing.received(delivery.packet_id)
        broker.store_released(session, delivery, partial(release, session.connection))
    else:
        session.outgoing.drop(delivery)
        broker.complete(session, delivery)


def _caught_up(broker: Any, session: ClientSession, backlog: Any, _: None, error: BaseException | None) -> None:
    backlog.is_reading = False
    if error is not None:
        broker.store_failed(error)
        if session.connection is not None:
            session.connection.storage_failed()
    else:
        # The client may have another connection by now, which found that it is being read.
        session.send_more()


async def read_in_flight(broker: Any, session: ClientSession) -> None:
    """Read the content of what had left to the client before its connection ended, to send it again.

    :raises StorageError: it cannot be read.
    """
    unread = session.outgoing.unread()
    if unread:
        session.outgoing.reload(unread, await _read(broker.store, session, unread))


async def _read(store: Any, session: ClientSession, numbers: Sequence[int]) -> dict[int, Delivery]:
    """:returns: number -> delivery, without those that are not there."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        extend(ranges, number)
    found = {}
    for first, last in ranges:
        is_last = False
        while not is_last and first <= last:
            page, is_last = await store.read_queued(session, first, last)
            found.update({delivery.number: delivery for delivery in page})
            first = page[-1].number + 1 if page else last + 1
    return found


# When a session ends


def has_unread_shared(session: ClientSession) -> bool:
    """Whether a session without a connection has messages of shared subscriptions in the storage alone, which others are to get."""
    outgoing = session.outgoing
    is_waiting = outgoing.backlog is not None and bool(outgoing.backlog.shared)
    return is_waiting or any(delivery.share and delivery.is_unread for delivery in outgoing.pending.values())


async def read_shared(broker: Any, session: ClientSession) -> None:
    """Read all that waits for a session that is about to end.

    :raises StorageError: it cannot be read.
    """
    outgoing = session.outgoing
    await read_in_flight(broker, session)
    while (backlog := outgoing.backlog) is not None and outgoing.link is None:
        portion = backlog.portion
        outgoing.take(portion, *await broker.store.read_queued(session, *portion))


def expire(broker: Any, session: ClientSession) -> None:
    """End a session without a connection, when it is known what it leaves to others."""
    if not has_unread_shared(session):
        broker.end_session(session)
    else:
        run(read_shared(broker, session), partial(_expired, broker, session, session.ended_at))


def _expired(broker: Any, session: ClientSession, ended_at: float, _: None, error: BaseException | None) -> None:
    if session.connection is not None or session.ended_at != ended_at or session.is_over:
        return
    if error is None:
        expire(broker, session)
    else:
        broker.store_failed(error)
        session.timer = broker.timers.call(PAUSE, partial(expire, broker, session))
