"""The metrics of a server for a scrape: its counters, and its sizes at that moment."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from dhtwisted import __version__
from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.monitoring.mqtt import render_mqtt
from dhtwisted.monitoring.prometheus import family, histograms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dhtwisted.core.counters import Metrics
    from dhtwisted.core.server import Server
    from dhtwisted.interfaces import IObservedBus
    from dhtwisted.kit.statistics import StorageStatistics
    from dhtwisted.transports.port import PortFactory
    from dhtwisted.transports.traffic import Traffic


def build_info() -> str:
    """The version of the program and of Python."""
    labels = {"version": __version__, "python": platform.python_version()}
    return family("dhtwisted_build_info", "gauge", "Always 1; version of the server and of Python.", [(labels, 1)])


def render_server(server: Server, factory: PortFactory) -> str:
    """All metrics of a server as text.

    :param server: a :class:`~dhtwisted.core.server.Server`.
    :param factory: its :class:`~dhtwisted.transports.port.PortFactory`.
    """
    text = _sizes(server, factory) + _traffic(server, factory.websockets.traffic) + _requests(server.metrics)
    return text if factory.mqtt is None else text + render_mqtt(factory.mqtt.broker, factory)


def render_storages(measured: Mapping[str, StorageStatistics]) -> str:
    """The metrics of storages.

    :param measured: name of the storage's part -> its :class:`~dhtwisted.kit.statistics.StorageStatistics`.
    """
    rows = (
        ("commit_seconds", "Seconds from the begin of a commit until it was safe, or had failed."),
        ("commit_operations", "Operations that shared a commit."),
        ("read_seconds", "Seconds from a question to the storage until its answer."),
    )
    return "".join(
        histograms(f"dhtwisted_storage_{name}", about, [({"storage": part}, getattr(each, name)) for part, each in measured.items()])
        for name, about in rows
    )


def render_bus(bus: IObservedBus) -> str:
    """The metrics of a bus.

    :param bus: an :class:`~dhtwisted.interfaces.IObservedBus`.
    """
    lag = family("dhtwisted_bus_lag_seconds", "gauge", "How long the oldest event has waited that is not delivered yet.", [({}, bus.lag)])
    return family("dhtwisted_bus_up", "gauge", "1 while other nodes are heard.", [({}, int(bus.up))]) + lag


def _sizes(server: Server, factory: PortFactory) -> str:
    websockets = factory.websockets
    queued = [connection.queued for connection in websockets.connections]
    if factory.mqtt is not None:
        queued += [connection.output.queued for connection in factory.mqtt.broker.connections]
    rows = (
        ("connections", "Open connections of any kind.", factory.open_connections),
        ("websocket_connections", "Open WebSocket connections.", len(websockets.connections)),
        ("congested_connections", "Connections whose client does not read.", factory.congested_connections),
        ("queued_bytes", "Bytes that wait for clients to read, of all connections.", sum(queued)),
        ("queued_bytes_max", "Bytes that wait in the connection that has most.", max(queued, default=0)),
        ("held_bytes", "Bytes held for clients that do not keep up, of all connections, by WebSocket, HTTP and MQTT.", server.budget.total),
        ("polls_waiting", "Long polls that wait.", len(server.polls)),
    )
    text = "".join(family(f"dhtwisted_{name}", "gauge", about, [({}, value)]) for name, about, value in rows)
    cached = [({"kind": kind}, size) for kind, size in server.entities.sizes().items()]
    return text + family("dhtwisted_cached_entities", "gauge", "Entities in memory, by kind.", cached)


def _traffic(server: Server, traffic: Traffic) -> str:
    rows = (
        ("websocket_messages_received_total", "WebSocket messages received.", traffic.messages_received),
        ("websocket_received_bytes_total", "Bytes received by WebSocket.", traffic.octets_received),
        ("websocket_sent_bytes_total", "Bytes sent by WebSocket.", traffic.octets_sent),
        ("audit_lost_total", "Events that the audit log lacks, since it could not be written.", server.audit.lost),
        ("deliveries_total", "Events handed to subscribers, each time counted.", server.broker.deliveries),
    )
    return "".join(family(f"dhtwisted_{name}", "counter", about, [({}, value)]) for name, about, value in rows)


def _requests(metrics: Metrics) -> str:
    names = sorted(ACTIONS.keys() | REST_ONLY.keys())
    rows = (
        ("requests_total", "Requests begun, by action.", [({"action": name}, metrics.requests.get(name, 0)) for name in names]),
        (
            "request_errors_total",
            "Requests that ended in an error, by action and code.",
            [({"action": name, "code": str(code)}, count) for (name, code), count in sorted(metrics.errors.items())],
        ),
        (
            "requests_unread_total",
            "Requests refused before any action was begun, by code.",
            [({"code": str(code)}, count) for code, count in sorted(metrics.unread.items())],
        ),
        ("refusals_total", "Refusals, by the option of [limits].", [({"limit": name}, count) for name, count in metrics.refusals.items()]),
        (
            "quota_refusals_total",
            "Refusals, by the option of [quotas].",
            [({"quota": name}, count) for name, count in metrics.quota_refusals.items()],
        ),
        (
            "ended_connections_total",
            "Connections ended by the server.",
            [({"reason": name}, n) for name, n in metrics.ends.items()],
        ),
    )
    return "".join(family(f"dhtwisted_{name}", "counter", about, samples) for name, about, samples in rows)
