"""SIGHUP: what can change does, for clients that stay connected; what is wrong changes nothing."""

import signal
import urllib.request

import pytest
import websocket

from tests.support.servers.process import Client
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lowest]


@pytest.fixture
def configuration(tmp_path):
    """A function that writes the configuration of the server."""

    def write(text):
        (tmp_path / "hive.toml").write_text(text)

    write("")
    return write


@pytest.fixture
def server(start, configuration):
    """A server with a configuration file that is empty."""
    return start("--storage", "memory:", "--config", "hive.toml")


def reload(server, expected):
    """Have it reload; returns what it says of that."""
    before = len(server.log)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: expected in server.log[before:], f"no {expected!r} in the log")
    return server.log[before:]


def allowed_origin(server, origin):
    """Which page a browser is told that it may let read the answer."""
    request = urllib.request.Request(server.url("/api/rest/info", "http"), headers={"Origin": origin, "Connection": "close"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Access-Control-Allow-Origin"]


def test_limits_and_origins_for_clients_that_stay(server, configuration):
    client = server.connect()
    client.call("device/save", deviceId="d1", device={"name": "d1"})
    configuration('[server]\norigins = ["https://good.example"]\n[limits]\nconnections = 2\nsubscriptions_per_connection = 1\n')
    said = reload(server, "Reloaded; changed: ")
    assert "server.origins, limits.connections, limits.subscriptions_per_connection" in said
    client.call("notification/subscribe", deviceId="d1")
    client.send(action="notification/subscribe", requestId=2, deviceId="d1")
    assert client.receive()["status"] == "error"
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        Client(server.url(), origin="https://bad.example")
    assert allowed_origin(server, "https://bad.example") is None
    assert allowed_origin(server, "https://good.example") == "https://good.example"
    second = Client(server.url(), origin="https://good.example")
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        Client(server.url())
    second.close()
    configuration("")
    reload(server, "Reloaded; changed: ")
    Client(server.url(), origin="https://bad.example").close()
    client.call("notification/subscribe", deviceId="d1")
    assert server.terminate() == 0
    assert "Traceback" not in server.log


def test_a_mistake_is_one_line_and_changes_nothing(server, configuration):
    client = server.connect()
    configuration('[server]\norigins = ["https://good.example"]\n[limits]\nconnections = "many"\n')
    said = reload(server, "Not reloaded")
    (line,) = said.splitlines()
    assert "hive.toml: limits.connections: 'many' is no whole number" in line
    Client(server.url(), origin="https://bad.example").close()
    client.call("server/info")
    configuration("[nonsense")
    assert len(reload(server, "Not reloaded").splitlines()) == 1
    client.call("server/info")


def test_what_needs_a_restart_is_named_and_the_rest_is_done(server, configuration):
    configuration('[server]\npublic_url = "https://hive.example"\n[storage]\nretention = "1d"\n[limits]\nlist_size = 5\n')
    said = reload(server, "Restart the server")
    assert "Reloaded; changed: limits.list_size\n" in said
    assert "Restart the server to change server.public_url, storage.retention" in said
    assert server.connect().call("server/info")["info"]["restServerUrl"] == server.url("/api/rest", "http")
