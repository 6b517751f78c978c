"""Several nodes with MQTT in memory: they have one storage, one clock, and a bus."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from dhtwisted.core.nodes import SETTLING, Nodes
from dhtwisted.fronts.mqtt.device_topics import DeviceTopics
from dhtwisted.fronts.mqtt.shared_sessions import SharedSessions
from dhtwisted.fronts.mqtt.stored import MqttStore
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import START, MemoryServer, at_once
from dhtwisted.wire.mqtt.packets import V5, Connack, Connect, Properties, Will
from tests.support.mqtt.clients import Client
from tests.support.mqtt.devices import Hive


class MqttNodes:
    """The nodes of one storage.

    :param count: how many there are at first.
    :ivar nodes: each a :class:`Hive` whose ``nodes`` are what it knows of the others.
    """

    def __init__(self, reactor: Any, count: int = 2) -> None:
        self._reactor = reactor
        self.clock = Clock()
        self.clock.advance(START)
        self.storage = MemoryStorage(self.clock)
        self._hub = Hub(self.clock)
        self.nodes: list[Any] = []
        for _ in range(count):
            self.start()

    def start(self) -> Any:
        """Start one more node."""
        bus = self._hub.bus()
        shared: dict[str, Any] = {"storage": self.storage, "clock": self.clock, "bus": bus}
        memory = at_once(MemoryServer.open(self._reactor, hash_password=False, mqtt={"plain_topics": False, "anonymous": True}, **shared))
        node: Any = Hive(memory, DeviceTopics(memory.server, self.storage))
        node.broker.store = MqttStore(self.storage, self.clock.seconds)
        node.bus, node.nodes = bus, Nodes(self.clock, bus)
        node.broker.shared = SharedSessions(node.broker, self.storage, node.nodes)
        node.broker.shared.start()
        if not self.nodes:
            node._furnish()
        self.nodes.append(node)
        self.wait(2 * SETTLING + 0.2)
        return node

    def wait(self, seconds: float = 0.3) -> None:
        """Let the clock go, and everything arrive that is on its way."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def begin(self, node: Any, client_id: str = "one", clean: bool = False, expiry: int = 3600, will: Will | None = None) -> Client:
        """Let the administrator connect, and do not wait for the answer."""
        client: Client = node.client()
        password = node.memory.token(node.administrator).encode()
        properties = Properties(session_expiry_interval=expiry)
        client.send(Connect(client_id, V5, clean, 0, "token", password, will, properties))
        return client

    def connect(self, node: Any, client_id: str = "one", clean: bool = False, expiry: int = 3600, will: Will | None = None) -> Client:
        """Connect the administrator.

        :returns: the client; its ``is_present`` says whether the session was there.
        """
        client = self.begin(node, client_id, clean, expiry, will)
        self.wait()
        (answer,) = [packet for packet in client.packets if type(packet) is Connack]
        assert answer.reason_code == 0, f"CONNECT was refused: {answer}"
        client.packets.remove(answer)
        client.is_present = answer.session_present
        return client

    def kill(self, node: Any) -> None:
        """End a node as kill -9 does: nothing of it does anything any more."""
        self.nodes.remove(node)
        node.broker._ticking.stop()
        node.nodes._beating.stop()
        node.broker.shared._looking.stop()
        at_once(node.bus.stop())

    def close(self) -> None:
        """End all nodes."""
        for node in list(self.nodes):
            self.kill(node)
