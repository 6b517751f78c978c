"""What a client sends has the deadline of requests on every front. It goes on when the deadline has passed, and nothing is done twice."""

import pytest
from twisted.internet.defer import Deferred

from dhtwisted.model import Device, EntityQuery, MqttReceived, Notification
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import (
    Connack,
    Connect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Publish,
    Pubrec,
    Suback,
    Subscribe,
    Subscription,
)
from tests.support.mqtt.devices import parameters

KEPT = {"clean_start": False, "session_expiry_interval": 3600}
LAMP = "dh/notification///lamp/t"
DEADLINE = 10
ANSWERS = {1: Puback, 2: Pubrec}


@pytest.fixture
def absent(mqtt):
    """A session without a connection that wants everything."""
    client = mqtt.connect("absent", **KEPT)
    client.subscribe("#", qos=2)
    client.lose()
    return client


class SlowStorage:
    """Makes a storage wait with what it is to append, and with the packet ids that are stored with it, until :meth:`release`."""

    def __init__(self, storage):
        self._waiting, self._is_slow = [], True
        self._append, self._change_many = storage.append, storage.change_many
        storage.append = lambda messages: self._call(self._append, messages)
        storage.change_many = lambda *arguments: self._call(self._change_many, *arguments)

    def _call(self, function, *arguments):
        if not self._is_slow:
            return function(*arguments)
        waiting = Deferred()
        self._waiting.append((waiting, function, arguments))
        return waiting

    def release(self):
        """Do what waits, and wait with nothing more."""
        self._is_slow = False
        waiting, self._waiting = self._waiting, []
        for deferred, function, arguments in waiting:
            at_once(function(*arguments))
            deferred.callback(None)


@pytest.fixture
def slow(hive):
    """The storage of a server, which is slow when a test says so. At the end it is released: the server waits for its requests."""
    begun = []

    def begin():
        begun.append(SlowStorage(hive.memory.storage))
        return begun[0]

    yield begin
    for storage in begun:
        storage.release()


@pytest.mark.parametrize("qos", [1, 2])
def test_a_plain_publish_is_answered_with_its_reason(mqtt, absent, qos):
    client = mqtt.connect("a", auto=False)
    mqtt.store.is_slow = True
    client.publish("x", b"1", qos)
    mqtt.pass_time(DEADLINE - 2)
    assert client.packets == []
    mqtt.pass_time(3)
    answer = client.one(ANSWERS[qos])
    assert answer.reason_code == 0x80
    assert "may be stored" in answer.properties.reason_string
    client.send(Pingreq())
    assert client.take() == [Pingresp()]
    mqtt.store.release()
    mqtt.store.is_slow = False
    assert client.take() == []
    assert mqtt.connect("absent", **KEPT).messages == [("x", b"1")], "it goes on, and is delivered when it is stored"


@pytest.mark.parametrize("version", [3, 4])
def test_a_client_of_3_1_1_is_disconnected_and_repeats(mqtt, absent, version):
    """Its next connection waits for what is under way."""
    client = mqtt.connect("a", version=version, clean_start=False, auto=False)
    mqtt.store.is_slow = True
    client.send(Publish("x", b"1", 2, packet_id=7))
    mqtt.pass_time(DEADLINE + 1)
    assert client.closed
    assert client.take() == []
    client.lose()
    again = mqtt.client(version)
    again.auto = False
    again.send(Connect("a", version, False))
    assert again.packets == []
    mqtt.store.is_slow = False
    mqtt.store.release()
    assert again.one(Connack).session_present == (version == 4), "MQTT 3.1 cannot say so"
    again.send(Publish("x", b"1", 2, dup=True, packet_id=7))
    assert again.take() == [Pubrec(7)]
    assert mqtt.connect("absent", **KEPT).messages == [("x", b"1")]


@pytest.mark.parametrize("qos", [1, 2])
def test_a_notification_is_answered_with_its_reason(hive, slow, qos):
    client = hive.connect("anna", user=hive.anna, auto=False, **KEPT)
    storage = slow()
    client.send(*[Publish(LAMP, b"%d" % number, qos, packet_id=number) for number in (1, 2)])
    hive.pass_time(DEADLINE + 1)
    assert [answer.reason_code for answer in client.take(ANSWERS[qos])] == [0x80, 0x80]
    storage.release()
    assert client.take() == []
    assert [message.parameters for message in hive.stored(Notification)] == [b"1", b"2"]
    assert client.publish(LAMP, b"3", qos).reason_code == 0


def test_a_packet_id_is_free_when_its_publish_was_late(hive, slow):
    """Also after a crash: the storage has it with the message, and it must go."""
    client = hive.connect("anna", user=hive.anna, auto=False, **KEPT)
    storage = slow()
    client.send(Publish(LAMP, b"1", 2, packet_id=5))
    hive.pass_time(DEADLINE + 1)
    storage.release()
    assert [record.packet_id for record in at_once(hive.memory.storage.find(MqttReceived, EntityQuery()))] == [5]
    assert ("received", "anna", 5) not in hive.store.kept
    client.take()
    client.send(Publish(LAMP, b"2", 2, packet_id=5))
    assert client.take() == [Pubrec(5)]
    assert [message.parameters for message in hive.stored(Notification)] == [b"1", b"2"]


@pytest.mark.parametrize("version", [4, 5])
def test_what_has_not_begun_never_begins(hive, slow, version):
    """An update and what is done alone wait for those before them."""
    client = hive.connect("anna", version=version, user=hive.anna, auto=False, clean_start=version == 5)
    hive.device("blocked")
    at_once(hive.memory.server.entities.update(Device, "blocked", {"is_blocked": True}))
    storage = slow()
    topics = LAMP, "dh/notification///blocked/t", LAMP
    client.send(*[Publish(topic, b"%d" % number, 1, packet_id=number) for number, topic in enumerate(topics, 1)])
    hive.pass_time(DEADLINE + 1)
    assert [answer.reason_code for answer in client.take(Puback)] == [0x80] * 3 * (version == 5)
    assert client.closed == (version == 4)
    storage.release()
    assert [message.parameters for message in hive.stored(Notification)] == [b"1"]


def test_qos_2_of_3_1_1_is_stored_once(hive, slow):
    client = hive.connect("anna", version=4, user=hive.anna, auto=False, clean_start=False)
    storage = slow()
    client.send(Publish(LAMP, b"1", 2, packet_id=5))
    hive.pass_time(DEADLINE + 1)
    assert client.closed
    client.lose()
    again = hive.client(4)
    again.auto = False
    again.send(Connect("anna", 4, False, user_name="x", password=hive.memory.token(hive.anna).encode()))
    assert again.packets == []
    storage.release()
    assert again.one(Connack).session_present
    again.send(Publish(LAMP, b"1", 2, dup=True, packet_id=5))
    assert again.take() == [Pubrec(5)]
    assert [message.parameters for message in hive.stored(Notification)] == [b"1"]


def test_others_are_served_meanwhile(hive, slow):
    client, other = hive.connect("anna", user=hive.anna, auto=False), hive.admin()
    other.subscribe("dh/notification/#", qos=1)
    storage = slow()
    client.send(Publish(LAMP, b"1", 1, packet_id=1))
    hive.pass_time(DEADLINE + 1)
    storage.release()
    assert other.publish(LAMP, b"2", 1).reason_code == 0
    assert parameters(other) == [1, 2]


def test_a_subscription_ends_its_connection(mqtt):
    client = mqtt.connect("a", **KEPT)
    mqtt.store.is_slow = True
    client.send(Subscribe(3, [Subscription("x")]))
    mqtt.pass_time(DEADLINE + 1)
    assert client.reason == 0x89
    assert client.take(Suback) == []


@pytest.mark.parametrize(("version", "code"), [(4, 3), (5, 0x88)])
def test_a_connect_is_refused(mqtt, version, code):
    client = mqtt.client(version)
    mqtt.store.is_slow = True
    properties = Properties(session_expiry_interval=9) if version == 5 else None
    client.send(Connect("a", version, False, properties=properties))
    mqtt.pass_time(DEADLINE + 1)
    (answer,) = client.take(Connack)
    assert answer.reason_code == code
    assert client.closed
    client.lose()
    mqtt.store.is_slow = False
    mqtt.store.release()
    assert client.take() == []
    assert mqtt.connect("a", version).closed is False
