"""The topics below ``$SYS/``: the server's own figures, with the names that Mosquitto has for them.

They are kept nowhere. A new subscriber gets the present ones as retained messages, and those who have subscribed get what has changed,
every ``mqtt.sys_interval``. While nobody has subscribed, only the averages are kept up to date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dhtwisted import __version__
from dhtwisted.fronts.mqtt.filters import matches
from dhtwisted.fronts.mqtt.load_averages import LoadAverages
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.routing import Plan, receivers_of
from dhtwisted.wire.mqtt.packets import Connect, Publish
from dhtwisted.wire.mqtt.topics import SHARE, SYSTEM

BROKER = SYSTEM + "broker/"
SYSTEM_LEVEL = SYSTEM.rstrip("/")


class SystemTopics:
    """The figures of one broker.

    :param broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    :ivar traffic: what counts the bytes of each transport, as ``octets_received`` and ``octets_sent``.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._began = self._published_at = broker.now()
        self._most_clients = 0
        self._told: dict[str, str] = {}
        self._load = LoadAverages()
        self.traffic: list[Any] = []

    def tick(self, now: float) -> None:
        """Publish what has changed, if it is time."""
        broker = self._broker
        self._most_clients = max(self._most_clients, len(broker.connections))
        interval = broker.server.settings.mqtt.sys_interval
        if interval and not 0 <= now - self._published_at < interval:
            self._load.add(self._totals(), now - self._published_at)
            self._published_at = now
            if broker.tree.has(SYSTEM_LEVEL):
                self._publish()

    def _publish(self) -> None:
        broker, told = self._broker, self._told
        self._told = dict(self._figures())
        for topic, text in self._told.items():
            if told.get(topic) != text:
                message = Message(topic, text.encode())
                receivers = receivers_of(broker.tree.match(topic), message)
                receivers = [receiver for receiver in receivers if broker.still_hears(receiver.session, topic)]
                if receivers:
                    broker.deliver(Plan(message, receivers))

    def find(self, levels: Sequence[str]) -> Iterator[Message]:
        """The present figures that a filter matches, as retained messages."""
        if levels[0] == SYSTEM_LEVEL and self._broker.server.settings.mqtt.sys_interval:
            for topic, text in self._figures():
                if matches(levels, topic):
                    yield Message(topic, text.encode(), retain=True)

    def _figures(self) -> Iterator[tuple[str, str]]:
        yield BROKER + "version", f"dhtwisted version {__version__}"
        yield BROKER + "uptime", f"{max(0, int(self._broker.now() - self._began))} seconds"
        for name, value in (self._clients() | self._messages()).items():
            yield BROKER + name, str(value)
        for name, average in self._load.averages():
            yield f"{BROKER}load/{name}", f"{average:.2f}"

    def _totals(self) -> dict[str, int]:
        """What has been counted since the start, by Mosquitto's name of the average."""
        counters = self._broker.counters
        return {
            "messages/received": sum(counters.received.values()),
            "messages/sent": counters.published + sum(counters.sent.values()),
            "publish/dropped": sum(counters.dropped.values()),
            "publish/received": counters.received[Publish],
            "publish/sent": counters.published,
            "bytes/received": sum(each.octets_received for each in self.traffic),
            "bytes/sent": sum(each.octets_sent for each in self.traffic),
            "sockets": counters.opened,
            "connections": counters.received[Connect],
        }

    def _clients(self) -> dict[str, int]:
        sessions: Any = self._broker.sessions.values()
        connected = sum(session.connection is not None for session in sessions)
        self._most_clients = max(self._most_clients, connected)
        shared = sum(text.startswith(SHARE) for session in sessions for text in session.filters)
        return {
            "clients/total": len(sessions),
            "clients/connected": connected,
            "clients/active": connected,
            "clients/disconnected": len(sessions) - connected,
            "clients/inactive": len(sessions) - connected,
            "clients/maximum": self._most_clients,
            "subscriptions/count": sum(len(session.filters) for session in sessions),
            "shared_subscriptions/count": shared,
        }

    def _messages(self) -> dict[str, int]:
        broker, totals = self._broker, self._totals()
        waiting = sum(session.outgoing.count for session in broker.sessions.values())
        return {
            "messages/received": totals["messages/received"],
            "messages/sent": totals["messages/sent"],
            "messages/stored": waiting,
            "publish/messages/received": totals["publish/received"],
            "publish/messages/sent": totals["publish/sent"],
            "publish/messages/dropped": totals["publish/dropped"],
            "retained messages/count": len(broker.retained),
            "store/messages/count": waiting,
            "store/messages/bytes": sum(session.outgoing.size for session in broker.sessions.values()),
            "bytes/received": totals["bytes/received"],
            "bytes/sent": totals["bytes/sent"],
        }
