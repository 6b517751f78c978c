"""The section ``[mqtt]``."""

from __future__ import annotations

from dataclasses import dataclass

from dhtwisted.config.endpoints import check_endpoint
from dhtwisted.config.kinds import Choice, Duration, Flag, Integer, List, Size
from dhtwisted.config.mqtt_tables import ACCESS, MAPPINGS, AccessRule, TopicMapping
from dhtwisted.config.options import option
from dhtwisted.wire.mqtt.decoding import SMALLEST_MAXIMUM
from dhtwisted.wire.mqtt.topics import MOST_LEVELS

LONGEST_KEEP_ALIVE = 65535
"""The most seconds that MQTT can say."""


@dataclass(frozen=True, kw_only=True)
class MqttSettings:
    """Devices that speak MQTT 3.1, 3.1.1 or 5.0; limits and quotas hold for them too. For bounds, 0 means none."""

    listen: tuple[str, ...] = option(
        (),
        List("a Twisted endpoint such as tcp:1883", check_endpoint),
        "Twisted endpoint strings, tcp:1883 or with the certificate of [tls] tls:tcp:8883; empty: none",
    )
    websocket: str = option(
        "auto",
        Choice("auto", "on", "off"),
        "MQTT over WebSocket at /mqtt of each endpoint of server.listen, also below the prefixes; auto: if there is an mqtt.listen",
    )
    anonymous: bool = option(
        False, Flag(), "accept clients without user name and password; they can log in later through dh/request", reloads=True
    )
    plain_topics: bool = option(False, Flag(), "be a broker for topics outside of dh/ too, as mqtt.access permits; not with several nodes")
    last_values: bool = option(
        True,
        Flag(),
        "a new subscription of notifications gets the newest of each device and name as retained messages, at most 1000",
        reloads=True,
    )
    receive_maximum: int = option(
        64, Integer(1, 65535), "messages with QoS 1 or 2 that wait for their acknowledgement, per connection and direction", reloads=True
    )
    topic_alias_maximum: int = option(16, Integer(0, 65535), "topic aliases of a connection of MQTT 5.0, in each direction")
    packet_size: int = option(
        1024**2, Size(least=SMALLEST_MAXIMUM), "largest packet of a client; 0: 256 MiB, the most that MQTT permits", reloads=True
    )
    topic_levels: int = option(MOST_LEVELS, Integer(), "levels of one topic or filter", reloads=True)
    keep_alive: float = option(
        3600.0,
        Duration(highest=LONGEST_KEEP_ALIVE),
        "longest keep alive; a client of MQTT 5.0 that wants a longer one or none is told to use this; 0s: any",
        reloads=True,
    )
    session_expiry: float = option(
        7 * 86400.0,
        Duration(highest=2**32 - 2),
        "longest time that a session is kept without a connection; 0s: it ends with the connection. Clients of 3.1 and 3.1.1 get this time",
        reloads=True,
    )
    sessions: int = option(100_000, Integer(), "sessions that are kept, with and without connection", reloads=True)
    sessions_per_user: int = option(10_000, Integer(), "sessions of one user that are kept", reloads=True)
    filters_per_session: int = option(1000, Integer(), "filters to which a session has subscribed", reloads=True)
    queued_messages: int = option(1000, Integer(), "messages of plain topics with QoS 1 or 2 that wait for one session", reloads=True)
    queued_bytes: int = option(4 * 1024**2, Size(), "bytes of these messages of one session", reloads=True)
    retained_messages: int = option(100_000, Integer(), "retained messages of plain topics", reloads=True)
    retained_bytes: int = option(64 * 1024**2, Size(), "bytes of all retained messages, with their topics", reloads=True)
    wills: int = option(20_000, Integer(), "wills of connected clients, and those that wait for their delay", reloads=True)
    will_bytes: int = option(64 * 1024**2, Size(), "bytes of all wills", reloads=True)
    sys_interval: float = option(
        10.0, Duration(), "time between messages below $SYS/, which administrators can hear; 0s: none", reloads=True
    )
    access: tuple[AccessRule, ...] = option(
        (), ACCESS, "who may publish and subscribe to which plain topics; any number, none by default:", reloads=True
    )
    map: tuple[TopicMapping, ...] = option(
        (), MAPPINGS, "topics of devices that are notifications or commands; the first that fits a topic counts:", reloads=True
    )

    @property
    def has_websocket(self) -> bool:
        """Whether there is MQTT over WebSocket."""
        return self.websocket == "on" or (self.websocket == "auto" and bool(self.listen))

    @property
    def is_on(self) -> bool:
        """Whether there is MQTT at all."""
        return bool(self.listen) or self.has_websocket
