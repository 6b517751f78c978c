"""The topics below ``$SYS/``."""

import pytest

from dhtwisted.wire.mqtt.packets import Publish

NAMES = """
    bytes/received bytes/sent clients/active clients/connected clients/disconnected clients/inactive clients/maximum clients/total
    messages/received messages/sent messages/stored publish/messages/dropped publish/messages/received publish/messages/sent
    shared_subscriptions/count
    store/messages/bytes store/messages/count subscriptions/count uptime version
"""
LOADS = """
    bytes/received bytes/sent connections messages/received messages/sent publish/dropped publish/received publish/sent sockets
"""


def figures(client):
    return {packet.topic.removeprefix("$SYS/broker/"): packet.payload.decode() for packet in client.take(Publish)}


@pytest.mark.parametrize("version", [4, 5])
def test_a_new_subscriber_gets_all_at_once(mqtt, version):
    mqtt.pass_time(10)
    client = mqtt.connect("a", version=version)
    client.subscribe("$SYS/#", qos=2)
    packets = client.take(Publish)
    assert {(packet.retain, packet.qos) for packet in packets} == {(True, 0)}
    loads = [f"load/{name}/{window}" for name in LOADS.split() for window in ("1min", "5min", "15min")]
    assert {packet.topic for packet in packets} == {f"$SYS/broker/{name}" for name in [*NAMES.split(), "retained messages/count", *loads]}


def test_they_are_true(mqtt):
    """As Mosquitto counts them: total with the sessions of absent clients."""
    absent = mqtt.connect("absent", clean_start=False, session_expiry_interval=100)
    absent.subscribe("x", "$share/g/y", qos=1)
    absent.lose()
    other = mqtt.connect("b")
    other.publish("x", b"1", 1)
    other.publish("kept", b"1", retain=True)
    mqtt.pass_time(5)
    client = mqtt.connect("a")
    client.subscribe("$SYS/#")
    expected = {
        "clients/total": "3",
        "clients/connected": "2",
        "clients/disconnected": "1",
        "clients/maximum": "2",
        "subscriptions/count": "3",
        "shared_subscriptions/count": "1",
        "retained messages/count": "1",
        "store/messages/count": "1",
        "publish/messages/received": "2",
        "messages/received": "7",
        "messages/sent": "6",
        "messages/stored": "1",
        "uptime": "5 seconds",
    }
    found = figures(client)
    assert {name: found[name] for name in expected} == expected


def test_what_changes_is_told_each_interval(open_mqtt):
    mqtt = open_mqtt(sys_interval=4.0)
    client = mqtt.connect("a")
    client.subscribe("$SYS/broker/uptime", "$SYS/broker/version", "$SYS/broker/clients/+")
    client.take()
    mqtt.pass_time(4)
    figures(client)
    mqtt.connect("b")
    mqtt.pass_time(3)
    assert figures(client) == {}
    mqtt.pass_time(1)
    packets = client.take(Publish)
    assert {packet.topic for packet in packets if not packet.retain} == {
        "$SYS/broker/uptime",
        *(f"$SYS/broker/clients/{name}" for name in ("total", "connected", "active", "maximum")),
    }


def test_averages_go_up_under_load_and_down_again(open_mqtt):
    """Per minute, as Mosquitto: a steady load comes near its rate after a few windows."""
    mqtt = open_mqtt(sys_interval=10.0)
    client = mqtt.connect("a")
    for _ in range(60):
        client.publish("x", b"1", 1)
        mqtt.pass_time(5)
    client.subscribe("$SYS/broker/load/publish/received/+", "$SYS/broker/load/connections/1min")
    loaded = {name: float(value) for name, value in figures(client).items()}
    assert loaded["load/publish/received/1min"] == pytest.approx(12, rel=0.02)
    assert loaded["load/publish/received/5min"] == pytest.approx(12 * 0.632, rel=0.02)
    assert loaded["load/publish/received/15min"] == pytest.approx(12 * 0.283, rel=0.02)
    assert 0 < loaded["load/connections/1min"] < 0.1
    mqtt.pass_time(60)
    assert float(figures(client)["load/publish/received/1min"]) == pytest.approx(12 * 0.368, rel=0.02)


def test_wildcards_do_not_match_them(mqtt):
    """[MQTT-4.7.2-1]."""
    client = mqtt.connect("a")
    client.subscribe("#", "+/broker/uptime", "$share/g/#")
    mqtt.pass_time(30)
    assert client.take(Publish) == []


def test_members_of_a_group_share_them(mqtt):
    """Section 4.8.2: nothing is sent at once."""
    client = mqtt.connect("a")
    client.subscribe("$share/g/$SYS/broker/uptime")
    assert figures(client) == {}
    mqtt.pass_time(10)
    assert figures(client) == {"uptime": "10 seconds"}


def test_without_an_interval_there_are_none(open_mqtt):
    mqtt = open_mqtt(sys_interval=0.0)
    client = mqtt.connect("a")
    client.subscribe("$SYS/#")
    mqtt.pass_time(30)
    assert figures(client) == {}
    assert mqtt.broker.store.kept == {}


def test_who_may_not_hear_them_any_more_hears_nothing(mqtt):
    client = mqtt.connect("a")
    client.subscribe("$SYS/#")
    client.take()
    mqtt.access.hidden.add("$SYS/#")
    mqtt.broker.rights_changed()
    mqtt.pass_time(30)
    assert figures(client) == {}
