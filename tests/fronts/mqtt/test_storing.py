"""Acknowledged means stored: what is kept, when an answer leaves, and what happens without the storage."""

import pytest
from msgspec.structs import replace
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.wire.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Properties,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)

AWAY = "what MQTT has to keep could not be stored: {error}"
BACK = "what MQTT has to keep can be stored again; meanwhile that failed {count} times"
KEPT = {"clean_start": False, "session_expiry_interval": 100}


@pytest.fixture
def absent(mqtt):
    """A session without a connection that wants everything; then the storage is slow."""
    client = mqtt.connect("absent", **KEPT)
    client.subscribe("#", qos=2)
    client.lose()
    return client


def test_what_nobody_keeps_is_not_stored(mqtt):
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("#", qos=2)
    mqtt.store.is_slow = True
    for qos, kind in ((1, Puback), (2, Pubrec)):
        assert type(client.publish("x", b"", qos)) is kind
    assert mqtt.store.commits == 0


@pytest.mark.parametrize(("qos", "kind"), [(1, Puback), (2, Pubrec)])
@pytest.mark.parametrize("version", [4, 5])
def test_a_message_for_an_absent_session_is_stored_before_its_answer(mqtt, absent, version, qos, kind):
    client = mqtt.connect("a", version=version, auto=False)
    mqtt.store.is_slow = True
    client.publish("x", b"1", qos)
    assert client.take() == []
    assert mqtt.store.names()["queued"] == 0
    mqtt.store.release()
    assert [type(packet) for packet in client.take()] == [kind]
    assert mqtt.store.names()["queued"] == 1


def test_qos_0_is_not_stored_for_anybody(mqtt, absent):
    mqtt.store.is_slow = True
    mqtt.connect("a").publish("x", b"1", 0)
    assert mqtt.store.release() == 0


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_retained_message_is_stored_before_it_is_delivered(mqtt, qos):
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x", qos=qos)
    mqtt.store.is_slow = True
    client.publish("x", b"1", qos, retain=True)
    assert (client.take(), hearer.messages) == ([], [])
    mqtt.store.release()
    assert hearer.messages == [("x", b"1")]
    assert mqtt.store.kept["retained", "x"] == b"1"


def test_publishes_that_came_meanwhile_are_one_batch(mqtt, absent):
    client = mqtt.connect("a", version=4)
    mqtt.store.is_slow = True
    before = mqtt.store.commits
    for number in range(1, 31):
        client.send(Publish("x", b"%d" % number, 1, packet_id=number))
    assert client.paused
    mqtt.store.release()
    mqtt.store.release()
    assert [packet.packet_id for packet in client.take(Puback)] == list(range(1, 31))
    assert mqtt.store.commits - before == 2
    assert not client.paused


def test_answers_keep_their_order_when_only_some_wait(mqtt, absent):
    """[MQTT-4.6.0-2]: a retained message waits for the storage, the next would not."""
    client = mqtt.connect("a", version=4)
    mqtt.store.is_slow = True
    client.send(Publish("x", b"1", 1, packet_id=1))
    client.send(Publish("$y", b"2", 1, packet_id=2))
    assert client.take() == []
    mqtt.store.release()
    assert [packet.packet_id for packet in client.take(Puback)] == [1, 2]


def test_acknowledgements_wait_for_nothing(mqtt, absent):
    client, other = mqtt.connect("a", auto=False), mqtt.connect("b")
    client.subscribe("$y", qos=1)
    mqtt.store.is_slow = True
    client.publish("x", b"1", 1)
    other.publish("$y", b"2", 1)
    (message,) = client.take(Publish)
    client.send(Pingreq(), Puback(message.packet_id))
    assert mqtt.broker.sessions[0, "a"].outgoing.pending == {}
    assert client.take(Pingresp) == []
    mqtt.store.release()
    assert client.take(Pingresp) == [Pingresp()]


def test_the_packet_id_of_qos_2_is_stored_with_the_message(mqtt, absent):
    """[MQTT-4.3.3-10], [MQTT-4.3.3-12] over a crash: it is there before PUBREC, and gone before PUBCOMP."""
    client = mqtt.connect("a", auto=False, **KEPT)
    client.send(Publish("x", b"1", 2, packet_id=7))
    assert ("received", "a", 7) in mqtt.store.kept
    assert client.take() == [Pubrec(7)]
    mqtt.store.is_slow = True
    client.send(Pubrel(7))
    assert client.take() == []
    mqtt.store.release()
    assert client.take() == [Pubcomp(7)]
    assert ("received", "a", 7) not in mqtt.store.kept


def test_a_refused_packet_id_is_not_stored(mqtt):
    mqtt.access.silenced.add("x")
    mqtt.connect("a", auto=False, **KEPT).publish("x", b"1", 2)
    assert mqtt.store.names()["received"] == 0


def test_a_message_is_stored_with_its_packet_id(mqtt):
    """[MQTT-4.4.0-1] over a crash: before it leaves."""
    client, hearer = mqtt.connect("a"), mqtt.connect("b", auto=False, **KEPT)
    hearer.subscribe("x", qos=2)
    mqtt.store.is_slow = True
    client.publish("x", b"1", 2)
    assert hearer.take() == []
    mqtt.store.release()
    (message,) = hearer.take(Publish)
    assert mqtt.store.kept["queued", "b", 1] == (message.packet_id, 0, None)


def test_a_message_is_forgotten_when_it_is_acknowledged(mqtt):
    client, hearer = mqtt.connect("a"), mqtt.connect("b", auto=False, **KEPT)
    hearer.subscribe("x", qos=2)
    client.publish("x", b"1", 1)
    client.publish("x", b"2", 2)
    one, two = hearer.take(Publish)
    hearer.send(Puback(one.packet_id))
    assert mqtt.store.names()["queued"] == 1
    mqtt.store.is_slow = True
    hearer.send(Pubrec(two.packet_id))
    assert hearer.take() == []
    mqtt.store.release()
    # PUBREL leaves when it is stored that it has: the message must never be sent again.
    assert hearer.take() == [Pubrel(two.packet_id)]
    assert mqtt.store.kept["queued", "b", 2][1] == 2
    hearer.send(Pubcomp(two.packet_id))
    mqtt.store.release()
    assert mqtt.store.names()["queued"] == 0


def test_a_session_is_stored_before_connack(mqtt):
    mqtt.store.is_slow = True
    client = mqtt.client()
    client.send(Connect("a", 5, False, properties=Properties(session_expiry_interval=100)), Pingreq())
    assert client.take() == []
    mqtt.store.release()
    assert [type(packet) for packet in client.take()] == [Connack, Pingresp]
    assert ("session", "a") in mqtt.store.kept


def test_filters_are_stored_before_their_answer(mqtt):
    client = mqtt.connect("a", **KEPT)
    mqtt.store.is_slow = True
    client.send(Subscribe(1, [Subscription("x", 1)]), Unsubscribe(2, ["x"]))
    assert client.take() == []
    mqtt.store.release()
    assert [type(packet) for packet in client.take()] == [Suback]
    assert set(mqtt.store.kept["session", "a"][0]) == {"x"}
    mqtt.store.release()
    assert [type(packet) for packet in client.take()] == [Unsuback]
    assert set(mqtt.store.kept["session", "a"][0]) == set()


@pytest.mark.parametrize("qos", [1, 2])
def test_without_the_storage_5_0_is_told(mqtt, absent, qos):
    """The message reaches nobody, and may be sent again."""
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x", qos=2)
    mqtt.store.is_down = True
    answer = client.publish("x", b"1", qos)
    assert answer.reason_code == 0x80
    assert "later" in answer.properties.reason_string
    assert hearer.messages == []
    mqtt.store.is_down = False
    assert client.publish("x", b"1", qos).reason_code == 0
    assert hearer.messages == [("x", b"1")]
    assert mqtt.store.names()["queued"] == 1


@pytest.mark.parametrize("qos", [1, 2])
def test_without_the_storage_3_1_1_is_not_answered(mqtt, absent, qos):
    """[MQTT-4.8.0-2] of 3.1.1: it has no way to refuse. The connection ends, and the client sends the message again."""
    client, hearer = mqtt.connect("a", version=4, auto=False), mqtt.connect("b")
    hearer.subscribe("x", qos=2)
    mqtt.store.is_down = True
    client.publish("x", b"1", qos)
    assert (client.take(), client.closed, hearer.messages) == ([], True, [])


@pytest.mark.parametrize("kept", [True, False])
def test_all_publishes_of_a_read_that_could_not_be_stored_are_taken_when_they_come_again(mqtt, absent, kept):
    """Not only the first of them: 3.1.1 is not answered, and sends all of them again with their packet ids."""
    publishes = [Publish("x", b"%d" % number, 2, packet_id=number) for number in (1, 2, 3)]
    client, hearer = mqtt.connect("a", version=4, auto=False, clean_start=not kept), mqtt.connect("b")
    hearer.subscribe("x", qos=2)
    mqtt.store.is_down = True
    client.send(*publishes)
    assert (client.take(), client.closed) == ([], True)
    client.lose()
    mqtt.store.is_down = False
    again = mqtt.connect("a", version=4, auto=False, clean_start=not kept)
    again.send(*(replace(one, dup=True) for one in publishes))
    assert [packet.packet_id for packet in again.take(Pubrec)] == [1, 2, 3]
    assert hearer.messages == [("x", b"1"), ("x", b"2"), ("x", b"3")]


def test_without_the_storage_there_is_no_session_that_is_kept(mqtt):
    mqtt.store.is_down = True
    assert mqtt.client().connect("a", **KEPT).reason_code == 0x88
    assert mqtt.client(4).connect("a", clean_start=False).reason_code == 3
    assert mqtt.client().connect("a").reason_code == 0


def test_without_the_storage_no_filter_is_promised(mqtt):
    client = mqtt.connect("a", **KEPT)
    mqtt.store.is_down = True
    client.send(Subscribe(1, [Subscription("x", 1)]))
    assert (client.reason, client.closed) == (0x89, True)


def test_without_the_storage_no_exchange_is_completed(mqtt):
    """The packet id stays taken, and the client asks again."""
    client = mqtt.connect("a", auto=False, **KEPT)
    client.send(Publish("x", b"1", 2, packet_id=1))
    mqtt.store.is_down = True
    client.take()
    client.send(Pubrel(1))
    assert client.closed
    mqtt.store.is_down = False
    client.lose()
    again = mqtt.connect("a", auto=False, **KEPT)
    again.send(Pubrel(1))
    assert again.take() == [Pubcomp(1)]


def test_a_client_may_leave_while_its_message_is_stored(mqtt, absent):
    """PUBLISH, DISCONNECT and the end of the connection: it is delivered, and there is no will."""
    hearer = mqtt.connect("b")
    hearer.subscribe("x", "will")
    client = mqtt.connect("a")
    mqtt.store.is_slow = True
    client.send(Publish("x", b"1", 1, packet_id=1), Publish("x", b"2"), Disconnect())
    client.lose()
    mqtt.store.is_slow = False
    mqtt.store.release()
    assert [payload for _, payload in hearer.messages] == [b"1", b"2"]
    assert mqtt.broker.connections == {hearer.connection}


def test_the_bytes_of_what_waits_are_counted(mqtt, absent):
    client = mqtt.connect("a", version=4)
    mqtt.store.is_slow = True
    client.send(Publish("x", b"1", 1, packet_id=1))
    client.send(Publish("x", b" " * 5000, 1, packet_id=2))
    assert client.account.held >= 5000
    mqtt.store.release()
    assert client.account.held == 0
    mqtt.store.release()


def test_nothing_begins_while_the_memory_of_all_clients_is_used_up(open_mqtt):
    mqtt = open_mqtt(limits={"output_total": 1000})
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x")
    mqtt.memory.server.budget.count(2000)
    client.send(Publish("x", b"1"))
    assert client.paused
    assert hearer.messages == []
    mqtt.memory.server.budget.count(-2000)
    mqtt.memory.clock.advance(0)
    assert hearer.messages == [("x", b"1")]
    assert not client.paused


def test_an_outage_of_the_storage_is_logged_once_with_its_failures(mqtt, absent):
    clients = [mqtt.connect(f"{number}", version=5) for number in range(5)]
    with capturedLogs() as logs:
        for is_down in (True, False, True):
            mqtt.store.is_down = is_down
            for client in clients:
                client.publish("x", b"1", 1)
            mqtt.broker.save_soon(mqtt.broker.sessions[0, "absent"])
    texts = [event["log_format"] for event in logs if event["log_level"] is LogLevel.warn]
    assert texts == [AWAY, BACK, AWAY]
    assert [event["count"] for event in logs if "count" in event] == [6]
