"""What the operator can see of MQTT. Counting is one addition; everything else happens at a scrape."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from dhtwisted.wire.mqtt.packets import Connack, Disconnect, Packet, Pingresp, Puback, Pubcomp, Pubrec, Pubrel, Suback, Unsuback

ANSWERS = (Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Pingresp, Disconnect)
"""The packets that a server sends besides PUBLISH."""

DROPS = ("expired", "no_member", "no_right", "not_reading", "queue_full", "too_large")
"""Why a message did not reach a subscriber."""

BOUNDS = ("sessions", "sessions_per_user", "filters_per_session", "queued_messages", "retained_messages", "wills")
"""The bounds of ``[mqtt]`` whose refusals are counted."""


class MqttCounters:
    """Counters of one broker.

    :ivar received: type of packet -> how many have come.
    :ivar sent: one of :data:`ANSWERS` -> how many were sent.
    :ivar published: how many PUBLISH were sent.
    :ivar opened: how many connections were opened.
    :ivar refused: reason code -> how many publishes were refused with it.
    :ivar ended: reason code -> how many connections the server ended with it.
    :ivar connects: reason code -> how many CONNECT were answered with it.
    :ivar dropped: one of :data:`DROPS` -> how many messages were not sent to a subscriber.
    :ivar bounds: one of :data:`BOUNDS` -> how often it has refused something.
    """

    def __init__(self) -> None:
        self.received: Counter[type] = Counter(dict.fromkeys(get_args(Packet), 0))
        self.sent: dict[type, int] = dict.fromkeys(ANSWERS, 0)
        self.published = self.opened = 0
        self.refused: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.connects: Counter[int] = Counter()
        self.dropped: Counter[str] = Counter(dict.fromkeys(DROPS, 0))
        self.bounds: Counter[str] = Counter(dict.fromkeys(BOUNDS, 0))
