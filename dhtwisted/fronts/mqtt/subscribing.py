"""SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0, sections 3.8 to 3.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from dhtwisted.errors import InvalidPacket, StorageError
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.publishing import is_below_dh
from dhtwisted.fronts.mqtt.session import ClientSession, Subscribed
from dhtwisted.wire.mqtt.packets import Suback, Subscribe, Subscription, Unsuback, Unsubscribe
from dhtwisted.wire.mqtt.reasons import FAILURE, ReasonCode, suback_code
from dhtwisted.wire.mqtt.topics import TopicFilter, parse_filter

NOT_PERMITTED = Refusal(
    ReasonCode.NOT_AUTHORIZED,
    "the filter is neither below dh/ nor in mqtt.map; for others the server needs mqtt.plain_topics, and the client a rule of mqtt.access",
)
TOO_MANY = Refusal(ReasonCode.QUOTA_EXCEEDED, "the session has as many filters as it may (mqtt.filters_per_session)")
MOST_LOGGED = 10
"""Refused filters of one SUBSCRIBE that are logged: a packet may have 100,000."""
ON_SUBSCRIBE, IF_NEW = 0, 1
"""Retain handling: send retained messages at each SUBSCRIBE, or only at the first of a filter."""


class _Wish:
    """One filter of a SUBSCRIBE, and what becomes of it."""

    __slots__ = ("is_device", "is_new", "is_plain", "options", "outcome", "parsed", "subscribed")

    def __init__(self, options: Subscription) -> None:
        self.options = options
        self.parsed: TopicFilter | None = None
        self.is_plain = self.is_device = False
        self.is_new = True
        self.outcome: int | Refusal = NOT_PERMITTED
        self.subscribed: Subscribed | None = None


async def subscribe(connection: Any, packet: Subscribe) -> None:
    """Begin subscriptions, or replace those with the same filters, and answer; then send retained messages.

    :raises InvalidPacket: the packet breaks the protocol.
    """
    session = connection.session
    assert session is not None  # The connection has looked.
    identifier = 0
    if packet.properties is not None and packet.properties.subscription_identifier:
        identifier = packet.properties.subscription_identifier[0]
    wishes = [_check(connection, session, options) for options in packet.subscriptions]
    await _ask_device(session, wishes, identifier)
    if session.is_over:
        return
    for wish in wishes:
        _begin(connection, session, wish, identifier)
    try:
        await connection.broker.save(session)
    except StorageError as error:
        connection.broker.store_failed(error)
        connection.storage_failed()
        return
    codes, texts = [], []
    for wish in wishes:
        outcome = wish.outcome
        codes.append(outcome if isinstance(outcome, int) else suback_code(outcome.reason_code))
        if isinstance(outcome, Refusal):
            texts.append(outcome.text)
            if not connection.is_v5 and len(texts) <= MOST_LOGGED:
                connection.broker.log_refused_filter(connection, wish.options.filter, outcome)
    connection.write(Suback(packet.packet_id, codes, connection.reason("; ".join(dict.fromkeys(texts)))))
    for wish in wishes:
        _send_retained(connection, session, wish)


def _check(connection: Any, session: ClientSession, options: Subscription) -> _Wish:
    """Find out what a filter can match."""
    broker, wish = connection.broker, _Wish(options)
    settings = broker.server.settings.mqtt
    try:
        wish.parsed = parsed = parse_filter(options.filter, settings.topic_levels)
    except ValueError as error:
        wish.outcome = Refusal(ReasonCode.TOPIC_FILTER_INVALID, f"the filter {error}")
        return wish
    if parsed.group and options.no_local:
        raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "SUBSCRIBE: a shared subscription cannot have No Local")
    wish.is_new = options.filter not in session.filters
    if wish.is_new and 0 < settings.filters_per_session <= len(session.filters):
        broker.counters.bounds["filters_per_session"] += 1
        wish.outcome = TOO_MANY
        return wish
    pattern, topics = parsed.pattern, broker.device_topics
    is_below = is_below_dh(pattern)
    wish.is_device = topics is not None and (is_below or topics.takes_filter(pattern))
    wish.is_plain = not is_below and settings.plain_topics and broker.access.may_subscribe(connection.principal, session.client_id, pattern)
    return wish


async def _ask_device(session: ClientSession, wishes: Sequence[_Wish], identifier: int) -> None:
    """Have the topics of DeviceHive begin their part. A filter is refused only if both parts refuse it."""
    asked = [wish for wish in wishes if wish.is_device]
    if not asked or session.device is None:
        return
    outcomes: Any = session.device.subscribe([wish.options for wish in asked], identifier)
    if type(outcomes) is not list:
        outcomes = await outcomes
    for wish, outcome in zip(asked, outcomes, strict=True):
        wish.outcome = outcome
        wish.is_device = isinstance(outcome, int) and outcome < FAILURE


def _begin(connection: Any, session: ClientSession, wish: _Wish, identifier: int) -> None:
    """Begin the plain part of a subscription, and remember it ([MQTT-3.8.4-3], [MQTT-3.8.4-4])."""
    if wish.is_plain:
        wish.outcome = max(wish.options.qos, wish.outcome) if isinstance(wish.outcome, int) else wish.options.qos
    if not (wish.is_plain or wish.is_device):
        return
    assert isinstance(wish.outcome, int)  # One of both has granted it.
    assert wish.parsed is not None
    before = session.filters.get(wish.options.filter)
    options = replace(wish.options, qos=wish.outcome)
    wish.subscribed = session.filters[options.filter] = Subscribed(session, options, identifier, wish.is_plain, wish.is_device)
    tree = connection.broker.tree
    if wish.is_plain:
        tree.put(wish.parsed, session, wish.subscribed)
    elif before is not None and before.is_plain:
        tree.discard(wish.parsed, session)


def _send_retained(connection: Any, session: ClientSession, wish: _Wish) -> None:
    """[MQTT-3.3.1-9] to [MQTT-3.3.1-11]; shared subscriptions get none (4.8.2)."""
    handling = wish.options.retain_handling
    if wish.subscribed is None or not wish.is_plain or wish.parsed is None or wish.parsed.group:
        return
    if handling == ON_SUBSCRIBE or (handling == IF_NEW and wish.is_new):
        connection.broker.send_retained(session, wish.subscribed)


async def unsubscribe(connection: Any, packet: Unsubscribe) -> None:
    """End subscriptions, and answer ([MQTT-3.10.4-1] to [MQTT-3.10.4-6])."""
    session = connection.session
    assert session is not None  # The connection has looked.
    found = [session.filters.pop(text, None) for text in packet.filters]
    for subscribed in found:
        if subscribed is not None and subscribed.is_plain:
            connection.broker.tree.discard(parse_filter(subscribed.options.filter, 0), session)
    device = [subscribed.options.filter for subscribed in found if subscribed is not None and subscribed.is_device]
    if device and session.device is not None:
        outcomes: Any = session.device.unsubscribe(device)
        if type(outcomes) is not list:
            await outcomes
    try:
        await connection.broker.save(session)
    except StorageError as error:
        connection.broker.store_failed(error)
        connection.storage_failed()
        return
    codes = [_unsuback_code(text, subscribed) for text, subscribed in zip(packet.filters, found, strict=True)]
    connection.write(Unsuback(packet.packet_id, codes))


def _unsuback_code(text: str, subscribed: Subscribed | None) -> int:
    if subscribed is not None:
        return ReasonCode.SUCCESS
    try:
        parse_filter(text, 0)
    except ValueError:
        return ReasonCode.TOPIC_FILTER_INVALID
    return ReasonCode.NO_SUBSCRIPTION_EXISTED


def check_rights(connection: Any, session: ClientSession) -> None:
    """End the plain part of subscriptions to which the client has no right any more, and forget what waits because of them."""
    broker, has_lost = connection.broker, False
    for subscribed in list(session.filters.values()):
        if not subscribed.is_plain:
            continue
        parsed = parse_filter(subscribed.options.filter, 0)
        if broker.server.settings.mqtt.plain_topics and broker.access.may_subscribe(
            connection.principal, session.client_id, parsed.pattern
        ):
            continue
        has_lost = True
        broker.tree.discard(parsed, session)
        if subscribed.is_device:
            session.filters[subscribed.options.filter] = replace(subscribed, is_plain=False)
        else:
            del session.filters[subscribed.options.filter]
    if has_lost:
        broker.forget_unheard(session)
