"""Counters of what connections of one sort have sent and received."""

from __future__ import annotations


class Traffic:
    """Counters of all connections of one sort."""

    __slots__ = ("messages_received", "octets_received", "octets_sent")

    def __init__(self) -> None:
        self.messages_received = self.octets_received = self.octets_sent = 0
