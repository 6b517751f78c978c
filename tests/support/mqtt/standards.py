"""The normative statements of both standards (their appendix B), by groups, and the properties of MQTT 5.0.

The list itself is in ``statements.txt``, beside this file.
"""

from pathlib import Path
from typing import NamedTuple

Statement = tuple[str, str]
"""Version and number: ``("5.0", "3.1.2-3")``."""


class Rule(NamedTuple):
    """A statement that one of the standards has, or both with different numbers.

    :ivar number: in 5.0; ``""`` if it has none.
    :ivar old_number: in 3.1.1; ``""`` if it has none.
    :ivar binds: ``server``, ``client`` or ``both``.
    :ivar subject: what it is about, in our words.
    """

    number: str
    old_number: str
    binds: str
    subject: str

    @property
    def statements(self) -> list[Statement]:
        """It with its numbers."""
        found = (("5.0", self.number), ("3.1.1", self.old_number))
        return [(version, number) for version, number in found if number]


def _read_rules() -> dict[str, list[Rule]]:
    groups: dict[str, list[Rule]] = {}
    for line in Path(__file__).with_name("statements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            groups[line[3:]] = []
        elif line and not line.startswith("#"):
            number, old_number, binds, subject = line.split(" | ")
            groups[list(groups)[-1]].append(Rule(number.strip("-"), old_number.strip("-"), binds, subject))
    return groups


GROUPS = _read_rules()
"""Name of a group -> its rules."""

RULES = [rule for rules in GROUPS.values() for rule in rules]
"""All of them."""

STATEMENTS = list(dict.fromkeys(statement for rule in RULES for statement in rule.statements))
"""All of both standards."""

_NO_AUTHENTICATION = "the server has no enhanced authentication, so it sends no AUTH"
_NO_LIMIT = "the server has QoS 1 and 2, retained messages and wildcards"
NOT_TESTABLE = {
    "3.2.2-9": _NO_LIMIT,
    "3.2.2-10": _NO_LIMIT,
    "3.2.2-12": _NO_LIMIT,
    "3.2.2-13": _NO_LIMIT,
    "3.8.3-2 of 3.1.1": _NO_LIMIT,
    "4.12.0-2": _NO_AUTHENTICATION,
    "4.12.0-5": _NO_AUTHENTICATION,
    "4.12.1-2": _NO_AUTHENTICATION,
}
"""Statements that bind servers, but that this one has no way to break, with the reason."""


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
