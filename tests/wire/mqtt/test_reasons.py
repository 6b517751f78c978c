"""Reason codes of MQTT 5.0, and the return codes that MQTT 3.x gets for them."""

import paho.mqtt.reasoncodes as paho
import pytest
from paho.mqtt.packettypes import PacketTypes

from dhtwisted.wire.mqtt.reasons import FAILURE, ReasonCode, ReturnCode, connack_code, return_code, suback_code


@pytest.mark.parametrize(
    "reason, expected",
    [
        (ReasonCode.SUCCESS, 0),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode.SERVER_BUSY, 3),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode.NOT_AUTHORIZED, 5),
        (ReasonCode.QUOTA_EXCEEDED, 5),
    ],
)
def test_a_connack_has_a_return_code_in_3_x(reason, expected):
    """3.1.1: table 3.1"""
    assert return_code(reason) == expected


@pytest.mark.parametrize("reason", [ReasonCode.MALFORMED_PACKET, ReasonCode.PROTOCOL_ERROR])
def test_a_connect_that_breaks_the_protocol_gets_no_connack_in_3_x(reason):
    """3.1.1: [MQTT-3.1.4-1] [MQTT-3.2.2-6]"""
    assert return_code(reason) is None


@pytest.mark.parametrize("reason", [reason for reason in ReasonCode if reason >= FAILURE])
def test_no_failure_becomes_a_success(reason):
    assert return_code(reason) != ReturnCode.ACCEPTED


@pytest.mark.parametrize(
    "reason, expected",
    [
        (ReasonCode.NOT_AUTHORIZED, 0x87),
        (ReasonCode.SERVER_SHUTTING_DOWN, 0x88),
        (ReasonCode.SESSION_TAKEN_OVER, 0x89),
        (ReasonCode.MESSAGE_RATE_TOO_HIGH, 0x97),
        (ReasonCode.KEEP_ALIVE_TIMEOUT, 0x80),
    ],
)
def test_a_connack_has_not_all_reason_codes(reason, expected):
    """Section 3.2.2.2"""
    assert connack_code(reason) == expected


@pytest.mark.parametrize("reason", [reason for reason in ReasonCode if reason <= 2 or reason >= FAILURE])
def test_a_suback_has_a_reason_code_that_a_client_knows(reason):
    """[MQTT-3.9.3-2]"""
    code = suback_code(reason)
    assert paho.ReasonCode(PacketTypes.SUBACK, identifier=code).value == code
    assert code >= FAILURE or code == reason
