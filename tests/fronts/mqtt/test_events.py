"""Events of DeviceHive for subscribers: which, once, with which QoS, and only those that the client may see."""

import json

import pytest

from dhtwisted.core.event_kinds import DEVICE_ADD
from dhtwisted.model import Device
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Publish
from tests.support.mqtt.devices import parameters, topics

LAMP = "dh/notification///lamp/temperature"
LAMP_EVENT = "dh/notification/1/1/lamp/temperature"


@pytest.mark.parametrize(
    ("filter", "heard"),
    [
        ("#", [1, 2]),
        ("dh/#", [1, 2]),
        ("+/#", [1, 2]),
        ("+/notification/#", [1, 2]),
        ("dh/+/#", [1, 2]),
        ("dh/+/+/+/+/+", [1]),
        ("dh/notification/#", [1, 2]),
        ("dh/notification", [1, 2]),
        ("dh/notification/1", [1]),
        ("dh/notification/1/#", [1]),
        ("dh/notification/+/+/+/temperature", [1]),
        ("dh/notification////temperature", [1]),
        ("dh/notification///pump/", [2]),
        ("dh/notification/+/2/#", [2]),
        ("dh/notification///lamp/temperature", [1]),
        ("dh/notification/1/1/lamp/temperature", [1]),
        ("dh/notification/2/2/pump/a/b", [2]),
        ("dh/notification/2/2/pump/a/+", [2]),
        ("dh/notification/2/2/pump/+", []),
        ("dh/notification/2/2/pump/#", [2]),
        ("dh/command/#", []),
        ("dh/notification/2/1/+/+", []),
    ],
)
@pytest.mark.parametrize("version", [3, 4, 5])
def test_what_a_filter_matches(hive, filter, heard, version):
    """Absent and empty levels are any."""
    client = hive.admin(version=version)
    assert client.subscribe(filter, qos=1) == [1]
    other = hive.admin("other")
    other.publish(LAMP, b"1")
    other.publish("dh/notification///pump/a/b", b"2")
    assert parameters(client) == heard


@pytest.mark.parametrize("filter", ["dh", "dh/", "dh/request", "+/request", "dh/request/#", "dh/other", "dh/+", "dh/response/token", "+"])
def test_filters_that_match_nothing_are_refused(hive, filter):
    assert hive.admin().subscribe(filter) == [0x87]
    assert hive.admin("old", version=4).subscribe(filter) == [0x80]


def test_the_payload_is_that_of_a_websocket(hive):
    client = hive.admin()
    client.subscribe("dh/notification/#")
    client.publish(LAMP, b'{"t":1}')
    assert client.messages == [
        (
            LAMP_EVENT,
            b'{"action":"notification/insert","subscriptionId":null,"notification":{"id":1,"notification":"temperature",'
            b'"deviceId":"lamp","networkId":1,"deviceTypeId":1,"timestamp":"2026-01-02T03:04:05.678","parameters":{"t":1}}}',
        )
    ]


def test_5_0_gets_user_properties(hive):
    client = hive.admin()
    client.subscribe("dh/#")
    client.publish(LAMP, b"1")
    (message,) = client.take(Publish)
    assert message.properties.user_property == (("id", "1"), ("timestamp", "2026-01-02T03:04:05.678"), ("action", "notification/insert"))


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_the_granted_qos(hive, qos, version):
    client = hive.admin(version=version)
    assert client.subscribe("dh/#", qos=qos) == [qos]
    client.publish(LAMP, b"1")
    assert [(message.qos, message.retain) for message in client.take(Publish)] == [(qos, False)]


def test_one_copy_for_overlapping_filters(hive):
    """[MQTT-3.3.4-2] to [MQTT-3.3.4-5]: with the highest QoS and all subscription identifiers."""
    client = hive.admin()
    client.subscribe("dh/notification/#", identifier=3)
    client.subscribe(LAMP_EVENT, qos=2, identifier=4)
    client.subscribe("dh/notification///lamp/temperature@admin", qos=1, identifier=5)
    client.subscribe("dh/notification/+/+/lamp/temperature", identifier=6)
    client.publish(LAMP, b"1")
    (message,) = client.take(Publish)
    assert (message.topic, message.qos) == (LAMP_EVENT, 2)
    assert set(message.properties.subscription_identifier) == {3, 4, 5, 6}


def test_two_overlapping_filters_in_two_clients(hive):
    one, other = hive.admin("one"), hive.admin("other")
    one.subscribe("dh/notification/#")
    other.subscribe(LAMP_EVENT)
    other.publish(LAMP, b"1")
    assert (parameters(one), parameters(other)) == ([1], [1])


def test_unsubscribe_of_the_wider_of_two(hive):
    client = hive.admin()
    client.subscribe("dh/notification/#", LAMP_EVENT)
    assert client.unsubscribe("dh/notification/#", "dh/command/#") == [0, 0x11]
    client.publish(LAMP, b"1")
    client.publish("dh/notification///pump/x", b"2")
    assert parameters(client) == [1]
    assert client.unsubscribe(LAMP_EVENT) == [0]
    client.publish(LAMP, b"3")
    assert parameters(client) == []


def test_a_filter_can_be_replaced(hive):
    """[MQTT-3.8.4-3]"""
    client = hive.admin()
    client.subscribe("dh/#", qos=2, identifier=1)
    client.subscribe("dh/#", qos=1, identifier=2)
    client.publish(LAMP, b"1")
    (message,) = client.take(Publish)
    assert (message.qos, message.properties.subscription_identifier) == (1, (2,))


def test_a_private_filter_has_private_topics(hive):
    client, other = hive.admin("one"), hive.admin("other")
    assert client.subscribe("dh/notification/1@one", "dh/command/+/+/lamp/on@one") == [0, 0]
    assert client.subscribe("dh/notification/1@other", "dh/response/token@other", "dh/response/#@other") == [0x87, 0x87, 0x8F]
    other.publish(LAMP, b"1")
    other.publish("dh/command///lamp/on", b"2")
    assert topics(client) == [LAMP_EVENT + "@one", "dh/command/1/1/lamp/on@one"]


def test_two_users_with_the_same_filter(hive):
    """Rights are those of each client, whatever the filters are."""
    anna, berta, admin = hive.connect("a", user=hive.anna), hive.connect("b", user=hive.berta), hive.admin()
    for client in (anna, berta):
        assert client.subscribe("dh/notification/#", "#", "+/notification/#", qos=1) == [1, 1, 1]
    admin.publish(LAMP, b"1")
    admin.publish("dh/notification///pump/x", b"2")
    assert (parameters(anna), parameters(berta)) == ([1], [2])


@pytest.mark.parametrize(
    ("filter", "code"),
    [
        ("dh/notification/2/#", 0x87),
        ("dh/notification/+/+/pump/+", 0x87),
        ("dh/notification/+/+/nobody/+", 0x87),
        ("dh/notification/99", 0x87),
        ("dh/notification/garden/#", 0x8F),
        ("dh/notification/1/#", 0),
    ],
)
def test_rights_are_checked_at_subscribe(hive, filter, code):
    assert hive.connect("a", user=hive.anna).subscribe(filter) == [code]
    old = hive.connect("b", version=4, user=hive.anna)
    assert old.subscribe(filter) == [0x80 if code else 0]
    assert not old.closed


@pytest.mark.parametrize("device", ["nobody", "a b"])
def test_a_filter_for_a_device_that_does_not_exist_is_refused_with_a_code_of_suback(hive, device):
    """[MQTT-3.9.3-2]: clients take the code of a PUBACK for a malformed packet, and connect and subscribe again, without end."""
    client = hive.admin()
    assert client.subscribe(f"dh/notification/+/+/{device}/+") == [0x8F]
    assert not client.closed


@pytest.mark.parametrize("filter", ["#", "+/request", "+/notification/#", "dh/#", "dh/notification/#", "dh/response/#", "+/+", LAMP_EVENT])
def test_an_anonymous_client_hears_nothing(hive, filter):
    """Not of requests either, which may have passwords."""
    client, other = hive.connect("nobody"), hive.admin()
    assert client.subscribe(filter) == [0x87]
    other.subscribe("dh/response/#")
    other.publish(LAMP, b"1")
    other.publish("dh/request", b'{"action":"token","login":"anna","password":"secret"}')
    assert client.take(Publish) == []


def test_an_anonymous_client_of_plain_topics_hears_no_events(open_hive):
    hive = open_hive(plain_topics=True)
    client, other = hive.connect("nobody"), hive.admin()
    assert client.subscribe("#", qos=1) == [1]
    other.publish(LAMP, b"1")
    other.publish("dh/request", b'{"action":"server/info"}')
    other.publish("plain", b"x")
    assert client.messages == [("plain", b"x")]


def test_a_wildcard_over_plain_topics_and_events(open_hive):
    hive = open_hive(plain_topics=True)
    client = hive.admin()
    assert client.subscribe("#", qos=1) == [1]
    client.publish("plain", b"x", 1)
    client.publish(LAMP, b"1", 1)
    assert topics(client) == ["plain", LAMP_EVENT]
    assert client.unsubscribe("#") == [0]
    client.publish(LAMP, b"1", 1)
    assert topics(client) == []


def test_requests_and_answers_of_others_are_never_heard(hive):
    client, other = hive.admin("one"), hive.admin("other")
    client.subscribe("#", "dh/#", "+/#", "dh/response/#")
    other.subscribe("dh/response/#")
    other.publish("dh/request", b'{"action":"device/count"}')
    assert topics(other) == ["dh/response/device/count@other"]
    assert client.take(Publish) == []


def test_notifications_of_the_server_need_their_name(hive):
    """Not by wildcards: a client that saves its device at each notification would never end."""
    client, named = hive.admin(), hive.admin("named")
    client.subscribe("+/notification/#", "dh/notification/#", "dh/notification/+/+/+/+")
    assert named.subscribe(f"dh/notification////{DEVICE_ADD}", qos=1) == [1]
    saved = b'{"action":"device/save","deviceId":"new","device":{"name":"New","networkId":1,"deviceTypeId":1}}'
    client.publish("dh/request", saved)
    assert client.take(Publish) == []
    assert topics(named) == [f"dh/notification/1/1/new/{DEVICE_ADD}"]


def test_names_that_no_topic_can_have_are_escaped(hive):
    client = hive.admin()
    client.subscribe("dh/notification/#")
    for name in ("a+b", "#", "a@admin"):
        notification = {"notification": name, "parameters": 1}
        client.publish(
            "dh/request", json.dumps({"action": "notification/insert", "deviceId": "lamp", "notification": notification}).encode()
        )
    assert topics(client) == [f"dh/notification/1/1/lamp/{name}" for name in ("a%2Bb", "%23", "a%40admin")]


def test_an_event_of_another_front(hive):
    """And of a device that is not cached."""
    client = hive.admin()
    client.subscribe("dh/notification/#", qos=1)
    socket = hive.memory.connect()
    socket.send_text(json.dumps({"action": "authenticate", "token": hive.memory.token()}))
    insert = {"action": "notification/insert", "deviceId": "lamp", "notification": {"notification": "x", "parameters": 5}}
    socket.send_text(json.dumps(insert))
    assert parameters(client) == [5]


def test_a_device_that_moves(hive):
    client, admin = hive.connect("a", user=hive.anna), hive.admin()
    client.subscribe("dh/notification/#", qos=1)
    admin.publish(LAMP, b"1")
    at_once(hive.memory.server.entities.update(Device, "lamp", {"network_id": 2}))
    admin.publish(LAMP, b"2")
    assert parameters(client) == [1]


def test_events_are_encoded_once_for_all(hive):
    clients = [hive.admin(f"c{number}", version=4 + number % 2) for number in range(4)]
    for client in clients:
        client.subscribe("dh/#", qos=1)
    clients[0].publish(LAMP, b"1")
    assert len({client.take(Publish)[0].payload for client in clients}) == 1


def test_shared_subscriptions_are_refused(open_hive):
    hive = open_hive(plain_topics=True)
    assert hive.admin().subscribe("$share/g/dh/notification/#", "$share/g/#") == [0x9E, 0]


def test_a_client_id_that_cannot_own_topics(hive):
    client = hive.admin("a@b")
    assert client.subscribe("dh/response/device/list@a@b", "dh/notification/#") == [0x8F, 0]
    client.publish(LAMP, b"1")
    assert topics(client) == [LAMP_EVENT]


def test_no_permission(hive):
    client = hive.client()
    token = hive.memory.token(hive.anna, actions=frozenset({4}))
    client.connect("a", user_name="x", password=token.encode())
    assert client.subscribe("dh/notification/#", "dh/command/#", "dh/command_update/#", "#") == [0, 0x87, 0x87, 0]
    hive.admin().publish("dh/command///lamp/on", b"1")
    assert client.take(Publish) == []


def test_filters_count_as_subscriptions(open_hive):
    hive = open_hive(quotas={"subscriptions": 2})
    client = hive.connect("a", user=hive.anna)
    assert client.subscribe("dh/notification/#", "dh/command/#", "dh/command_update/#") == [0, 0, 0x97]
    assert client.unsubscribe("dh/command/#") == [0]
    assert client.subscribe("dh/command_update/#") == [0]
    client.disconnect()
    assert hive.memory.server.quotas.account(hive.anna.id).subscriptions == 0


def test_an_event_that_cannot_be_delivered_does_not_stop_others(hive, monkeypatch):
    """A defect with one client: it gets what follows with QoS 1, and others get all."""
    one, two, other = hive.admin("one"), hive.admin("two"), hive.admin("other")
    for client in (one, two):
        client.subscribe("dh/notification/#", qos=1)
    session = one.connection.session
    deliver, calls = type(session).deliver, []

    def fail_once(self, *arguments):
        if self is session:
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("the test says so")
        return deliver(self, *arguments)

    monkeypatch.setattr(type(session), "deliver", fail_once)
    other.send(*(Publish(LAMP, b"%d" % number) for number in range(4)))
    hive.memory.clock.advance(1)
    assert parameters(two) == [0, 1, 2, 3]
    assert parameters(one)[-2:] == [2, 3]
