"""Access rules as clients notice them."""

import pytest

from dhtwisted.config.mqtt_tables import AccessRule
from dhtwisted.fronts.mqtt.access import PlainAccess
from dhtwisted.fronts.mqtt.session import ClientSession
from dhtwisted.model import ADMINISTRATOR, CLIENT, User
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Connack, Connect, Properties, Publish, Pubrel
from dhtwisted.wire.mqtt.reasons import ReasonCode

RULES = (
    AccessRule(who="sensors", publish=("tele/{login}/#",), subscribe=("cmnd/{login}/#",)),
    AccessRule(who="role:admin", publish=("cmnd/#",), subscribe=("#",)),
    AccessRule(who="anonymous", publish=("guests/{client_id}",)),
)


@pytest.fixture
def ruled(mqtt):
    """A broker with these rules."""
    mqtt.broker.access = PlainAccess(RULES, mqtt.broker.entities)
    return mqtt


def make_user(mqtt, login, role=CLIENT):
    return at_once(mqtt.broker.entities.insert(User(login=login, role=role)))


def test_who_may_publish_and_hear_what(ruled):
    sensor = ruled.connect("s1", user=make_user(ruled, "sensors"))
    root = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR))
    guest = ruled.connect("g1")
    refused = ReasonCode.NOT_AUTHORIZED
    assert sensor.subscribe("cmnd/sensors/#", "$share/g/cmnd/sensors/+", "cmnd/#", "#", "$SYS/#", qos=1) == [
        1,
        1,
        refused,
        refused,
        refused,
    ]
    assert root.subscribe("#", "$SYS/#") == [0, 0]
    assert guest.subscribe("guests/g1") == [refused]
    assert sensor.publish("tele/sensors/pump", b"1", 1).reason_code < 0x80
    assert sensor.publish("tele/root/pump", b"2", 1).reason_code == refused
    assert sensor.publish("$SYS/broker/uptime", b"3", 1).reason_code == refused
    assert guest.publish("guests/g1", b"4", 1).reason_code < 0x80
    assert guest.publish("guests/g2", b"5", 1).reason_code == refused
    assert [packet.payload for packet in root.take(Publish) if not packet.topic.startswith("$SYS/")] == [b"1", b"4"]
    assert guest.take(Publish) == []


def test_a_client_id_with_a_wildcard_gets_nothing_by_it(ruled):
    for client_id in ("#", "+", "a/b"):
        guest = ruled.connect(client_id)
        assert guest.publish(f"guests/{client_id}".replace("#", "x").replace("+", "x"), b"", 1).reason_code == ReasonCode.NOT_AUTHORIZED


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("expiry", [0, 1000])
def test_a_role_that_is_taken_away_ends_what_it_gave(ruled, qos, expiry):
    user = make_user(ruled, "root", ADMINISTRATOR)
    root = ruled.connect("r1", user=user, session_expiry_interval=expiry)
    guest = ruled.connect("g1")
    assert root.subscribe("#", qos=qos) == [qos]
    guest.publish("guests/g1", b"heard", qos)
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    guest.publish("guests/g1", b"secret", qos)
    ruled.pass_time(2)
    guest.publish("guests/g1", b"secret", qos)
    assert [packet.payload for packet in root.take(Publish)] == [b"heard"]
    assert not root.closed


@pytest.mark.parametrize("qos", [0, 1])
def test_a_change_of_another_user_ends_nothing(ruled, qos):
    root = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR))
    guest = ruled.connect("g1")
    root.subscribe("#", "$share/g/guests/+", qos=qos)
    make_user(ruled, "another")
    guest.publish("guests/g1", b"heard", qos)
    assert [packet.payload for packet in root.take(Publish)] == [b"heard", b"heard"]


def test_what_waits_for_an_absent_client_is_not_sent_when_its_role_was_taken_away(ruled):
    user = make_user(ruled, "sensors", ADMINISTRATOR)
    client = ruled.connect("s1", user=user, session_expiry_interval=1000)
    root = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR))
    assert client.subscribe("#", "cmnd/sensors/+", qos=1) == [1, 1]
    client.lose()
    root.publish("cmnd/sensors/POWER", b"its own", 1)
    root.publish("cmnd/others/POWER", b"secret", 1)
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    root.publish("cmnd/others/POWER", b"secret", 1)
    assert ruled.store.names()["queued"] == 3
    client = ruled.connect("s1", user=user, clean_start=False, session_expiry_interval=1000)
    assert [packet.payload for packet in client.take(Publish)] == [b"its own"]
    ruled.pass_time(1)
    assert ruled.store.names()["queued"] == 0
    assert ruled.broker.counters.dropped["no_right"] == 2


@pytest.mark.parametrize("is_lost_before", [True, False])
def test_what_was_in_flight_is_not_sent_again_when_its_role_was_taken_away(ruled, is_lost_before):
    """Of QoS 2 only the PUBREL is sent, or the client would take a later message for a repetition."""
    user = make_user(ruled, "sensors", ADMINISTRATOR)
    client = ruled.connect("s1", user=user, auto=False, session_expiry_interval=1000)
    root = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR))
    client.subscribe("cmnd/others/+", "cmnd/sensors/+", qos=2)
    for qos in (1, 2):
        root.publish("cmnd/others/POWER", b"secret", qos)
        root.publish("cmnd/sensors/POWER", b"its own", qos)
    secret = [packet for packet in client.take(Publish) if packet.payload == b"secret"]
    if is_lost_before:
        client.lose()
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    ruled.pass_time(2)
    client.lose()
    client = ruled.connect("s1", user=user, auto=False, clean_start=False, session_expiry_interval=1000)
    packets = client.take()
    assert [packet.payload for packet in packets if type(packet) is Publish] == [b"its own", b"its own"]
    assert [packet.packet_id for packet in packets if type(packet) is Pubrel] == [secret[1].packet_id]
    assert ruled.store.names()["queued"] == 3
    assert ruled.broker.counters.dropped["no_right"] == 2


def test_what_was_in_flight_is_completed_after_unsubscribe(ruled):
    """[MQTT-3.10.4-3]"""
    client = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR), auto=False, session_expiry_interval=1000)
    client.subscribe("cmnd/#", qos=2)
    for qos in (1, 2):
        client.publish("cmnd/others/POWER", b"%d" % qos, qos)
    client.unsubscribe("cmnd/#")
    client.lose()
    client = ruled.connect("r1", user=client.connection.principal.user, clean_start=False, session_expiry_interval=1000)
    assert [packet.payload for packet in client.take(Publish)] == [b"1", b"2"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_role_that_is_taken_away_ends_a_filter_and_a_shared_one_at_once(ruled, qos):
    user = make_user(ruled, "root", ADMINISTRATOR)
    root = ruled.connect("r1", user=user)
    guest = ruled.connect("g1")
    root.subscribe("#", "$share/g/guests/+", qos=qos)
    guest.publish("guests/g1", b"heard", qos)
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    guest.publish("guests/g1", b"secret", qos)
    assert [packet.payload for packet in root.take(Publish)] == [b"heard", b"heard"]


def test_after_a_change_of_a_user_it_is_looked_at_once_what_a_subscriber_hears(ruled, monkeypatch):
    root = ruled.connect("r1", user=make_user(ruled, "root", ADMINISTRATOR))
    guest = ruled.connect("g1")
    root.subscribe("#")
    looks = []
    hears = ClientSession.hears
    monkeypatch.setattr(ClientSession, "hears", lambda session, topic: looks.append(topic) or hears(session, topic))
    make_user(ruled, "another")
    for payload in (b"1", b"2", b"3"):
        guest.publish("guests/g1", payload, 0)
    assert [packet.payload for packet in root.take(Publish)] == [b"1", b"2", b"3"]
    assert looks == ["guests/g1"]


def test_rights_are_looked_at_again_for_changed_users_alone(ruled, monkeypatch):
    """A server with thousands of clients would stand still for each login of one of them."""
    user = make_user(ruled, "root", ADMINISTRATOR)
    root, guest = ruled.connect("r1", user=user), ruled.connect("g1")
    root.subscribe("#")
    looks = []
    may_subscribe = ruled.broker.access.may_subscribe
    monkeypatch.setattr(ruled.broker.access, "may_subscribe", lambda *asked: looks.append(asked) or may_subscribe(*asked))
    make_user(ruled, "another")
    ruled.pass_time(2)
    at_once(ruled.broker.entities.update(User, user.id, {"last_login": 1}))
    ruled.pass_time(2)
    guest.publish("guests/g1", b"heard")
    assert not looks
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    ruled.pass_time(2)
    guest.publish("guests/g1", b"secret")
    assert [packet.payload for packet in root.take(Publish)] == [b"heard"]
    assert len(looks) == 1


@pytest.mark.parametrize("qos", [0, 1])
def test_a_role_that_is_taken_away_during_connect_ends_what_it_gave(ruled, qos):
    user = make_user(ruled, "root", ADMINISTRATOR)
    before = ruled.connect("r1", user=user, session_expiry_interval=1000)
    guest = ruled.connect("g1")
    before.subscribe("#", qos=qos)
    before.lose()
    guest.publish("guests/g1", b"secret", qos)
    ruled.store.is_slow = True
    root = ruled.client()
    expiry, token = Properties(session_expiry_interval=1000), ruled.memory.token(user).encode()
    root.send(Connect("r1", 5, False, user_name="token", password=token, properties=expiry))
    at_once(ruled.broker.entities.update(User, user.id, {"role": CLIENT}))
    ruled.pass_time(2)
    ruled.store.is_slow = False
    while ruled.store.release():
        pass
    guest.publish("guests/g1", b"secret", qos)
    packets = root.take()
    assert type(packets[0]) is Connack
    assert [packet for packet in packets if type(packet) is Publish] == []
