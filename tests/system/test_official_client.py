"""The official Python client, from PyPI, unmodified, over ``ws://``."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from devicehive import DeviceHive, Handler

from tests.system.process import PASSWORD

SECONDS = 30


class Scenario(Handler):
    """Gathers what the client is handed, and lets a test wait for it."""

    def __init__(self, api, act):
        super().__init__(api)
        self.seen = []
        self.act = act

    def handle_connect(self):
        self.act(self)

    def _see(self, kind, thing):
        self.seen.append((kind, thing))
        self.act_on(kind, thing)

    def handle_command_insert(self, command):
        self._see("command", command)

    def handle_command_update(self, command):
        self._see("update", command)

    def handle_notification(self, notification):
        self._see("notification", notification)


def run(url, act, act_on, **credentials):
    """Connect, let ``act`` begin and ``act_on`` handle each event until it disconnects; returns what was seen."""
    found = []

    class Bound(Scenario):
        def __init__(self, api):
            super().__init__(api, act)
            found.append(self)

        def act_on(self, kind, thing):
            act_on(self, kind, thing)

    errors = []

    def connect():
        try:
            DeviceHive(Bound).connect(url, **credentials)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"the client waits for something that does not come; it saw {found and found[0].seen}"
    if errors:
        raise errors[0]
    return found[0].seen


@pytest.mark.parametrize("storage", ["memory:", "file:hive.sqlite"])
@pytest.mark.parametrize("path", ["/dh/websocket", "/api/websocket", "/client", "/device"])
def test_device_commands_results_and_notifications(start, storage, path):
    server = start("--storage", storage)

    def act(client):
        device = client.api.put_device("pump-4", name="Pump 4", data={"floor": 2})
        assert (device.id, device.name, device.data, device.is_blocked) == ("pump-4", "Pump 4", {"floor": 2}, False)
        device.subscribe_insert_commands()
        device.subscribe_update_commands()
        device.subscribe_notifications(names=["temperature"])
        command = device.send_command("start", parameters={"speed": 3, "ramp": [1.5, None]}, lifetime=60)
        assert command.id > 0
        device.send_notification("temperature", parameters={"c": 21.5})

    def act_on(client, kind, thing):
        if kind == "command":
            thing.status, thing.result = "done", {"rpm": 900}
            thing.save()
        if {kind for kind, _ in client.seen} == {"command", "update", "notification"}:
            client.api.disconnect()

    seen = dict(run(server.url(path), act, act_on, login="dhadmin", password=PASSWORD))
    assert (seen["command"].command, seen["command"].parameters) == ("start", {"speed": 3, "ramp": [1.5, None]})
    assert (seen["update"].status, seen["update"].result) == ("done", {"rpm": 900})
    assert (seen["notification"].notification, seen["notification"].parameters) == ("temperature", {"c": 21.5})


def test_lists_and_single_objects(start):
    server = start("--storage", "memory:")
    before = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.%f")

    def act(client):
        device = client.api.put_device("pump-5")
        sent = [device.send_command(name, parameters={"n": n}) for n, name in enumerate(["a", "b", "a"])]
        told = [device.send_notification(name) for name in ["x", "y"]]
        assert [command.id for command in device.list_commands(start=before, command="a", sort_field="timestamp", sort_order="ASC")] == [
            sent[0].id,
            sent[2].id,
        ]
        assert {notification.id for notification in device.list_notifications(start=before)} >= {notification.id for notification in told}
        device.name = "Pump 5"
        device.save()
        assert client.api.get_device("pump-5").name == "Pump 5"
        assert [found.id for found in client.api.list_devices(name_pattern="Pump%")] == ["pump-5"]
        assert client.api.get_info()["api_version"]
        device.remove()
        assert client.api.list_devices() == []
        client.api.disconnect()

    run(server.url(), act, lambda *_: None, login="dhadmin", password=PASSWORD)


def test_tokens(start):
    server = start("--storage", "memory:")
    kept = {}

    def act(client):
        device = client.api.put_device("pump-6")
        token = client.api.create_token(1, network_ids=[device.network_id], device_type_ids=["*"], actions=["GetDevice"])
        kept.update(token)
        client.api.disconnect()

    run(server.url(), act, lambda *_: None, login="dhadmin", password=PASSWORD)

    def look(client):
        assert client.api.get_device("pump-6").id == "pump-6"
        client.api.disconnect()

    run(server.url(), look, lambda *_: None, access_token=kept["access_token"])
    run(server.url(), look, lambda *_: None, refresh_token=kept["refresh_token"])
