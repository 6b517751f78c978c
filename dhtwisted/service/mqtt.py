"""MQTT as a part of the server: what is made at the start, and what a reload changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from dhtwisted.core.nodes import Nodes
from dhtwisted.fronts.mqtt.access import PlainAccess
from dhtwisted.fronts.mqtt.broker import MqttBroker
from dhtwisted.fronts.mqtt.device_topics import DeviceTopics
from dhtwisted.fronts.mqtt.restoring import restore
from dhtwisted.fronts.mqtt.shared_sessions import SharedSessions
from dhtwisted.fronts.mqtt.stored import MqttStore
from dhtwisted.interfaces import INodeBus

if TYPE_CHECKING:
    from dhtwisted.config.settings import Settings
    from dhtwisted.core.server import Server


class Mqtt:
    """The MQTT front of one server.

    :param server: a started :class:`~dhtwisted.core.server.Server`.
    :param storage: keeps sessions and retained messages: an opened ``IEntityStorage``.
    :ivar broker: the :class:`~dhtwisted.fronts.mqtt.broker.MqttBroker`.
    """

    log = Logger()

    def __init__(self, server: Server, storage: Any) -> None:
        self._storage = storage
        self._settings = server.settings.mqtt
        self._access = PlainAccess(self._settings.access, server.entities)
        self._topics = DeviceTopics(server, storage)
        self.broker = MqttBroker(server, self._access, MqttStore(storage, server.reactor.seconds), self._topics)
        if INodeBus.providedBy(server.bus):
            self.broker.shared = SharedSessions(self.broker, storage, Nodes(server.reactor, server.bus))
        elif not server.is_alone:
            self.log.warn("this bus carries nothing between nodes but events: use MQTT on one node only")

    async def start(self) -> None:
        """Take sessions and retained messages out of the storage, and begin to watch times.

        :raises StorageError: the storage cannot be read.
        """
        if self.broker.shared is None:
            await restore(self.broker, self._storage)
        else:
            self.broker.shared.start()
        self.broker.start()

    async def stop(self) -> None:
        """End what is left of the connections, and watch no times any more. Leave the sessions to other nodes."""
        self.broker.stop()
        if self.broker.shared is not None:
            await self.broker.shared.stop()

    def reloadable(self, settings: Settings) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`. It comes after that of the server, whose settings the broker has.

        Clients that lose a right to plain topics lose their subscriptions; those that are connected stay so. Publishes go by new mappings
        at once, and filters when a client subscribes to them.
        """

        def take() -> None:
            self.broker.set_limits()
            self._topics.set_limits()
            before, self._settings = self._settings, settings.mqtt
            if settings.mqtt != before:
                self._access.change(settings.mqtt.access)
                # Connections remember what may happen with a topic, by rules, mappings and the number of its levels.
                self.broker.rights_changed()

        return take
