"""kill -9 under load of MQTT clients that keep their sessions, on ``file:`` storage: paho-mqtt publishes and subscribes below ``dh/``."""

import json
import os
import threading
from collections import Counter

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.ports import free_port
from tests.support.servers.process import PASSWORD
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TESTS_OF_DHTWISTED_ROUNDS", "3"))
MESSAGES = 150
"""How many a publisher sends in a round."""


class Peer:
    """A client that connects again by itself.

    :ivar heard: parameters of the notifications, and how often each came.
    :ivar published: how many publishes the server has acknowledged.
    """

    def __init__(self, port, name, version):
        self.heard, self.answers, self.published = Counter(), [], 0
        self.connected = threading.Event()
        session = {} if version == MQTTv5 else {"clean_session": False}
        self.client = client = Client(CallbackAPIVersion.VERSION2, name, protocol=version, **session)
        client.username_pw_set("dhadmin", PASSWORD)
        client.on_connect = lambda *_: self.connected.set()
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.reconnect_delay_set(0.05, 0.2)
        options = {}
        if version == MQTTv5:
            options = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
            options["properties"].SessionExpiryInterval = 3600
        client.connect_async("127.0.0.1", port, **options)
        client.loop_start()
        assert self.connected.wait(20)

    def _on_publish(self, *_):
        self.published += 1

    def _on_message(self, client, userdata, message):
        event = json.loads(message.payload)
        if "notification" in event:
            self.heard[event["notification"]["parameters"]] += 1
        else:
            self.answers.append(event)

    def subscribe(self, topic, qos):
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(topic, qos)
        assert subscribed.wait(20)

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("version", [MQTTv311, MQTTv5], ids=["3.1.1", "5.0"])
def test_nothing_is_lost_and_nothing_with_qos_2_comes_twice(start, version):
    port = free_port()
    options = ("--storage", "file:hive.sqlite", "--mqtt", f"tcp:{port}:interface=127.0.0.1")
    server = start(*options)
    one, two, setup = Peer(port, "one", version), Peer(port, "two", version), Peer(port, "setup", version)
    saved = {"action": "device/save", "deviceId": "lamp", "device": {"name": "Lamp", "networkId": 1, "deviceTypeId": 1}}
    setup.subscribe("dh/response/device/save@setup", 1)
    setup.client.publish("dh/request", json.dumps(saved), 1)
    wait_until(lambda: setup.answers, "the device is not saved")
    one.subscribe("dh/notification/+/+/lamp/+", 1)
    two.subscribe("dh/notification/+/+/lamp/+", 2)
    publishers = [Peer(port, f"publisher-{qos}", version) for qos in (1, 2)]
    sent = {1: set(), 2: set()}
    for number in range(ROUNDS):
        for count in range(MESSAGES):
            for qos, publisher in zip((1, 2), publishers, strict=True):
                value = f"{qos}-{number}-{count}"
                sent[qos].add(value)
                publisher.client.publish("dh/notification///lamp/n", json.dumps(value), qos)
            if count == MESSAGES // 2:
                server.kill()
                server = start(*options)
        for publisher in publishers:
            count = (number + 1) * MESSAGES
            wait_until(lambda publisher=publisher, count=count: publisher.published == count, "a publish is not acknowledged", 60)
    everything = sent[1] | sent[2]
    for peer in (one, two):
        wait_until(lambda peer=peer: set(peer.heard) >= everything, "a subscriber has not heard everything", 60)
        assert set(peer.heard) == everything
    # What a publisher sends with QoS 1 may be stored twice, and so be two notifications.
    assert {value: count for value, count in two.heard.items() if count > 1 and value in sent[2]} == {}
    for peer in (one, two, setup, *publishers):
        peer.stop()
