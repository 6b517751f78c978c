"""What the machine of MQTT gives to the topics of DeviceHive, and what it takes from them."""

import pytest

from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.wire.mqtt.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel, Will
from tests.support.mqtt.device_topics import DeviceTopics

KEPT = {"clean_start": False, "session_expiry_interval": 100}
REFUSAL = Refusal(0x99, "this is no JSON")


@pytest.fixture
def topics():
    return DeviceTopics()


@pytest.fixture
def mqtt(open_mqtt, topics):
    return open_mqtt(topics)


def device(client):
    """The device session of a client."""
    return client.mqtt.broker.sessions[0, client.client_id].device


def connect(mqtt, client_id, **fields):
    client = mqtt.connect(client_id, **fields)
    client.client_id = client_id
    return client


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_below_dh_goes_there_and_nowhere_else(mqtt, qos):
    client, hearer = connect(mqtt, "a"), connect(mqtt, "b")
    hearer.subscribe("#", "+/request", "dh/#", "$share/g/#", qos=2)
    client.publish("dh/request", b"secret", qos, retain=True)
    assert device(client).taken()[1:] == [("publish", [("dh/request", b"secret")])]
    assert hearer.take(Publish) == []
    assert len(mqtt.broker.retained) == 0
    assert mqtt.store.names()["retained"] == 0


@pytest.mark.parametrize(("qos", "kind"), [(1, Puback), (2, Pubrec)])
@pytest.mark.parametrize("version", [4, 5])
def test_the_answer_waits_until_it_is_stored(mqtt, topics, qos, kind, version):
    client = connect(mqtt, "a", version=version, auto=False)
    topics.is_slow = True
    client.publish("dh/request", b"1", qos)
    assert client.take() == []
    topics.release()
    (answer,) = client.take()
    assert (type(answer), answer.reason_code) == (kind, 0)


def test_those_of_one_read_come_together(mqtt):
    client = connect(mqtt, "a", version=4)
    device(client).taken()
    client.send(*[Publish("dh/x" if number % 3 else "y", b"%d" % number, 1, packet_id=number) for number in range(1, 10)])
    assert device(client).taken() == [("publish", [("dh/x", b"%d" % number) for number in (1, 2, 4, 5, 7, 8)])]
    assert [packet.packet_id for packet in client.take(Puback)] == list(range(1, 10))


@pytest.mark.parametrize(("qos", "kind"), [(1, Puback), (2, Pubrec)])
def test_a_refusal_reaches_5_0(mqtt, topics, qos, kind):
    topics.refusals["dh/x"] = REFUSAL
    client = connect(mqtt, "a", auto=False)
    answer = client.publish("dh/x", b"{", qos)
    assert (type(answer), answer.reason_code, answer.properties.reason_string) == (kind, 0x99, "this is no JSON")
    assert ("refused", "dh/x", 0x99) not in device(client).taken()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_refusal_in_3_1_1_is_told_on_a_topic(mqtt, topics, qos):
    topics.refusals["dh/x"] = REFUSAL
    client = connect(mqtt, "a", version=4)
    answer = client.publish("dh/x", b"{", qos)
    assert answer is None or answer.reason_code == 0
    assert device(client).taken()[-1] == ("refused", "dh/x", 0x99)
    mqtt.access.silenced.add("y")
    client.publish("y", b"", qos)
    assert device(client).taken() == [("refused", "y", 0x87)]


def test_a_refusal_for_now_leaves_3_1_1_without_an_answer(mqtt, topics):
    topics.refusals["dh/x"] = Refusal(0x80, "later", is_temporary=True)
    old, new = connect(mqtt, "a", version=4), connect(mqtt, "b")
    assert (old.publish("dh/x", b"", 1), old.closed) == (None, True)
    assert (new.publish("dh/x", b"", 1).reason_code, new.closed) == (0x80, False)


def test_qos_2_is_given_once(mqtt, topics):
    """[MQTT-4.3.3-10]: also when the connection is lost in between."""
    client = connect(mqtt, "a", auto=False, **KEPT)
    client.send(Publish("dh/x", b"1", 2, packet_id=1))
    topics.is_slow = True
    client.send(Publish("dh/x", b"2", 2, packet_id=2))
    client.lose()
    topics.release()
    topics.is_slow = False
    again = connect(mqtt, "a", auto=False, **KEPT)
    again.send(Publish("dh/x", b"1", 2, dup=True, packet_id=1), Publish("dh/x", b"2", 2, dup=True, packet_id=2))
    assert again.take(Pubrec) == [Pubrec(1), Pubrec(2)]
    assert [call[1] for call in device(again).taken() if call[0] == "publish"] == [[("dh/x", b"1")], [("dh/x", b"2")]]
    assert mqtt.store.names()["received"] == 2


def test_a_mapped_topic_goes_to_both(mqtt, topics):
    topics.mapped.add("tele/d/n")
    client, hearer = connect(mqtt, "a"), connect(mqtt, "b")
    hearer.subscribe("tele/#")
    assert client.publish("tele/d/n", b"1", 1).reason_code == 0
    assert device(client).taken()[1:] == [("publish", [("tele/d/n", b"1")])]
    assert hearer.messages == [("tele/d/n", b"1")]


@pytest.mark.parametrize(("is_plain", "is_device", "code"), [(True, False, 0x10), (False, True, 0), (False, False, 0x99)])
def test_a_mapped_topic_is_refused_only_by_both(mqtt, topics, is_plain, is_device, code):
    topics.mapped.add("tele/d/n")
    if not is_plain:
        mqtt.access.silenced.add("tele/d/n")
    if not is_device:
        topics.refusals["tele/d/n"] = REFUSAL
    answer = connect(mqtt, "a").publish("tele/d/n", b"1", 1)
    assert (answer.reason_code in (0, 0x10)) is (is_plain or is_device)
    assert is_plain or is_device or answer.reason_code == code


def test_filters_go_to_whom_they_concern(mqtt, topics):
    client = connect(mqtt, "a")
    device(client).taken()
    assert client.subscribe("dh/notification/#", "x", "#", qos=1, identifier=4) == [1, 1, 1]
    assert device(client).taken() == [("subscribe", [("dh/notification/#", 1), ("#", 1)], 4)]
    client.publish("x", b"1")
    client.publish("dh/notification/1/1/d/n", b"2")
    assert client.messages == [("x", b"1")]
    assert client.unsubscribe("x", "#", "dh/notification/#") == [0, 0, 0]
    assert device(client).taken()[-1] == ("unsubscribe", ["#", "dh/notification/#"])


@pytest.mark.parametrize(("version", "code"), [(4, 0x80), (5, 0x8F)])
def test_a_filter_may_be_refused(mqtt, topics, version, code):
    topics.refusals |= {"dh/x": REFUSAL, "#": REFUSAL}
    client = connect(mqtt, "a", version=version)
    assert client.subscribe("dh/x", "#", qos=1) == [code, 1]
    mqtt.access.hidden.add("+/x")
    topics.refusals["+/x"] = REFUSAL
    assert client.subscribe("+/x") == [code]
    assert set(mqtt.broker.sessions[0, "a"].filters) == {"#"}


def test_suback_waits_for_them(mqtt, topics):
    client = connect(mqtt, "a")
    topics.is_slow = True
    from dhtwisted.wire.mqtt.packets import Suback, Subscribe, Subscription

    client.send(Subscribe(5, [Subscription("dh/x", 2)]))
    assert client.take() == []
    topics.release()
    assert client.take() == [Suback(5, [2])]


def test_a_session_begins_and_ends(mqtt):
    client = connect(mqtt, "a", **KEPT)
    session = device(client)
    assert session.taken() == [("connected", False)]
    client.lose()
    assert session.taken() == [("disconnected",)]
    connect(mqtt, "a", **KEPT).lose()
    assert session.taken() == [("connected", True), ("disconnected",)]
    connect(mqtt, "a")
    assert session.taken() == [("ended",)]
    assert len(mqtt.broker.device_topics.sessions) == 2


def test_a_will_goes_there_too(mqtt, topics):
    client = connect(mqtt, "a", will=Will("dh/notification///d/gone", b"{}"), **KEPT)
    session = device(client)
    session.taken()
    client.lose()
    assert session.taken() == [("disconnected",), ("publish", [("dh/notification///d/gone", b"{}")])]


def test_events_are_delivered_with_their_qos_and_acknowledged(mqtt):
    client = connect(mqtt, "a", auto=False)
    session = device(client)
    session.taken()
    event = Message("dh/x", b"event", 2)
    for qos in (0, 1, 2):
        assert session.session.deliver(event, qos, token=f"event {qos}", identifiers=(7,))
    zero, one, two = client.take(Publish)
    assert [packet.qos for packet in (zero, one, two)] == [0, 1, 2]
    assert zero.properties.subscription_identifier == (7,)
    client.send(Puback(one.packet_id), Pubrec(two.packet_id))
    assert client.take() == [Pubrel(two.packet_id)]
    assert session.taken() == [("acknowledged", "event 1")]
    client.send(Pubcomp(two.packet_id))
    assert session.taken() == [("acknowledged", "event 2")]


def test_events_beyond_the_receive_maximum_are_not_taken(mqtt):
    """They wait in the storage, and the session says when there is room."""
    client = connect(mqtt, "a", auto=False, receive_maximum=2)
    session = device(client)
    session.taken()
    event = Message("dh/x", b"event", 1)
    assert [session.session.deliver(event, 1, token=number) for number in range(3)] == [True, True, False]
    assert not session.session.has_room
    (first, _) = client.take(Publish)
    client.send(Puback(first.packet_id))
    assert session.taken() == [("acknowledged", 0), ("writable",)]
    assert session.session.has_room


def test_a_client_that_does_not_read_has_no_room(mqtt):
    client = connect(mqtt, "a")
    session = device(client)
    session.taken()
    client.congested = True
    event = Message("dh/x", b"event", 1)
    assert not session.session.deliver(event, 1)
    assert not session.session.deliver(event, 0)
    assert mqtt.broker.counters.dropped["not_reading"] == 1
    client.drain()
    assert session.taken() == [("writable",)]


def test_events_in_flight_are_sent_again(mqtt):
    """[MQTT-4.4.0-1]."""
    client = connect(mqtt, "a", auto=False, **KEPT)
    session = device(client)
    session.session.deliver(Message("dh/x", b"event", 1), 1, token="t")
    before = client.one(Publish)
    client.lose()
    assert not session.session.deliver(Message("dh/x", b"event", 1), 1)
    again = connect(mqtt, "a", auto=False, **KEPT)
    after = again.one(Publish)
    assert (after.packet_id, after.dup) == (before.packet_id, True)
    session.taken()
    again.send(Puback(after.packet_id))
    assert session.taken() == [("acknowledged", "t")]


def test_an_event_that_is_too_large_is_acknowledged(mqtt):
    client = connect(mqtt, "a", maximum_packet_size=50)
    session = device(client)
    session.taken()
    assert session.session.deliver(Message("dh/x", b" " * 100, 1), 1, token="t")
    assert (client.take(), session.taken()) == ([], [("acknowledged", "t")])


def test_the_packet_id_of_an_event_with_qos_2_is_stored_first(mqtt):
    """[MQTT-4.4.0-1] over a crash: as a reference to the stored message."""
    client = connect(mqtt, "a", **KEPT)
    mqtt.store.is_slow = True
    session = device(client).session
    assert session.deliver(Message("dh/x", b"event", 2), 2, token="t", record=("notification", "d", 5))
    assert client.take() == []
    mqtt.store.release()
    (packet,) = client.take(Publish)
    assert mqtt.store.kept["queued", "a", 1] == (packet.packet_id, 0, ("notification", "d", 5))


def test_a_client_can_log_in_later(mqtt):
    """As section 4 of the bridge: it connected without credentials."""
    client = connect(mqtt, "a")
    session = device(client).session
    assert session.principal is None
    from dhtwisted.testing.server import at_once

    principal = at_once(mqtt.memory.server.authentication.by_token(mqtt.memory.token()))
    session.authenticate(principal)
    assert session.principal is client.connection.principal is principal
    assert principal.account.connections == 1
    client.lose()
    assert principal.account.connections == 0
