"""MQTT clients of a whole DeviceHive server in memory: users, networks and devices, without sockets."""

from __future__ import annotations

import json
from typing import Any

from dhtwisted.fronts.mqtt.device_topics import DeviceTopics
from dhtwisted.model import Device, DeviceType, MessageQuery, Network, User
from dhtwisted.testing.server import MemoryServer, at_once
from tests.support.mqtt.clients import Client, Mqtt

SECTIONS = ("limits", "quotas", "auth", "compatibility", "log", "server")


class Hive(Mqtt):
    """A server with network 1 (device ``lamp``, type 1), network 2 (device ``pump``, type 2), and the users ``anna`` (network 1) and
    ``berta`` (network 2).
    """

    anna: User
    berta: User

    @classmethod
    def open(cls, reactor: Any, device_topics: Any = None, after: Hive | None = None, **settings: Any) -> Hive:
        """Open one.

        :param after: the server that ran before on the storage. It is not told that it has crashed.
        :param settings: of ``[mqtt]``, or whole sections.
        """
        sections = {name: settings.pop(name) for name in SECTIONS if name in settings}
        section = {"plain_topics": False, "anonymous": True} | settings
        before = {} if after is None else {"storage": after.memory.storage, "clock": after.memory.clock}
        memory = at_once(MemoryServer.open(reactor, hash_password=False, mqtt=section, **before, **sections))
        self = cls(memory, device_topics or DeviceTopics(memory.server, memory.storage))
        if after is None:
            self._furnish()
        else:
            after.broker._ticking.stop()
            self.anna, self.berta = after.anna, after.berta
        return self

    def _furnish(self) -> None:
        entities = self.memory.server.entities
        at_once(entities.insert(Network(name="Garden")))
        at_once(entities.insert(DeviceType(name="Pump")))
        self.device("lamp", 1, 1)
        self.device("pump", 2, 2)
        self.anna = at_once(self.memory.add_user("anna", network_ids=frozenset({1})))
        self.berta = at_once(self.memory.add_user("berta", network_ids=frozenset({2})))

    def device(self, device_id: str, network_id: int = 1, device_type_id: int = 1, name: str = "") -> Device:
        """Add a device."""
        device = Device(id=device_id, name=name or device_id, network_id=network_id, device_type_id=device_type_id)
        found: Device = at_once(self.memory.server.entities.insert(device))
        return found

    async def close(self) -> None:
        """End everything but a storage that was given."""
        if self.broker._ticking.is_running:
            self.broker.stop()
        await self.memory.close()

    @property
    def administrator(self) -> User:
        return self.memory.administrator

    def admin(self, client_id: str = "admin", **fields: Any) -> Client:
        """A client of the administrator."""
        return self.connect(client_id, user=self.administrator, **fields)

    def stored(self, kind: type) -> list[Any]:
        """All stored messages of a kind."""
        return at_once(self.memory.storage.find_messages(kind, MessageQuery(by_arrival=True)))


def parameters(client: Client) -> list[Any]:
    """The parameters of all events that a client has received since the last call."""
    found = []
    for _, payload in client.messages:
        event = json.loads(payload)
        found.append((event.get("notification") or event.get("command"))["parameters"])
    return found


def topics(client: Client) -> list[str]:
    """The topics of all that a client has received since the last call."""
    return [topic for topic, _ in client.messages]
