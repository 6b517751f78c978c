"""Devices with topics of their own, by ``mqtt.map``."""

import json

import pytest

from dhtwisted.config.mqtt_tables import MAPPINGS
from dhtwisted.core.access import Permission
from dhtwisted.model import Command, Device, Notification
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Publish
from tests.support.mqtt.devices import parameters, topics

TABLES = [
    {"topic": "tele/{deviceId}/{name}", "as": "notification", "create_devices": True},
    {"topic": "stat/{deviceId}/{name}", "as": "notification"},
    {"topic": "cmnd/{deviceId}/{name}", "as": "command"},
]
HOUR = {"clean_start": False, "session_expiry_interval": 3600}


@pytest.fixture
def mapped(open_hive):
    return open_hive(map=MAPPINGS.from_toml(TABLES))


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_is_a_notification(mapped, version, qos):
    client, other = mapped.connect("a", version=version, user=mapped.anna), mapped.admin()
    other.subscribe("dh/notification/#", qos=1)
    client.publish("stat/lamp/STATE", b'{"notification": {"POWER": "ON"}}', qos)
    client.publish("stat/lamp/LWT", b"Online", qos)
    assert parameters(other) == [{"notification": {"POWER": "ON"}}, "Online"]
    assert [notification.name for notification in mapped.stored(Notification)] == ["STATE", "LWT"]


def test_a_publish_creates_its_device(mapped):
    client, other = mapped.connect("a", user=mapped.anna), mapped.admin()
    other.subscribe("dh/notification/#", qos=1)
    client.send(*[Publish(f"tele/plug_{number % 2}/S", b"%d" % number, 1, packet_id=number + 1) for number in range(6)])
    assert parameters(other) == list(range(6))
    device = at_once(mapped.memory.server.entities.get(Device, "plug-1"))
    assert (device.name, device.network_id, device.owner_id) == ("plug_1", 1, mapped.anna.id)


def test_a_device_is_created_within_rights(mapped):
    carla = at_once(mapped.memory.add_user("carla"))
    client = mapped.connect("c", user=carla)
    assert client.publish("tele/new/S", b"1", 1).reason_code == 0x87
    assert client.publish("stat/other/S", b"1", 1).reason_code == 0x87
    assert client.publish("tele/" + "n" * 60 + "/S", b"1", 1).reason_code == 0x99
    assert mapped.connect("x").publish("tele/new/S", b"1", 1).reason_code == 0x87
    assert at_once(mapped.memory.server.entities.get(Device, "new")) is None


@pytest.mark.parametrize("filter", ["cmnd/lamp/+", "cmnd/#", "cmnd/lamp/POWER", "#", "+/+/+"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_commands_come_on_mapped_topics(mapped, filter, qos):
    """The payload is the parameters: as a device of another maker takes it."""
    client, other = mapped.connect("a", user=mapped.anna), mapped.admin()
    assert client.subscribe(filter, qos=qos) == [qos]
    client.unsubscribe("dh/#")
    payload = {"action": "command/insert", "deviceId": "lamp", "command": {"command": "POWER", "parameters": "TOGGLE"}}
    other.publish("dh/request", json.dumps(payload).encode())
    other.publish("dh/command///pump/POWER", b"ON")
    found = [(topic, payload) for topic, payload in client.messages if not topic.startswith("dh/")]
    assert found == [("cmnd/lamp/POWER", b"TOGGLE")]


def test_a_publish_on_a_mapped_topic_of_commands_is_one(mapped):
    client, other = mapped.connect("a", user=mapped.anna), mapped.admin()
    client.subscribe("cmnd/lamp/+", qos=1)
    other.publish("cmnd/lamp/Dimmer", b"50", 1)
    assert client.messages == [("cmnd/lamp/Dimmer", b"50")]
    assert [(command.name, command.parameters) for command in mapped.stored(Command)] == [("Dimmer", b"50")]


@pytest.mark.parametrize("data", [b"", b"{}", b'"x', b"\xff\x00", "grün".encode(), b'{"a": [1]}'])
def test_what_is_published_comes_back(mapped, data):
    client = mapped.admin()
    client.subscribe("cmnd/lamp/+", qos=1)
    client.publish("cmnd/lamp/x", data, 1)
    assert client.messages == [("cmnd/lamp/x", data)]


def test_commands_wait_for_a_device_that_is_away(mapped):
    client, other = mapped.connect("a", user=mapped.anna, **HOUR), mapped.admin()
    client.subscribe("cmnd/lamp/+", qos=1)
    client.lose()
    other.publish("cmnd/lamp/a", b"1")
    other.publish("cmnd/pump/a", b"2")
    other.publish("cmnd/lamp/b", b"3")
    again = mapped.connect("a", user=mapped.anna, **HOUR)
    assert again.messages == [("cmnd/lamp/a", b"1"), ("cmnd/lamp/b", b"3")]


@pytest.mark.parametrize("filter", ["cmnd/tasmota_8A3F21/#", "cmnd/tasmota_8A3F21/POWER", "cmnd/tasmota_8A3F21/+"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_device_subscribes_before_it_exists(mapped, filter, qos):
    """It subscribes once, when it connects. What creates it comes later."""
    client, other = mapped.connect("a", version=4, user=mapped.anna), mapped.admin()
    assert client.subscribe(filter, qos=qos) == [qos]
    assert at_once(mapped.memory.server.entities.get(Device, "tasmota-8A3F21")) is None
    client.publish("tele/tasmota_8A3F21/LWT", b"Online", retain=True)
    other.publish("dh/command///tasmota-8A3F21/POWER", b'"on"', 1)
    assert client.messages == [("cmnd/tasmota_8A3F21/POWER", b"on")]


def test_commands_wait_for_a_device_that_was_created_while_it_was_away(mapped):
    client, other = mapped.connect("a", user=mapped.anna, **HOUR), mapped.admin()
    client.subscribe("cmnd/plug_1/+", qos=1)
    client.lose()
    mapped.device("plug-1")
    other.publish("cmnd/plug_1/a", b"1")
    assert mapped.connect("a", user=mapped.anna, **HOUR).messages == [("cmnd/plug_1/a", b"1")]


@pytest.mark.parametrize("qos", [0, 1])
def test_nobody_hears_a_device_that_somebody_else_has_created(mapped, qos):
    """The subscription was granted before it existed; it gives no right."""
    client, berta, other = mapped.connect("a", user=mapped.anna), mapped.connect("b", user=mapped.berta), mapped.admin()
    assert client.subscribe("cmnd/new/+", qos=qos) == [qos]
    berta.publish("tele/new/S", b"1", 1)
    assert at_once(mapped.memory.server.entities.get(Device, "new")).network_id == 2
    other.publish("cmnd/new/a", b"1", 1)
    assert topics(client) == []
    at_once(mapped.memory.server.entities.update(Device, "new", {"network_id": 1}))
    other.publish("cmnd/new/b", b"2", 1)
    assert client.messages == [("cmnd/new/b", b"2")]


def test_who_may_create_no_device_subscribes_to_none(open_hive):
    mapped = open_hive(map=MAPPINGS.from_toml(TABLES))
    token = mapped.memory.token(mapped.anna, actions=frozenset({Permission.GET_DEVICE_COMMAND}), network_ids=frozenset({"*"}))
    client = mapped.client()
    client.connect("a", user_name="x", password=token.encode())
    assert client.subscribe("cmnd/new/+", "cmnd/" + "n" * 49 + "/+") == [0x87, 0x87]
    assert mapped.connect("b", user=mapped.anna).subscribe("cmnd/" + "n" * 49 + "/+", "dh/command/+/+/new/+") == [0x87, 0x87]
    without = open_hive(map=MAPPINGS.from_toml(TABLES[1:]))
    assert without.connect("a", user=without.anna).subscribe("cmnd/new/+") == [0x87]


def test_a_mapped_filter_is_within_rights(mapped):
    client, other = mapped.connect("a", user=mapped.anna), mapped.admin()
    assert client.subscribe("cmnd/pump/+", "cmnd/+/+", "unmapped/#") == [0x87, 0, 0x87]
    assert mapped.connect("x").subscribe("cmnd/lamp/+") == [0x87]
    other.publish("cmnd/pump/a", b"2")
    assert topics(client) == []


def test_events_below_dh_beside_mapped_ones(mapped):
    """Both are different messages; each comes once."""
    client = mapped.admin()
    client.subscribe("dh/command/#", "cmnd/#", "cmnd/lamp/+", qos=1)
    client.publish("cmnd/lamp/a", b"1")
    assert sorted(topics(client)) == ["cmnd/lamp/a", "dh/command/1/1/lamp/a"]
