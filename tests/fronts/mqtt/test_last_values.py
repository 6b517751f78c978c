"""A new subscription gets the newest notification of each name of each device as retained messages."""

import json

import pytest

from dhtwisted.wire.mqtt.packets import Puback, Publish


def send(client, device, name, *numbers):
    for number in numbers:
        client.publish(f"dh/notification///{device}/{name}", b"%d" % number)


def values(client):
    """What was received: device, name and parameters, sorted; all of it is retained."""
    found = []
    for message in client.take(Publish):
        assert message.retain
        notification = json.loads(message.payload)["notification"]
        found.append((notification["deviceId"], notification["notification"], notification["parameters"]))
    return sorted(found)


@pytest.fixture
def filled(hive):
    admin = hive.admin("filler")
    send(admin, "lamp", "t", 1, 2, 3)
    send(admin, "lamp", "h", 4, 5)
    send(admin, "pump", "t", 6)
    return hive


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("#", [("lamp", "h", 5), ("lamp", "t", 3), ("pump", "t", 6)]),
        ("dh/notification/#", [("lamp", "h", 5), ("lamp", "t", 3), ("pump", "t", 6)]),
        ("dh/notification/+/+/+/t", [("lamp", "t", 3), ("pump", "t", 6)]),
        ("dh/notification/2/#", [("pump", "t", 6)]),
        ("dh/notification/+/2/+/+", [("pump", "t", 6)]),
        ("dh/notification///lamp/t", [("lamp", "t", 3)]),
        ("dh/notification///lamp/none", []),
        ("dh/command/#", []),
    ],
)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_newest_of_each_name(filled, filter, found, qos):
    client = filled.admin()
    assert client.subscribe(filter, qos=qos, identifier=3) == [qos]
    filled.memory.clock.advance(0)
    assert {(message.qos, message.properties.subscription_identifier) for message in client.packets if type(message) is Publish} <= {
        (qos, (3,))
    }
    assert values(client) == found
    send(client, "lamp", "t", 9)
    assert [message.retain for message in client.take(Publish)] == [False] * (
        filter.startswith("#") or ("t", 3) in [one[1:] for one in found]
    )


def test_within_rights(filled):
    client = filled.connect("a", user=filled.anna)
    client.subscribe("dh/notification/#")
    assert values(client) == [("lamp", "h", 5), ("lamp", "t", 3)]


@pytest.mark.parametrize(("handling", "first", "second"), [(0, 2, 2), (1, 2, 0), (2, 0, 0)])
def test_retain_handling(filled, handling, first, second):
    """[MQTT-3.3.1-9] to [MQTT-3.3.1-11]"""
    client = filled.admin()
    for count in (first, second):
        client.subscribe("dh/notification///lamp/#", retain_handling=handling)
        assert len(values(client)) == count


def test_it_can_be_switched_off(open_hive):
    hive = open_hive(last_values=False)
    send(hive.admin("filler"), "lamp", "t", 1)
    client = hive.admin()
    client.subscribe("dh/notification/#")
    assert client.take(Publish) == []


def test_a_private_filter(filled):
    client = filled.admin()
    client.subscribe("dh/notification/2@admin")
    assert [message.topic for message in client.take(Publish)] == ["dh/notification/2/2/pump/t@admin"]


def test_a_rare_name_is_found_by_a_filter_that_names_it(hive):
    admin = hive.admin("filler")
    send(admin, "lamp", "rare", 1)
    send(admin, "lamp", "t", *range(300))
    client = hive.admin()
    client.subscribe("dh/notification///lamp/rare")
    assert values(client) == [("lamp", "rare", 1)]
    client.subscribe("dh/notification///lamp/#")
    assert values(client) == [("lamp", "t", 299)]


def test_not_more_than_fit_are_in_flight(open_hive):
    hive = open_hive(receive_maximum=10)
    for number in range(35):
        hive.device(f"d{number}")
    admin = hive.admin("filler")
    for number in range(35):
        send(admin, f"d{number}", "t", number)
    client = hive.admin(auto=False)
    client.subscribe("dh/notification/#", qos=1)
    found = []
    for _ in range(10):
        hive.memory.clock.advance(0)
        packets = client.take(Publish)
        assert len(packets) <= 10
        found += [json.loads(packet.payload)["notification"]["parameters"] for packet in packets]
        for packet in packets:
            client.send(Puback(packet.packet_id))
    assert sorted(found) == list(range(35))


def test_no_older_value_comes_after_a_newer_event(open_hive):
    hive = open_hive(receive_maximum=1)
    admin = hive.admin("filler")
    send(admin, "lamp", "a", 1)
    send(admin, "lamp", "t", 1)
    client = hive.admin(auto=False)
    client.subscribe("dh/notification/#", qos=1)
    found = []
    send(admin, "lamp", "t", 2)
    send(admin, "lamp", "a", 2)
    for _ in range(10):
        hive.memory.clock.advance(0)
        for packet in client.take(Publish):
            notification = json.loads(packet.payload)["notification"]
            found.append((notification["notification"], notification["parameters"]))
            client.send(Puback(packet.packet_id))
    for name in ("a", "t"):
        assert [value for key, value in found if key == name] in ([1, 2], [2])


def test_a_client_that_goes_away_meanwhile(open_hive):
    hive = open_hive(receive_maximum=1)
    send(hive.admin("filler"), "lamp", "a", 1)
    send(hive.admin("filler"), "lamp", "b", 2)
    client = hive.admin(auto=False)
    client.subscribe("dh/notification/#", qos=1)
    assert len(client.take(Publish)) == 1
    client.lose()
    hive.memory.clock.advance(1)
    assert hive.admin().take(Publish) == []
