"""CONNECT and CONNACK: credentials, client ids, limits of both sides (sections 3.1 and 3.2 of both standards)."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.core.access import Permission
from dhtwisted.model import LOCKED_OUT, User
from dhtwisted.testing.server import PASSWORD, MemoryServer, at_once
from dhtwisted.wire.mqtt.packets import Connack, Connect, Disconnect, Pingreq, Pingresp, Properties, Publish, Will
from tests.support.mqtt.clients import Mqtt
from tests.support.mqtt.raw import connect as raw_connect
from tests.support.mqtt.raw import field

VERSIONS = pytest.mark.parametrize("version", [3, 4, 5])


@VERSIONS
def test_a_client_connects_and_is_answered(mqtt, version):
    """[MQTT-3.1.4-5], [MQTT-3.2.0-1], [MQTT-3.2.2-2]: the answer to the first CONNECT has no session."""
    answer = mqtt.client(version).connect("a")
    assert (answer.reason_code, answer.session_present) == (0, False)


def test_connack_is_sent_before_anything_else(mqtt):
    """[MQTT-3.2.0-1]: also when messages of a session wait."""
    client = mqtt.connect("a", version=4, clean_start=False)
    client.subscribe("x", qos=1)
    client.lose()
    mqtt.connect("b").publish("x", b"1", qos=1)
    again = mqtt.client(4)
    again.send(Connect("a", 4, False))
    assert [type(packet) for packet in again.packets] == [Connack, Publish]


@pytest.mark.parametrize(("version", "code"), [(4, 5), (5, 0x87)])
def test_without_credentials_a_client_is_refused(open_mqtt, version, code):
    """[MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7]: the answer has the reason and no session, and the connection is closed."""
    client = open_mqtt(anonymous=False).client(version)
    answer = client.connect("a")
    assert (answer.reason_code, answer.session_present) == (code, False)
    assert client.closed


@pytest.mark.parametrize("version", [4, 5])
def test_a_token_is_a_password_whatever_the_user_name(mqtt, version):
    client = mqtt.client(version)
    token = mqtt.memory.token().encode()
    assert client.connect("a", user_name="whoever", password=token).reason_code == 0
    assert client.connection.principal.user_id == 1


def test_in_mqtt_5_a_password_needs_no_user_name(mqtt):
    """Only 3.1.1 forbids it (3.1.2-22 there): a token may stand alone."""
    client = mqtt.client()
    assert client.connect("a", password=mqtt.memory.token().encode()).reason_code == 0


@pytest.mark.parametrize(("version", "code"), [(4, 4), (5, 0x86)])
@pytest.mark.parametrize("claims", [{"lifetime": -1}, {"refresh": True}, {"valid_from": -1}], ids=["expired", "refresh token", "revoked"])
def test_a_wrong_token_is_refused(mqtt, version, code, claims):
    client = mqtt.client(version)
    token = mqtt.memory.token(**claims).encode()
    assert client.connect("a", user_name="x", password=token).reason_code == code
    assert client.closed


@pytest.mark.parametrize(("version", "code"), [(4, 4), (5, 0x86)])
@pytest.mark.parametrize(
    "credentials", [{"user_name": "dhadmin"}, {"user_name": "dhadmin", "password": b""}, {"user_name": "x", "password": b"\xff"}]
)
def test_incomplete_credentials_are_wrong_credentials(mqtt, version, code, credentials):
    assert mqtt.client(version).connect("a", **credentials).reason_code == code


async def _answer(client, client_id, **fields):
    """CONNECT with a password, which is checked in a thread."""
    client.send(Connect(client_id, client.version, True, **fields))
    while not client.packets:
        waiting = Deferred()
        client.mqtt.reactor.callLater(0.01, waiting.callback, None)
        await waiting
    return client.packets.pop(0)


@pytest_twisted.async_yield_fixture
async def with_passwords(reactor):
    memory = await MemoryServer.open(reactor, mqtt={"plain_topics": True}, limits={"logins_per_minute": 2})
    mqtt = Mqtt(memory)
    mqtt.reactor = reactor
    yield mqtt
    await memory.close()


@pytest_twisted.ensureDeferred
async def test_login_and_password_are_checked_by_the_auth_provider(with_passwords):
    client = with_passwords.client(4)
    assert (await _answer(client, "a", user_name="dhadmin", password=PASSWORD.encode())).reason_code == 0
    assert client.connection.principal.permits(Permission.MANAGE_USER)
    assert not client.connection.principal.expired


@pytest.mark.parametrize(("version", "code"), [(4, 4), (5, 0x86)])
@pytest_twisted.ensureDeferred
async def test_an_unknown_user_and_a_wrong_password_look_the_same(with_passwords, version, code):
    wrong = await _answer(with_passwords.client(version), "a", user_name="dhadmin", password=b"wrong")
    unknown = await _answer(with_passwords.client(version), "a", user_name="nobody", password=b"wrong")
    assert wrong == unknown
    assert wrong.reason_code == code
    # One wrong password stops nobody else (it ended DeviceHive's bridge for all).
    assert (
        await _answer(with_passwords.client(version, "192.0.2.2"), "a", user_name="dhadmin", password=PASSWORD.encode())
    ).reason_code == 0


@pytest.mark.parametrize(("version", "code"), [(4, 5), (5, 0x97)])
@pytest_twisted.ensureDeferred
async def test_too_many_failed_logins_are_refused_without_a_look_at_the_password(with_passwords, version, code):
    for _ in range(2):
        await _answer(with_passwords.client(version), "a", user_name="dhadmin", password=b"wrong")
    assert (await _answer(with_passwords.client(version), "a", user_name="dhadmin", password=PASSWORD.encode())).reason_code == code


@pytest_twisted.ensureDeferred
async def test_a_user_who_is_locked_is_not_authorized(with_passwords):
    await with_passwords.memory.add_user("lena", status=LOCKED_OUT)
    assert (await _answer(with_passwords.client(), "a", user_name="lena", password=PASSWORD.encode())).reason_code == 0x87


@pytest_twisted.ensureDeferred
async def test_packets_that_came_while_a_password_was_checked_are_handled_in_order(with_passwords):
    """Section 3.1.4: a client may send packets before CONNACK."""
    client = with_passwords.client()
    client.send(Connect("a", 5, user_name="dhadmin", password=PASSWORD.encode()), Pingreq())
    answer = await _answer(client, "a")
    assert (type(answer), answer.reason_code) == (Connack, 0)
    assert client.take(Pingresp) == [Pingresp()]


@pytest.mark.parametrize(("version", "code"), [(4, 4), (5, 0x86)])
@pytest_twisted.ensureDeferred
async def test_packets_that_came_with_a_wrong_password_are_not_handled(with_passwords, version, code):
    """[MQTT-3.1.4-6]."""
    client = with_passwords.client(version)
    client.send(Connect("a", version, user_name="dhadmin", password=b"wrong"), Pingreq())
    assert (await _answer(client, "a")).reason_code == code
    assert client.take() == []


def test_there_is_no_enhanced_authentication(mqtt):
    """[MQTT-4.12.0-1], [MQTT-4.12.0-4]: 0x8C for a method that the server does not have."""
    client = mqtt.client()
    assert client.connect("a", authentication_method="SCRAM-SHA-256").reason_code == 0x8C
    assert client.closed


def test_a_client_without_an_id_gets_one(mqtt):
    """[MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16] of 5.0: it is told which."""
    first, second = (mqtt.client().connect().properties.assigned_client_identifier for _ in range(2))
    assert first and second and first != second
    assert mqtt.client().connect("mine").properties.assigned_client_identifier is None


def test_in_3_1_1_a_client_without_an_id_has_a_clean_session(mqtt):
    """[MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.1.3-8], [MQTT-3.1.3-9] of 3.1.1."""
    assert mqtt.client(4).connect("", clean_start=True).reason_code == 0
    kept = mqtt.client(4)
    assert kept.connect("", clean_start=False).reason_code == 2
    assert kept.closed


def test_the_answer_tells_the_limits_of_the_server(open_mqtt):
    """Section 3.2.2.3: receive maximum, largest packet, topic aliases, and what differs from what the client asked for."""
    properties = open_mqtt(receive_maximum=5, packet_size=1000, topic_alias_maximum=3).client().connect("a").properties
    assert (properties.receive_maximum, properties.maximum_packet_size, properties.topic_alias_maximum) == (5, 1000, 3)
    assert properties.server_keep_alive == 3600
    assert properties.session_expiry_interval is None
    assert properties.response_information is None


def test_the_expiry_of_a_session_is_bounded_and_told(open_mqtt):
    """Section 3.2.2.3.2."""
    mqtt = open_mqtt(session_expiry=100.0)
    assert mqtt.client().connect("a", session_expiry_interval=0xFFFFFFFF).properties.session_expiry_interval == 100
    assert mqtt.client().connect("b", session_expiry_interval=50).properties.session_expiry_interval is None


@pytest.mark.parametrize(("wanted", "told"), [(30, None), (60, None), (61, 60), (0, 60)])
def test_the_keep_alive_is_bounded_and_told(open_mqtt, wanted, told):
    """[MQTT-3.1.2-21], [MQTT-3.2.2-21]: so that the client knows which it must keep."""
    answer = open_mqtt(keep_alive=60.0).client().connect("a", keep_alive=wanted)
    assert answer.properties.server_keep_alive == told


def test_response_information_is_given_to_who_asks(mqtt):
    """[MQTT-3.1.2-28]."""
    assert mqtt.client().connect("a", request_response_information=1).properties.response_information == "dh/response/"
    assert mqtt.client().connect("b", request_response_information=0).properties.response_information is None


@pytest.mark.parametrize(("version", "reason"), [(3, None), (4, None), (5, 0x8D)])
def test_a_silent_client_is_gone_after_one_and_a_half_times_its_keep_alive(mqtt, version, reason):
    """[MQTT-3.1.2-22], [MQTT-3.2.2-22]."""
    client = mqtt.connect("a", version=version, keep_alive=10)
    mqtt.pass_time(14)
    assert not client.closed
    mqtt.pass_time(2)
    assert client.closed
    assert client.reason == reason


def test_a_defect_elsewhere_ends_no_keep_alive(mqtt):
    """What is done once a second goes on after an error, and each part of it in any case."""
    client, broken = mqtt.connect("a", keep_alive=10), []

    def break_down(now):
        broken.append(now)
        raise RuntimeError

    mqtt.broker.system_topics.tick = break_down
    mqtt.pass_time(16)
    assert len(broken) == 16
    assert client.closed
    assert client.reason == 0x8D


def user_changes(mqtt):
    mqtt.broker.entities.users_epoch += 1
    mqtt.pass_time(1)


def rules_change(mqtt):
    mqtt.broker.rights_changed()


@pytest.mark.parametrize("change", [user_changes, rules_change])
def test_a_client_whose_rights_cannot_be_looked_at_ends_alone(mqtt, monkeypatch, change):
    clients = [mqtt.connect(name) for name in "abc"]
    for client in clients:
        client.subscribe("t")
    may_subscribe = mqtt.broker.access.may_subscribe

    def fail_for_a(principal, client_id, pattern):
        if client_id == "a":
            raise RuntimeError
        return may_subscribe(principal, client_id, pattern)

    monkeypatch.setattr(mqtt.broker.access, "may_subscribe", fail_for_a)
    change(mqtt)
    assert [client.closed for client in clients] == [True, False, False]


def test_any_packet_is_a_sign_of_life(mqtt):
    """Section 3.1.2.10."""
    client = mqtt.connect("a", keep_alive=10)
    for _ in range(10):
        mqtt.pass_time(10)
        client.send(Pingreq())
    assert not client.closed
    assert client.take(Pingresp) == [Pingresp()] * 10


@VERSIONS
def test_without_a_keep_alive_silence_is_no_fault(open_mqtt, version):
    """Section 3.1.2.10: the value 0 turns it off."""
    mqtt = open_mqtt(keep_alive=0.0)
    client = mqtt.connect("a", version=version, keep_alive=0)
    mqtt.pass_time(1000)
    assert not client.closed


def test_a_connection_without_connect_ends(open_mqtt):
    """[MQTT-3.1.4-1] note: the time to CONNECT is limited."""
    mqtt = open_mqtt(limits={"handshake_timeout": 5.0})
    client = mqtt.client()
    mqtt.pass_time(4)
    assert not client.closed
    mqtt.pass_time(2)
    assert client.closed
    assert client.sent == b""


@pytest.mark.parametrize(("version", "level", "code"), [(4, 2, 1), (5, 6, 0x84)])
def test_an_unknown_version_is_answered(mqtt, version, level, code):
    """[MQTT-3.1.2-2] of both: return code 1, or 0x84."""
    client = mqtt.client(version)
    client.send_bytes(raw_connect(version, level=level))
    assert client.one(Connack).reason_code == code
    assert client.closed


def test_the_connections_of_a_user_are_limited(open_mqtt):
    mqtt = open_mqtt(quotas={"connections": 1, "administrators": 1})
    token = mqtt.memory.token().encode()
    first = mqtt.client()
    assert first.connect("a", password=token).reason_code == 0
    assert mqtt.client().connect("b", password=token).reason_code == 0x97
    first.disconnect()
    assert mqtt.client().connect("b", password=token).reason_code == 0


def test_a_revoked_token_ends_the_connection(mqtt):
    """0x87, at the latest a second after the user has changed, also for a client that sends nothing."""
    client = mqtt.connect("a", user=mqtt.memory.administrator)
    other = mqtt.connect("b", version=4, user=mqtt.memory.administrator)
    anonymous = mqtt.connect("c")
    at_once(mqtt.memory.server.entities.update(User, 1, {"status": LOCKED_OUT}))
    mqtt.pass_time(1)
    assert (client.reason, client.closed) == (0x87, True)
    assert (other.packets, other.closed) == ([], True)
    assert not anonymous.closed


def test_rights_are_looked_at_with_the_next_packet(mqtt):
    client = mqtt.connect("a", user=mqtt.memory.administrator)
    hearer = mqtt.connect("b")
    hearer.subscribe("x")
    at_once(mqtt.memory.server.entities.update(User, 1, {"status": LOCKED_OUT}))
    client.send(Publish("x", b"1"))
    assert client.reason == 0x87
    assert hearer.messages == []


def test_a_token_that_has_expired_ends_the_connection_if_the_operator_wants_that(open_mqtt):
    mqtt = open_mqtt(auth={"strict_expiry": True})
    client = mqtt.client()
    assert client.connect("a", password=mqtt.memory.token(lifetime=10).encode()).reason_code == 0
    mqtt.pass_time(9)
    assert not client.closed
    mqtt.pass_time(2)
    assert client.reason == 0x87


def test_the_server_says_when_it_stops(mqtt):
    """Section 4.13: 0x8B to 5.0; others are closed."""
    new, old, unknown = mqtt.connect("a"), mqtt.connect("b", version=4), mqtt.client()
    mqtt.broker.stop()
    assert (new.reason, new.closed) == (0x8B, True)
    assert (old.packets, old.closed) == ([], True)
    assert (unknown.packets, unknown.closed) == ([], True)


def test_a_will_with_a_wrong_topic_is_refused(mqtt):
    """[MQTT-3.1.3-11] and section 4.7.1: a topic name has no wildcard."""
    client = mqtt.client()
    assert client.connect("a", will=Will("a/#")).reason_code == 0x90
    assert client.closed


def test_a_disconnect_before_connect_is_no_packet_of_a_session(mqtt):
    """[MQTT-3.1.0-1]."""
    client = mqtt.client()
    client.send(Disconnect())
    assert (client.sent, client.closed) == (b"", True)


@pytest.mark.parametrize(("version", "reason"), [(3, None), (4, None), (5, 0x82)])
def test_a_second_connect_ends_the_connection(mqtt, version, reason):
    """[MQTT-3.1.0-2], [MQTT-3.2.0-2]: 0x82, and no second CONNACK."""
    client = mqtt.connect("a", version=version)
    client.send_bytes(raw_connect(version, payload=field(b"a")))
    assert (client.reason, client.closed) == (reason, True)
    assert client.take(Connack) == []


@VERSIONS
@pytest.mark.parametrize("client_id", ["a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"])
def test_letters_and_digits_are_a_client_id(mqtt, version, client_id):
    """[MQTT-3.1.3-5]."""
    assert mqtt.client(version).connect(client_id).reason_code == 0


def test_without_a_method_there_is_no_authentication(mqtt):
    """[MQTT-4.12.0-6]: neither a method in CONNACK nor AUTH."""
    client = mqtt.client()
    client.send(Connect("a", 5), Pingreq())
    answer, _ = client.packets
    assert (answer.properties.authentication_method, answer.properties.authentication_data) == (None, None)


@pytest_twisted.ensureDeferred
async def test_before_connack_there_is_no_disconnect(with_passwords):
    """[MQTT-3.14.0-1]: whatever ends the connection."""
    mqtt = with_passwords
    refused, broken, silent, waiting, pushed = (mqtt.client() for _ in range(5))
    await _answer(refused, "a", user_name="dhadmin", password=b"wrong")
    broken.send_bytes(b"\x10\x02\xff\xff")
    waiting.send(Connect("w", 5, user_name="dhadmin", password=PASSWORD.encode()))
    pushed.send(Connect("p", 5, user_name="dhadmin", password=PASSWORD.encode()))
    pushed.send_bytes(b"\x36\x00")
    mqtt.broker.stop()
    while mqtt.broker.connections:
        pause = Deferred()
        mqtt.reactor.callLater(0.01, pause.callback, None)
        await pause
    for client in (refused, broken, silent, waiting, pushed):
        assert client.closed
        kinds = [type(packet) for packet in client.packets]
        assert kinds[:1] in ([], [Connack]), kinds
        assert Disconnect not in kinds or client.packets[0].reason_code == 0


@pytest.mark.parametrize(("size", "codes"), [(4, []), (5, [0x83]), (15, [0x83]), (16, [0])])
def test_a_client_that_cannot_take_connack_is_refused(mqtt, size, codes):
    """[MQTT-3.1.2-24]: it would wait for CONNACK for ever."""
    client = mqtt.client()
    client.send(Connect("a", 5, keep_alive=10, properties=Properties(maximum_packet_size=size)))
    assert [packet.reason_code for packet in client.take()] == codes
    assert client.closed is (codes != [0])
    assert len(mqtt.broker.sessions) == len(mqtt.broker.connections) == (codes == [0])
