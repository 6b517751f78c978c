"""The numbers of the normative statements of both standards (their appendix B), by groups, and the properties of MQTT 5.0."""

from typing import NamedTuple

Statement = tuple[str, str]
"""Version and number: ``("5.0", "3.1.2-3")``."""

_LAST = {
    "3.1.1": "1.5.3-3 2.2.2-2 2.3.1-7 3.1.0-2 3.1.2-24 3.1.3-11 3.1.4-5 3.2.0-1 3.2.2-6 3.3.1-12 3.3.2-4 3.3.4-1 3.3.5-2 3.6.1-1 3.8.1-1"
    " 3.8.3-4 3.8.4-6 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6 3.12.4-1 3.14.1-1 3.14.4-3 4.1.0-2 4.3.1-1 4.3.2-2 4.3.3-2 4.4.0-1 4.5.0-2 4.6.0-6"
    " 4.7.1-3 4.7.2-1 4.7.3-4 4.8.0-2 6.0.0-4",
    "5.0": "1.5.4-3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-6 2.2.2-1 3.1.0-2 3.1.2-30 3.1.3-12 3.1.4-6 3.2.0-2 3.2.2-22 3.3.1-13 3.3.2-20 3.3.4-10"
    " 3.4.2-3 3.5.2-3 3.6.1-1 3.6.2-3 3.7.2-3 3.8.1-1 3.8.3-5 3.8.4-8 3.9.2-2 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6 3.11.2-2 3.11.3-2 3.12.4-1"
    " 3.14.0-1 3.14.1-1 3.14.2-4 3.14.4-3 3.15.1-1 3.15.2-1 4.1.0-2 4.2.0-1 4.3.1-1 4.3.2-5 4.3.3-13 4.4.0-2 4.5.0-2 4.6.0-6 4.7.0-1"
    " 4.7.1-2 4.7.2-1 4.7.3-4 4.8.2-6 4.9.0-3 4.12.0-7 4.12.1-2 4.13.1-1 4.13.2-1 6.0.0-4",
}
"""The highest number of each section; they begin with 1."""

GROUPS = {
    "Text, numbers and the fixed header": ("1.5.", "2."),
    "CONNECT and CONNACK": ("3.1.", "3.2."),
    "PUBLISH and its acknowledgements": ("3.3.", "3.4.", "3.5.", "3.6.", "3.7."),
    "SUBSCRIBE and SUBACK": ("3.8.", "3.9."),
    "UNSUBSCRIBE and UNSUBACK": ("3.10.", "3.11."),
    "PINGREQ and PINGRESP": ("3.12.", "3.13."),
    "DISCONNECT": ("3.14.",),
    "AUTH": ("3.15.", "4.12."),
    "Session state and the network": ("4.1.", "4.2."),
    "Quality of service, redelivery, order and flow control": ("4.3.", "4.4.", "4.5.", "4.6.", "4.9."),
    "Topics, filters and shared subscriptions": ("4.7.", "4.8.2"),
    "Errors": ("4.8.0", "4.13."),
    "WebSocket": ("6.",),
}
"""Name -> how the numbers of the group begin."""


class Property(NamedTuple):
    """A property of MQTT 5.0.

    :ivar sections: of the standard.
    :ivar statements: numbers of the statements about it.
    """

    sections: tuple[str, ...]
    statements: tuple[str, ...] = ()


def _of(sections: str, statements: str = "") -> Property:
    return Property(tuple(sections.split()), tuple(statements.split()))


PROPERTIES = {
    "Payload Format Indicator": _of("3.1.3.2.3 3.3.2.3.2", "3.3.2-4"),
    "Message Expiry Interval": _of("3.1.3.2.4 3.3.2.3.3", "3.3.2-5 3.3.2-6"),
    "Content Type": _of("3.1.3.2.5 3.3.2.3.9", "3.3.2-19 3.3.2-20"),
    "Response Topic": _of("3.1.3.2.6 3.3.2.3.5", "3.3.2-13 3.3.2-14 3.3.2-15"),
    "Correlation Data": _of("3.1.3.2.7 3.3.2.3.6", "3.3.2-16"),
    "Subscription Identifier": _of("3.3.2.3.8 3.8.2.1.2", "3.3.4-3 3.3.4-4 3.3.4-5 3.3.4-6"),
    "Session Expiry Interval": _of("3.1.2.11.2 3.2.2.3.2 3.14.2.2.2", "3.1.2-23 3.14.2-2"),
    "Assigned Client Identifier": _of("3.2.2.3.7", "3.1.3-6 3.1.3-7 3.2.2-16"),
    "Server Keep Alive": _of("3.2.2.3.14", "3.1.2-21 3.2.2-21 3.2.2-22"),
    "Authentication Method, Authentication Data": _of("3.1.2.11.9 3.1.2.11.10 3.2.2.3.17 3.2.2.3.18", "3.1.2-30 4.12.0-1"),
    "Request Problem Information": _of("3.1.2.11.7", "3.1.2-29"),
    "Request Response Information, Response Information": _of("3.1.2.11.6 3.2.2.3.15", "3.1.2-28"),
    "Will Delay Interval": _of("3.1.3.2.2", "3.1.3-9"),
    "Server Reference": _of("3.2.2.3.16 3.14.2.2.5 4.11"),
    "Reason String": _of("3.2.2.3.9 3.4.2.2.2 3.14.2.2.3", "3.2.2-19 3.4.2-2 3.5.2-2 3.6.2-2 3.7.2-2 3.9.2-1 3.11.2-1 3.14.2-3"),
    "Receive Maximum": _of("3.1.2.11.3 3.2.2.3.3", "3.3.4-7 3.3.4-8 3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3"),
    "Topic Alias Maximum": _of("3.1.2.11.5 3.2.2.3.8", "3.1.2-26 3.1.2-27 3.2.2-17 3.2.2-18"),
    "Topic Alias": _of("3.3.2.3.4", "3.3.2-7 3.3.2-8 3.3.2-9 3.3.2-10 3.3.2-11 3.3.2-12"),
    "Maximum QoS": _of("3.2.2.3.4", "3.2.2-9 3.2.2-10 3.2.2-11 3.2.2-12"),
    "Retain Available": _of("3.2.2.3.5", "3.2.2-13 3.2.2-14"),
    "User Property": _of("3.1.2.11.8 3.1.3.2.8 3.3.2.3.7", "3.1.3-10 3.2.2-20 3.3.2-17 3.3.2-18 3.4.2-3"),
    "Maximum Packet Size": _of("3.1.2.11.4 3.2.2.3.6", "3.1.2-24 3.1.2-25 3.2.2-15"),
    "Wildcard Subscription Available": _of("3.2.2.3.11"),
    "Subscription Identifiers Available": _of("3.2.2.3.12"),
    "Shared Subscription Available": _of("3.2.2.3.13"),
}


def _all_of(version: str) -> list[Statement]:
    found = []
    for last in _LAST[version].split():
        section, _, number = last.partition("-")
        found += [(version, f"{section}-{one}") for one in range(1, int(number) + 1)]
    return found


STATEMENTS = [*_all_of("5.0"), *_all_of("3.1.1")]
"""All of both, in their order."""
