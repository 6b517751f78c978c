"""Sessions that come back: what they missed comes from the storage, in order, without a hole and without duplicates."""

import json
from dataclasses import replace

import pytest

from dhtwisted.core.access import Permission
from dhtwisted.fronts.mqtt.device_topics import DeviceTopics
from dhtwisted.fronts.mqtt.restoring import restore
from dhtwisted.fronts.mqtt.stored import MqttStore
from dhtwisted.model import Command, Device, DeviceToken, MessageQuery, Notification, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.support.mqtt.devices import parameters, topics

LAMP = "dh/notification///lamp/temperature"
HOUR = {"clean_start": False, "session_expiry_interval": 3600}


def kept(version):
    return HOUR if version == 5 else {"clean_start": False}


def send(client, *numbers, topic=LAMP):
    for number in numbers:
        client.publish(topic, b"%d" % number)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_what_was_missed_comes_in_order(hive, version, qos):
    client, other = hive.admin(version=version, **kept(version)), hive.admin("other")
    client.subscribe("dh/notification/#", qos=qos)
    send(other, 1, 2)
    assert parameters(client) == [1, 2]
    client.lose()
    send(other, 3, 4)
    other.publish("dh/command///lamp/on", b"0")
    send(other, 5)
    again = hive.admin(version=version, **kept(version))
    assert parameters(again) == [3, 4, 5]
    send(other, 6)
    assert parameters(again) == [6]


def test_nothing_of_before_the_subscribe(hive):
    client, other = hive.admin(**HOUR), hive.admin("other")
    send(other, 1)
    client.subscribe("dh/notification/#", qos=1, retain_handling=2)
    client.lose()
    send(other, 2)
    again = hive.admin(**HOUR)
    again.subscribe("dh/notification/+/+/lamp/+", qos=1, retain_handling=2)
    assert parameters(again) == [2]
    again.lose()
    assert parameters(hive.admin(**HOUR)) == []


def test_a_filter_that_began_later_has_no_history(hive):
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/notification/+/+/pump/+", qos=1)
    send(other, 1)
    client.subscribe("dh/notification/+/+/lamp/+", qos=1, retain_handling=2)
    client.lose()
    send(other, 2)
    send(other, 3, topic="dh/notification///pump/t")
    assert parameters(hive.admin(**HOUR)) == [2, 3]


def test_qos_0_is_not_kept(hive):
    """Section 4.3.1: at most once."""
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/notification/#")
    client.lose()
    send(other, 1)
    again = hive.admin(**HOUR)
    send(other, 2)
    assert parameters(again) == [2]


def test_a_clean_session_misses_what_came_without_it(hive):
    client, other = hive.admin(version=4), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    client.lose()
    send(other, 1)
    assert parameters(hive.admin(version=4, clean_start=False)) == []


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("qos", [1, 2])
def test_more_than_fits_waits_in_the_storage(open_hive, version, qos, is_kept):
    """In flight is the receive maximum; the rest comes with the acknowledgements, in order."""
    hive = open_hive(receive_maximum=10)
    client, other = hive.admin(version=version, auto=False, **(kept(version) if is_kept else {})), hive.admin("other")
    client.subscribe("dh/notification/#", qos=qos)
    send(other, *range(1000))
    assert len(client.connection.session.outgoing.pending) == 10
    found = []
    for _ in range(2000):
        packets = client.take(Publish if qos == 1 else None)
        if not packets:
            break
        for packet in packets:
            if type(packet) is Publish:
                found.append(json.loads(packet.payload)["notification"]["parameters"])
                client.send(Puback(packet.packet_id) if qos == 1 else Pubrec(packet.packet_id))
            elif type(packet) is Pubrel:
                client.send(Pubcomp(packet.packet_id))
    assert found == list(range(1000))
    send(other, 1000)
    assert parameters(client) == [1000]


def test_a_client_that_does_not_read(hive):
    client, other = hive.admin(), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    send(other, 1)
    client.congested = True
    send(other, 2, 3)
    assert len(client.packets) == 1
    client.drain()
    send(other, 4)
    assert parameters(client) == [1, 2, 3, 4]


def test_what_is_in_flight_comes_again_with_its_packet_id(hive):
    """[MQTT-4.4.0-1]"""
    client, other = hive.admin(auto=False, **HOUR), hive.admin("other")
    client.subscribe("dh/notification/#", qos=2)
    send(other, 1, 2)
    first, second = client.take(Publish)
    client.send(Pubrec(first.packet_id))
    client.lose()
    send(other, 3)
    again = hive.admin(auto=False, **HOUR)
    found = again.take()
    assert [packet.packet_id for packet in found if type(packet) is Pubrel] == [first.packet_id]
    publishes = [packet for packet in found if type(packet) is Publish]
    assert [(packet.packet_id == second.packet_id, packet.dup) for packet in publishes] == [(True, True), (False, False)]


def test_updates_of_commands(hive):
    """A command that was updated twice while the client was away is sent once, as it is now."""
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/command_update/#", qos=1)
    for number in range(3):
        other.publish("dh/command///lamp/on", b"%d" % number)
    commands = hive.stored(Command)
    client.lose()
    for place, status in ((1, "a"), (0, "b"), (1, "c")):
        hive.memory.clock.advance(1)
        other.publish("dh/command_update///lamp/on", json.dumps({"id": commands[place].id, "status": status}).encode())
    again = hive.admin(**HOUR)
    found = [json.loads(payload)["command"] for _, payload in again.messages]
    assert [(command["id"], command["status"]) for command in found] == [(commands[0].id, "b"), (commands[1].id, "c")]
    other.publish("dh/command_update///lamp/on", json.dumps({"id": commands[2].id, "status": "d"}).encode())
    assert [json.loads(payload)["command"]["status"] for _, payload in again.messages] == ["d"]


def test_an_update_of_a_command_that_is_dated_ahead(hive):
    """Its own updates are ahead too; those of others come nevertheless."""
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/command_update/#", qos=1)
    ahead = hive.memory.server.now() + 50_000
    other.publish("dh/command///lamp/on", json.dumps({"command": {"parameters": 1, "timestamp": ahead}}).encode())
    other.publish("dh/command///lamp/on", b"2")
    first, second = hive.stored(Command)
    other.publish("dh/command_update///lamp/on", b'{"id":%d,"status":"a"}' % first.id)
    assert len(client.take(Publish)) == 1
    client.lose()
    hive.memory.clock.advance(1)
    other.publish("dh/command_update///lamp/on", b'{"id":%d,"status":"b"}' % second.id)
    assert len(hive.admin(**HOUR).take(Publish)) == 1


def test_a_command_whose_lifetime_is_over_is_not_sent(hive):
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/command/#", qos=1)
    client.lose()
    other.publish("dh/command///lamp/on", b'{"command": {"parameters": 1, "lifetime": 10}}')
    other.publish("dh/command///lamp/on", b'{"command": {"parameters": 2}}')
    hive.memory.clock.advance(20)
    assert parameters(hive.admin(**HOUR)) == [2]


def test_a_message_that_its_client_dated_is_not_missed(hive):
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    client.lose()
    other.publish(LAMP, b'{"notification": {"parameters": 1, "timestamp": "2001-01-01"}}')
    assert parameters(hive.admin(**HOUR)) == [1]


def test_rights_that_ended_meanwhile(hive):
    client, other = hive.connect("a", user=hive.anna, **HOUR), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    client.lose()
    send(other, 1)
    at_once(hive.memory.server.entities.update(User, hive.anna.id, {"network_ids": frozenset({2})}))
    send(other, 2, topic="dh/notification///pump/t")
    assert parameters(hive.connect("a", user=hive.anna, **HOUR)) == [2]


def take_network(hive):
    at_once(hive.memory.server.entities.update(User, hive.anna.id, {"network_ids": frozenset({2})}))


@pytest.mark.parametrize("version", [4, 5])
def test_what_was_in_flight_is_not_sent_again_without_the_right(hive, version):
    """QoS 1 is dropped. Of QoS 2 only the PUBREL comes: the client may have the message, and its packet id must become free."""
    client, other = hive.connect("a", version=version, user=hive.anna, auto=False, **kept(version)), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    client.subscribe("dh/command/#", qos=2)
    send(other, 1)
    send(other, 2, topic="dh/command///lamp/on")
    sent = {packet.qos: packet.packet_id for packet in client.take(Publish)}
    client.lose()
    take_network(hive)
    send(other, 3, topic="dh/command///pump/on")
    again = hive.connect("a", version=version, user=hive.anna, auto=False, **kept(version))
    packets = again.take()
    assert [packet.packet_id for packet in packets if type(packet) is Pubrel] == [sent[2]]
    (publish,) = [packet for packet in packets if type(packet) is Publish]
    assert json.loads(publish.payload)["command"]["parameters"] == 3
    assert publish.packet_id not in sent.values()
    assert hive.broker.counters.dropped["no_right"] == 2
    again.send(Pubcomp(sent[2]), Pubrec(publish.packet_id), Pubcomp(publish.packet_id))
    assert again.connection.session.outgoing.pending == {}
    again.lose()
    assert hive.connect("a", version=version, user=hive.anna, **kept(version)).take(Publish) == []


def test_last_values_in_flight_are_not_sent_again_without_the_right(hive):
    other = hive.admin("other")
    send(other, 1)
    client = hive.connect("a", user=hive.anna, auto=False, **HOUR)
    client.subscribe("dh/notification/#", qos=1)
    assert parameters(client) == [1]
    client.lose()
    take_network(hive)
    assert parameters(hive.connect("a", user=hive.anna, **HOUR)) == []


def test_what_was_in_flight_is_not_sent_again_of_a_device_that_is_gone(hive):
    client, other = hive.admin(auto=False, **HOUR), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    send(other, 1)
    client.lose()
    at_once(hive.memory.server.entities.delete(Device, "lamp"))
    assert hive.admin(**HOUR).take(Publish) == []


def test_a_token_of_another_device_gets_nothing_again(hive):
    """The session is that of the user and the client id; the token of a device sees this device alone."""
    client, other = hive.admin(auto=False, **HOUR), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    send(other, 1)
    send(other, 2, topic="dh/notification///pump/t")
    assert parameters(client) == [1, 2]
    client.lose()
    user = hive.memory.administrator
    record = DeviceToken(id=7, device_id="pump", user_id=user.id, label="l", created=0, expires=2**50)
    at_once(hive.memory.server.entities.insert(record))
    token = hive.memory.token(user, device_id="pump", token_id=7, actions=frozenset({Permission.ANY}))
    again = hive.client()
    assert again.connect("admin", user_name="token", password=token.encode(), **HOUR).reason_code == 0
    assert parameters(again) == [2]


@pytest.mark.parametrize("left", [0, 2])
def test_a_gap_is_told(open_hive, left):
    """Retention has deleted what the client has not got."""
    hive = open_hive()
    server = hive.memory.server
    server.settings = replace(server.settings, storage=replace(server.settings.storage, retention=3600.0))
    client, other = hive.admin(clean_start=False, session_expiry_interval=10**6), hive.admin("other")
    client.subscribe("dh/notification/#", "dh/response/gap@admin", qos=1)
    send(other, 1)
    client.lose()
    send(other, 2, 3)
    hive.memory.clock.advance(7200)
    send(hive.admin("third"), *range(4, 4 + left))
    before = hive.memory.server.now() - 3_600_000
    assert at_once(hive.memory.storage.forget_messages(Notification, MessageQuery(by_arrival=True, before=before))) == 3
    again = hive.admin(clean_start=False, session_expiry_interval=10**6)
    found = again.messages
    assert found[0][0] == "dh/response/gap@admin"
    assert json.loads(found[0][1]) == {"action": "gap", "event": "notification/insert", "after": 1, "before": 4 if left else None}
    assert [json.loads(payload)["notification"]["parameters"] for _, payload in found[1:]] == list(range(4, 4 + left))
    again.lose()
    assert hive.admin(clean_start=False, session_expiry_interval=10**6).take(Publish) == []


def test_many_messages_of_others_between(hive):
    """Pages in which nothing is for the client."""
    for number in range(300):
        hive.device(f"d{number}", 1 + number % 2)
    client, other = hive.connect("a", user=hive.anna, **HOUR), hive.admin("other")
    client.subscribe("dh/notification/+/+/+/x", qos=1)
    client.lose()
    for number in range(1500):
        other.publish(f"dh/notification///d{number % 300}/{'x' if number % 50 == 0 else 'y'}", b"%d" % number)
    again = hive.connect("a", user=hive.anna, **HOUR)
    for _ in range(50):
        hive.memory.clock.advance(0)
    assert parameters(again) == list(range(0, 1500, 50))


def test_events_that_were_missed_are_read(hive):
    """The bus gave up: a WebSocket would end."""
    client, other = hive.admin(), hive.admin("other")
    client.subscribe("dh/notification/#", qos=1)
    server = hive.memory.server
    publish, server.publish = server.publish, lambda events: None
    send(other, 1)
    server.publish = publish
    hive.memory.server.broker.disconnect_all("the test says so")
    send(other, 2)
    assert parameters(client) == [1, 2]


# Over a restart


def durable(hive):
    hive.store = hive.broker.store = MqttStore(hive.memory.storage, hive.broker.now)
    at_once(restore(hive.broker, hive.memory.storage))
    return hive


@pytest.fixture
def crash(open_hive):
    """Makes a new server on the storage of another, which is told nothing."""
    return lambda hive: durable(open_hive(after=hive))


@pytest.fixture
def lasting(open_hive):
    return durable(open_hive())


@pytest.mark.parametrize("is_connected", [True, False], ids=["crashed", "away"])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_missed_comes_after_a_restart(lasting, crash, qos, is_connected):
    client, other = lasting.admin(**HOUR), lasting.admin("other")
    client.subscribe("dh/notification/#", "dh/response/+/+", qos=qos)
    send(other, 1)
    if not is_connected:
        client.lose()
        send(other, 2)
    else:
        lasting.pass_time(11)
    new = crash(lasting)
    admin = new.admin("third")
    send(admin, 3)
    again = new.admin(**HOUR)
    assert parameters(again) == ([3] if is_connected else [2, 3])
    send(admin, 4)
    assert parameters(again) == [4]
    again.publish("dh/request", b'{"action":"device/count"}')
    assert topics(again) == ["dh/response/device/count@admin"]


def test_qos_2_is_heard_once_over_a_crash(lasting, crash):
    """One is complete, one released, one received, one not acknowledged, and one came when the client was away."""
    client, other = lasting.admin(auto=False, **HOUR), lasting.admin("other")
    client.subscribe("dh/notification/#", qos=2)
    send(other, 1, 2, 3, 4)
    found = client.take(Publish)
    one, two, _, four = found
    for packet in (one, two):
        client.send(Pubrec(packet.packet_id))
    client.send(Pubcomp(one.packet_id))
    new = crash(lasting)
    send(new.admin("third"), 5)
    again = new.admin(auto=False, **HOUR)
    packets = again.take()
    assert [packet.packet_id for packet in packets if type(packet) is Pubrel] == [two.packet_id]
    publishes = [packet for packet in packets if type(packet) is Publish]
    assert [json.loads(packet.payload)["notification"]["parameters"] for packet in publishes] == [3, 4, 5]
    assert [packet.packet_id for packet in publishes[:2]] == [found[2].packet_id, four.packet_id]
    assert [packet.dup for packet in publishes] == [True, True, False]
    again.send(Pubcomp(two.packet_id))
    for packet in publishes:
        again.send(Pubrec(packet.packet_id))
        again.send(Pubcomp(packet.packet_id))
    assert again.take(Publish) == []
    last = crash(new)
    assert last.admin(**HOUR).take(Publish) == []


def test_qos_2_of_a_client_that_is_far_behind_is_heard_once_over_a_crash(lasting, crash):
    """One is not acknowledged, and many later ones are."""
    client, other = lasting.admin(auto=False, receive_maximum=2, **HOUR), lasting.admin("other")
    client.subscribe("dh/notification/#", qos=2)
    client.lose()
    send(other, *range(600))
    client = lasting.admin(auto=False, receive_maximum=2, **HOUR)
    client.packets.pop(0)
    for _ in range(590):
        client.send(Pubrec(client.one(Publish).packet_id))
        client.send(Pubcomp(client.one(Pubrel).packet_id))
    lasting.pass_time(11)
    assert parameters(crash(lasting).admin(**HOUR)) == [0, *range(591, 600)]


def test_the_state_is_read_back(hive):
    """What a session gives as its state begins an equal one."""
    client, other = hive.admin(**HOUR), hive.admin("other")
    client.subscribe("dh/#", "dh/notification///lamp/t@admin", "dh/response/token@admin", qos=1, identifier=4)
    send(other, 1)
    client.lose()
    state = hive.broker.sessions[hive.administrator.id, "admin"].device.state()
    session = hive.broker.begin_session((7, "admin"), state)
    assert session.device.state() == state
    assert isinstance(hive.broker.device_topics, DeviceTopics)


def test_what_was_in_flight_before_a_crash_is_not_sent_again_without_the_right(lasting, crash):
    client, other = lasting.connect("a", user=lasting.anna, auto=False, **HOUR), lasting.admin("other")
    client.subscribe("dh/notification/#", qos=2)
    send(other, 1, 2)
    first, second = client.take(Publish)
    client.send(Pubrec(first.packet_id))
    take_network(lasting)
    new = crash(lasting)
    again = new.connect("a", user=lasting.anna, auto=False, **HOUR)
    packets = again.take()
    assert [packet.packet_id for packet in packets if type(packet) is Pubrel] == [first.packet_id, second.packet_id]
    assert [packet for packet in packets if type(packet) is Publish] == []
    # That the message never comes was stored before its PUBREL left.
    newest = crash(new)
    found = newest.connect("a", user=lasting.anna, auto=False, **HOUR).take()
    assert [packet.packet_id for packet in found if type(packet) is Pubrel] == [first.packet_id, second.packet_id]
