"""Packets that break the standard, with the statement that each breaks and the reason code that answers it.

``statements`` has the numbers of MQTT 5.0, with ``3.1.1:`` in front those of 3.1.1, for the table of what is tested.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.support.mqtt.raw import connect, field, packet, publish, varint, with_id

MALFORMED, PROTOCOL, VERSION, TOPIC, ALIAS = 0x81, 0x82, 0x84, 0x90, 0x94


class Broken(NamedTuple):
    """A packet that a server must refuse.

    :ivar name: what is wrong.
    :ivar versions: the versions in which it is wrong.
    :ivar data: version -> the packet, or the packet of all of them.
    :ivar statements: the rules that it breaks.
    """

    name: str
    versions: tuple[int, ...]
    data: "bytes | dict[int, bytes]"
    reason_code: int
    statements: str

    def of(self, version: int) -> bytes:
        """The packet in a version."""
        return self.data[version] if isinstance(self.data, dict) else self.data


ALL, NEW, OLD = (3, 4, 5), (4, 5), (3, 4)
CLIENT = field(b"pump-4")
WILL = field(b"will/topic") + field(b"gone")


def _each(versions: tuple[int, ...], make: Callable[..., bytes], *arguments: Any, **options: Any) -> dict[int, bytes]:
    return {version: make(version, *arguments, **options) for version in versions}


def _will(version: int, topic: bytes, properties: bytes = b"") -> bytes:
    return CLIENT + (varint(len(properties)) + properties if version == 5 else b"") + field(topic) + field(b"gone")


def _text(name: str, data: dict[int, bytes], statements: str) -> Broken:
    return Broken(name, tuple(data), data, MALFORMED, statements)


UTF_8 = "[MQTT-1.5.4-1] 3.1.1: [MQTT-1.5.3-1]"
NUL = "[MQTT-1.5.4-2] 3.1.1: [MQTT-1.5.3-2]"

BROKEN_CONNECTS = [
    Broken("a reserved flag of the fixed header", NEW, _each(NEW, connect, first=0x11), MALFORMED, "[MQTT-2.1.3-1] 3.1.1: [MQTT-2.2.2-1]"),
    Broken("the reserved connect flag", NEW, _each(NEW, connect, 0x03), MALFORMED, "[MQTT-3.1.2-3]"),
    Broken("a will QoS without a will", NEW, _each(NEW, connect, 0x0A), MALFORMED, "[MQTT-3.1.2-11] 3.1.1: [MQTT-3.1.2-13]"),
    Broken("a will retain without a will", NEW, _each(NEW, connect, 0x22), MALFORMED, "[MQTT-3.1.2-13] 3.1.1: [MQTT-3.1.2-15]"),
    Broken(
        "a will QoS of 3",
        ALL,
        {version: connect(version, 0x1E, _will(version, b"will/topic")) for version in ALL},
        MALFORMED,
        "[MQTT-3.1.2-12] 3.1.1: [MQTT-3.1.2-14]",
    ),
    Broken("a will flag without a will", ALL, _each(ALL, connect, 0x06), MALFORMED, "[MQTT-3.1.2-9] 3.1.1: [MQTT-3.1.2-9]"),
    Broken(
        "a wildcard in the will topic",
        ALL,
        {version: connect(version, 0x06, _will(version, b"will/+")) for version in ALL},
        TOPIC,
        "[MQTT-4.7.0-1] 3.1.1: [MQTT-4.7.1-1]",
    ),
    Broken("an empty will topic", ALL, {version: connect(version, 0x06, _will(version, b"")) for version in ALL}, TOPIC, "[MQTT-4.7.3-1]"),
    _text(
        "a will topic that is not UTF-8",
        {version: connect(version, 0x06, _will(version, b"\xff")) for version in ALL},
        f"[MQTT-3.1.3-11] {UTF_8} [MQTT-3.1.3-10]",
    ),
    Broken("a password without a user name", (4,), connect(4, 0x42, CLIENT + field(b"secret")), MALFORMED, "3.1.1: [MQTT-3.1.2-22]"),
    Broken("a user name flag without a user name", NEW, _each(NEW, connect, 0x82), MALFORMED, "[MQTT-3.1.2-17] 3.1.1: [MQTT-3.1.2-19]"),
    Broken("a password flag without a password", (5,), connect(5, 0x42), MALFORMED, "[MQTT-3.1.2-19]"),
    Broken(
        "a password flag without a password behind a user name",
        NEW,
        _each(NEW, connect, 0xC2, CLIENT + field(b"user")),
        MALFORMED,
        "[MQTT-3.1.2-19] 3.1.1: [MQTT-3.1.2-21]",
    ),
    Broken(
        "a user name without its flag",
        ALL,
        _each(ALL, connect, 0x02, CLIENT + field(b"user")),
        MALFORMED,
        "[MQTT-3.1.2-16] 3.1.1: [MQTT-3.1.2-18]",
    ),
    Broken(
        "a password without its flag",
        ALL,
        _each(ALL, connect, 0x82, CLIENT + field(b"user") + field(b"secret")),
        MALFORMED,
        "[MQTT-3.1.2-18]",
    ),
    Broken(
        "a will without its flag",
        ALL,
        {version: connect(version, 0x02, _will(version, b"will/topic")) for version in ALL},
        MALFORMED,
        "3.1.1: [MQTT-3.1.2-11]",
    ),
    Broken("bytes after the end", ALL, _each(ALL, connect, 0x02, CLIENT + b"\0"), MALFORMED, "[MQTT-3.1.4-1]"),
    Broken("no client id", ALL, _each(ALL, connect, 0x02, b""), MALFORMED, "[MQTT-3.1.3-3]"),
    _text("a client id that is not UTF-8", _each(ALL, connect, 0x02, field(b"\xc3")), f"[MQTT-3.1.3-4] {UTF_8} [MQTT-3.1.3-4]"),
    _text("a surrogate in the client id", _each(ALL, connect, 0x02, field(b"\xed\xa0\x80")), UTF_8),
    _text("the character U+0000 in the client id", _each(ALL, connect, 0x02, field(b"a\0")), NUL),
    _text(
        "a user name that is not UTF-8",
        _each(ALL, connect, 0x82, CLIENT + field(b"\xe0\x80")),
        f"[MQTT-3.1.3-12] {UTF_8} [MQTT-3.1.3-11]",
    ),
    Broken("a body that ends in the flags", ALL, packet(0x10, field(b"MQTT") + b"\x05"), MALFORMED, "[MQTT-3.1.4-1]"),
    Broken("no body", ALL, packet(0x10), MALFORMED, "[MQTT-3.1.4-1]"),
    Broken("authentication data without a method", (5,), connect(properties=b"\x16\0\1a"), PROTOCOL, "3.1.2.11.10"),
    Broken("properties that end too early", (5,), connect(properties=b"\x11\0\0"), MALFORMED, "[MQTT-2.2.2-1]"),
    Broken("a property of a PUBLISH", (5,), connect(properties=b"\x23\0\1"), MALFORMED, "2.2.2.2"),
    Broken("a delay that is not of the will", (5,), connect(properties=b"\x18\0\0\0\1"), MALFORMED, "2.2.2.2"),
    Broken(
        "a session expiry interval in the will",
        (5,),
        connect(5, 0x06, _will(5, b"will/topic", b"\x11\0\0\0\1")),
        MALFORMED,
        "2.2.2.2",
    ),
    Broken("an unknown property", (5,), connect(properties=b"\x04\0"), MALFORMED, "2.2.2.2"),
    Broken("a receive maximum of 0", (5,), connect(properties=b"\x21\0\0"), PROTOCOL, "3.1.2.11.3"),
    Broken("a maximum packet size of 0", (5,), connect(properties=b"\x27\0\0\0\0"), PROTOCOL, "3.1.2.11.4"),
    Broken("request response information 2", (5,), connect(properties=b"\x19\2"), PROTOCOL, "3.1.2.11.6"),
    Broken("request problem information 2", (5,), connect(properties=b"\x17\2"), PROTOCOL, "3.1.2.11.7"),
    Broken("a session expiry interval twice", (5,), connect(properties=b"\x11\0\0\0\1\x11\0\0\0\1"), PROTOCOL, "3.1.2.11.2"),
]
"""First packets: a CONNECT of 5.0 may be answered with a CONNACK, one of 3.x is not answered (3.1.1: [MQTT-3.1.4-1])."""

UNKNOWN_VERSIONS = [
    Broken("level 2 of MQTT", (4,), connect(4, level=2), VERSION, "[MQTT-3.1.2-2] 3.1.1: [MQTT-3.1.2-2]"),
    Broken("level 3 of MQTT", (4,), connect(4, level=3), VERSION, "[MQTT-3.1.2-2]"),
    Broken("level 6 of MQTT", (5,), connect(level=6), VERSION, "[MQTT-3.1.2-2]"),
    Broken("level 4 of MQIsdp", (4,), connect(3, level=4), VERSION, "[MQTT-3.1.2-2]"),
    Broken("a bridge of Mosquitto with 3.1.1", (4,), connect(4, level=0x84), VERSION, "[MQTT-3.1.2-2]"),
    Broken("a bridge of Mosquitto with 3.1", (4,), connect(3, level=0x83), VERSION, "[MQTT-3.1.2-2]"),
    Broken("another name with level 4", (4,), connect(4, name=b"MQTX"), VERSION, "[MQTT-3.1.2-1] 3.1.1: [MQTT-3.1.2-1]"),
    Broken("another name with level 5", (5,), connect(name=b"mqtt"), VERSION, "[MQTT-3.1.2-1]"),
]
"""CONNECTs of no version that the server speaks. ``versions`` has the one whose CONNACK answers."""

BROKEN_PACKETS = [
    Broken("a second CONNECT", ALL, _each(ALL, connect), PROTOCOL, "[MQTT-3.1.0-2]"),
    Broken("type 0", ALL, packet(0x00), MALFORMED, "2.1.2"),
    Broken("AUTH in 3.x", OLD, packet(0xF0, b"\x18\5\x15\0\1a"), MALFORMED, "3.1.1: 2.2.1"),
    Broken("a CONNACK", ALL, packet(0x20, b"\0\0"), PROTOCOL, "2.1.2"),
    Broken("a SUBACK", ALL, packet(0x90, b"\0\1\0"), PROTOCOL, "2.1.2"),
    Broken("an UNSUBACK", ALL, packet(0xB0, b"\0\1"), PROTOCOL, "2.1.2"),
    Broken("a PINGRESP", ALL, packet(0xD0), PROTOCOL, "2.1.2"),
    Broken("a remaining length of five bytes", ALL, b"\x30\xff\xff\xff\xff\x01", MALFORMED, "2.1.4"),
    Broken("a remaining length that is too long by a byte", (5,), b"\xc0\x80\x00", MALFORMED, "[MQTT-1.5.5-1]"),
    # PUBLISH
    Broken("QoS 3", ALL, _each(ALL, publish, 0x36, packet_id=b"\0\1"), MALFORMED, "[MQTT-3.3.1-4]"),
    Broken("a duplicate with QoS 0", NEW, _each(NEW, publish, 0x38), MALFORMED, "[MQTT-3.3.1-2]"),
    Broken("packet id 0 with QoS 1", ALL, _each(ALL, publish, 0x32, packet_id=b"\0\0"), PROTOCOL, "[MQTT-2.2.1-3] 3.1.1: [MQTT-2.3.1-1]"),
    Broken("packet id 0 with QoS 2", ALL, _each(ALL, publish, 0x34, packet_id=b"\0\0"), PROTOCOL, "[MQTT-2.2.1-3] 3.1.1: [MQTT-2.3.1-1]"),
    Broken("no packet id with QoS 1", ALL, packet(0x32, field(b"a/b"), b"\0"), MALFORMED, "[MQTT-2.2.1-3] 3.1.1: [MQTT-2.3.1-1]"),
    Broken("+ in a topic", ALL, _each(ALL, publish, topic=b"a/+"), TOPIC, "[MQTT-3.3.2-2]"),
    Broken("# in a topic", ALL, _each(ALL, publish, topic=b"#"), TOPIC, "[MQTT-3.3.2-2]"),
    Broken("an empty topic in 3.x", OLD, _each(OLD, publish, topic=b""), TOPIC, "3.1.1: [MQTT-4.7.3-1]"),
    Broken("neither topic nor alias", (5,), publish(topic=b""), PROTOCOL, "3.3.2.1"),
    Broken("neither topic nor alias, but a property", (5,), publish(topic=b"", properties=b"\x01\1"), PROTOCOL, "3.3.2.1"),
    _text("U+0000 in a topic", _each(ALL, publish, topic=b"a\0"), f"[MQTT-4.7.3-2] {NUL} [MQTT-4.7.3-2]"),
    _text("a topic that is not UTF-8", _each(ALL, publish, topic=b"\xff/a"), f"[MQTT-3.3.2-1] {UTF_8} [MQTT-3.3.2-1]"),
    _text("a surrogate in a topic", _each(ALL, publish, topic=b"a/\xed\xbf\xbf"), UTF_8),
    _text("a topic in UTF-8 that is longer than needed", _each(ALL, publish, topic=b"\xc0\xaf"), UTF_8),
    Broken("no body", ALL, packet(0x30), MALFORMED, "3.3.2"),
    Broken("half of a topic's length", ALL, packet(0x30, b"\0"), MALFORMED, "3.3.2"),
    Broken("a topic that ends too early", ALL, packet(0x30, b"\0\5a/b"), MALFORMED, "3.3.2"),
    Broken("no properties in 5.0", (5,), packet(0x30, field(b"a/b")), MALFORMED, "[MQTT-2.2.2-1]"),
    Broken("properties that are longer than the packet", (5,), packet(0x30, field(b"a/b"), b"\x05\x01\1"), MALFORMED, "2.2.2.1"),
    Broken("a property that is cut", (5,), publish(properties=b"\x02\0\0"), MALFORMED, "2.2.2.2"),
    Broken("a property length of five bytes", (5,), packet(0x30, field(b"a/b"), b"\xff\xff\xff\xff\x01"), MALFORMED, "1.5.5"),
    Broken("a property length that is too long by a byte", (5,), packet(0x30, field(b"a/b"), b"\x80\x00"), MALFORMED, "[MQTT-1.5.5-1]"),
    Broken("topic alias 0", (5,), publish(properties=b"\x23\0\0"), ALIAS, "[MQTT-3.3.2-8]"),
    Broken("a subscription identifier", (5,), publish(properties=b"\x0b\1"), PROTOCOL, "[MQTT-3.3.4-6]"),
    Broken("payload format 2", (5,), publish(properties=b"\x01\2"), PROTOCOL, "3.3.2.3.2"),
    Broken("payload format twice", (5,), publish(properties=b"\x01\1\x01\1"), PROTOCOL, "3.3.2.3.2"),
    Broken("a topic alias twice", (5,), publish(properties=b"\x23\0\1\x23\0\1"), PROTOCOL, "3.3.2.3.4"),
    Broken("a wildcard in a response topic", (5,), publish(properties=b"\x08" + field(b"a/#")), PROTOCOL, "[MQTT-3.3.2-14]"),
    Broken("a response topic that is not UTF-8", (5,), publish(properties=b"\x08" + field(b"\xff")), MALFORMED, "[MQTT-3.3.2-13]"),
    Broken("a content type that is not UTF-8", (5,), publish(properties=b"\x03" + field(b"\xff")), MALFORMED, "[MQTT-3.3.2-19]"),
    *(
        Broken(f"{what} in the {which} of a user property", (5,), publish(properties=b"\x26" + pair), MALFORMED, f"[MQTT-1.5.7-1] {rule}")
        for what, wrong, rule in (("U+0000", b"a\0", NUL), ("no UTF-8", b"\xc3", UTF_8))
        for which, pair in (("name", field(wrong) + field(b"b")), ("value", field(b"b") + field(wrong)))
    ),
    Broken("a will delay in a PUBLISH", (5,), publish(properties=b"\x18\0\0\0\1"), MALFORMED, "2.2.2.2"),
    # Acknowledgements
    *(
        broken
        for name, first, failure in (("PUBACK", 0x40, 0x92), ("PUBREC", 0x50, 0x92), ("PUBREL", 0x62, 0x87), ("PUBCOMP", 0x70, 0x87))
        for broken in (
            Broken(f"a {name} with packet id 0", ALL, packet(first, b"\0\0"), PROTOCOL, "2.2.1"),
            Broken(f"a {name} without a packet id", ALL, packet(first), MALFORMED, "2.2.1"),
            Broken(f"a {name} with half a packet id", ALL, packet(first, b"\0"), MALFORMED, "2.2.1"),
            Broken(f"a {name} with a reason in 3.x", OLD, packet(first, b"\0\1\0"), MALFORMED, "3.1.1: 3.4"),
            Broken(
                f"a {name} with a flag",
                NEW,
                packet(first ^ 0x01, b"\0\1"),
                MALFORMED,
                "[MQTT-2.1.3-1] [MQTT-3.6.1-1] 3.1.1: [MQTT-2.2.2-2]",
            ),
            Broken(
                f"a {name} with a reason code of other packets",
                (5,),
                packet(first, b"\0\1", bytes((failure,))),
                PROTOCOL,
                "[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]",
            ),
            Broken(f"a {name} with a property of PUBLISH", (5,), packet(first, b"\0\1\0\2\x01\1"), MALFORMED, "2.2.2.2"),
            Broken(f"a {name} with bytes behind its properties", (5,), packet(first, b"\0\1\0\0\0"), MALFORMED, "3.4.2"),
            Broken(f"a {name} with two reason strings", (5,), packet(first, b"\0\1\0\x08\x1f\0\1a\x1f\0\1a"), PROTOCOL, "3.4.2.2.2"),
        )
    ),
    # SUBSCRIBE
    Broken("SUBSCRIBE with other flags", NEW, _each(NEW, with_id, 0x80, field(b"a") + b"\0"), MALFORMED, "[MQTT-3.8.1-1]"),
    Broken("SUBSCRIBE without a filter", ALL, _each(ALL, with_id, 0x82), PROTOCOL, "[MQTT-3.8.3-2] 3.1.1: [MQTT-3.8.3-3]"),
    Broken(
        "SUBSCRIBE with packet id 0",
        ALL,
        _each(ALL, with_id, 0x82, field(b"a") + b"\0", packet_id=b"\0\0"),
        PROTOCOL,
        "[MQTT-2.2.1-3] 3.1.1: [MQTT-2.3.1-1]",
    ),
    Broken("SUBSCRIBE with an empty filter", ALL, _each(ALL, with_id, 0x82, field(b"") + b"\0"), PROTOCOL, "[MQTT-4.7.3-1]"),
    Broken("SUBSCRIBE without options", ALL, _each(ALL, with_id, 0x82, field(b"a")), MALFORMED, "[MQTT-3.8.3-1]"),
    _text(
        "SUBSCRIBE with a filter that is not UTF-8",
        _each(ALL, with_id, 0x82, field(b"\xff") + b"\0"),
        f"[MQTT-3.8.3-1] {UTF_8} [MQTT-3.8.3-1]",
    ),
    _text("SUBSCRIBE with U+0000 in a filter", _each(ALL, with_id, 0x82, field(b"a\0") + b"\0"), f"[MQTT-4.7.3-2] {NUL} [MQTT-4.7.3-2]"),
    Broken("SUBSCRIBE with QoS 3", (3, 4), _each(OLD, with_id, 0x82, field(b"a") + b"\3"), MALFORMED, "3.1.1: [MQTT-3.8.3-4]"),
    Broken("SUBSCRIBE with QoS 3 in 5.0", (5,), with_id(5, 0x82, field(b"a") + b"\3"), PROTOCOL, "3.8.3.1"),
    Broken("SUBSCRIBE with reserved bits in 3.1.1", (4,), with_id(4, 0x82, field(b"a") + b"\4"), MALFORMED, "3.1.1: [MQTT-3.8.3-4]"),
    Broken("SUBSCRIBE with reserved bits in 5.0", (5,), with_id(5, 0x82, field(b"a") + b"\x40"), MALFORMED, "[MQTT-3.8.3-5]"),
    Broken("SUBSCRIBE with retain handling 3", (5,), with_id(5, 0x82, field(b"a") + b"\x30"), PROTOCOL, "3.8.3.1"),
    Broken("a shared subscription with no local", (5,), with_id(5, 0x82, field(b"$share/g/a") + b"\4"), PROTOCOL, "[MQTT-3.8.3-4]"),
    Broken("subscription identifier 0", (5,), with_id(5, 0x82, field(b"a") + b"\0", properties=b"\x0b\0"), PROTOCOL, "3.8.2.1.2"),
    Broken("subscription identifier twice", (5,), with_id(5, 0x82, field(b"a") + b"\0", properties=b"\x0b\1\x0b\2"), PROTOCOL, "3.8.2.1.2"),
    Broken(
        "a subscription identifier of five bytes",
        (5,),
        with_id(5, 0x82, field(b"a") + b"\0", properties=b"\x0b\xff\xff\xff\xff\x01"),
        MALFORMED,
        "1.5.5",
    ),
    # UNSUBSCRIBE
    Broken("UNSUBSCRIBE with other flags", NEW, _each(NEW, with_id, 0xA0, field(b"a")), MALFORMED, "[MQTT-3.10.1-1]"),
    Broken("UNSUBSCRIBE without a filter", ALL, _each(ALL, with_id, 0xA2), PROTOCOL, "[MQTT-3.10.3-2]"),
    Broken("UNSUBSCRIBE with packet id 0", ALL, _each(ALL, with_id, 0xA2, field(b"a"), packet_id=b"\0\0"), PROTOCOL, "[MQTT-2.2.1-3]"),
    Broken("UNSUBSCRIBE with an empty filter", ALL, _each(ALL, with_id, 0xA2, field(b"")), PROTOCOL, "[MQTT-4.7.3-1]"),
    Broken("UNSUBSCRIBE with half a filter", ALL, _each(ALL, with_id, 0xA2, b"\0\2a"), MALFORMED, "[MQTT-3.10.3-1]"),
    Broken("UNSUBSCRIBE with a filter that is not UTF-8", ALL, _each(ALL, with_id, 0xA2, field(b"\xff")), MALFORMED, "[MQTT-3.10.3-1]"),
    # PINGREQ, DISCONNECT, AUTH
    Broken("PINGREQ with a body", ALL, packet(0xC0, b"\0"), MALFORMED, "3.12"),
    Broken("PINGREQ with a flag", NEW, packet(0xC1), MALFORMED, "[MQTT-2.1.3-1] 3.1.1: [MQTT-2.2.2-2]"),
    Broken("DISCONNECT with a flag", NEW, packet(0xE2), MALFORMED, "[MQTT-3.14.1-1]"),
    Broken("DISCONNECT with a reason in 3.x", OLD, packet(0xE0, b"\0"), MALFORMED, "3.1.1: 3.14"),
    Broken("DISCONNECT with a reason of the server", (5,), packet(0xE0, b"\x8e"), PROTOCOL, "[MQTT-3.14.2-1]"),
    Broken("DISCONNECT with bytes behind its properties", (5,), packet(0xE0, b"\0\0\0"), MALFORMED, "3.14.2"),
    Broken("DISCONNECT with a property of CONNECT", (5,), packet(0xE0, b"\0\3\x21\0\1"), MALFORMED, "2.2.2.2"),
    Broken("DISCONNECT with two expiry intervals", (5,), packet(0xE0, b"\0\x0a\x11\0\0\0\1\x11\0\0\0\1"), PROTOCOL, "3.14.2.2.2"),
    Broken("AUTH with a flag", (5,), packet(0xF1, b"\x18\5\x15\0\1a"), MALFORMED, "[MQTT-3.15.1-1]"),
    Broken("AUTH with the server's reason code", (5,), packet(0xF0, b"\0\4\x15\0\1a"), PROTOCOL, "[MQTT-3.15.2-1]"),
    Broken("AUTH without a method", (5,), packet(0xF0, b"\x18\0"), PROTOCOL, "3.15.2.2.2"),
]
"""Packets after a good CONNECT. 5.0 gets a DISCONNECT with the reason code; the connection of 3.x is closed (3.1.1: [MQTT-4.8.0-1])."""


def every(cases: list[Broken]) -> list[tuple[int, Broken]]:
    """Each case in each of its versions."""
    return [(version, case) for case in cases for version in case.versions]
