"""The CONNECT packet, read (section 3.1 of all three standards)."""

from __future__ import annotations

from dhtwisted.errors import InvalidPacket
from dhtwisted.wire.mqtt.body import Body, malformed, protocol_error, topic_name
from dhtwisted.wire.mqtt.packets import V3_1, V3_1_1, V5, Connect, Properties, Will
from dhtwisted.wire.mqtt.properties import WILL, read_properties
from dhtwisted.wire.mqtt.reasons import ReasonCode

_VERSIONS = {(b"MQIsdp", V3_1), (b"MQTT", V3_1_1), (b"MQTT", V5)}

RESERVED, CLEAN_START, HAS_WILL, WILL_QOS, WILL_RETAIN, HAS_PASSWORD, HAS_USER_NAME = 0x01, 0x02, 0x04, 0x18, 0x20, 0x40, 0x80
"""The connect flags."""

_BRIDGE = 0x80
"""The bit of the protocol level with which Mosquitto's bridges ask whether the other side is Mosquitto too. The refusal of such a level
must have the form of the level without it, and the bridge then connects as an ordinary client."""


def read_version(body: Body) -> int:
    """Read the protocol name and level.

    :returns: 3, 4 or 5.
    :raises InvalidPacket: this server does not speak it ([MQTT-3.1.2-1], [MQTT-3.1.2-2]); its ``version`` is the form of the CONNACK.
    """
    name = body.binary("protocol name")
    level = body.byte("protocol level")
    if (name, level) in _VERSIONS:
        return level
    error = InvalidPacket(
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        "the server speaks MQTT 3.1 (protocol name MQIsdp, level 3), 3.1.1 (MQTT, 4) and 5.0 (MQTT, 5)",
        version=V5 if level & ~_BRIDGE >= V5 else V3_1_1,
    )
    raise error


def read_connect(body: Body, flags: int, version: int) -> Connect:
    """Read what follows the protocol level.

    An empty client id without ``clean_start``, which 3.x must refuse with return code 2, is left to the session.

    :param flags: of the fixed header.
    :raises InvalidPacket: it breaks a rule of its version.
    """
    connect_flags = body.byte("connect flags")
    if version != V3_1:
        # In 3.1 these bits mean nothing.
        _check_flags(flags, connect_flags, version)
    keep_alive = body.integer(2, "keep alive")
    properties = read_properties(body, "CONNECT") if version == V5 else None
    if properties is not None and properties.authentication_data is not None and properties.authentication_method is None:
        raise protocol_error("it has authentication data without an authentication method")
    connect = Connect(body.text("client id"), version, connect_flags & CLEAN_START != 0, keep_alive, properties=properties)
    if connect_flags & HAS_WILL:
        connect.will = _read_will(body, connect_flags, version)
    if connect_flags & HAS_USER_NAME and not _left_out(body, version):
        connect.user_name = body.text("user name")
    if connect_flags & HAS_PASSWORD and not _left_out(body, version):
        connect.password = body.binary("password")
    body.end()
    return connect


def _check_flags(flags: int, connect_flags: int, version: int) -> None:
    if flags:
        raise malformed("a reserved bit of its fixed header is set")  # [MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-1]
    if connect_flags & RESERVED:
        raise malformed("the reserved bit of its connect flags is set")  # [MQTT-3.1.2-3]
    if not connect_flags & HAS_WILL and connect_flags & (WILL_QOS | WILL_RETAIN):
        # [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1.1: [MQTT-3.1.2-13], [MQTT-3.1.2-15]
        raise malformed("it has the QoS or the retain flag of a will, and no will")
    if version == V3_1_1 and connect_flags & HAS_PASSWORD and not connect_flags & HAS_USER_NAME:
        raise malformed("it has a password and no user name")  # 3.1.1: [MQTT-3.1.2-22]


def _read_will(body: Body, connect_flags: int, version: int) -> Will:
    qos = (connect_flags & WILL_QOS) >> 3
    if qos == 3:
        raise malformed("the QoS of its will is 3")  # [MQTT-3.1.2-12], 3.1.1: [MQTT-3.1.2-14]
    properties: Properties | None = read_properties(body, WILL) if version == V5 else None
    topic = topic_name(body.text("will topic"), "will topic")
    return Will(topic, body.binary("will payload"), qos, connect_flags & WILL_RETAIN != 0, properties)


def _left_out(body: Body, version: int) -> bool:
    """Whether a field is missing in spite of its flag, as clients of MQTT before 3.1 send it (3.1, section 3.1)."""
    return version == V3_1 and body.is_read
