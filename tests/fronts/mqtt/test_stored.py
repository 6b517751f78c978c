"""What MQTT keeps is there after a restart of the server, and nothing more than that is kept."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from dhtwisted.core.accounts import delete_user
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.interfaces import IMqttStore
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.restoring import restore
from dhtwisted.fronts.mqtt.session import Will
from dhtwisted.fronts.mqtt.stored import MqttStore, _will, restored_delivery, restored_will
from dhtwisted.model import ENTITY_KINDS, EntityQuery, MqttQueued, MqttReceived, MqttRetained, MqttSession, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Properties, Puback, Pubcomp, Publish, Pubrec, Pubrel
from dhtwisted.wire.mqtt.packets import Will as WillOfConnect
from tests.support.mqtt.clients import Mqtt

BULK_KINDS = [kind for kind in ENTITY_KINDS.values() if kind.BULK]
HOUR = {"clean_start": False, "session_expiry_interval": 3600}


def kept(mqtt, kind=None):
    """What is in the storage: of one kind, or how many of each kind."""
    found = {each: at_once(mqtt.memory.storage.find(each, EntityQuery())) for each in BULK_KINDS}
    return found[kind] if kind is not None else {each.KIND: len(records) for each, records in found.items() if records}


def stored(mqtt):
    """Let a broker keep everything in the storage of its server."""
    mqtt.store = mqtt.broker.store = MqttStore(mqtt.memory.storage, mqtt.broker.now)
    return mqtt


def restarted(mqtt):
    """The same storage with a new broker. The old one has crashed: it is told nothing."""
    mqtt.broker._ticking.stop()
    new = stored(Mqtt(mqtt.memory, mqtt.broker.device_topics))
    at_once(restore(new.broker, mqtt.memory.storage))
    return new


@pytest.fixture
def mqtt(open_mqtt):
    return stored(open_mqtt())


def test_it_has_every_method(mqtt):
    assert verifyObject(IMqttStore, mqtt.store)


@pytest.mark.parametrize("is_connected", [True, False], ids=["crashed", "away"])
@pytest.mark.parametrize("version", [4, 5])
def test_what_waits_for_a_session_comes_after_a_restart_in_order(mqtt, version, is_connected):
    options = HOUR if version == 5 else {"clean_start": False}
    client = mqtt.connect("c", version=version, auto=False, **options)
    client.subscribe("a/+", qos=2)
    if is_connected:
        client.congested = True
    else:
        client.lose()
    publisher = mqtt.connect("p")
    for number in range(20):
        publisher.publish("a/b", b"%d" % number, 1 + number % 2, content_type="text/plain", user_property=(("a", "1"), ("a", "2")))
    assert kept(mqtt) == {"mqttsession": 1, "queuedmessage": 20}
    again = restarted(mqtt)
    again.connect("p").publish("a/b", b"20", 1, content_type="text/plain", user_property=(("a", "1"), ("a", "2")))
    assert kept(again) == {"mqttsession": 1, "queuedmessage": 21}, "the filter is there, before the client is"
    back = again.client(version)
    assert back.connect("c", **options).session_present
    back.auto = True
    found = back.take(Publish)
    assert [(each.payload, each.qos, each.dup) for each in found] == [(b"%d" % n, 1 + n % 2, is_connected and n < 20) for n in range(21)]
    if version == 5:
        assert {(each.properties.content_type, each.properties.user_property) for each in found} == {
            ("text/plain", (("a", "1"), ("a", "2")))
        }
    for each in found:
        back.send(Puback(each.packet_id) if each.qos == 1 else Pubrec(each.packet_id))
    back.take()
    assert kept(again) == {"mqttsession": 1}, "what is acknowledged is not kept"
    again.connect("p").publish("a/x", b"new", 1)
    assert back.messages == [("a/x", b"new")], "the filter is there"


def test_a_session_that_was_connected_ends_its_time_after_the_restart(mqtt):
    mqtt.connect("c", **HOUR).subscribe("a", qos=1)
    mqtt.pass_time(1800)
    again = restarted(mqtt)
    (record,) = kept(again, MqttSession)
    assert record.ended == int(again.seconds * 1000)
    again.pass_time(3590)
    assert kept(again) == {"mqttsession": 1}
    again.pass_time(12)
    assert kept(again) == {}


def test_a_session_whose_time_is_over_meanwhile_ends(mqtt):
    client = mqtt.connect("c", **HOUR)
    client.subscribe("a", qos=1)
    client.lose()
    mqtt.connect("p").publish("a", b"x", 1)
    mqtt.memory.clock.advance(3601)
    again = restarted(mqtt)
    again.pass_time(2)
    assert kept(again) == {}
    assert not again.client().connect("c", **HOUR).session_present


@pytest.mark.parametrize("version", [4, 5])
def test_a_publish_with_qos_2_is_taken_once_over_a_restart(mqtt, version):
    options = HOUR if version == 5 else {"clean_start": False}
    client = mqtt.connect("c", version=version, auto=False, **options)
    hearer = mqtt.connect("h", **HOUR)
    hearer.subscribe("a", qos=1)
    client.send(Publish("a", b"once", 2, packet_id=9))
    assert [type(packet) for packet in client.take()] == [Pubrec]
    assert hearer.messages == [("a", b"once")]
    assert [record.packet_id for record in kept(mqtt, MqttReceived)] == [9]
    again = restarted(mqtt)
    heard = again.connect("h", **HOUR)
    back = again.connect("c", version=version, auto=False, **options)
    back.send(Publish("a", b"once", 2, dup=True, packet_id=9))
    assert back.take() == [Pubrec(9)]
    back.send(Pubrel(9))
    assert back.take() == [Pubcomp(9)]
    assert heard.messages == []
    assert kept(again, MqttReceived) == []
    back.send(Publish("a", b"another", 2, packet_id=9))
    assert heard.messages == [("a", b"another")]
    assert [record.packet_id for record in kept(again, MqttReceived)] == [9], "the id is used again"


def test_an_exchange_with_qos_2_goes_on_with_pubrel_after_a_restart(mqtt):
    client = mqtt.connect("c", auto=False, **HOUR)
    client.subscribe("a", qos=2)
    mqtt.connect("p").publish("a", b"x", 2)
    message = client.one(Publish)
    client.send(Pubrec(message.packet_id))
    assert client.take() == [Pubrel(message.packet_id)]
    (record,) = kept(mqtt, MqttQueued)
    assert record.payload == b"", "its content is not needed any more"
    again = restarted(mqtt)
    back = again.connect("c", auto=False, **HOUR)
    assert back.take() == [Pubrel(message.packet_id)]
    back.send(Pubcomp(message.packet_id))
    assert kept(again) == {"mqttsession": 1}


def test_packet_ids_go_on_after_a_restart(mqtt):
    client = mqtt.connect("c", **HOUR)
    client.subscribe("a", qos=1)
    publisher = mqtt.connect("p")
    publisher.publish("a", b"1", 1)
    first = client.one(Publish).packet_id
    client.lose()
    publisher.publish("a", b"2", 1)
    again = restarted(mqtt)
    back = again.connect("c", **HOUR)
    again.connect("p").publish("a", b"3", 1)
    assert [(each.payload, each.packet_id) for each in back.take(Publish)] == [(b"2", first + 1), (b"3", first + 2)]


def test_retained_messages_outlive_a_restart(mqtt):
    publisher = mqtt.connect("p")
    publisher.publish("a/kept", b"\x00\xff", 1, True, content_type="x", message_expiry_interval=100)
    publisher.publish("a/gone", b"x", 0, True)
    publisher.publish("a/gone", b"", 0, True)
    publisher.publish("a/late", b"x", 1, True, message_expiry_interval=5)
    mqtt.memory.clock.advance(10)
    again = restarted(mqtt)
    assert [record.topic for record in kept(again, MqttRetained)] == ["a/kept"]
    client = again.connect("c")
    client.subscribe("a/#", qos=1)
    (message,) = client.take(Publish)
    assert (message.topic, message.payload, message.qos, message.retain) == ("a/kept", b"\x00\xff", 1, True)
    assert (message.properties.content_type, message.properties.message_expiry_interval) == ("x", 90)
    assert again.broker.retained.size == mqtt.broker.retained.size - len("a/late") - 101


@pytest.mark.parametrize("returns", [False, True])
def test_a_will_waits_for_the_rest_of_its_delay(mqtt, returns):
    will = WillOfConnect("will", b"x", 1, True, Properties(will_delay_interval=60, content_type="y"))
    mqtt.connect("c", will=will, **HOUR).lose()
    mqtt.memory.clock.advance(50)
    again = restarted(mqtt)
    hearer = again.connect("h")
    hearer.subscribe("will", qos=1)
    again.pass_time(8)
    assert hearer.messages == []
    if returns:
        again.connect("c", **HOUR)
    again.pass_time(4)
    assert [each.properties.content_type for each in hearer.take(Publish)] == ([] if returns else ["y"])
    (record,) = kept(again, MqttSession)
    assert record.will is None


def test_the_will_of_a_client_that_a_crash_cut_off_is_published(mqtt):
    mqtt.connect("c", will=WillOfConnect("will", b"x", 1, True), **HOUR)
    again = restarted(mqtt)
    again.pass_time(2)
    hearer = again.connect("h")
    hearer.subscribe("will")
    assert hearer.messages == [("will", b"x")]


def test_a_session_that_ends_leaves_nothing(mqtt):
    client = mqtt.connect("c", auto=False, **HOUR)
    client.subscribe("a", qos=2)
    mqtt.connect("p").publish("a", b"x", 2)
    client.send(Publish("b", b"y", 2, packet_id=3))
    client.lose()
    other = mqtt.connect("d", **HOUR)
    assert kept(mqtt) == {"mqttsession": 2, "queuedmessage": 1, "receivedpacket": 1}
    mqtt.connect("c", clean_start=True)
    assert [record.client_id for record in kept(mqtt, MqttSession)] == ["d"]
    other.disconnect(session_expiry_interval=0)
    assert kept(mqtt) == {}


def test_sessions_of_a_user_who_was_deleted_are_gone(mqtt):
    user = at_once(mqtt.memory.storage.insert(User(login="anna", login_key="anna")))
    client = mqtt.connect("c", user=user, **HOUR)
    client.subscribe("a", qos=1)
    client.lose()
    mqtt.connect("d", **HOUR)
    mqtt.connect("p").publish("a", b"x", 1)
    assert kept(mqtt) == {"mqttsession": 2, "queuedmessage": 1}
    at_once(mqtt.memory.storage.delete(type(user), user.id))
    at_once(mqtt.memory.server.entities.changed_elsewhere(None))
    again = restarted(mqtt)
    assert [record.client_id for record in kept(again, MqttSession)] == ["d"]
    assert kept(again, MqttQueued) == []


@pytest.mark.parametrize("is_connected", [True, False])
def test_sessions_of_a_user_end_when_they_are_deleted(mqtt, is_connected):
    user = at_once(mqtt.memory.storage.insert(User(login="anna", login_key="anna")))
    client = mqtt.connect("c", user=user, **HOUR)
    client.subscribe("a", qos=1)
    if not is_connected:
        client.lose()
    mqtt.connect("d", **HOUR)
    at_once(delete_user(mqtt.memory.server.entities, user))
    mqtt.pass_time(2)
    client.lose()
    mqtt.connect("p").publish("a", b"x", 1)
    mqtt.pass_time(2)
    assert [session.key[1] for session in mqtt.broker.sessions.values()] == ["d", "p"]
    assert [record.client_id for record in kept(mqtt, MqttSession)] == ["d"]
    assert kept(mqtt, MqttQueued) == []


def test_the_rights_of_a_session_are_those_of_its_token(mqtt):
    user = at_once(mqtt.memory.storage.insert(User(login="anna", login_key="anna")))
    mqtt.connect("c", user=user, **HOUR)
    (before,) = mqtt.broker.sessions.values()
    (after,) = restarted(mqtt).broker.sessions.values()
    assert after.principal.claims == before.principal.claims


def test_nothing_is_kept_of_a_session_that_ends_with_its_connection(mqtt):
    client = mqtt.connect("c", auto=False)
    client.subscribe("a", qos=2)
    client.publish("a", b"x", 2)
    assert kept(mqtt) == {}


def test_the_last_of_several_changes_of_a_record_counts(mqtt):
    mqtt.connect("c", **HOUR)
    (session,) = mqtt.broker.sessions.values()
    changes = Changes()
    mqtt.store.note_released(changes, session, 5)
    mqtt.store.note_received(changes, session, 5)
    mqtt.store.note_received(changes, session, 6)
    mqtt.store.note_released(changes, session, 6)
    at_once(mqtt.store.commit(changes))
    assert [record.packet_id for record in kept(mqtt, MqttReceived)] == [5]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
properties = st.none() | st.builds(
    Properties,
    payload_format_indicator=st.just(1),
    content_type=st.none() | texts,
    response_topic=st.none() | st.just("a/b"),
    correlation_data=st.none() | st.binary(max_size=8),
    user_property=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)
messages = st.builds(
    Message,
    st.just("a/b"),
    st.binary(max_size=20),
    st.integers(1, 2),
    st.booleans(),
    properties,
    st.sampled_from([0, 1_700_000_000.5]),
)


def fields(message):
    return (message.topic, message.payload, message.qos, message.properties, message.expires)


@given(
    messages, st.lists(st.integers(1, 2**28 - 1), max_size=3).map(tuple), st.integers(1, 65_535), st.integers(0, 1), st.integers(1, 2**53)
)
def test_a_delivery_comes_back_as_it_was(message, identifiers, packet_id, state, number):
    session = SimpleNamespace(record_key="1 c")
    delivery = Delivery(message, message.qos, message.retain, identifiers, packet_id, state, number)
    changes = Changes()
    MqttStore(None, float).note_queued(changes, session, delivery)
    back = restored_delivery(changes.puts[0])
    assert fields(back.message) == fields(message)
    assert (back.qos, back.retain, back.identifiers, back.packet_id, back.state, back.number) == (
        message.qos,
        message.retain,
        identifiers,
        packet_id,
        state,
        number,
    )


@given(messages, st.integers(0, 2**32 - 1), st.none() | st.integers(1, 100))
def test_a_will_comes_back_as_it_was(message, delay, lifetime):
    message.expires = 0
    back = restored_will(_will(Will(message, delay, lifetime)))
    assert fields(back.message) == fields(message)
    assert (back.message.retain, back.delay, back.lifetime) == (message.retain, delay, lifetime)
