"""What clients publish: checked, given to whom it concerns, stored as far as it must be, and acknowledged in its order."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.errors import InvalidPacket, StorageError
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.doubts import doubt
from dhtwisted.fronts.mqtt.interfaces import Outcome, Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.sending import PUBACK, PUBREC
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.kit.waiter import DONE
from dhtwisted.wire.mqtt.packets import Properties, Puback, Publish, Pubrec
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import DEVICEHIVE, check_topic

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.routing import Plan
    from dhtwisted.fronts.mqtt.session import ClientSession

MOST_ROUTES = 256
"""Topics of which a connection remembers what its client may do."""

UNAVAILABLE = Refusal(ReasonCode.UNSPECIFIED_ERROR, "the storage does not answer; send the message again later", is_temporary=True)
LATE = Refusal(
    ReasonCode.UNSPECIFIED_ERROR,
    f"the storage has not answered within {PATIENCE} s; the message may be stored nevertheless",
    is_temporary=True,
)
NO_PLAIN = Refusal(
    ReasonCode.NOT_AUTHORIZED,
    "the topic is neither below dh/ nor in mqtt.map; for others the server needs mqtt.plain_topics, and the client a rule of mqtt.access",
)


class Route(Struct, gc=False, frozen=True):
    """What may happen with a topic of one client. It is kept until rights change.

    :ivar is_device: it goes to the topics of DeviceHive: it is below ``dh/``, or mapped.
    :ivar is_plain: it goes to the plain router.
    :ivar refusal: why neither happens.
    """

    is_device: bool = False
    is_plain: bool = False
    refusal: Refusal | None = None


class Batch:
    """The publishes that are handled together.

    :ivar packets: those to be answered, in their order.
    :ivar outcomes: what became of each; a number is the reason code of an earlier PUBREC for the same packet id.
    :ivar device: places of those for the topics of DeviceHive.
    :ivar plans: for the plain router, with the place of each.
    :ivar violation: what the client did behind them that ends its connection; ``None`` for nothing.
    :ivar is_late: whether the client got an error, since their deadline has passed.
    """

    __slots__ = ("changes", "device", "is_late", "messages", "outcomes", "packets", "plans", "violation")

    def __init__(self) -> None:
        self.packets: list[Publish] = []
        self.messages: list[Message | Publish | None] = []
        self.outcomes: list[Outcome | int] = []
        self.device: list[int] = []
        self.plans: list[tuple[int, Plan]] = []
        self.changes = Changes()
        self.violation: InvalidPacket | None = None
        self.is_late = False


def receive(connection: Any, packets: Sequence[Publish]) -> Coroutine[Any, Any, None] | None:
    """Handle publishes that came together.

    :returns: a coroutine if something has to wait.
    :raises InvalidPacket: one of them breaks the protocol. Those before it are handled, though not answered if they have to wait.
    """
    session = connection.session
    assert session is not None  # The connection has looked.
    connection.broker.counters.received[Publish] += len(packets)
    if len(packets) == 1 and _is_simple(connection, packets[0]):
        return _receive_simple(connection, session, packets[0])
    if _are_events(connection, packets):
        return _receive_events(connection, session, packets)
    batch = Batch()
    try:
        for packet in packets:
            _take(connection, session, batch, packet)
    except InvalidPacket as error:
        batch.violation = error
    return _conclude(connection, session, batch)


def _is_simple(connection: Any, packet: Publish) -> bool:
    """Whether a publish needs no batch: QoS 0 or 1, without properties, on a plain topic of which the client may do this."""
    if packet.qos == 2 or packet.properties is not None or (packet.qos and len(connection.receiving) >= connection.most_receiving):
        return False
    route = connection.routes.get(packet.topic)
    return route is not None and route.is_plain and not route.is_device


def _receive_simple(connection: Any, session: ClientSession, packet: Publish) -> Coroutine[Any, Any, None] | None:
    """As :func:`receive`, for less: many clients send one publish at a time."""
    broker, changes = connection.broker, Changes()
    message = Message(packet.topic, packet.payload, packet.qos, packet.retain, None, 0.0, session.key)
    plan = broker.plan(message, changes)
    if changes or isinstance(plan, Refusal):
        batch = Batch()
        batch.changes = changes
        if isinstance(plan, Refusal):
            _add(batch, packet, message, plan)
        else:
            batch.plans.append((0, plan))
            _add(batch, packet, message, None)
        return _conclude(connection, session, batch)
    broker.deliver(plan)
    if packet.qos:
        if connection.is_v5 and not plan.has_receivers:
            connection.acknowledge(packet, ReasonCode.NO_MATCHING_SUBSCRIBERS)
        else:
            broker.counters.sent[Puback] += 1
            connection.output.write(PUBACK + packet.packet_id.to_bytes(2, "big"))
    return None


def _are_events(connection: Any, packets: Sequence[Publish]) -> bool:
    """Whether publishes need no batch: QoS 0 or 1, without properties, all for the topics of DeviceHive and for no others."""
    topic, routes = "", connection.routes
    for packet in packets:
        if packet.qos == 2 or packet.properties is not None:
            return False
        if packet.topic != topic:
            topic = packet.topic
            route = routes.get(topic)
            if route is None or route.is_plain or not route.is_device or route.refusal is not None:
                return False
    return len(packets) + len(connection.receiving) <= connection.most_receiving


def _receive_events(connection: Any, session: ClientSession, packets: Sequence[Publish]) -> Coroutine[Any, Any, None] | None:
    """As :func:`receive`, for less: devices send many."""
    assert session.device is not None  # Routes lead there only if there is one.
    outcomes: Any = run_for_client(connection.client, session.device.publish, packets)
    if type(outcomes) is not list:
        return _answer_events_later(connection, session, packets, outcomes)
    _answer_events(connection, session, packets, outcomes)
    return None


async def _answer_events_later(
    connection: Any, session: ClientSession, packets: Sequence[Publish], outcomes: Awaitable[list[Outcome]]
) -> None:
    connection.waiting = batch = _batch_of(packets, [None] * len(packets))
    found = await outcomes
    if not batch.is_late:
        _answer_events(connection, session, packets, found)


def _batch_of(packets: Sequence[Publish], outcomes: Sequence[Outcome]) -> Batch:
    batch = Batch()
    batch.packets, batch.messages, batch.outcomes = list(packets), list(packets), list(outcomes)
    return batch


def _answer_events(connection: Any, session: ClientSession, packets: Sequence[Publish], outcomes: Sequence[Outcome]) -> None:
    if any(outcomes):
        _finish(connection, session, _batch_of(packets, outcomes))
        return
    answers = [PUBACK + packet.packet_id.to_bytes(2, "big") for packet in packets if packet.qos]
    if answers:
        connection.broker.counters.sent[Puback] += len(answers)
        connection.output.write(b"".join(answers))


def _conclude(connection: Any, session: ClientSession, batch: Batch) -> Coroutine[Any, Any, None] | None:
    """Store what must be stored, deliver and answer.

    :returns: as :func:`receive`.
    """
    waiting = None
    if batch.device:
        outcomes = run_for_client(connection.client, _give_to_device, session, batch)
        if type(outcomes) is list:
            _take_outcomes(batch, outcomes)
        else:
            return _finish_later(connection, session, batch, outcomes)
    if _note_received(connection, session, batch):
        stored = connection.broker.commit(batch.changes)
        if stored is DONE:
            _finish(connection, session, batch)
        else:
            waiting = _finish_stored(connection, session, batch, stored)
    else:
        _finish(connection, session, batch)
    if batch.violation is not None and waiting is None:
        raise batch.violation
    return waiting


def _take(connection: Any, session: ClientSession, batch: Batch, packet: Publish) -> None:
    """Check one publish and find out to whom it goes."""
    qos = packet.qos
    if packet.properties is not None or not packet.topic:
        topic, properties, expires = _read(connection, packet)
    else:
        topic, properties, expires = packet.topic, None, 0.0
    if qos == 2:
        if len(connection.receiving) >= connection.most_receiving and packet.packet_id not in connection.receiving:
            raise _too_many()
        earlier = session.received.get(packet.packet_id)
        if earlier is not None:
            # It is the same message again ([MQTT-4.3.3-10]).
            connection.note_receiving(packet.packet_id)
            _add(batch, packet, None, earlier)
            return
    if qos and len(batch.packets) + len(connection.receiving) >= connection.most_receiving and _is_above(connection, batch):
        raise _too_many()
    route = connection.routes.get(topic) or find_route(connection, topic)
    if qos == 2:
        connection.note_receiving(packet.packet_id)
        session.note_received(packet.packet_id, 0)
    message = Message(topic, packet.payload, qos, packet.retain, properties, expires, session.key)
    place = len(batch.packets)
    outcome: Outcome = route.refusal
    if route.is_plain:
        plan = connection.broker.plan(message, batch.changes)
        if isinstance(plan, Refusal):
            outcome = plan
        else:
            batch.plans.append((place, plan))
    if route.is_device:
        batch.device.append(place)
    _add(batch, packet, message, outcome)


def _note_received(connection: Any, session: ClientSession, batch: Batch) -> bool:
    """Have the packet ids of accepted publishes with QoS 2 stored, if the session is kept.

    :returns: whether anything of the batch is to be stored.
    """
    if session.is_kept:
        for packet, message, outcome in zip(batch.packets, batch.messages, batch.outcomes, strict=True):
            if packet.qos == 2 and message is not None and outcome is None:
                connection.broker.store.note_received(batch.changes, session, packet.packet_id)
    return bool(batch.changes)


def _add(batch: Batch, packet: Publish, message: Message | None, outcome: Outcome | int) -> None:
    batch.packets.append(packet)
    batch.messages.append(message)
    batch.outcomes.append(outcome)


def _is_above(connection: Any, batch: Batch) -> bool:
    """Whether the client has as many under way as it may have ([MQTT-3.3.4-7]). Those of a batch came before any answer to one of them."""
    ones = sum(packet.qos == 1 for packet in batch.packets)
    return ones + len(connection.receiving) >= connection.most_receiving


def _too_many() -> InvalidPacket:
    return InvalidPacket(ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, "more publishes are under way than the receive maximum of CONNACK")


def _read(connection: Any, packet: Publish) -> tuple[str, Properties | None, float]:
    """The topic, what is forwarded of the properties, and when the message expires."""
    topic, properties = packet.topic, packet.properties or Properties()
    alias = properties.topic_alias
    if alias is not None:
        topic = _resolve(connection, topic, alias)
    elif not topic:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "PUBLISH has neither a topic nor a topic alias")
    expires = 0.0
    if properties.message_expiry_interval is not None:
        expires = connection.broker.now() + properties.message_expiry_interval
    return topic, forwarded(properties), expires


def forwarded(properties: Properties | None) -> Properties | None:
    """The properties of a publish or a will that go on to subscribers ([MQTT-3.3.2-4], -15, -16, -17, -18, -20)."""
    if properties is None:
        return None
    kept = Properties(
        payload_format_indicator=properties.payload_format_indicator,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation_data,
        user_property=properties.user_property,
    )
    return None if kept == NOTHING else kept


NOTHING = Properties()


def _resolve(connection: Any, topic: str, alias: int) -> str:
    """[MQTT-3.3.2-8], [MQTT-3.3.2-9], and the wrong aliases of section 3.3.2.3.4."""
    if not 0 < alias <= connection.broker.server.settings.mqtt.topic_alias_maximum:
        raise InvalidPacket(ReasonCode.TOPIC_ALIAS_INVALID, "the topic alias is 0 or above the maximum of CONNACK")
    if connection.topics is None:
        connection.topics = {}
    if topic:
        connection.topics[alias] = topic
    elif alias not in connection.topics:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "the topic alias was not set on this connection")
    return connection.topics[alias]


def find_route(connection: Any, topic: str) -> Route:
    """Find out what may happen with a topic, and remember it."""
    broker = connection.broker
    try:
        check_topic(topic, broker.server.settings.mqtt.topic_levels)
    except ValueError as error:
        route = Route(refusal=Refusal(ReasonCode.TOPIC_NAME_INVALID, f"the topic {error}"))
    else:
        route = broker.route(topic, connection.principal, "" if connection.session is None else connection.session.client_id)
    if connection.routes is UNUSED or len(connection.routes) >= MOST_ROUTES:
        connection.routes = {}
    connection.routes[topic] = route
    return route


def is_below_dh(topic: str) -> bool:
    """Whether a topic belongs to DeviceHive alone."""
    return topic.startswith(DEVICEHIVE) or topic == DEVICEHIVE[:-1]


# What became of them


async def _finish_later(connection: Any, session: ClientSession, batch: Batch, outcomes: Awaitable[list[Outcome]]) -> None:
    """Wait for what becomes of the messages for the topics of DeviceHive, then store the rest."""
    connection.waiting = batch
    _take_outcomes(batch, await outcomes)
    if batch.is_late:
        # What has not begun yet never begins.
        _drop_plans(connection, batch)
    elif _note_received(connection, session, batch):
        await _store(connection, session, batch, connection.broker.commit(batch.changes))
    _finish_waiting(connection, session, batch)


async def _finish_stored(connection: Any, session: ClientSession, batch: Batch, stored: Awaitable[None]) -> None:
    connection.waiting = batch
    await _store(connection, session, batch, stored)
    _finish_waiting(connection, session, batch)


def _finish_waiting(connection: Any, session: ClientSession, batch: Batch) -> None:
    if batch.is_late:
        _finish_late(connection, session, batch)
        return
    _finish(connection, session, batch)
    if batch.violation is not None:
        raise batch.violation


def expire(connection: Any, batch: Batch) -> None:
    """Answer publishes whose deadline has passed. Those that have begun go on, as on every other front."""
    batch.is_late = True
    session = connection.session
    outcomes = [LATE if outcome is None else outcome for outcome in batch.outcomes]
    _answer(connection, session, batch, outcomes)
    if batch.violation is not None:
        connection.end(batch.violation.reason_code, batch.violation.text)


def _finish_late(connection: Any, session: ClientSession, batch: Batch) -> None:
    """Deliver what was stored after its client got an error. The packet ids of QoS 2 are free since then, also after a crash."""
    broker, changes = connection.broker, Changes()
    for _, plan in batch.plans:
        broker.deliver(plan)
    if session.is_kept and not session.is_over:
        for packet, outcome in zip(batch.packets, batch.outcomes, strict=True):
            if packet.qos == 2 and outcome is None and packet.packet_id not in session.received:
                broker.store.note_released(changes, session, packet.packet_id)
        broker.commit_then(changes)


def _give_to_device(session: ClientSession, batch: Batch) -> Any:
    """Give the messages for the topics of DeviceHive to them."""
    device = session.device
    assert device is not None  # Routes lead there only if there is one.
    packet_ids: Sequence[int] = ()
    if session.is_kept and any(batch.packets[place].qos == 2 for place in batch.device):
        packet_ids = [batch.packets[place].packet_id if batch.packets[place].qos == 2 else 0 for place in batch.device]
    return device.publish([batch.messages[place] for place in batch.device], packet_ids)  # type: ignore[misc]  # They are messages.


def _take_outcomes(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    planned = {place for place, _ in batch.plans}
    for place, outcome in zip(batch.device, outcomes, strict=True):
        # What is mapped and plain is refused only if neither wants it.
        if outcome is None or place not in planned:
            batch.outcomes[place] = outcome


async def _store(connection: Any, session: ClientSession, batch: Batch, stored: Awaitable[None]) -> None:
    try:
        await stored
    except StorageError as error:
        connection.broker.store_failed(error)
        for place, _ in batch.plans:
            batch.outcomes[place] = UNAVAILABLE
        _drop_plans(connection, batch)


def _drop_plans(connection: Any, batch: Batch) -> None:
    for _, plan in batch.plans:
        connection.broker.drop(plan)
    batch.plans.clear()


def _finish(connection: Any, session: ClientSession, batch: Batch) -> None:
    """Deliver, and answer in the order of the publishes ([MQTT-4.6.0-2], [MQTT-4.6.0-3])."""
    for _, plan in batch.plans:
        connection.broker.deliver(plan)
    _answer(connection, session, batch, batch.outcomes)


def _answer(connection: Any, session: ClientSession, batch: Batch, outcomes: Sequence[Outcome | int]) -> None:
    answers, sent = [], connection.broker.counters.sent
    has_receivers: dict[int, bool] = {}
    if connection.is_v5:
        has_receivers = {place: plan.has_receivers or place in batch.device for place, plan in batch.plans}
    for place, (packet, outcome) in enumerate(zip(batch.packets, outcomes, strict=True)):
        if outcome is None and (packet.qos == 0 or has_receivers.get(place, True)):
            if packet.qos == 1:
                sent[Puback] += 1
                answers.append(PUBACK + packet.packet_id.to_bytes(2, "big"))
            elif packet.qos:
                sent[Pubrec] += 1
                answers.append(PUBREC + packet.packet_id.to_bytes(2, "big"))
            continue
        if answers:
            connection.output.write(b"".join(answers))
            answers = []
        if type(outcome) is Refusal:
            if not _refuse(connection, session, batch, place, outcome):
                return
        elif packet.qos:
            connection.acknowledge(packet, ReasonCode.NO_MATCHING_SUBSCRIBERS if outcome is None else outcome)  # type: ignore[arg-type]
    if answers:
        connection.output.write(b"".join(answers))


def _free_refused(session: ClientSession, batch: Batch) -> None:
    """Free the packet ids of all publishes of a batch that were refused: when the client sends them again, they are not those that are
    stored already.
    """
    for place, (packet, outcome) in enumerate(zip(batch.packets, batch.outcomes, strict=True)):
        if packet.qos == 2 and type(outcome) is Refusal:
            session.received.pop(packet.packet_id, None)
            if outcome.is_temporary and place in batch.device:
                doubt(session, packet.packet_id, is_over=False)


def _refuse(connection: Any, session: ClientSession, batch: Batch, place: int, refusal: Refusal) -> bool:
    """Answer a publish that was refused.

    :returns: false if the connection has to end instead, so that the client sends its messages again.
    """
    broker, packet, message = connection.broker, batch.packets[place], batch.messages[place]
    broker.counters.refused[refusal.reason_code] += 1
    if packet.qos == 2:
        # The packet id is free again, whether the client has heard it or not (4.3.3).
        session.received.pop(packet.packet_id, None)
        connection.receiving.pop(packet.packet_id, None)
        if refusal.is_temporary and place in batch.device:
            doubt(session, packet.packet_id, is_over=connection.is_v5)
    if packet.qos and connection.is_v5:
        connection.acknowledge(packet, refusal.reason_code, refusal.text)
        return True
    if packet.qos and refusal.is_temporary:
        _free_refused(session, batch)
        connection.end(ReasonCode.SERVER_BUSY, refusal.text)
        return False
    broker.log_refusal(connection, packet.topic if message is None else message.topic, refusal)
    if not connection.is_v5 and session.device is not None and message is not None:
        session.device.refused(message, refusal)
    if packet.qos == 2:
        # MQTT 3.x cannot refuse: the exchange goes on as if the message was accepted.
        session.note_received(packet.packet_id, 0)
        connection.note_receiving(packet.packet_id)
    if packet.qos:
        connection.acknowledge(packet, ReasonCode.SUCCESS)
    return True
