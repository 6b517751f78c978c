"""Several servers on one database behave as one."""

import json
import threading
from itertools import cycle

import pytest
import requests

from tests.support.servers.load import Load, Reader
from tests.support.servers.nodes import Nodes
from tests.support.servers.process import PASSWORD, Client

pytestmark = pytest.mark.slow

NAMES = "abc"
VISIT = 200
"""Messages after which a client goes to another node."""

MOST_MOVES = 20
"""Then it stays: with so few messages a visit it would fall behind for ever where much is written."""


@pytest.fixture
def nodes(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


@pytest.fixture
def two(nodes, database):
    """Two running nodes."""
    return [nodes.start(name, database) for name in NAMES[:2]]


class MovingReader(Reader):
    """A subscriber that goes from node to node.

    :ivar moves: how often it went.
    """

    def __init__(self, urls, *arguments):
        super().__init__(urls[0], *arguments)
        self._urls = cycle(urls)
        self.moves = 0

    def _take(self, event):
        super()._take(event)
        if self.moves < MOST_MOVES and sum(map(len, self._here.values())) >= VISIT and not self._stopping.is_set():
            raise EOFError("time to go")

    def lost(self):
        self.moves += 1
        self._url = next(self._urls)


def test_three_nodes_one_of_which_is_killed_and_a_client_that_moves(nodes, database):
    servers = {name: nodes.start(name, database) for name in NAMES}
    urls = [server.url() for server in servers.values()]
    load = Load(urls, writers=6, readers=urls)
    moving = MovingReader(urls, [writer.device_id for writer in load.writers], load.readers[0]._since)
    load.readers.append(moving)
    with load:
        load.go_on(200)
        servers["b"].kill()
        for writer in load.writers[::3]:
            assert writer.is_alive()
        threading.Event().wait(0.5)
        nodes.start("b", database)
        load.go_on(200)
        report = load.report()
    assert report.faults == {}
    assert report.overtaken == 0
    assert not report.refused
    assert moving.moves > 3


def test_an_update_reaches_the_connection_that_inserted_the_command_on_another_node(two):
    inserter, device = (server.connect() for server in two)
    device.call("device/save", deviceId="pump", device={})
    device.call("command/subscribe", deviceId="pump")
    command = inserter.call("command/insert", deviceId="pump", command={"command": "open", "parameters": {"a": 1}})["command"]
    event = device.events[0] if device.events else device.receive()
    assert (event["command"]["id"], event["command"]["status"], event["command"]["lastUpdated"]) == (
        command["id"],
        None,
        command["lastUpdated"],
    )
    device.call("command/update", deviceId="pump", commandId=command["id"], command={"status": "done", "result": [1]})
    update = inserter.receive()
    assert (update["action"], update["command"]["id"], update["command"]["result"]) == ("command/update", command["id"], [1])


def test_a_long_poll_works_on_any_node(two):
    inserter = two[0].connect()
    inserter.call("device/save", deviceId="pump", device={})
    api = two[1].url("/api/rest", "http")
    token = requests.post(f"{api}/token", json={"login": "dhadmin", "password": PASSWORD}, timeout=30).json()["accessToken"]
    answers = []

    def poll():
        headers = {"Authorization": f"Bearer {token}"}
        answers.extend(requests.get(f"{api}/device/pump/notification/poll", headers=headers, timeout=60).json())

    thread = threading.Thread(target=poll)
    thread.start()
    while thread.is_alive():
        inserter.call("notification/insert", deviceId="pump", notification={"notification": "tick"})
        thread.join(0.05)
    assert [answer["notification"] for answer in answers][:1] == ["tick"]


def test_rights_that_end_on_one_node_end_on_the_other(two):
    admin, other = (server.connect() for server in two)
    for device_id in ("pump", "end"):
        admin.call("device/save", deviceId=device_id, device={"networkId": 1})
    user = admin.call("user/insert", user={"login": "anna", "password": PASSWORD, "role": 1, "status": 0})["user"]["id"]
    admin.call("user/assignNetwork", userId=user, networkId=1)
    anna = Client(two[1].url())
    anna.call("authenticate", token=anna.call("token", login="anna", password=PASSWORD)["accessToken"])
    anna.call("notification/subscribe", deviceId="pump")
    other.call("notification/subscribe", deviceId="end")

    def notify(name, device_id="pump"):
        admin.call("notification/insert", deviceId=device_id, notification={"notification": name})

    notify("one")
    assert anna.receive()["notification"]["notification"] == "one"
    admin.call("user/unassignNetwork", userId=user, networkId=1)
    notify("secret")
    admin.call("user/assignNetwork", userId=user, networkId=1)
    notify("two")
    assert anna.receive()["notification"]["notification"] == "two", "what was stored without the right is not delivered"
    admin.call("user/update", userId=user, user={"status": 2})
    notify("secret")
    notify("last", "end")
    assert other.receive()["notification"]["notification"] == "last"
    anna.send(action="device/get", requestId=1, deviceId="pump")
    assert json.loads(anna.socket.recv())["code"] == 401


def test_a_device_that_moves_on_one_node_has_moved_on_the_other(two):
    admin, other = (server.connect() for server in two)
    network = admin.call("network/insert", network={"name": "garden"})["network"]["id"]
    for device_id, network_id in (("pump", 1), ("fixed", network)):
        admin.call("device/save", deviceId=device_id, device={"networkId": network_id})
    other.call("notification/subscribe", networkIds=[network], names=["before", "marker", "after"])

    def notify(device_id, name):
        admin.call("notification/insert", deviceId=device_id, notification={"notification": name})

    notify("pump", "before")
    notify("fixed", "marker")
    assert other.receive()["notification"]["notification"] == "marker"
    admin.call("device/save", deviceId="pump", device={"networkId": network})
    notify("pump", "after")
    event = other.receive()["notification"]
    assert (event["notification"], event["networkId"]) == ("after", network)
