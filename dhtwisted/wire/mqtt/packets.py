"""The control packets of MQTT, one struct each. Members have the names of the standard.

``packet_id`` is 1 to 65,535, or 0 for a PUBLISH with QoS 0, which has none. ``properties`` is ``None`` if there are none, and in MQTT 3.x.
The structs hold no references in circles, so Python's garbage collector does not look at them.
"""

from __future__ import annotations

from typing import Union

from msgspec import Struct

V3_1 = 3
"""The protocol level of MQTT 3.1, whose protocol name is ``MQIsdp``."""

V3_1_1 = 4
V5 = 5
VERSIONS = {V3_1: "3.1", V3_1_1: "3.1.1", V5: "5.0"}
"""The protocol level -> the name of the version."""

NO_ID = 0
"""``packet_id`` of a PUBLISH with QoS 0."""


class Properties(Struct, gc=False, kw_only=True):
    """The properties of a packet or a will, of MQTT 5.0 only. ``None`` is a property that is absent.

    Times are in seconds, sizes in bytes. ``user_property`` and ``subscription_identifier`` may stand several times; their order is kept.
    """

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifier: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_property: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None


class Will(Struct, gc=False):
    """The message that the server publishes for a client whose connection breaks."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


class Connect(Struct, gc=False):
    """The first packet of a client.

    ``version`` is the protocol level: 3, 4 or 5. ``clean_start`` is Clean Session in MQTT 3.x. ``keep_alive`` is in seconds, 0 for none.
    """

    client_id: str = ""
    version: int = V5
    clean_start: bool = True
    keep_alive: int = 0
    user_name: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties | None = None

    def __repr__(self) -> str:
        # Without the password, which may be a token.
        return f"Connect(client_id={self.client_id!r}, version={self.version}, user_name={self.user_name!r})"


class Connack(Struct, gc=False):
    """The answer to a CONNECT. ``reason_code`` is one of 5.0; the encoder sends its return code to MQTT 3.x."""

    reason_code: int = 0
    session_present: bool = False
    properties: Properties | None = None


class Publish(Struct, gc=False):
    """A message. ``topic`` is empty only with a topic alias."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = NO_ID
    properties: Properties | None = None


class Puback(Struct, gc=False):
    """The answer to a PUBLISH with QoS 1."""

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Pubrec(Struct, gc=False):
    """The answer to a PUBLISH with QoS 2."""

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Pubrel(Struct, gc=False):
    """The answer to a PUBREC: its packet id is released."""

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Pubcomp(Struct, gc=False):
    """The answer to a PUBREL: the exchange is complete."""

    packet_id: int
    reason_code: int = 0
    properties: Properties | None = None


class Subscription(Struct, gc=False):
    """One filter of a SUBSCRIBE, and its options. All but ``qos`` are of MQTT 5.0."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Subscribe(Struct, gc=False):
    """What a client wants to get. It has one filter or more."""

    packet_id: int
    subscriptions: list[Subscription]
    properties: Properties | None = None


class Suback(Struct, gc=False):
    """The answer to a SUBSCRIBE: for each filter the granted QoS or, from 0x80 on, why it was refused, which 3.x gets as 0x80."""

    packet_id: int
    reason_codes: list[int]
    properties: Properties | None = None


class Unsubscribe(Struct, gc=False):
    """What a client no longer wants to get. It has one filter or more."""

    packet_id: int
    filters: list[str]
    properties: Properties | None = None


class Unsuback(Struct, gc=False):
    """The answer to an UNSUBSCRIBE. MQTT 3.x gets no reason codes."""

    packet_id: int
    reason_codes: list[int]
    properties: Properties | None = None


class Pingreq(Struct, gc=False, frozen=True):
    """A sign of life."""


class Pingresp(Struct, gc=False, frozen=True):
    """The answer to a PINGREQ."""


class Disconnect(Struct, gc=False):
    """The end of a connection. In MQTT 3.x only a client sends it, without a reason."""

    reason_code: int = 0
    properties: Properties | None = None


class Auth(Struct, gc=False):
    """A step of enhanced authentication, of MQTT 5.0 only."""

    reason_code: int = 0
    properties: Properties | None = None


Acknowledgement = Union[Puback, Pubrec, Pubrel, Pubcomp]
"""The packets that have only a packet id, and in 5.0 a reason code and properties."""

Packet = Union[
    Connect,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
]
