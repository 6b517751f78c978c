"""Clients of MQTT that keep their sessions and connect again by themselves, with paho-mqtt, and a load of them that is judged."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.enums import MessageState
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from dhtwisted.wire.mqtt.reasons import ReasonCode
from tests.support.servers.process import PASSWORD
from tests.support.waiting import wait_until

MESSAGES = 150
"""How many a publisher sends in a round."""

DEVICE = {"action": "device/save", "deviceId": "lamp", "device": {"name": "Lamp", "networkId": 1, "deviceTypeId": 1}}


class ExactClient(Client):
    """paho's client. After a second attempt to connect that one has forgotten that a PUBREL had left, and publishes the message again."""

    def _messages_reconnect_reset_out(self) -> None:
        with self._out_message_mutex:
            for message in self._out_messages.values():
                if message.state == MessageState.MQTT_MS_RESEND_PUBREL:
                    message.state = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP
            super()._messages_reconnect_reset_out()


class Peer:
    """A client that connects again by itself.

    :param version: one of paho's names for the versions.
    :ivar heard: parameters of the notifications, or payloads of plain messages, and how often each came.
    :ivar published: how many publishes the server has acknowledged without an error.
    :ivar refused: how many it has refused; they are published again.
    :ivar connects: how often the server has accepted it.
    :ivar pause: seconds that it takes for each message.
    :ivar is_unknown_refused: what reason code 0x92 of a PUBCOMP means. It answers a PUBREL that is repeated after a crash, whose exchange
        was completed before. paho also sends a PUBREL after a PUBREC that refuses, and shows only the 0x92.
    """

    def __init__(self, port: int, name: str, version: Any, pause: float = 0) -> None:
        self.pause = pause
        self.heard: Counter[str] = Counter()
        self.answers: list[Any] = []
        self.published = self.refused = self.connects = 0
        self.is_unknown_refused = False
        self._under_way: dict[int, Any] = {}
        self._early: dict[int, Any] = {}
        # paho calls back from a thread of its own.
        self._lock = threading.Lock()
        session: dict[str, Any] = {} if version == MQTTv5 else {"clean_session": False}
        self.client = client = ExactClient(CallbackAPIVersion.VERSION2, name, protocol=version, **session)
        client.username_pw_set("dhadmin", PASSWORD)
        client.on_connect = self._on_connect
        client.on_message, client.on_publish = self._on_message, self._on_publish
        client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # It takes fractions too.
        options: dict[str, Any] = {}
        if version == MQTTv5:
            options = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
            options["properties"].SessionExpiryInterval = 3600
        client.connect_async("127.0.0.1", port, **options)
        client.loop_start()
        wait_until(lambda: self.connects, "the client is not connected")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.connects += not reason.is_failure

    def publish(self, topic: str, payload: str, qos: int, **options: Any) -> None:
        """Publish, until the server has accepted it.

        :param options: further ones of paho's ``publish``.
        """
        # Without our lock: paho calls back while it holds one of its own, for which this call waits.
        packet_id = self.client.publish(topic, payload, qos, **options).mid
        with self._lock:
            self._under_way[packet_id] = topic, payload, qos, options
            reason = self._early.pop(packet_id, None)
        if reason is not None:
            self._answered(packet_id, reason)

    def _on_publish(self, client: Any, data: Any, packet_id: int, reason: Any, properties: Any) -> None:
        with self._lock:
            if packet_id not in self._under_way:
                self._early[packet_id] = reason
                return
        self._answered(packet_id, reason)

    def _answered(self, packet_id: int, reason: Any) -> None:
        with self._lock:
            message = self._under_way.pop(packet_id)
            is_completed = reason.value == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND and not self.is_unknown_refused
            is_refused = reason.is_failure and not is_completed
            self.refused += is_refused
            self.published += not is_refused
        if is_refused:
            *what, options = message
            self.publish(*what, **options)

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        if self.pause:
            threading.Event().wait(self.pause)
        if not message.topic.startswith("dh/"):
            self.heard[json.loads(message.payload)] += 1
            return
        event = json.loads(message.payload)
        if "notification" in event:
            self.heard[event["notification"]["parameters"]] += 1
        else:
            self.answers.append(event)

    def subscribe(self, topic: str, qos: int) -> None:
        """Subscribe, and wait for the answer."""
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(topic, qos)
        assert subscribed.wait(20)

    def stop(self) -> None:
        """Disconnect. The session stays."""
        self.client.disconnect()
        self.client.loop_stop()


class MqttLoad:
    """A publisher and a subscriber of each QoS 1 and 2. A context manager.

    :param ports: of the publishers, and of the subscribers.
    :param version: one of paho's names for the versions.
    :param is_plain: whether the topic is a plain one, instead of one below ``dh/``.
    :ivar sent: QoS -> what was published with it.
    """

    def __init__(self, ports: tuple[int, int], version: Any, is_plain: bool = False) -> None:
        publishing, subscribing = ports
        self.sent: dict[int, set[str]] = {1: set(), 2: set()}
        self._topic = "news/lamp" if is_plain else "dh/notification///lamp/n"
        self._rounds = 0
        if not is_plain:
            self._save_device(publishing, version)
        pattern = "news/+" if is_plain else "dh/notification/+/+/lamp/+"
        self.subscribers = {qos: Peer(subscribing, f"subscriber-{qos}", version) for qos in (1, 2)}
        for qos, subscriber in self.subscribers.items():
            subscriber.subscribe(pattern, qos)
        self.publishers = {qos: Peer(publishing, f"publisher-{qos}", version) for qos in (1, 2)}

    @staticmethod
    def _save_device(port: int, version: Any) -> None:
        setup = Peer(port, "setup", version)
        setup.subscribe("dh/response/device/save@setup", 1)
        setup.publish("dh/request", json.dumps(DEVICE), 1)
        wait_until(lambda: setup.answers, "the device is not saved")
        setup.stop()

    def __enter__(self) -> MqttLoad:
        return self

    def __exit__(self, *error: object) -> None:
        for peer in (*self.publishers.values(), *self.subscribers.values()):
            peer.stop()

    def round(self, fault: Callable[[], object]) -> None:
        """Publish, let something happen in the middle, and wait for the acknowledgements."""
        for count in range(MESSAGES):
            for qos, publisher in self.publishers.items():
                value = f"{qos}-{self._rounds}-{count}"
                self.sent[qos].add(value)
                publisher.publish(self._topic, json.dumps(value), qos)
            if count == MESSAGES // 2:
                fault()
        self._rounds += 1
        for publisher in self.publishers.values():
            wait_until(
                lambda publisher=publisher: publisher.published == self._rounds * MESSAGES,  # type: ignore[misc]
                "a publish is not acknowledged",
                60,
            )

    def judge(self, in_doubt: bool = False) -> dict[str, int]:
        """Check that everything that was acknowledged was heard, and nothing with QoS 2 twice.

        :param in_doubt: the answers to commits may have been lost, so that what was published again may have been stored before.
        :returns: counts for a report.
        """
        everything = self.sent[1] | self.sent[2]
        for subscriber in self.subscribers.values():
            with suppress(TimeoutError):
                wait_until(lambda heard=subscriber.heard: set(heard) >= everything, "", 60)  # type: ignore[misc]
            assert everything - set(subscriber.heard) == set(), "a subscriber has not heard everything"
            assert set(subscriber.heard) == everything
        exact = self.subscribers[2].heard
        # What a publisher sends with QoS 1 may be stored twice, and so be two messages.
        twice = {value for value, count in exact.items() if count > 1 and value in self.sent[2]}
        assert in_doubt or not twice, twice
        return {
            "twice with QoS 2": len(twice),
            "published": len(everything),
            "twice with QoS 1": sum(count > 1 for count in self.subscribers[1].heard.values()),
            "stored twice with QoS 1": sum(count > 1 for count in exact.values()),
            "refused": sum(publisher.refused for publisher in self.publishers.values()),
            "connects": sum(peer.connects for peer in (*self.publishers.values(), *self.subscribers.values())),
        }
