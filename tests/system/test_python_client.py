"""The official Python client, from PyPI, unmodified, over ``ws://`` and ``http://``."""

import os
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from devicehive import ApiResponseError, DeviceHive, Handler

from tests.support.servers.process import CHECKOUT, DEVICEHIVE, PASSWORD

SECONDS = 30
WEBSOCKETS = [("ws", "/dh/websocket"), ("ws", "/api/websocket"), ("ws", "/client"), ("ws", "/device")]
RESTS = [("http", "/api/rest"), ("http", "/dh/rest"), ("http", "/rest")]

SLOW = [pytest.mark.slow, pytest.mark.lowest]
QUICK = [("memory:", WEBSOCKETS[1]), ("file:hive.sqlite", RESTS[0])]
"""Of storages and addresses; the others are slow."""

PLACES = [
    pytest.param(storage, address, id=f"{storage}{address[0]}{address[1]}", marks=() if (storage, address) in QUICK else SLOW)
    for storage in ("memory:", "file:hive.sqlite")
    for address in (*WEBSOCKETS, *RESTS)
]


def each_transport(test):
    """Run a test over WebSocket and over REST; a server for each makes it slow."""
    for mark in SLOW:
        test = mark(test)
    return pytest.mark.parametrize("address", [WEBSOCKETS[1], RESTS[0]], ids="{0[0]}".format)(test)


def url_of(server, address):
    """Where the client finds the server."""
    scheme, path = address
    return server.url(path, scheme)


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


@pytest.mark.parametrize(("storage", "address"), PLACES)
def test_device_commands_results_and_notifications(start, storage, address):
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

    seen = dict(run(url_of(server, address), act, act_on, login="dhadmin", password=PASSWORD))
    assert (seen["command"].command, seen["command"].parameters) == ("start", {"speed": 3, "ramp": [1.5, None]})
    assert (seen["update"].status, seen["update"].result) == ("done", {"rpm": 900})
    assert (seen["notification"].notification, seen["notification"].parameters) == ("temperature", {"c": 21.5})


@each_transport
def test_a_device_that_is_saved_at_each_notification(start, address):
    """The client is handed what its device says, and not that it was saved: else each saving would lead to the next."""
    server = start("--storage", "memory:")

    def act(client):
        client.device = client.api.put_device("pump-7", name="Pump 7", data={"told": 0})
        client.device.subscribe_notifications()
        client.device.send_notification("first")

    def act_on(client, kind, thing):
        client.device.data = {"told": len(client.seen)}
        client.device.save()
        if thing.notification == "first":
            client.device.send_notification("second")
        elif thing.notification == "second":
            client.device.send_notification("last")
        else:
            client.api.disconnect()

    seen = run(url_of(server, address), act, act_on, login="dhadmin", password=PASSWORD)
    assert [thing.notification for _, thing in seen] == ["first", "second", "last"]


@each_transport
def test_lists_and_single_objects(start, address):
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

    run(url_of(server, address), act, lambda *_: None, login="dhadmin", password=PASSWORD)


@each_transport
def test_tokens(start, address):
    server = start("--storage", "memory:")
    kept = {}

    def act(client):
        device = client.api.put_device("pump-6")
        token = client.api.create_token(1, network_ids=[device.network_id], device_type_ids=["*"], actions=["GetDevice"])
        kept.update(token)
        client.api.disconnect()

    run(url_of(server, address), act, lambda *_: None, login="dhadmin", password=PASSWORD)

    def look(client):
        assert client.api.get_device("pump-6").id == "pump-6"
        client.api.disconnect()

    run(url_of(server, address), look, lambda *_: None, access_token=kept["access_token"])
    run(url_of(server, address), look, lambda *_: None, refresh_token=kept["refresh_token"])


def manage(start, address, act, **settings):
    """Let ``act`` do things that have no events, as the administrator."""
    server = start("--storage", "memory:", **settings)

    def act_and_leave(client):
        act(client.api, server)
        client.api.disconnect()

    run(url_of(server, address), act_and_leave, lambda *_: None, login="dhadmin", password=PASSWORD)
    return server


@each_transport
def test_networks(start, address):
    def act(api, _):
        network = api.create_network("Garden", "Green")
        network.name, network.description = "Park", "Greener"
        network.save()
        found = api.get_network(network.id)
        assert (found.name, found.description) == ("Park", "Greener")
        assert [found.name for found in api.list_networks(name_pattern="P%", sort_field="name", sort_order="DESC", take=5, skip=0)] == [
            "Park"
        ]
        api.put_device("rose", network_id=network.id)
        assert [device.id for device in network.list_devices()] == ["rose"]
        with pytest.raises(ApiResponseError, match="There are the following devices within this network: rose"):
            network.remove()
        found.remove(force=True)
        with pytest.raises(ApiResponseError) as caught:
            api.get_network(found.id or 2)
        assert caught.value.code == 404
        assert len(api.list_networks()) == 1
        assert api.list_devices() == []

    manage(start, address, act)


@each_transport
def test_device_types(start, address):
    def act(api, _):
        device_type = api.create_device_type("Pump", "Wet")
        device_type.description = "Wetter"
        device_type.save()
        assert api.get_device_type(device_type.id).description == "Wetter"
        assert [found.name for found in api.list_device_types(name="Pump")] == ["Pump"]
        # Its list_devices gives the id of the device type for that of a network, so it is not asked here.
        api.put_device("rose", device_type_id=device_type.id)
        with pytest.raises(ApiResponseError, match="already exists"):
            api.create_device_type("Pump", "")
        device_type.remove(force=True)
        assert len(api.list_device_types()) == 1

    manage(start, address, act)


@each_transport
def test_users(start, address):
    def act(api, server):
        network, device_type = api.create_network("Garden", "Green"), api.create_device_type("Pump", "Wet")
        user = api.create_user("anna", "password-2", role=1, data={"a": 1}, all_device_types_available=False)
        assert (user.login, user.last_login, user.data) == ("anna", None, {"a": 1})
        user.assign_network(network.id)
        assert [found.name for found in user.list_networks()] == ["Garden"]
        user.assign_device_type(device_type.id)
        assert [found.name for found in user.list_device_types()] == ["Pump"]
        user.unassign_device_type(device_type.id)
        user.allow_all_device_types()
        assert len(user.list_device_types()) == 2
        user.disallow_all_device_types()
        user.data = {"a": 2}
        user.save()
        assert api.get_user(user.id).data == {"a": 2}
        user.update_password("password-3")
        assert [found.login for found in api.list_users(login_pattern="an%", role=1)] == ["anna"]
        assert api.get_current_user().login == "dhadmin"
        user.allow_all_device_types()
        as_anna(server)
        user.unassign_network(network.id)
        assert user.list_networks() == []
        user.remove()
        assert len(api.list_users()) == 1

    def as_anna(server):
        def look(client):
            assert client.api.get_current_user().login == "anna"
            assert client.api.put_device("hers").network_id == client.api.list_networks()[0].id
            with pytest.raises(ApiResponseError) as caught:
                client.api.list_users()
            assert caught.value.code == 403
            client.api.disconnect()

        run(url_of(server, address), look, lambda *_: None, login="anna", password="password-3")

    manage(start, address, act)


@each_transport
def test_properties_and_server(start, address):
    def act(api, _):
        assert api.set_property("color", "red")["entity_version"] == 1
        assert api.set_property("color", "blue")["entity_version"] == 2
        assert api.get_property("color")["value"] == "blue"
        api.delete_property("color")
        with pytest.raises(ApiResponseError) as caught:
            api.get_property("color")
        assert caught.value.code == 404
        assert api.get_cluster_info() == {"bootstrap.servers": "none", "zookeeper.connect": "none"}
        info = api.get_info()
        assert (info["rest_server_url"] is None) != (info["websocket_server_url"] is None)

    manage(start, address, act)


@each_transport
def test_an_expired_token_is_renewed(start, address):
    """The client hears 401 and asks for a new access token by itself."""

    def act(api, _):
        first, end = api.token.access_token, time.monotonic() + SECONDS
        while api.token.access_token == first and time.monotonic() < end:
            assert [network.id for network in api.list_networks()] == [1]
        assert api.token.access_token != first

    settings = {"DHTWISTED_AUTH_ACCESS_LIFETIME": "1s", "DHTWISTED_AUTH_STRICT_EXPIRY": "true"}
    manage(start, address, act, **settings)


@each_transport
def test_subscriptions_of_networks_and_device_types(start, address):
    server = start("--storage", "memory:")

    def act(client):
        api = client.api
        network, device_type = api.create_network("Garden", ""), api.create_device_type("Pump", "")
        network.subscribe_notifications(names=["of network"])
        device_type.subscribe_insert_commands()
        device_type.subscribe_update_commands()
        removed = api.subscribe_notifications(names=["removed"])
        removed.remove()
        device = api.put_device("pump", network_id=network.id, device_type_id=device_type.id)
        for name in ("removed", "of network"):
            device.send_notification(name)
        device.send_command("go")

    def act_on(client, kind, thing):
        if kind == "command":
            thing.status = "done"
            thing.save()
        if {kind for kind, _ in client.seen} == {"command", "update", "notification"}:
            client.api.disconnect()

    seen = run(url_of(server, address), act, act_on, login="dhadmin", password=PASSWORD)
    assert {thing.notification for kind, thing in seen if kind == "notification"} == {"of network"}
    assert [thing.status for kind, thing in seen if kind == "update"] == ["done"]


@each_transport
def test_a_token_that_was_made_in_the_shell(start, tmp_path, address):
    storage = ("--storage", "file:hive.sqlite")
    start(*storage).terminate()
    command = [*DEVICEHIVE, *storage, "token", "create", "dhadmin", "--expires", "1h"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60)

    def act(client):
        client.seen.append(client.api.put_device("pump-4", name="Pump 4").name)
        client.api.disconnect()

    assert run(url_of(start(*storage), address), act, None, access_token=made.stdout.strip()) == ["Pump 4"]


@each_transport
def test_a_token_for_one_device(start, address):
    """The device registers with it and works; a subscription without a device is to this one."""
    server, kept = start("--storage", "memory:"), {}

    def make(client):
        # The client has no call for it: deviceId is an extension.
        payload = {"userId": 1, "deviceId": "pump-7"}
        headers = {"Authorization": f"Bearer {client.api.token.access_token}"}
        made = requests.post(server.url("/api/rest/token/create", "http"), json=payload, headers=headers, timeout=SECONDS)
        kept["token"] = made.json()["refreshToken"]
        client.api.put_device("pump-8")
        client.api.disconnect()

    run(url_of(server, address), make, None, login="dhadmin", password=PASSWORD)

    def act(client):
        client.api.subscribe_insert_commands()
        device = client.api.put_device("pump-7", name="Pump 7")
        device.subscribe_notifications(names=["t"])
        assert [found.id for found in client.api.list_devices()] == ["pump-7"]
        with pytest.raises(ApiResponseError) as caught:
            client.api.get_device("pump-8")
        assert caught.value.code == 403
        device.send_notification("t")
        device.send_command("go")

    def act_on(client, kind, thing):
        if kind == "command":
            thing.status = "done"
            thing.save()
        if {kind for kind, _ in client.seen} == {"command", "notification"}:
            client.api.disconnect()

    seen = dict(run(url_of(server, address), act, act_on, refresh_token=kept["token"]))
    assert (seen["command"].device_id, seen["notification"].device_id) == ("pump-7", "pump-7")
