"""What clients publish below ``dh/`` is stored as an insert or an update."""

import base64
import json

import pytest

from dhtwisted.config.mqtt_tables import MAPPINGS
from dhtwisted.core.access import Permission
from dhtwisted.model import Command, Device, DeviceToken, Notification, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Properties, Puback, Publish, Pubrec, Will
from tests.support.mqtt.devices import parameters, topics

LAMP = "dh/notification///lamp/temperature"


@pytest.mark.parametrize(
    ("payload", "stored"),
    [
        (b'{"t": 21.5}', b'{"t": 21.5}'),
        (b"21.5", b"21.5"),
        (b"[1, 2]", b"[1, 2]"),
        (b'"on"', b'"on"'),
        (b"null", None),
        (b"", None),
        (b"ON", b'"ON"'),
        (b"nan", b'"nan"'),
        (b"{broken", b'"{broken"'),
        ("grün".encode(), '"grün"'.encode()),
        (b"\xff\x00\x01", b'{"$base64":"/wAB"}'),
        (b'{"notification": {"parameters": {"t": 3}}}', b'{"t": 3}'),
        (b'{"notification": {"notification": "temperature", "parameters": 4}}', b"4"),
        (b'{"notification": {"t": 3}}', b'{"notification": {"t": 3}}'),
        (b'{"notification": {"parameters": 1}, "x": 1}', b'{"notification": {"parameters": 1}, "x": 1}'),
        (b'{"notification": 5}', b'{"notification": 5}'),
    ],
)
def test_a_notification_of_any_payload(hive, payload, stored):
    client = hive.admin()
    assert client.publish(LAMP, payload, 1).reason_code == 0
    (notification,) = hive.stored(Notification)
    assert (notification.name, notification.device_id, notification.parameters) == ("temperature", "lamp", stored)


def test_a_whole_notification_has_its_time(hive):
    hive.admin().publish(LAMP, b'{"notification": {"parameters": 1, "timestamp": "2020-01-02T03:04:05.678"}}')
    assert [notification.timestamp for notification in hive.stored(Notification)] == [1577934245678]


def test_a_command_and_its_update(hive):
    client = hive.admin()
    client.subscribe("dh/command/#", "dh/command_update/#")
    client.publish("dh/command///lamp/on", b'{"level": 3}', 1)
    client.publish("dh/command/1/1/lamp/off", b'{"command": {"parameters": 0, "lifetime": 60, "status": "new"}}', 1)
    first, second = hive.stored(Command)
    assert (first.name, first.parameters, first.user_id) == ("on", b'{"level": 3}', 1)
    assert (second.name, second.parameters, second.lifetime, second.status) == ("off", b"0", 60, "new")
    assert topics(client) == ["dh/command/1/1/lamp/on", "dh/command/1/1/lamp/off"]
    update = json.dumps({"id": first.id, "status": "done", "result": {"ok": True}}).encode()
    assert client.publish("dh/command_update/1/1/lamp/on", update, 1).reason_code == 0
    ((topic, payload),) = client.messages
    assert topic == "dh/command_update/1/1/lamp/on"
    event = json.loads(payload)
    assert (event["action"], event["command"]["status"], event["command"]["result"]) == ("command/update", "done", {"ok": True})


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("dh/notification///pump/t", b"1", 0x87),
        ("dh/notification///nobody/t", b"1", 0x87),
        ("dh/notification/2//lamp/t", b"1", 0x90),
        ("dh/notification//2/lamp/t", b"1", 0x90),
        ("dh/notification/x//lamp/t", b"1", 0x90),
        ("dh/notification///lamp", b"1", 0x90),
        ("dh/notification///lamp/", b"1", 0x90),
        ("dh/notification///lamp/$device-add", b"1", 0x90),
        ("dh/notification///lamp/t@anna", b"1", 0x90),
        ("dh/response/token@anna", b"1", 0x90),
        ("dh/other", b"1", 0x90),
        ("dh", b"1", 0x90),
        ("dh/notification///lamp/" + "n" * 257, b"1", 0x99),
        ("dh/notification///lamp/t", b'{"notification": {"notification": "other"}}', 0x99),
        ("dh/notification///lamp/t", b'{"notification": {"timestamp": "x"}}', 0x99),
        ("dh/notification///lamp/t", b"[" * 200 + b"]" * 200, 0x99),
        ("dh/notification///lamp/t", b'{"a": 1e999}', 0x99),
        ("dh/command///pump/t", b"1", 0x87),
        ("dh/command///lamp/t", b'{"command": {"lifetime": "long"}}', 0x99),
        ("dh/command_update///lamp/t", b"done", 0x99),
        ("dh/command_update///lamp/t", b'{"status": "done"}', 0x99),
        ("dh/command_update///lamp/t", b'{"id": 99, "status": "done"}', 0x83),
        ("other/topic", b"1", 0x87),
    ],
)
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_refused(hive, topic, payload, code, qos):
    """5.0 hears the reason code and a sentence; nothing is stored, and nobody else hears it."""
    client, other = hive.connect("anna", user=hive.anna), hive.admin()
    other.subscribe("dh/#", "#")
    answer = client.publish(topic, payload, qos)
    assert type(answer) is (Puback if qos == 1 else Pubrec)
    assert answer.reason_code == code
    assert len(answer.properties.reason_string) > 10
    assert hive.stored(Notification) + hive.stored(Command) == []
    assert other.take(Publish) == []
    assert not client.closed


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_3_1_1_hears_of_a_refusal_where_it_has_subscribed(hive, qos):
    """It has no way to refuse, so the publish is acknowledged, and nothing is stored."""
    client = hive.connect("anna", version=4, user=hive.anna)
    client.subscribe("dh/response/error@anna", qos=1)
    answer = client.publish("dh/notification///pump/t", b"1", qos)
    assert answer is None if not qos else answer.reason_code == 0
    ((topic, payload),) = client.messages
    assert topic == "dh/response/error@anna"
    error = json.loads(payload)
    assert (error["status"], error["code"], error["topic"]) == ("error", 0x87, "dh/notification///pump/t")
    assert hive.stored(Notification) == []


def test_the_publishes_of_a_read_are_one_append(hive):
    """Mixed with one that is refused, in the order of the publishes."""
    client = hive.connect("anna", user=hive.anna)
    client.subscribe("dh/notification/#", qos=1)
    packets = [Publish(f"dh/notification///lamp/{number % 3}", b"%d" % number, 1, packet_id=number + 1) for number in range(30)]
    packets[7] = Publish("dh/notification///pump/t", b"7", 1, packet_id=8)
    calls = []
    append = hive.memory.storage.append
    hive.memory.storage.append = lambda messages: calls.append(len(messages)) or append(messages)
    client.send(*packets)
    answers = [packet for packet in client.packets if type(packet) is Puback]
    assert [(answer.packet_id, answer.reason_code) for answer in answers] == [(n, 0x87 if n == 8 else 0) for n in range(1, 31)]
    assert parameters(client) == [number for number in range(30) if number != 7]
    assert sorted(calls) == [7, 22]


@pytest.mark.parametrize("version", [4, 5])
def test_one_of_a_read_is_refused(hive, version):
    """The others are stored, and all are answered in their order ([MQTT-4.6.0-2])."""
    client = hive.admin(version=version)
    client.publish(LAMP, b"0")
    packets = [Publish(LAMP, b"%d" % number, 1, packet_id=number) for number in range(1, 6)]
    packets[2].payload = b'{"notification": {"notification": "other", "parameters": 1}}'
    client.take()
    client.send(*packets)
    assert [(packet.packet_id, packet.reason_code) for packet in client.take(Puback)] == [
        (number, 0x99 if number == 3 and version == 5 else 0) for number in range(1, 6)
    ]
    assert [one.parameters for one in hive.stored(Notification)] == [b"0", b"1", b"2", b"4", b"5"]


def test_qos_2_is_stored_once(hive):
    """[MQTT-4.3.3-10]: the same packet id again is the same message."""
    client = hive.connect("anna", user=hive.anna, auto=False)
    publish = Publish(LAMP, b"1", 2, packet_id=9)
    client.send(publish)
    client.send(Publish(LAMP, b"1", 2, dup=True, packet_id=9))
    assert [packet.packet_id for packet in client.take(Pubrec)] == [9, 9]
    assert len(hive.stored(Notification)) == 1


KEPT = {"clean_start": False, "session_expiry_interval": 3600}
MAPPED = MAPPINGS.from_toml([{"topic": "tele/{deviceId}/{name}", "as": "notification", "create_devices": True}])
SINGLE = {
    "traced": ({"log": {"trace": ["device:pump"]}}, LAMP, 3),
    "new device": ({"map": MAPPED}, "tele/new/S", 3),
    "quota": ({"quotas": {"device_stored_per_day": 500}}, LAMP, 2),
    "blocked": ({}, "dh/notification///blocked/t", 3),
    "usual": ({}, LAMP, 3),
}


@pytest.mark.parametrize("name", SINGLE)
def test_the_packet_id_of_qos_2_is_stored_in_the_same_commit(open_hive, name):
    """[MQTT-4.3.3-9] over a crash: whether a message was stored together with others, or alone since something about it is unusual."""
    settings, topic, count = SINGLE[name]
    hive = open_hive(**settings)
    storage, commits = hive.memory.storage, []
    hive.device("blocked")
    at_once(hive.memory.server.entities.update(Device, "blocked", {"is_blocked": True}))
    change_many = storage.change_many
    storage.change_many = lambda put, removed, messages=(): commits.append((put, messages)) or change_many(put, removed, messages)
    client = hive.connect("anna", user=hive.anna, auto=False, **KEPT)
    client.send(*[Publish(topic, b"%d" % number * 100, 2, packet_id=number) for number in range(1, 4)])
    assert [packet.reason_code for packet in client.take(Pubrec)] == [0] * count + [0x97] * (3 - count)
    expected = [b"%d" % number * 100 for number in range(1, count + 1)]
    assert [message.parameters for message in hive.stored(Notification) if message.name != "$device-add"] == expected
    ids = {message.parameters: [record.packet_id for record in put] for put, messages in commits for message in messages}
    assert all(number in ids[text] for number, text in enumerate(expected, 1))


def device_token(hive, device_id):
    record = DeviceToken(id=7, device_id=device_id, user_id=hive.anna.id, label="l", created=0, expires=2**50)
    at_once(hive.memory.server.entities.insert(record))
    return hive.memory.token(hive.anna, device_id=device_id, token_id=7, actions=frozenset({Permission.ANY}))


def test_a_device_token_publishes_for_its_device_alone(hive):
    token = device_token(hive, "lamp")
    hive.device("lamp-2")
    client = hive.client()
    assert client.connect("lamp", user_name="x", password=token.encode()).reason_code == 0
    assert client.publish("dh/notification///lamp/t", b"1", 1).reason_code == 0
    assert client.publish("dh/notification///lamp-2/t", b"1", 1).reason_code == 0x87
    assert client.subscribe("dh/command/+/+/lamp/+", "dh/command/+/+/lamp-2/+", "dh/command/#", qos=1) == [1, 0x87, 1]
    admin = hive.admin()
    admin.publish("dh/command///lamp-2/a", b"1")
    admin.publish("dh/command///lamp/b", b"2")
    assert parameters(client) == [2]


def test_a_device_subscribes_with_its_token_before_it_exists(hive):
    """Its token names it. It creates itself when it has subscribed."""
    token = device_token(hive, "new")
    client, admin = hive.client(), hive.admin()
    assert client.connect("new", user_name="x", password=token.encode()).reason_code == 0
    filters = "dh/command/+/+/new/#", "dh/command/+/+/other/#", "dh/notification///new", "dh/command/#"
    assert client.subscribe(*filters, qos=1) == [1, 0x87, 1, 1]
    client.publish("dh/request", b'{"action": "device/save", "deviceId": "new", "device": {"name": "New"}}', 1)
    admin.publish("dh/command///new/on", b"1", 1)
    admin.publish("dh/command///lamp/on", b"2", 1)
    assert parameters(client) == [1]


def test_a_device_that_came_to_be_elsewhere_is_not_heard_with_its_token(hive):
    token = device_token(hive, "new")
    client, admin = hive.client(), hive.admin()
    client.connect("new", user_name="x", password=token.encode())
    assert client.subscribe("dh/command/+/+/new/#", qos=1) == [1]
    hive.device("new", 2)
    admin.publish("dh/command///new/on", b"1", 1)
    assert parameters(client) == []


def test_a_removed_right_counts_at_once(hive):
    client, admin = hive.connect("anna", user=hive.anna), hive.admin()
    client.subscribe("dh/notification/#", qos=1)
    admin.publish(LAMP, b"1", 1)
    at_once(hive.memory.server.entities.update(User, hive.anna.id, {"network_ids": frozenset()}))
    admin.publish(LAMP, b"2", 1)
    assert client.publish(LAMP, b"3", 1).reason_code == 0x87
    assert parameters(client) == [1]


def test_an_anonymous_client_stores_nothing(hive):
    client, other = hive.connect("nobody"), hive.admin()
    other.subscribe("dh/#")
    for topic in (LAMP, "dh/command///lamp/on", "dh/command_update///lamp/on"):
        assert client.publish(topic, b'{"id": 1}', 1).reason_code == 0x87
    assert other.take(Publish) == []
    assert hive.stored(Notification) + hive.stored(Command) == []


def test_a_daily_quota(open_hive):
    hive = open_hive(quotas={"device_stored_per_day": 1000})
    client = hive.connect("anna", user=hive.anna)
    codes = [client.publish(LAMP, b"1" * 100, 1).reason_code for _ in range(10)]
    assert codes[0] == 0
    assert codes[-1] == 0x97
    assert not client.closed


def test_a_will_is_stored(hive):
    """[MQTT-3.1.2-8]"""
    client, other = hive.client(), hive.admin()
    other.subscribe("dh/notification/#")
    password = hive.memory.token(hive.anna).encode()
    client.connect("anna", user_name="x", password=password, will=Will("dh/notification///lamp/offline", b"true", 1))
    client.lose()
    assert parameters(other) == [True]


def test_a_retain_flag_means_nothing(hive):
    client = hive.admin()
    client.publish(LAMP, b"1", 1, retain=True)
    client.publish(LAMP, b"", 1, retain=True)
    assert [notification.parameters for notification in hive.stored(Notification)] == [b"1", None]


def test_binary_payloads_come_back_whole(hive):
    client = hive.admin()
    data = bytes(range(256))
    client.publish(LAMP, data, 1)
    (notification,) = hive.stored(Notification)
    assert base64.b64decode(json.loads(notification.parameters)["$base64"]) == data


def test_properties_do_no_harm(hive):
    client = hive.admin()
    properties = {"message_expiry_interval": 1, "content_type": "text/plain", "user_property": (("a", "b"),)}
    assert client.publish(LAMP, b"1", 1, **properties).reason_code == 0
    assert Properties(**properties).content_type == "text/plain"
