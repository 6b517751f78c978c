"""Retained messages (section 3.3.1.3, 3.8.3.1, 4.8.2)."""

import pytest

from dhtwisted.wire.mqtt.packets import Publish
from tests.support.mqtt.clients import Mqtt

KEPT = {"clean_start": False, "session_expiry_interval": 100}


def heard(mqtt: Mqtt, text: str = "#", version: int = 5, qos: int = 2, **options):
    """What a new client gets for a filter."""
    client = mqtt.connect("hearer", version=version)
    client.subscribe(text, qos=qos, **options)
    found = client.take(Publish)
    client.disconnect()
    return [(packet.topic, packet.payload, packet.qos, packet.retain) for packet in found]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_last_retained_message_of_a_topic_is_kept(mqtt, version, qos):
    """[MQTT-3.3.1-5], [MQTT-3.3.1-8], [MQTT-3.3.1-9]; [MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT-3.3.1-8] of 3.1.1: with QoS and flag."""
    client = mqtt.connect("a", version=version)
    client.publish("x/y", b"1", qos, retain=True)
    client.publish("x/y", b"2", qos, retain=True)
    client.publish("x/y", b"3", qos)
    assert heard(mqtt, "x/+", version) == [("x/y", b"2", qos, True)]


@pytest.mark.parametrize("version", [4, 5])
def test_an_empty_message_deletes(mqtt, version):
    """[MQTT-3.3.1-6], [MQTT-3.3.1-7]: it reaches present subscribers, and is not kept itself."""
    client, present = mqtt.connect("a", version=version), mqtt.connect("b")
    present.subscribe("x")
    client.publish("x", b"1", retain=True)
    client.publish("x", b"", 1, retain=True)
    assert present.messages == [("x", b"1"), ("x", b"")]
    assert heard(mqtt) == []
    assert mqtt.store.names()["retained"] == 0
    assert mqtt.broker.retained.size == 0


@pytest.mark.parametrize(("handling", "first", "again"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(mqtt, handling, first, again):
    """[MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]."""
    client = mqtt.connect("a")
    client.publish("x", b"1", retain=True)
    client.subscribe("x", retain_handling=handling)
    assert len(client.take(Publish)) == first
    client.subscribe("x", retain_handling=handling)
    assert len(client.take(Publish)) == again
    client.unsubscribe("x")
    client.subscribe("x", retain_handling=handling)
    assert len(client.take(Publish)) == first


def test_in_3_1_1_each_subscribe_gets_them(mqtt):
    """[MQTT-3.8.4-3], [MQTT-3.3.1-8] of 3.1.1."""
    client = mqtt.connect("a", version=4)
    client.publish("x", b"1", retain=True)
    for _ in range(2):
        client.subscribe("x")
        assert [packet.retain for packet in client.take(Publish)] == [True]


def test_the_lower_qos_counts(mqtt):
    """[MQTT-3.8.4-8]."""
    mqtt.connect("a").publish("x", b"1", 2, retain=True)
    assert [found[2] for found in heard(mqtt, qos=1)] == [1]


def test_shared_subscriptions_get_none(mqtt):
    """Section 4.8.2."""
    mqtt.connect("a").publish("x", b"1", retain=True)
    assert heard(mqtt, "$share/g/x") == []


def test_wildcards_do_not_match_dollar_topics(mqtt):
    """[MQTT-4.7.2-1]."""
    mqtt.connect("a").publish("$x/y", b"1", retain=True)
    assert heard(mqtt, "#") == heard(mqtt, "+/y") == []
    assert len(heard(mqtt, "$x/#")) == 1


def test_they_have_their_properties_and_identifiers(mqtt):
    """[MQTT-3.3.4-3]."""
    client = mqtt.connect("a")
    client.publish("x", b"1", retain=True, content_type="text", user_property=(("k", "v"),))
    client.subscribe("x", identifier=5)
    properties = client.one(Publish).properties
    assert (properties.content_type, properties.user_property, properties.subscription_identifier) == ("text", (("k", "v"),), (5,))


def test_one_whose_time_is_over_is_gone(mqtt):
    """[MQTT-3.3.2-5], [MQTT-3.3.2-6]."""
    client = mqtt.connect("a")
    client.publish("x", b"1", retain=True, message_expiry_interval=100)
    mqtt.pass_time(40)
    client.subscribe("x")
    assert client.one(Publish).properties.message_expiry_interval == 60
    mqtt.pass_time(70)
    client.subscribe("x")
    assert client.take(Publish) == []
    mqtt.pass_time(60)
    assert len(mqtt.broker.retained) == 0
    assert mqtt.store.names()["retained"] == 0


@pytest.mark.parametrize("bound", [{"retained_messages": 2}, {"retained_bytes": 2100}])
def test_they_are_bounded(open_mqtt, bound):
    """0x97; what is there can be replaced and deleted, and the message is not forwarded either: it was refused."""
    mqtt = open_mqtt(**bound)
    client, present = mqtt.connect("a"), mqtt.connect("b")
    for topic in "xy":
        assert client.publish(topic, b" " * 900, 1, retain=True).reason_code == 0x10
    present.subscribe("z")
    answer = client.publish("z", b" " * 900, 1, retain=True)
    assert (answer.reason_code, present.messages) == (0x97, [])
    assert client.publish("x", b"+" * 900, 1, retain=True).reason_code == 0x10
    client.publish("y", b"", 1, retain=True)
    assert client.publish("z", b" " * 900, 1, retain=True).reason_code == 0
    assert mqtt.broker.counters.bounds["retained_messages"] == 1


def test_the_topic_must_fit_as_a_key(mqtt):
    client = mqtt.connect("a")
    assert client.publish("x" * 1025, b"1", 1, retain=True).reason_code == 0x90
    assert client.publish("x" * 1025, b"1", 1).reason_code == 0x10


def test_they_wait_like_others_for_room(mqtt):
    """[MQTT-3.3.4-9]."""
    client = mqtt.connect("a", auto=False, receive_maximum=2)
    for number in range(5):
        mqtt.connect("p").publish(f"x/{number}", b"1", 1, retain=True)
    client.subscribe("x/#", qos=1)
    assert len(client.take(Publish)) == 2
    client.lose()


def test_they_belong_to_the_session(mqtt):
    """[MQTT-4.4.0-1]: what was sent for a SUBSCRIBE is sent again like the rest, and stored for it."""
    mqtt.connect("p").publish("x", b"1", 1, retain=True)
    client = mqtt.connect("a", auto=False, **KEPT)
    client.subscribe("x", qos=1)
    assert mqtt.store.names()["queued"] == 1
    client.lose()
    again = mqtt.connect("a", **KEPT)
    assert [(packet.dup, packet.retain) for packet in again.take(Publish)] == [(True, True)]
    assert mqtt.store.names()["queued"] == 0
