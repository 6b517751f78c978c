"""Packets of other people's codecs as ours, so that the two can be compared."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from dhtwisted.wire.mqtt import packets as p

DEFAULTS: dict[str, Any] = {
    "payload_format_indicator": 0,
    "session_expiry_interval": 0,
    "request_problem_information": 1,
    "will_delay_interval": 0,
    "request_response_information": 0,
    "receive_maximum": 65535,
    "topic_alias_maximum": 0,
    "maximum_qos": 2,
    "retain_available": 1,
    "wildcard_subscription_available": 1,
    "subscription_identifier_available": 1,
    "shared_subscription_available": 1,
    "user_property": (),
    "subscription_identifier": (),
}
"""What a property means if it is absent. Some codecs do not tell the two apart."""

MQTT5_NAMES = {
    "subscription_ids": "subscription_identifier",
    "subscription_id": "subscription_identifier",
    "assigned_client_id": "assigned_client_identifier",
    "request_problem_info": "request_problem_information",
    "request_response_info": "request_response_information",
    "response_info": "response_information",
    "reason_str": "reason_string",
    "receive_max": "receive_maximum",
    "topic_alias_max": "topic_alias_maximum",
    "max_qos": "maximum_qos",
    "user_properties": "user_property",
    "max_packet_size": "maximum_packet_size",
    "subscription_id_available": "subscription_identifier_available",
}
"""Name of a property in mqtt5 -> ours, where they differ; some are those of zmqtt too."""


def properties(values: dict[str, Any]) -> p.Properties | None:
    """Make properties of those which say something; booleans become numbers and lists tuples."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        plain = int(value) if isinstance(value, int) else tuple(map(_item, value)) if isinstance(value, (list, tuple)) else value
        if name == "subscription_identifier" and isinstance(plain, int):
            plain = (plain,)
        if plain is not None and plain != DEFAULTS.get(name):
            kept[name] = plain
    return p.Properties(**kept) if kept else None


def _item(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def without_defaults(packet: Any) -> Any:
    """Copy a packet of ours without properties that say what their absence says."""
    changes: dict[str, Any] = {}
    if getattr(packet, "properties", None) is not None:
        changes["properties"] = properties(asdict(packet.properties))
    if getattr(packet, "will", None) is not None:
        changes["will"] = without_defaults(packet.will)
    return replace(packet, **changes) if changes else packet


def _named(source: Any, names: Iterable[str]) -> p.Properties | None:
    """Make properties of the members of an object of another codec."""
    known = set(p.Properties.__struct_fields__)
    return properties({MQTT5_NAMES.get(name, name): getattr(source, name) for name in names if MQTT5_NAMES.get(name, name) in known})


# mqtt5: properties are members of the packet.

_CLASSES: dict[str, type[Struct]] = {
    "ConnAckPacket": p.Connack,
    "PubAckPacket": p.Puback,
    "PubRecPacket": p.Pubrec,
    "PubRelPacket": p.Pubrel,
    "PubCompPacket": p.Pubcomp,
    "SubAckPacket": p.Suback,
    "UnsubAckPacket": p.Unsuback,
    "PingReqPacket": p.Pingreq,
    "PingRespPacket": p.Pingresp,
    "DisconnectPacket": p.Disconnect,
    "AuthPacket": p.Auth,
}


def from_mqtt5(packet: Any) -> Any:
    """Translate a packet of mqtt5."""
    name = type(packet).__name__
    values = _named(packet, [member for member in dir(packet) if not member.startswith("_")])
    if name == "ConnectPacket":
        will = packet.will and p.Will(
            packet.will.topic, packet.will.payload or b"", int(packet.will.qos), packet.will.retain, _named(packet.will, dir(packet.will))
        )
        return p.Connect(packet.client_id, 5, packet.clean_start, packet.keep_alive, packet.username, packet.password, will or None, values)
    if name == "PublishPacket":
        return p.Publish(packet.topic, packet.payload, int(packet.qos), packet.retain, packet.duplicate, packet.packet_id or 0, values)
    if name == "SubscribePacket":
        requests = [
            p.Subscription(one.pattern, int(one.max_qos), one.no_local, one.retain_as_published, int(one.retain_handling))
            for one in packet.topic_filters
        ]
        return p.Subscribe(packet.packet_id, requests, values)
    if name == "UnsubscribePacket":
        return p.Unsubscribe(packet.packet_id, packet.patterns, values)
    kind = _CLASSES[name]
    members = {"packet_id", "session_present", "reason_code", "reason_codes"} & set(kind.__struct_fields__)
    ours: dict[str, Any] = {member: _plain(getattr(packet, member)) for member in members}
    return kind(**ours, properties=values) if "properties" in kind.__struct_fields__ else kind()


def _plain(value: Any) -> Any:
    return [int(one) for one in value] if isinstance(value, (list, tuple)) else value if isinstance(value, bool) else int(value)


# zmqtt: properties are an object.


def from_zmqtt(packet: Any, version: int) -> Any:
    """Translate a packet of zmqtt."""
    name = type(packet).__name__
    values = _named(packet.properties, packet.properties.__slots__) if getattr(packet, "properties", None) else None
    if name == "Connect":
        will = packet.will and p.Will(
            packet.will.topic,
            packet.will.payload,
            int(packet.will.qos),
            packet.will.retain,
            packet.will.properties and _named(packet.will.properties, packet.will.properties.__slots__),
        )
        return p.Connect(packet.client_id, version, packet.clean_session, packet.keepalive, packet.username, packet.password, will, values)
    if name == "Publish":
        return p.Publish(packet.topic, packet.payload, int(packet.qos), packet.retain, packet.dup, packet.packet_id or 0, values)
    if name == "Subscribe":
        requests = [
            p.Subscription(one.topic_filter, int(one.qos), one.no_local, one.retain_as_published, int(one.retain_handling))
            for one in packet.subscriptions
        ]
        return p.Subscribe(packet.packet_id, requests, values)
    if name == "Unsubscribe":
        return p.Unsubscribe(packet.packet_id, list(packet.topic_filters), values)
    if name == "ConnAck":
        return p.Connack(packet.return_code, packet.session_present, values)
    if name == "SubAck":
        return p.Suback(packet.packet_id, list(packet.return_codes), values)
    kind = _CLASSES[f"{name}Packet"]
    members = {"packet_id", "reason_code", "reason_codes"} & set(kind.__struct_fields__)
    ours: dict[str, Any] = {member: _plain(getattr(packet, member)) for member in members}
    return kind(**ours, properties=values) if "properties" in kind.__struct_fields__ else kind()
