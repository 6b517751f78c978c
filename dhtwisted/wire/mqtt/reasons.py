"""Reason codes of MQTT 5.0 (section 2.4), and what MQTT 3.x gets instead."""

from enum import IntEnum


class ReasonCode(IntEnum):
    """What became of a packet or a connection; from 0x80 on, why it failed. The names are those of the standard."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


FAILURE = 0x80
"""The lowest reason code of a failure, and the only one that a SUBACK of MQTT 3.x has."""


_IN_CONNACK = frozenset({0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, *range(0x99, 0x9E), 0x9F})
_FOR_CONNACK = {
    ReasonCode.SERVER_SHUTTING_DOWN: ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.SESSION_TAKEN_OVER: ReasonCode.SERVER_BUSY,
    ReasonCode.MESSAGE_RATE_TOO_HIGH: ReasonCode.QUOTA_EXCEEDED,
}


def connack_code(reason_code: int) -> int:
    """The reason code with which a CONNACK says why a connection ends: it has not all of those of a DISCONNECT (3.2.2.2). Clients take
    another one for a violation of the protocol.
    """
    return reason_code if reason_code in _IN_CONNACK else _FOR_CONNACK.get(ReasonCode(reason_code), ReasonCode.UNSPECIFIED_ERROR)


_IN_SUBACK = frozenset({0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2})
_FOR_SUBACK = {
    ReasonCode.TOPIC_NAME_INVALID: ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.PAYLOAD_FORMAT_INVALID: ReasonCode.TOPIC_FILTER_INVALID,
}


def suback_code(reason_code: int) -> int:
    """The reason code with which a SUBACK refuses a filter: it has not all of those of a PUBACK (3.9.3). Clients take another one for a
    malformed packet, and end the connection.
    """
    return reason_code if reason_code in _IN_SUBACK else _FOR_SUBACK.get(ReasonCode(reason_code), ReasonCode.UNSPECIFIED_ERROR)


class ReturnCode(IntEnum):
    """The answer to a CONNECT of MQTT 3.x (3.1.1, section 3.2.2.3)."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


_RETURN_CODES: dict[int, ReturnCode] = {
    ReasonCode.SUCCESS: ReturnCode.ACCEPTED,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: ReturnCode.IDENTIFIER_REJECTED,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: ReturnCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.BANNED: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.BAD_AUTHENTICATION_METHOD: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.TOPIC_NAME_INVALID: ReturnCode.NOT_AUTHORIZED,
    # Too many logins. "Server unavailable" would have clients try again at once, elsewhere or here.
    ReasonCode.QUOTA_EXCEEDED: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.PAYLOAD_FORMAT_INVALID: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.RETAIN_NOT_SUPPORTED: ReturnCode.NOT_AUTHORIZED,
    ReasonCode.QOS_NOT_SUPPORTED: ReturnCode.NOT_AUTHORIZED,
}
_WITHOUT_ANSWER = {ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR, ReasonCode.PACKET_TOO_LARGE}


def return_code(reason_code: int) -> ReturnCode | None:
    """Translate the reason code of a CONNACK for MQTT 3.x.

    :returns: ``None`` if the connection must be closed without a CONNACK (3.1.1, [MQTT-3.1.4-1]).
    """
    return None if reason_code in _WITHOUT_ANSWER else _RETURN_CODES.get(reason_code, ReturnCode.SERVER_UNAVAILABLE)
