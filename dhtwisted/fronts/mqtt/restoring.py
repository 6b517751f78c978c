"""After a restart: takes sessions, what waits for them, and retained messages out of the storage, before the first client comes; with
several nodes a session when its client comes.

A session that was connected when the server crashed counts as disconnected from now on. Records that belong to no session, or to one of a
user who was deleted, are removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from dhtwisted.core.stored_pages import EntityPages
from dhtwisted.fronts.mqtt import wills
from dhtwisted.fronts.mqtt.catching_up import expire
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.sharing import share_of
from dhtwisted.fronts.mqtt.stored import (
    restored_claims,
    restored_delivery,
    restored_retained,
    restored_subscription,
    restored_will,
)
from dhtwisted.model import DeviceToken, Entity, EntityQuery, MqttQueued, MqttReceived, MqttRetained, MqttSession, User
from dhtwisted.model.mqtt import ANONYMOUS, RELEASED, session_key
from dhtwisted.wire.mqtt.topics import parse_filter

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.session import ClientSession, Key

PORTION = 500
"""Changes in one commit."""


class _Restored:
    """A session on its way back."""

    __slots__ = ("record", "session")

    def __init__(self, record: MqttSession, session: ClientSession) -> None:
        self.record = record
        self.session = session


class _Removals:
    """Removes records in portions."""

    def __init__(self, broker: MqttBroker) -> None:
        self._broker = broker
        self._changes = Changes()

    async def add(self, record: Entity) -> None:
        """Remove a record, at once or with later ones."""
        self._changes.deletes.append((type(record), record.key))
        if len(self._changes.deletes) >= PORTION:
            await self.finish()

    async def finish(self) -> None:
        """Remove what is left."""
        changes, self._changes = self._changes, Changes()
        await self._broker.commit(changes)


async def restore(broker: MqttBroker, storage: Any) -> None:
    """Take everything out of the storage.

    :param broker: a new one, whose store keeps its records in ``storage``.
    :param storage: an opened ``IEntityStorage``.
    :raises StorageError: it cannot be read now.
    """
    removals = _Removals(broker)
    await _restore_retained(broker, storage, removals)
    sessions = await _restore_sessions(broker, storage, removals)
    async for queued in _all(storage, MqttQueued):
        restored = sessions.get(queued.session)
        if restored is None or not await _restore_queued(restored, queued):
            await removals.add(queued)
    async for received in _all(storage, MqttReceived):
        restored = sessions.get(received.session)
        if restored is None:
            await removals.add(received)
        else:
            restored.session.note_received(received.packet_id, received.reason_code)
    await removals.finish()
    await _begin_to_wait(broker, list(sessions.values()))


async def load(broker: MqttBroker, storage: Any, key: Key) -> ClientSession | None:
    """Take one session out of the storage, which no node has. It waits for its client, and its will for its delay.

    :returns: ``None`` if there is none any more: its time is over, or its user was deleted.
    :raises StorageError: it cannot be read now; it is not there then.
    """
    record = await storage.get(MqttSession, session_key(*key))
    if record is None:
        return None
    # The rights of its user are then found out without waiting, for its will too.
    is_over = await is_of_nobody(broker, record)
    session = await _restore_session(broker, record)
    try:
        restored = _Restored(record, session)
        async for queued in _all(storage, MqttQueued, record.id):
            if not await _restore_queued(restored, queued):
                await broker.commit(_removal(queued))
        async for received in _all(storage, MqttReceived, record.id):
            session.note_received(received.packet_id, received.reason_code)
    except BaseException:
        broker.forget_session(session)
        raise
    waited = _wait_for_client(broker, restored)
    if is_over:
        wills.forget(broker, session)
    if is_over or waited >= session.expiry:
        broker.end_session(session)
        return None
    if session.will is not None and session.will.delay <= waited:
        wills.session_ends(broker, session)
    return session


def _removal(record: Entity) -> Changes:
    changes = Changes()
    changes.deletes.append((type(record), record.key))
    return changes


async def _all(storage: Any, kind: type[Entity], group: str = "") -> AsyncIterator[Any]:
    query = EntityQuery(equal={kind.MANY: group}) if group else EntityQuery()
    async for page in EntityPages(storage, kind).walk(query):
        for record in page:
            yield record


async def _restore_retained(broker: MqttBroker, storage: Any, removals: _Removals) -> None:
    now = int(broker.now() * 1000)
    async for record in _all(storage, MqttRetained):
        if record.expires is not None and record.expires <= now:
            await removals.add(record)
        else:
            broker.retained.put(restored_retained(record))


async def _restore_sessions(broker: MqttBroker, storage: Any, removals: _Removals) -> dict[str, _Restored]:
    """:returns: key of the record -> the session."""
    sessions = {}
    async for record in _all(storage, MqttSession):
        if await is_of_nobody(broker, record):
            await removals.add(record)
        else:
            sessions[record.id] = _Restored(record, await _restore_session(broker, record))
    return sessions


async def is_of_nobody(broker: MqttBroker, record: MqttSession) -> bool:
    """Whether the user of a session was deleted."""
    return record.user_id != ANONYMOUS and await broker.entities.get(User, record.user_id) is None


async def _restore_session(broker: MqttBroker, record: MqttSession) -> ClientSession:
    session = broker.begin_session((record.user_id, record.client_id), record.device_state)
    session.version, session.created, session.expiry = record.version, record.created, record.expiry
    session.is_kept = session.is_stored = True
    session.outgoing.go_on_behind(0, record.last_packet_id)
    claims = restored_claims(record)
    if claims is not None:
        if claims.device_id is not None:
            # The rights of the principal are computed without waiting, from what is cached.
            await broker.entities.get(DeviceToken, claims.token_id)
        session.principal = broker.server.authentication.by_claims(claims)
    for kept in record.subscriptions:
        subscribed = session.filters[kept.filter] = restored_subscription(session, kept)
        subscribed.is_plain = kept.is_plain and broker.server.settings.mqtt.plain_topics
        if subscribed.is_plain:
            broker.tree.put(parse_filter(kept.filter, 0), session, subscribed)
    if record.will is not None:
        wills.set_will(broker, session, restored_will(record.will))
    return session


async def _restore_queued(restored: _Restored, record: MqttQueued) -> bool:
    """Take a message that waits.

    :returns: whether its record is still needed. An event of ``dh/`` that cannot be read any more is not sent again.
    """
    delivery = restored_delivery(record)
    if record.message and record.state != RELEASED:
        device = restored.session.device
        recalled = None if device is None else await device.recall(record)
        if recalled is None:
            return False
        delivery.message, delivery.token = recalled
    session = restored.session
    delivery.share = share_of(session, delivery.message.topic)
    # The session was connected, so the message may have left ([MQTT-3.3.1-1]). It is not stored with each message, so the last of these may
    # have a newer packet id.
    session.outgoing.restore(delivery, maybe_sent=restored.record.ended is None)
    return True


async def _begin_to_wait(broker: MqttBroker, sessions: list[_Restored]) -> None:
    """Begin the time after which each session ends, and its will is published."""
    for start in range(0, len(sessions), PORTION):
        changes = Changes()
        for restored in sessions[start : start + PORTION]:
            _wait_for_client(broker, restored)
            if restored.record.ended is None:
                broker.store.note_session(changes, restored.session)
        await broker.commit(changes)


def _wait_for_client(broker: MqttBroker, restored: _Restored) -> float:
    """:returns: seconds for which the session has had no connection."""
    record, session = restored.record, restored.session
    session.ended_at = broker.now() if record.ended is None else record.ended / 1000
    return wait_for_client(broker, session)


def wait_for_client(broker: MqttBroker, session: ClientSession) -> float:
    """Begin the rest of the time after which a session without a connection ends, and its will is published.

    :returns: seconds for which it has had no connection.
    """
    waited = max(0.0, broker.now() - session.ended_at)
    wills.wait_again(broker, session, waited)
    session.timer = broker.timers.call(max(0.0, session.expiry - waited), partial(expire, broker, session))
    return waited
