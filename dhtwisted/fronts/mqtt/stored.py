"""What the storage keeps of MQTT: sessions and retained messages as records, and back after a restart.

All changes of a batch of packets are one commit, and batches that come while one is under way share the next. A queued message with QoS 1
costs one insert, and one deletion when it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import json
from zope.interface import implementer

from dhtwisted.core.stored_pages import EntityPages
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.interfaces import IMqttStore
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.session import ClientSession, Subscribed, Will
from dhtwisted.kit.bulk_changes import bulk_changes
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import Claims, Entity, EntityQuery, MqttQueued, MqttReceived, MqttRetained, MqttSession
from dhtwisted.model.entity import member_key
from dhtwisted.model.mqtt import ANONYMOUS, RELEASED, MqttSubscription, MqttWill
from dhtwisted.wire.mqtt.body import Body
from dhtwisted.wire.mqtt.packets import Properties, Subscription
from dhtwisted.wire.mqtt.properties import encode_properties, read_properties

PAGE, PAGE_SIZE = 100, 256 * 1024
"""Messages that wait for a client are read in portions of so many, or so many bytes."""

_encode_claims = json.Encoder(order="deterministic").encode
_decode_claims = json.Decoder(Claims).decode


@implementer(IMqttStore)
class MqttStore:
    """Keeps everything in an ``IEntityStorage``.

    :param storage: the opened storage.
    :param now: gives seconds of the clock.
    """

    def __init__(self, storage: Any, now: Callable[[], float]) -> None:
        self._storage = storage
        self._changes = bulk_changes(storage)
        self._now = now

    def commit(self, changes: Changes) -> Any:
        """See :meth:`IMqttStore.commit() <dhtwisted.fronts.mqtt.interfaces.IMqttStore.commit>`."""
        if not changes:
            return DONE
        removed = dict.fromkeys(changes.deletes)
        # Of several records with one key the last counts.
        put = {(type(record), record.key): record for record in changes.puts}
        return self._changes.change_many([record for key, record in put.items() if key not in removed], list(removed))

    async def read_queued(self, session: ClientSession, first: int, last: int) -> tuple[list[Delivery], bool]:
        """Read deliveries of a session."""
        key = session.record_key
        query = EntityQuery(equal={MqttQueued.MANY: key}, after=(member_key(key, first - 1),), take=last + 1 - first)
        page, is_last = await EntityPages(self._storage, MqttQueued, page=PAGE).read(query, PAGE_SIZE)
        found = [restored_delivery(record) for record in page if record.number <= last]  # type: ignore[arg-type, attr-defined]
        return found, is_last or len(found) < len(page)

    async def read_received(self, session: ClientSession) -> dict[int, int]:
        """Read the packet ids of a session."""
        found: dict[int, int] = {}
        async for page in EntityPages(self._storage, MqttReceived).walk(EntityQuery(equal={MqttReceived.MANY: session.record_key})):
            found |= {record.packet_id: record.reason_code for record in page}  # type: ignore[attr-defined]
        return found

    def note_session(self, changes: Changes, session: ClientSession) -> None:
        """Keep a session as it is now."""
        principal = session.principal
        record = MqttSession(
            id=session.record_key,
            user_id=session.key[0],
            client_id=session.key[1],
            created=session.created,
            version=session.version,
            expiry=session.expiry,
            ended=int(session.ended_at * 1000) if session.ended_at else None,
            subscriptions=tuple(map(_subscription, session.filters.values())),
            will=None if session.will is None else _will(session.will),
            claims=b"" if principal is None else _encode_claims(principal.claims),
            device_state=b"" if session.device is None else session.device.state(),
            last_packet_id=session.outgoing.last_id,
        )
        _put(changes, record)

    def note_session_ended(self, changes: Changes, session: ClientSession) -> None:
        """Forget a session and all that belongs to it."""
        key = session.record_key
        _remove(changes, MqttSession, key)
        for number in session.outgoing.numbers():
            _remove(changes, MqttQueued, member_key(key, number))
        for packet_id in session.received:
            _remove(changes, MqttReceived, member_key(key, packet_id))

    def note_queued(self, changes: Changes, session: ClientSession, delivery: Delivery, record: tuple[str, str, int] | None = None) -> None:
        """Keep a delivery as it is now. Only PUBREL follows a PUBREC: then its content is not needed any more."""
        message, kind = delivery.message, record or ("", "", 0)
        has_content = record is None and delivery.state != RELEASED
        queued = MqttQueued.of(
            session.record_key,
            delivery.number,
            topic=message.topic,
            qos=delivery.qos,
            packet_id=delivery.packet_id,
            state=delivery.state,
            retain=delivery.retain,
            payload=message.payload if has_content else b"",
            properties=_encoded(message.properties) if has_content else b"",
            identifiers=delivery.identifiers,
            expires=_milliseconds(message.expires),
            message=kind[0],
            device_id=kind[1],
            message_id=kind[2],
        )
        _put(changes, queued)

    def note_acknowledged(self, changes: Changes, session: ClientSession, delivery: Delivery) -> None:
        """Forget a delivery."""
        _remove(changes, MqttQueued, member_key(session.record_key, delivery.number))

    def note_received(self, changes: Changes, session: ClientSession, packet_id: int) -> None:
        """Keep the packet id of an accepted publish with QoS 2."""
        _put(changes, MqttReceived.of(session.record_key, packet_id, session.received.get(packet_id, 0)))

    def note_released(self, changes: Changes, session: ClientSession, packet_id: int) -> None:
        """Forget such a packet id."""
        _remove(changes, MqttReceived, member_key(session.record_key, packet_id))

    def note_retained(self, changes: Changes, message: Message) -> None:
        """Keep a retained message; without a payload, forget the one of its topic."""
        if not message.payload:
            _remove(changes, MqttRetained, message.topic)
            return
        user_id, client_id = message.sender or (ANONYMOUS, "")
        record = MqttRetained(
            topic=message.topic,
            payload=message.payload,
            qos=message.qos,
            published=int(self._now() * 1000),
            user_id=user_id,
            client_id=client_id,
            properties=_encoded(message.properties),
            expires=_milliseconds(message.expires),
        )
        _put(changes, record)


def _put(changes: Changes, record: Entity) -> None:
    """Note a record. One with its key was perhaps to be deleted, such as a packet id that is used again."""
    key = (type(record), record.key)
    if changes.deletes and key in changes.deletes:
        changes.deletes.remove(key)
    changes.puts.append(record)


def _remove(changes: Changes, kind: type[Entity], key: str) -> None:
    changes.deletes.append((kind, key))


def _subscription(subscribed: Subscribed) -> MqttSubscription:
    options = subscribed.options
    return MqttSubscription(
        options.filter,
        options.qos,
        options.no_local,
        options.retain_as_published,
        options.retain_handling,
        subscribed.identifier,
        subscribed.is_plain,
        subscribed.is_device,
    )


def _will(will: Will) -> MqttWill:
    message = will.message
    return MqttWill(
        message.topic, message.payload, message.qos, message.retain, _encoded(message.properties), will.delay, will.lifetime or None
    )


def _encoded(properties: Properties | None) -> bytes:
    return b"" if properties is None else encode_properties(properties)


def _milliseconds(seconds: float) -> int | None:
    return int(seconds * 1000) if seconds else None


# And back


def restored_retained(record: MqttRetained) -> Message:
    """The message of a record."""
    return Message(
        record.topic,
        record.payload,
        record.qos,
        True,
        _decoded(record.properties),
        _seconds(record.expires),
        (record.user_id, record.client_id) if record.client_id else None,
    )


def restored_delivery(record: MqttQueued) -> Delivery:
    """The delivery of a record. Of a reference to a stored message it has no payload."""
    message = Message(record.topic, record.payload, record.qos, record.retain, _decoded(record.properties), _seconds(record.expires))
    return Delivery(
        message, record.qos, record.retain, record.identifiers, record.packet_id, record.state, record.number, size=message.size
    )


def restored_will(record: MqttWill) -> Will:
    """The will of a record."""
    message = Message(record.topic, record.payload, record.qos, record.retain, _decoded(record.properties))
    return Will(message, record.delay, record.expiry)


def restored_subscription(session: ClientSession, record: MqttSubscription) -> Subscribed:
    """The subscription of a record."""
    options = Subscription(record.filter, record.qos, record.no_local, record.retain_as_published, record.retain_handling)
    return Subscribed(session, options, record.identifier, record.is_plain, record.is_device)


def restored_claims(record: MqttSession) -> Claims | None:
    """The claims of a record; ``None`` for nobody."""
    return _decode_claims(record.claims) if record.claims else None


def _decoded(properties: bytes) -> Properties | None:
    return read_properties(Body(properties, 0, len(properties)), "PUBLISH") if properties else None


def _seconds(milliseconds: int | None) -> float:
    return 0 if milliseconds is None else milliseconds / 1000
