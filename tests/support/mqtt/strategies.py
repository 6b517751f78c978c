"""Packets of MQTT at random, each as a sender that keeps to the standard makes it."""

from typing import Any

from hypothesis import strategies as st

from dhtwisted.wire.mqtt import bodies
from dhtwisted.wire.mqtt import packets as p
from dhtwisted.wire.mqtt.properties import PROPERTIES, WILL
from dhtwisted.wire.mqtt.reasons import FAILURE, ReasonCode, return_code

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=12)
filters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: not text.startswith("$share/")
)
data = st.binary(max_size=12) | st.just(b"x" * 200)
packet_ids = st.integers(1, 0xFFFF)
levels_of_qos = st.integers(0, 2)

_FLAGS = st.integers(0, 1)
_TWO_BYTES, _FOUR_BYTES = st.integers(1, 0xFFFF), st.integers(1, 0xFFFFFFFF)
_VALUES = {
    "payload_format_indicator": _FLAGS,
    "message_expiry_interval": st.just(0) | _FOUR_BYTES,
    "content_type": texts,
    "response_topic": topics,
    "correlation_data": data,
    "session_expiry_interval": st.just(0) | _FOUR_BYTES,
    "assigned_client_identifier": texts,
    "server_keep_alive": st.just(0) | _TWO_BYTES,
    "authentication_method": texts,
    "authentication_data": data,
    "request_problem_information": _FLAGS,
    "will_delay_interval": st.just(0) | _FOUR_BYTES,
    "request_response_information": _FLAGS,
    "response_information": texts,
    "server_reference": texts,
    "reason_string": texts,
    "receive_maximum": _TWO_BYTES,
    "topic_alias_maximum": st.just(0) | _TWO_BYTES,
    "topic_alias": _TWO_BYTES,
    "maximum_qos": _FLAGS,
    "retain_available": _FLAGS,
    "maximum_packet_size": _FOUR_BYTES,
    "wildcard_subscription_available": _FLAGS,
    "subscription_identifier_available": _FLAGS,
    "shared_subscription_available": _FLAGS,
    "user_property": st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(tuple),
}
_IDENTIFIERS = st.integers(1, 268_435_455)


@st.composite
def properties(draw: Any, packet: str, version: int, from_server: bool = False) -> p.Properties | None:
    """Properties of a packet, or of a will; ``None`` in MQTT 3.x, and if there are none."""
    if version != p.V5:
        return None
    names = [item.name for item in PROPERTIES if packet in item.packets and item.name != "subscription_identifier"]
    chosen = draw(st.sets(st.sampled_from(names), max_size=4))
    if "authentication_data" in chosen or packet == "AUTH":
        chosen.add("authentication_method")
    values = {name: draw(_VALUES[name]) for name in names if name in chosen}
    if packet == "SUBSCRIBE" or (packet == "PUBLISH" and from_server):
        identifiers = draw(st.lists(_IDENTIFIERS, max_size=1 if packet == "SUBSCRIBE" else 3))
        values |= {"subscription_identifier": tuple(identifiers)} if identifiers else {}
    return p.Properties(**values) if values else None


@st.composite
def wills(draw: Any, version: int) -> p.Will:
    return p.Will(draw(topics), draw(data), draw(levels_of_qos), draw(st.booleans()), draw(properties(WILL, version)))


@st.composite
def connects(draw: Any, version: int) -> p.Connect:
    user_name = draw(st.none() | texts)
    # Without a user name, only MQTT 5.0 has a password.
    password = draw(st.none() | data) if version == p.V5 or user_name is not None else None
    return p.Connect(
        draw(texts),
        version,
        draw(st.booleans()),
        draw(st.integers(0, 0xFFFF)),
        user_name,
        password,
        draw(st.none() | wills(version)),
        draw(properties("CONNECT", version)),
    )


@st.composite
def publishes(draw: Any, version: int, from_server: bool = False) -> p.Publish:
    qos = draw(levels_of_qos)
    values = draw(properties("PUBLISH", version, from_server))
    has_alias = values is not None and values.topic_alias is not None
    return p.Publish(
        draw(st.just("") | topics if has_alias else topics),
        draw(data),
        qos,
        draw(st.booleans()),
        qos > 0 and draw(st.booleans()),
        draw(packet_ids) if qos else 0,
        values,
    )


@st.composite
def acknowledgements(draw: Any, version: int) -> p.Acknowledgement:
    kind, codes = draw(
        st.sampled_from(
            [(p.Puback, bodies._RECEIVED), (p.Pubrec, bodies._RECEIVED), (p.Pubrel, bodies._RELEASED), (p.Pubcomp, bodies._RELEASED)]
        )
    )
    if version != p.V5:
        return kind(draw(packet_ids))
    return kind(draw(packet_ids), draw(st.sampled_from(sorted(codes))), draw(properties(kind.__name__.upper(), version)))


@st.composite
def subscriptions(draw: Any, version: int) -> p.Subscription:
    if version != p.V5:
        return p.Subscription(draw(filters), draw(levels_of_qos))
    return p.Subscription(draw(filters), draw(levels_of_qos), draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 2)))


@st.composite
def subscribes(draw: Any, version: int) -> p.Subscribe:
    requests = draw(st.lists(subscriptions(version), min_size=1, max_size=3))
    return p.Subscribe(draw(packet_ids), requests, draw(properties("SUBSCRIBE", version)))


@st.composite
def unsubscribes(draw: Any, version: int) -> p.Unsubscribe:
    return p.Unsubscribe(draw(packet_ids), draw(st.lists(filters, min_size=1, max_size=3)), draw(properties("UNSUBSCRIBE", version)))


@st.composite
def disconnects(draw: Any, version: int, codes: frozenset[int] = bodies._DISCONNECTED) -> p.Disconnect:
    if version != p.V5:
        return p.Disconnect()
    return p.Disconnect(draw(st.sampled_from(sorted(codes))), draw(properties("DISCONNECT", version)))


@st.composite
def auths(draw: Any, codes: frozenset[int] = bodies._AUTHENTICATING) -> p.Auth:
    return p.Auth(draw(st.sampled_from(sorted(codes))), draw(properties("AUTH", p.V5)))


def from_client(version: int) -> st.SearchStrategy[p.Packet]:
    """What a client sends after its CONNECT."""
    kinds = [publishes(version), acknowledgements(version), subscribes(version), unsubscribes(version), disconnects(version)]
    return st.one_of(*kinds, st.just(p.Pingreq()), *([auths()] if version == p.V5 else []))


CONNACK_CODES = (0x00, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F)
SUBACK_CODES = (0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2)
UNSUBACK_CODES = (0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91)
SERVER_DISCONNECTS = frozenset(int(code) for code in ReasonCode if code >= FAILURE) - set(
    (0x84, 0x85, 0x86, 0x88, 0x8A, 0x8C, 0x91, 0x92)
) | {0}


@st.composite
def connacks(draw: Any, version: int) -> p.Connack:
    """A CONNACK, for MQTT 3.x with a reason code of which it has a return code."""
    code = draw(st.sampled_from([code for code in CONNACK_CODES if version == p.V5 or return_code(code) is not None]))
    return p.Connack(code, not code and version != p.V3_1 and draw(st.booleans()), draw(properties("CONNACK", version)))


@st.composite
def answers(draw: Any, version: int) -> p.Packet:
    """A SUBACK or an UNSUBACK."""
    kind = draw(st.sampled_from([p.Suback, p.Unsuback]))
    known = UNSUBACK_CODES if kind is p.Unsuback else SUBACK_CODES if version == p.V5 else (0x00, 0x01, 0x02, 0x80)
    codes = [] if kind is p.Unsuback and version != p.V5 else draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
    return kind(draw(packet_ids), codes, draw(properties(kind.__name__.upper(), version)))


def from_server(version: int) -> st.SearchStrategy[p.Packet]:
    """What a server sends, but CONNACK."""
    kinds = [publishes(version, True), acknowledgements(version), answers(version), st.just(p.Pingresp())]
    newer = [disconnects(version, SERVER_DISCONNECTS), auths(frozenset((0x00, 0x18)))] if version == p.V5 else []
    return st.one_of(*kinds, *newer)
