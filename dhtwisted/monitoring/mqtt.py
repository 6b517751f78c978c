"""The metrics of MQTT."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dhtwisted.monitoring.prometheus import Samples, family
from dhtwisted.wire.mqtt.packets import VERSIONS, Connack, Pingresp, Suback, Unsuback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.counters import MqttCounters
    from dhtwisted.transports.port import PortFactory

NO_VERSION = "none"
LABELS = {0: NO_VERSION} | VERSIONS
"""The protocol level in CONNECT -> the label of a metric."""

ONLY_OF_SERVERS = (Connack, Suback, Unsuback, Pingresp)
"""Types of packets that end the connection of a client that sends them."""


def render_mqtt(broker: MqttBroker, factory: PortFactory) -> str:
    """All metrics of MQTT as text.

    :param factory: the :class:`~dhtwisted.transports.port.PortFactory` of the server.
    """
    return _connections(broker) + _messages(broker) + _counters(broker.counters) + _traffic(factory)


def _connections(broker: MqttBroker) -> str:
    versions = Counter(connection.version for connection in broker.connections)
    connected = sum(session.connection is not None for session in broker.sessions.values())
    return family(
        "dhtwisted_mqtt_connections",
        "gauge",
        "Open MQTT connections, also over WebSocket, by version; none: before CONNECT.",
        [({"version": name}, versions[level]) for level, name in LABELS.items()],
    ) + family(
        "dhtwisted_mqtt_sessions",
        "gauge",
        "MQTT sessions, by whether their client is connected.",
        [({"connected": "yes"}, connected), ({"connected": "no"}, len(broker.sessions) - connected)],
    )


def _messages(broker: MqttBroker) -> str:
    in_flight = sum(connection.most_in_flight - connection.quota for connection in broker.connections)
    pending = sum(session.outgoing.count for session in broker.sessions.values())
    rows = (
        ("in_flight_messages", "Messages with QoS 1 or 2 that were sent on open connections and are not acknowledged.", in_flight),
        ("queued_messages", "Messages with QoS 1 or 2 that wait for a client or its acknowledgement, of all sessions.", pending),
        ("retained_messages", "Retained messages.", len(broker.retained)),
        ("retained_bytes", "Bytes of all retained messages.", broker.retained.size),
        ("wills", "Wills that are kept.", broker.will_count),
    )
    return "".join(family(f"dhtwisted_mqtt_{name}", "gauge", about, [({}, value)]) for name, about, value in rows)


def _counters(counters: MqttCounters) -> str:
    packets: Samples = [({"type": kind.__name__.upper()}, n) for kind, n in counters.received.items() if kind not in ONLY_OF_SERVERS]
    sent: Samples = [
        ({"type": "PUBLISH"}, counters.published),
        *(({"type": kind.__name__.upper()}, n) for kind, n in counters.sent.items()),
    ]
    rows: tuple[tuple[str, str, Samples], ...] = (
        ("packets_received_total", "Packets received, by type.", packets),
        ("packets_sent_total", "Packets sent, by type.", sent),
        ("connects_total", "CONNECT packets answered, by reason code.", _by_reason(counters.connects)),
        ("ended_total", "Connections ended by the server, by reason code.", _by_reason(counters.ended)),
        ("refused_publishes_total", "PUBLISH packets refused, by reason code.", _by_reason(counters.refused)),
        ("dropped_messages_total", "Messages not sent to a subscriber.", [({"reason": name}, n) for name, n in counters.dropped.items()]),
        ("refusals_total", "Refusals, by the option of [mqtt].", [({"limit": name}, n) for name, n in counters.bounds.items()]),
    )
    return "".join(family(f"dhtwisted_mqtt_{name}", "counter", about, samples) for name, about, samples in rows)


def _by_reason(counts: Mapping[int, int]) -> list[tuple[dict[str, str], float]]:
    return [({"reason": f"{code:#04x}"}, count) for code, count in sorted(counts.items())]


def _traffic(factory: PortFactory) -> str:
    sorts = [] if factory.mqtt is None else [factory.mqtt.traffic]
    if factory.mqtt_websockets is not None:
        sorts.append(factory.mqtt_websockets.traffic)
    rows = (
        ("received_bytes_total", "Bytes received by MQTT, with frames of WebSocket.", sum(each.octets_received for each in sorts)),
        ("sent_bytes_total", "Bytes sent by MQTT, with frames of WebSocket.", sum(each.octets_sent for each in sorts)),
    )
    return "".join(family(f"dhtwisted_mqtt_{name}", "counter", about, [({}, value)]) for name, about, value in rows)
