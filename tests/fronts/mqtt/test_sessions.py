"""Sessions that outlive a connection, and take-over (sections 3.1.2.4, 3.1.2.11, 3.1.4, 3.14 and 4.1)."""

import pytest

from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Connack, Connect, Disconnect, Properties, Publish
from tests.support.mqtt.clients import Mqtt

KEPT = {"clean_start": False, "session_expiry_interval": 100}


def present(mqtt: Mqtt, client_id: str = "a", version: int = 5, **fields) -> bool:
    """Connect, and tell whether a session is there."""
    answer = mqtt.client(version).connect(client_id, **fields)
    assert answer.reason_code == 0
    return answer.session_present


def test_a_session_is_there_when_its_client_comes_back(mqtt):
    """[MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.2-23], [MQTT-3.2.2-3]: and for another client there is a new one."""
    mqtt.connect("a", **KEPT).lose()
    assert present(mqtt, **KEPT)
    assert not present(mqtt, "b", **KEPT)


def test_filters_outlive_a_connection(mqtt):
    """Section 4.1."""
    client = mqtt.connect("a", **KEPT)
    client.subscribe("x", qos=2, identifier=3)
    client.lose()
    again, other = mqtt.connect("a", **KEPT), mqtt.connect("b")
    other.publish("x", b"1", 1)
    (packet,) = again.take(Publish)
    assert (packet.qos, packet.properties.subscription_identifier) == (1, (3,))


def test_in_3_1_1_a_session_that_is_not_clean_is_kept(mqtt):
    """[MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.2.2-2], [MQTT-3.2.2-3] of 3.1.1; messages with QoS 1 and 2 wait, those with QoS 0 do not."""
    client = mqtt.client(4)
    assert not client.connect("a", clean_start=False).session_present
    client.subscribe("x", qos=2)
    client.lose()
    other = mqtt.connect("b")
    for qos in (0, 1, 2):
        other.publish("x", b"%d" % qos, qos)
    again = mqtt.client(4)
    assert again.connect("a", clean_start=False).session_present
    assert [payload for _, payload in again.messages] == [b"1", b"2"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_clean_start_ends_the_old_session(mqtt, version):
    """[MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2]."""
    kept = KEPT if version == 5 else {"clean_start": False}
    mqtt.connect("a", version=version, **kept).subscribe("x")
    mqtt.connect("a", version=version, **kept).lose()
    assert not present(mqtt, version=version, **kept | {"clean_start": True})
    assert mqtt.broker.sessions[0, "a"].filters == {}


def test_a_session_ends_when_its_time_is_over(mqtt):
    """[MQTT-3.1.2-23], [MQTT-4.1.0-2]: it lasts for its expiry after the connection, and not longer; nothing of it is kept."""
    client = mqtt.connect("a", **KEPT)
    client.subscribe("x", qos=1)
    client.lose()
    mqtt.connect("b").publish("x", b"1", 1)
    mqtt.pass_time(99)
    assert present(mqtt, **KEPT)
    mqtt.broker.sessions[0, "a"].connection.leave()
    mqtt.pass_time(102)
    assert not present(mqtt, clean_start=False)
    assert mqtt.store.names() == {}


def test_without_an_expiry_a_session_ends_with_its_connection(mqtt):
    """Section 3.1.2.11.2."""
    mqtt.connect("a", clean_start=False).lose()
    assert not present(mqtt, clean_start=False)
    assert mqtt.store.commits == 0


def test_a_disconnect_may_change_the_expiry(mqtt):
    """Section 3.14.2.2.2."""
    mqtt.connect("a", **KEPT).disconnect(session_expiry_interval=10)
    mqtt.pass_time(12)
    assert not present(mqtt, **KEPT)
    mqtt.connect("a", **KEPT).disconnect(session_expiry_interval=0)
    assert not present(mqtt, **KEPT)
    assert mqtt.store.names() == {"session": 1}


def test_a_session_without_an_expiry_cannot_be_given_one(mqtt):
    """Section 3.14.2.2.2: 0x82."""
    client = mqtt.connect("a")
    client.send(Disconnect(properties=None))
    client = mqtt.connect("b")
    client.disconnect(session_expiry_interval=10)
    assert client.reason == 0x82
    assert not present(mqtt, "b", clean_start=False)


def test_the_expiry_of_a_session_is_that_of_its_last_connection(mqtt):
    mqtt.connect("a", **KEPT).lose()
    mqtt.connect("a", clean_start=False).lose()
    assert not present(mqtt, clean_start=False)
    assert mqtt.store.names() == {}


def test_a_session_can_go_on_with_another_version(mqtt):
    client = mqtt.connect("a", version=4, clean_start=False)
    client.subscribe("x", qos=1)
    client.lose()
    mqtt.connect("b").publish("x", b"1", 1, content_type="text")
    again = mqtt.connect("a", version=5, **KEPT)
    assert again.one(Publish).properties.content_type == "text"


@pytest.mark.parametrize(("version", "reason"), [(4, None), (5, 0x8E)])
def test_a_second_connection_takes_over(mqtt, version, reason):
    """[MQTT-3.1.4-3]."""
    kept = KEPT if version == 5 else {"clean_start": False}
    first = mqtt.connect("a", version=version, **kept)
    first.subscribe("x", qos=1)
    second = mqtt.connect("a", version=version, **kept)
    assert (first.reason, first.closed) == (reason, True)
    first.lose()
    mqtt.connect("b").publish("x", b"1", 1)
    assert (first.messages, second.messages) == ([], [("x", b"1")])


def test_nobody_takes_over_the_session_of_another_user(mqtt):
    lena = at_once(mqtt.memory.add_user("lena"))
    admin = mqtt.connect("a", user=mqtt.memory.administrator, **KEPT)
    admin.subscribe("x", qos=1)
    other, nobody = mqtt.connect("a", user=lena, **KEPT), mqtt.connect("a", **KEPT)
    mqtt.connect("b").publish("x", b"1", 1)
    assert not admin.closed
    assert (admin.messages, other.messages, nobody.messages) == ([("x", b"1")], [], [])


def test_a_take_over_waits_for_what_the_old_connection_has_begun(mqtt):
    """So that QoS 2 is delivered once: the client sends again what was not answered."""
    first, hearer = mqtt.connect("a", auto=False, **KEPT), mqtt.connect("b")
    hearer.subscribe("x")
    mqtt.store.is_slow = True
    first.send(Publish("x", b"1", 2, packet_id=1))
    first.send(Publish("x", b"2", 2, packet_id=2))
    second = mqtt.client()
    second.send(Connect("a", 5, False, properties=first_properties()))
    assert (first.reason, second.packets) == (0x8E, [])
    mqtt.store.is_slow = False
    mqtt.store.release()
    assert [type(packet) for packet in second.packets] == [Connack]
    second.send(Publish("x", b"1", 2, dup=True, packet_id=1), Publish("x", b"2", 2, dup=True, packet_id=2))
    assert hearer.messages == [("x", b"1"), ("x", b"2")]


def first_properties():
    from dhtwisted.wire.mqtt.packets import Properties

    return Properties(session_expiry_interval=100)


def test_many_connections_at_once_leave_one(mqtt):
    """[MQTT-3.1.4-3]: whatever they wait for."""
    mqtt.store.is_slow = True
    clients = [mqtt.client() for _ in range(5)]
    for client in clients:
        client.send(Connect("a", 5, False, properties=first_properties()))
    for _ in range(20):
        mqtt.store.release()
    mqtt.memory.clock.advance(0)
    open_ones = [client for client in clients if not client.closed]
    assert len(open_ones) == 1
    assert [packet.reason_code for packet in open_ones[0].take(Connack)] == [0]
    assert mqtt.broker.sessions[0, "a"].connection is open_ones[0].connection
    assert len(mqtt.broker.connections) == 1


@pytest.mark.parametrize(("bound", "value"), [("sessions", 2), ("sessions_per_user", 2)])
def test_sessions_are_bounded(open_mqtt, bound, value):
    """0x97; the client of a session that is there gets in."""
    mqtt = open_mqtt(**{bound: value})
    token = mqtt.memory.token().encode()
    for client_id in ("a", "b"):
        mqtt.client().connect(client_id, password=token, **KEPT)
    assert mqtt.client().connect("c", password=token).reason_code == 0x97
    assert mqtt.client().connect("a", password=token, **KEPT).session_present
    assert mqtt.broker.counters.bounds[bound] == 1


def test_a_session_that_is_kept_has_an_id_that_can_be_a_key(mqtt):
    """[MQTT-3.1.3-8]: it is refused otherwise, and the connection closed."""
    refused = mqtt.client()
    assert refused.connect("x" * 1025, **KEPT).reason_code == 0x85
    assert refused.closed
    assert mqtt.client().connect("x" * 1025).reason_code == 0


def test_a_client_that_asks_for_nothing_to_be_kept_leaves_nothing(mqtt):
    client = mqtt.connect("a")
    client.subscribe("x", qos=2)
    mqtt.connect("b").publish("x", b"1", 2)
    client.lose()
    assert list(mqtt.broker.sessions) == [(0, "b")]
    assert mqtt.store.commits == 0
    assert mqtt.broker.tree.match("x").receivers == ()


@pytest.mark.parametrize("version", [4, 5])
def test_the_client_id_names_the_session(mqtt, version):
    """[MQTT-3.1.3-2]: also if another id differs by its case or its last character."""
    kept = KEPT if version == 5 else {"clean_start": False}
    mqtt.connect("pump-4", version=version, **kept).lose()
    assert not any(present(mqtt, other, version, **kept) for other in ("Pump-4", "pump-", "pump-44", "pump-4 "))
    assert present(mqtt, "pump-4", version, **kept)


@pytest.mark.parametrize(("version", "fields"), [(4, {}), (4, {"clean_start": False}), (5, {}), (5, KEPT)])
def test_a_session_lasts_while_its_connection_is_open(open_mqtt, version, fields):
    """[MQTT-4.1.0-1] of both, [MQTT-4.1.0-2] of 3.1.1: also beyond its expiry."""
    mqtt = open_mqtt(session_expiry=50.0, keep_alive=0.0)
    client = mqtt.connect("a", version=version, keep_alive=0, **fields)
    client.subscribe("x", qos=2)
    client.auto = False
    client.send(Publish("y", b"1", 2, packet_id=9))
    mqtt.pass_time(300)
    mqtt.connect("b").publish("x", b"1", 1)
    assert client.messages == [("x", b"1")]
    client.send(Publish("y", b"1", 2, dup=True, packet_id=9))
    assert mqtt.broker.sessions[0, "a"].connection is client.connection


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained_messages_outlive_the_session(mqtt, qos):
    """[MQTT-3.1.2-7] of 3.1.1."""
    client = mqtt.connect("a", version=4)
    client.publish("x", b"1", qos, retain=True)
    client.disconnect()
    other = mqtt.connect("b", version=4)
    other.subscribe("x")
    assert other.messages == [("x", b"1")]


@pytest.mark.parametrize(("end", "reason_code"), [("taken over", 0x89), ("stop", 0x88)])
def test_a_connection_that_ends_before_its_answer_gets_a_code_that_connack_has(mqtt, end, reason_code):
    """Section 3.2.2.2: 0x8E and 0x8B are for DISCONNECT only, and clients take them for a violation of the protocol."""
    mqtt.store.is_slow = True
    early = mqtt.client()
    early.send(Connect("a", 5, False, properties=Properties(session_expiry_interval=100)))
    assert early.packets == []
    if end == "stop":
        mqtt.broker.stop()
    else:
        mqtt.client().send(Connect("a", 5, False, properties=Properties(session_expiry_interval=100)))
    assert (early.one(Connack).reason_code, early.closed) == (reason_code, True)
    mqtt.store.is_slow = False
    mqtt.store.release()
