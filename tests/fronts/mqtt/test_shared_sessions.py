"""Sessions with several nodes: a client goes from node to node, nodes die, and nothing is lost, repeated, or done on two nodes."""

import json
from collections import Counter

import pytest
from twisted.internet.defer import Deferred

from dhtwisted.core.nodes import BEAT, SETTLING, SILENCE
from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.mqtt.shared_sessions import HAVE, LOOK
from dhtwisted.fronts.mqtt.stored import MqttStore
from dhtwisted.model import NOTIFICATION_INSERT, EntityQuery, Event, MqttSession, Notification, User
from dhtwisted.model.mqtt import LONGEST_NAME
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Connack, Connect, Properties, Pubcomp, Publish, Pubrec, Pubrel, Will
from tests.support.delaying import DelayingStorage
from tests.support.mqtt.devices import parameters
from tests.support.mqtt.nodes import MqttNodes

TAKEN_OVER, UNAVAILABLE, INVALID_ID = 0x8E, 0x88, 0x85
LAMP = "dh/notification///lamp/t"
DEATH = (SILENCE + 2) * BEAT


@pytest.fixture
def two(reactor):
    nodes = MqttNodes(reactor)
    yield nodes
    nodes.close()


def will(delay=0):
    properties = Properties(will_delay_interval=delay) if delay else None
    return Will("dh/notification///lamp/will", b"gone", 1, False, properties)


def notifications(nodes):
    return [json.loads(one.parameters) for one in nodes.nodes[0].stored(Notification)]


async def refuse_to_answer(asking, question):
    raise StorageUnavailable("the test says so")


def wills(nodes):
    return notifications(nodes).count("gone")


def records(nodes):
    return {record.client_id: record for record in at_once(nodes.storage.find(MqttSession, EntityQuery()))}


def test_a_client_takes_its_session_from_node_to_node(two):
    a, b = two.nodes
    client = two.connect(a)
    client.subscribe("dh/notification/+/+/lamp/#", qos=2)
    again = two.connect(b)
    assert (client.reason, client.closed, again.is_present) == (TAKEN_OVER, True, True)
    assert (len(a.broker.sessions), len(b.broker.sessions)) == (0, 1)
    two.connect(a, "other").publish(LAMP, b"1", 1)
    two.wait()
    assert parameters(again) == [1]
    third = two.connect(a)
    assert (again.reason, third.is_present) == (TAKEN_OVER, True)


@pytest.mark.parametrize("qos", [1, 2])
def test_what_comes_between_two_nodes_comes_once(two, qos):
    """Some is stored while the client is on the first node, some while it is on none, and some on the second."""
    a, b = two.nodes
    client = two.connect(a)
    client.subscribe("dh/notification/+/+/lamp/#", qos=qos)
    sender = two.connect(b, "sender")
    sender.publish(LAMP, b"1", 1)
    two.wait()
    heard = parameters(client)
    client.lose()
    sender.publish(LAMP, b"2", 1)
    again = two.connect(b)
    sender.publish(LAMP, b"3", 1)
    two.wait()
    heard += parameters(again)
    last = two.connect(a)
    sender.publish(LAMP, b"4", 1)
    two.wait()
    assert heard + parameters(last) == [1, 2, 3, 4]


def test_an_event_that_the_bus_brings_late_to_the_second_node_does_not_come_again(two):
    """The client got it on the first node. The second has not even heard of it when the client comes."""
    a, b = two.nodes
    client = two.connect(a)
    client.subscribe("dh/notification/+/+/lamp/#", qos=2)
    two.connect(a, "sender").publish(LAMP, b"1", 1)
    two.wait(61)
    assert parameters(client) == [1]
    again = two.connect(b)
    b.memory.server.bus_receiver.receive([Event(NOTIFICATION_INSERT, two.nodes[0].stored(Notification)[0])])
    two.wait()
    assert parameters(again) == []


def test_a_publish_with_qos_2_is_stored_once_though_it_is_completed_elsewhere(two):
    a, b = two.nodes
    client = two.connect(a)
    client.auto = False
    client.send(Publish(LAMP, b"1", 2, False, False, 7))
    assert type(client.packets[-1]) is Pubrec
    client.lose()
    again = two.connect(b)
    again.auto = False
    again.send(Publish(LAMP, b"1", 2, False, True, 7))
    assert again.take(Pubrec)[0].packet_id == 7
    again.send(Pubrel(7))
    assert again.one(Pubcomp).reason_code == 0
    assert notifications(two) == [1]
    again.send(Publish(LAMP, b"2", 2, False, False, 7))
    assert notifications(two) == [1, 2]


def test_an_event_with_qos_2_in_flight_goes_on_with_its_packet_id(two):
    a, b = two.nodes
    client = two.connect(a)
    client.subscribe("dh/notification/+/+/lamp/#", qos=2)
    client.auto = False
    two.connect(a, "sender").publish(LAMP, b"1", 1)
    two.wait()
    first = client.one(Publish)
    client.send(Pubrec(first.packet_id))
    assert client.one(Pubrel).packet_id == first.packet_id
    again = two.connect(b)
    assert [packet.packet_id for packet in again.take(Pubrel)] == [first.packet_id]
    assert again.take(Publish) == []


def test_a_session_that_is_not_kept_is_ended_too(two):
    a, b = two.nodes
    client = two.connect(a, clean=True, expiry=0)
    again = two.connect(b, clean=True, expiry=0)
    assert (client.reason, again.is_present, a.broker.sessions) == (TAKEN_OVER, False, {})


def test_a_clean_start_on_another_node_ends_the_session(two):
    a, b = two.nodes
    client = two.connect(a, will=will(delay=100))
    client.subscribe("dh/notification/+/+/lamp/#", qos=2)
    client.lose()
    again = two.connect(b, clean=True)
    assert not again.is_present
    two.wait(200)
    assert wills(two) == 1, "the session that had the will has ended"
    assert records(two)["one"].subscriptions == ()


def test_another_user_with_the_client_id_is_left_alone(two):
    a, b = two.nodes
    client = two.connect(a)
    user = at_once(a.memory.add_user("carl", network_ids=frozenset({1})))
    two.wait()
    other = b.client()
    other.send(Connect("one", 5, True, 0, "token", b.memory.token(user).encode()))
    two.wait()
    assert (other.one(Connack).reason_code, client.closed) == (0, False)


def test_many_connections_at_once_with_one_client_id(two):
    """50 on two nodes: each gets an answer or is taken over, one lives, and one node has the session."""
    clients = [two.begin(two.nodes[number % 2]) for number in range(50)]
    two.wait(5)
    alive = [client for client in clients if not client.closed]
    assert len(alive) == 1
    assert sum(len(node.broker.sessions) for node in two.nodes) == 1
    assert Counter(client.reason for client in clients if client.closed) == {TAKEN_OVER: 49}
    assert all(not node.broker.shared._locks and not node.broker.shared._claims for node in two.nodes)


@pytest.mark.parametrize("delay", [0, 100])
def test_the_will_of_a_client_whose_node_has_died_is_published_once(reactor, delay):
    nodes = MqttNodes(reactor, 3)
    for name in "ab":
        nodes.connect(nodes.nodes[0], name, will=will(delay))
    nodes.kill(nodes.nodes[0])
    nodes.wait(DEATH + 10)
    assert wills(nodes) == (0 if delay else 2)
    nodes.wait(150)
    assert wills(nodes) == 2
    nodes.wait(2 * LOOK)
    assert wills(nodes) == 2
    nodes.close()


def test_the_will_of_a_user_whom_the_other_node_does_not_know_yet(two):
    """Nobody has logged in as this user there, so it is not in the cache."""
    a = two.nodes[0]
    user = at_once(a.memory.add_user("carl", network_ids=frozenset({1})))
    two.wait()
    client = a.client()
    client.send(Connect("carls", 5, False, 0, "token", a.memory.token(user).encode(), will(), Properties(session_expiry_interval=900)))
    two.wait()
    two.kill(a)
    two.wait(DEATH + 3)
    assert wills(two) == 1


def test_a_client_that_comes_back_in_time_has_no_will(two):
    a, b = two.nodes
    client = two.connect(a, will=will(100))
    client.subscribe("dh/notification/+/+/lamp/#", qos=1)
    two.kill(a)
    two.wait(DEATH + 10)
    again = two.connect(b)
    assert again.is_present
    two.wait(200)
    assert wills(two) == 0


def test_a_client_whose_node_dies_need_not_wait_for_long(two):
    a, b = two.nodes
    two.connect(a).subscribe("dh/notification/+/+/lamp/#", qos=2)
    sender = two.connect(b, "sender")
    two.kill(a)
    sender.publish(LAMP, b"1", 1)
    again = two.begin(b)
    two.wait(1)
    assert again.packets == [], "the other node may still have the session"
    two.wait(DEATH)
    sender.publish(LAMP, b"2", 1)
    two.wait()
    assert next(packet for packet in again.packets if type(packet) is Connack).session_present
    assert parameters(again) == [1, 2]
    begun = two.clock.seconds()
    two.connect(b, "third")
    assert two.clock.seconds() - begun < 1, "nobody waits for a dead node twice"


def test_wills_with_a_delay_go_with_the_session(two):
    """The first node must not publish it any more, and the second has another."""
    a, b = two.nodes
    client = two.connect(a, will=will(10))
    client.lose()
    again = two.connect(b, will=will(20))
    two.wait(60)
    assert wills(two) == 0
    again.lose()
    two.wait(30)
    assert wills(two) == 1


@pytest.fixture
def going(two):
    """A session whose will is due in two seconds goes from the first node to the second, which the storage of the first one delays."""
    two.connect(two.nodes[0], will=will(10)).lose()
    two.wait(8)
    storage = DelayingStorage(two.storage)
    two.nodes[0].broker.store = MqttStore(storage, two.clock.seconds)
    storage.delay("update")
    return storage


def test_a_will_whose_delay_ends_while_its_session_goes_to_another_node_is_published_once(two, going):
    client = two.begin(two.nodes[1])
    two.wait(5)
    assert wills(two) == 0
    going.release_all()
    two.wait(20)
    assert (client.take(Connack)[0].session_present, wills(two)) == (True, 1)


def test_a_session_that_cannot_go_to_another_node_keeps_its_will_and_its_time(two, going):
    a, b = two.nodes
    going.fail("update")
    client = two.begin(b)
    two.wait(5)
    going.prompt()
    going.release_all()
    two.wait(5)
    assert (client.take(Connack)[0].reason_code, wills(two)) == (UNAVAILABLE, 1)
    assert list(a.broker.sessions)
    two.wait(3600)
    assert (a.broker.sessions, records(two), wills(two)) == ({}, {}, 1)


def test_the_time_of_a_session_ends_though_its_node_is_gone(two):
    a, b = two.nodes
    two.connect(a, expiry=300).lose()
    two.connect(a, "later", expiry=10 * LOOK).lose()
    two.kill(a)
    two.wait(2 * LOOK)
    assert set(records(two)) == {"later"}
    assert b.broker.sessions == {}


def test_a_session_that_ended_is_not_present(two):
    a, b = two.nodes
    two.connect(a, expiry=5).lose()
    two.kill(a)
    two.wait(DEATH + 1)
    assert not two.connect(b, expiry=5).is_present


def test_the_sessions_of_a_deleted_user_are_removed(two):
    a, b = two.nodes
    user = at_once(a.memory.add_user("carl"))
    two.wait()
    client = a.client()
    client.send(Connect("carls", 5, False, 0, "token", a.memory.token(user).encode(), will(50), Properties(session_expiry_interval=90_000)))
    two.wait()
    two.kill(a)
    at_once(b.memory.server.entities.delete(User, user.id))
    two.wait(LOOK + 100)
    assert (records(two), wills(two)) == ({}, 0)


def test_a_node_that_stops_leaves_its_sessions_at_once(two):
    a, b = two.nodes
    two.connect(a).subscribe("dh/notification/+/+/lamp/#", qos=1)
    a.broker.stop()
    Deferred.fromCoroutine(a.broker.shared.stop())
    again = two.begin(b)
    two.wait(0.5)
    assert again.take(Connack)[0].session_present
    two.nodes.remove(a)


def test_a_node_that_was_cut_off_gives_up_what_others_have_taken(two):
    a, b = two.nodes
    client = two.connect(a, will=will())
    client.subscribe("dh/notification/+/+/lamp/#", qos=1)
    kept = two.connect(a, "kept")
    two._hub._started.remove(a.bus)
    two.wait(DEATH)
    again = two.connect(b)
    assert again.is_present
    again.subscribe("dh/command/#", qos=1)
    refused = two.begin(a, "third")
    two.wait(20)
    assert refused.take(Connack)[0].reason_code == UNAVAILABLE
    two._hub._started.append(a.bus)
    two.wait(BEAT + 2 * SETTLING)
    assert wills(two) == 1, "the node that took it saw a broken connection; the other one sends none"
    assert (client.reason, kept.closed, again.closed) == (TAKEN_OVER, False, False)
    assert [one.filter for one in records(two)["one"].subscriptions] == ["dh/notification/+/+/lamp/#", "dh/command/#"]


def test_a_node_that_was_cut_off_asks_until_all_have_answered(two):
    a, b = two.nodes
    client = two.connect(a)
    two._hub._started.remove(a.bus)
    two.wait(DEATH)
    two.connect(b)
    answer = b.nodes.answering.pop(HAVE)
    b.nodes.answering[HAVE] = refuse_to_answer
    two._hub._started.append(a.bus)
    two.wait(BEAT + 3 * SETTLING)
    assert not client.closed
    b.nodes.answering[HAVE] = answer
    two.wait(2 * SETTLING)
    assert (client.reason, a.broker.sessions) == (TAKEN_OVER, {})


def test_a_long_client_id_is_refused(two):
    client = two.begin(two.nodes[0], "x" * (LONGEST_NAME + 1), clean=True, expiry=0)
    two.wait()
    assert client.one(Connack).reason_code == INVALID_ID
    strange = two.connect(two.nodes[0], "\x01" * LONGEST_NAME)
    assert two.connect(two.nodes[1], "\x01" * LONGEST_NAME).is_present
    assert strange.reason == TAKEN_OVER


def test_more_orphans_than_one_question_takes(two):
    a = two.nodes[0]
    for number in range(250):
        two.begin(a, f"client-{number}", will=will())
    two.connect(a, "y" * LONGEST_NAME, will=will())
    two.wait(1)
    two.kill(a)
    two.wait(DEATH + 5)
    assert wills(two) == 251
    assert {record.ended is None for record in records(two).values()} == {False}
