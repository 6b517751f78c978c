"""MQTT on several nodes with one PostgreSQL database: clients go from node to node behind a balancer, nodes are killed, and nothing is lost
or repeated.
"""

import json
import os
import threading
from contextlib import ExitStack

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.proxy import FaultProxy
from tests.support.servers.mqtt_peers import MqttLoad, Peer
from tests.support.servers.nodes import Nodes
from tests.support.servers.process import PASSWORD
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TESTS_OF_DHTWISTED_ROUNDS", "3"))
CONNECTIONS = 30
"""Of one user at once. More logins are slowed down (limits of logins)."""
TAKEN_OVER, BUSY = 0x8E, 0x89
"""The second one is for those that are taken over before their CONNACK."""


@pytest.fixture
def nodes(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


@pytest.fixture
def fronts(nodes):
    """Two balancers, one for publishers and one for subscribers, both in front of node ``a``."""
    with ExitStack() as stack:
        yield [stack.enter_context(FaultProxy(nodes.mqtt_port("a"))) for _ in range(2)]


def move(nodes, fronts, name):
    """Lead all clients to another node."""
    for front in fronts:
        front.aim(nodes.mqtt_port(name))
        front.cut()


@pytest.mark.parametrize("version", [MQTTv311, MQTTv5], ids=["3.1.1", "5.0"])
def test_clients_that_move(nodes, fronts, database, version, record_property):
    """First publishers and subscribers are on one node, then on two, then on the other one."""
    for name in "ab":
        nodes.start(name, database, mqtt=True)
    with MqttLoad((fronts[0].port, fronts[1].port), version) as load:
        for number in range(ROUNDS):
            load.round(lambda number=number: move(nodes, fronts[number % 2 :][:1], "ba"[number // 2 % 2]))
        record_property("counts", load.judge())


@pytest.mark.parametrize("version", [MQTTv311, MQTTv5], ids=["3.1.1", "5.0"])
def test_the_node_of_the_clients_is_killed(nodes, fronts, database, version, record_property):
    servers = {name: nodes.start(name, database, mqtt=True) for name in "ab"}

    def kill(dying, other):
        servers[dying].kill()
        move(nodes, fronts, other)

    with MqttLoad((fronts[0].port, fronts[1].port), version) as load:
        for number in range(ROUNDS):
            dying, other = ("a", "b") if number % 2 == 0 else ("b", "a")
            load.round(lambda dying=dying, other=other: kill(dying, other))
            servers[dying] = nodes.start(dying, database, mqtt=True)
        record_property("counts", load.judge())


class Rival:
    """A client that does not connect again.

    :ivar ends: the reason code with which its connection or its CONNECT ended.
    """

    def __init__(self, port, name, will=None):
        self.client = client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        self.connected, self.ends = threading.Event(), []
        client.username_pw_set("dhadmin", PASSWORD)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        if will is not None:
            client.will_set("dh/notification///lamp/will", json.dumps(will), 1)
        client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        client.loop_start()

    def _on_connect(self, client, data, flags, reason, properties):
        self.connected.set()
        if reason.is_failure:
            self.ends.append(reason.value)

    def _on_disconnect(self, client, data, flags, reason, properties):
        if not self.ends:
            self.ends.append(reason.value)
        client.disconnect()

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_many_connections_at_once_with_one_client_id(nodes, database):
    for name in "ab":
        nodes.start(name, database, mqtt=True)
    rivals = [Rival(nodes.mqtt_port("ab"[number % 2]), "rival") for number in range(CONNECTIONS)]
    wait_until(lambda: sum(bool(rival.ends) for rival in rivals) == CONNECTIONS - 1, "all but one must end")
    threading.Event().wait(1)
    (last,) = [rival for rival in rivals if not rival.ends]
    assert {reason for rival in rivals for reason in rival.ends} <= {TAKEN_OVER, BUSY}
    assert last.connected.wait(10)
    for rival in rivals:
        rival.stop()


def test_the_wills_of_a_node_that_is_killed_are_published_once(nodes, database):
    servers = {name: nodes.start(name, database, mqtt=True) for name in "abc"}
    watcher = Peer(nodes.mqtt_port("b"), "watcher", MQTTv5)
    client = servers["b"].connect()
    client.call("device/save", deviceId="lamp", device={"name": "Lamp", "networkId": 1, "deviceTypeId": 1})
    watcher.subscribe("dh/notification/+/+/lamp/will", 2)
    dying = [Rival(nodes.mqtt_port("a"), f"dying-{number}", number) for number in range(CONNECTIONS)]
    for rival in dying:
        assert rival.connected.wait(10)
    servers["a"].kill()
    wait_until(lambda: len(watcher.heard) == CONNECTIONS, "the wills are not published")
    threading.Event().wait(3)
    assert set(watcher.heard.values()) == {1}
    watcher.stop()
    for rival in dying:
        rival.stop()
