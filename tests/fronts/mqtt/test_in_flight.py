"""Messages to a client with QoS 1 and 2: packet ids, flow control, what is sent again (sections 4.3, 4.4, 4.6 and 4.9)."""

import pytest

from dhtwisted.wire.mqtt.packets import Disconnect, Pingreq, Pingresp, Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.support.mqtt.clients import Mqtt

KEPT = {"clean_start": False, "session_expiry_interval": 1000}
KEPT_3_1_1 = {"clean_start": False, "version": 4}


@pytest.fixture(params=[4, 5])
def kept(request):
    """How a client of either version asks for a session that is kept."""
    return KEPT | {"version": 5} if request.param == 5 else KEPT_3_1_1


def fill(mqtt: Mqtt, count: int, qos: int = 1, size: int = 1) -> None:
    """Publish messages ``0`` to ``count - 1`` on ``x``."""
    client = mqtt.connect("filler")
    for number in range(count):
        client.publish("x", b"%d" % number + b" " * size, qos)
    client.disconnect()


def numbers(packets):
    return [int(packet.payload) for packet in packets if type(packet) is Publish]


@pytest.mark.parametrize("version", [4, 5])
def test_packet_ids_differ_while_they_are_used(open_mqtt, version):
    """[MQTT-2.2.1-4]."""
    mqtt = open_mqtt(receive_maximum=100)
    hearer = mqtt.connect("a", auto=False, version=version)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 50, 1)
    fill(mqtt, 50, 2)
    assert len({packet.packet_id for packet in hearer.take(Publish)}) == 100


def test_a_packet_id_in_use_is_left_out_when_all_have_been_used(open_mqtt):
    """[MQTT-2.2.1-4]: also after 65,535 messages."""
    mqtt = open_mqtt()
    hearer, client = mqtt.connect("a", auto=False, version=4), mqtt.connect("b", version=4)
    hearer.subscribe("x", qos=1)
    client.publish("x", b"", 1)
    (kept,) = hearer.take(Publish)
    for _ in range(65_535):
        client.send(Publish("x", b"", 1, packet_id=1))
        (packet,) = [packet for packet in hearer.packets if type(packet) is Publish]
        assert packet.packet_id not in (0, kept.packet_id)
        hearer.packets.clear()
        hearer.send(Puback(packet.packet_id))


def test_no_more_than_the_receive_maximum_is_in_flight(mqtt):
    """[MQTT-3.3.4-9], [MQTT-4.9.0-1], [MQTT-4.9.0-2]: of the client; PUBACK makes room."""
    hearer = mqtt.connect("a", auto=False, receive_maximum=3)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 10)
    first = hearer.take(Publish)
    assert numbers(first) == [0, 1, 2]
    hearer.send(Puback(first[1].packet_id))
    assert numbers(hearer.take()) == [3]
    hearer.send(Puback(first[0].packet_id), Puback(first[2].packet_id))
    assert numbers(hearer.take()) == [4, 5]


def test_qos_2_makes_room_with_pubcomp(mqtt):
    """4.9: PUBREC without an error does not."""
    hearer = mqtt.connect("a", auto=False, receive_maximum=1)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 2, 2)
    (first,) = hearer.take(Publish)
    hearer.send(Pubrec(first.packet_id))
    assert hearer.take() == [Pubrel(first.packet_id)]
    hearer.send(Pubcomp(first.packet_id))
    assert numbers(hearer.take()) == [1]


def test_a_pubrec_with_an_error_ends_the_exchange(mqtt):
    """4.9 and [MQTT-4.4.0-2]: there is room, no PUBREL, and the message is not sent again."""
    hearer = mqtt.connect("a", auto=False, receive_maximum=1, **KEPT)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 2, 2)
    (first,) = hearer.take(Publish)
    hearer.send(Pubrec(first.packet_id, 0x97))
    assert numbers(hearer.take()) == [1]
    hearer.lose()
    assert numbers(mqtt.connect("a", auto=False, **KEPT).take()) == [1]


def test_a_puback_with_an_error_ends_the_exchange(mqtt):
    """[MQTT-4.4.0-2]."""
    hearer = mqtt.connect("a", auto=False, **KEPT)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 1)
    hearer.send(Puback(hearer.one(Publish).packet_id, 0x83))
    hearer.lose()
    assert mqtt.connect("a", **KEPT).messages == []


def test_in_3_1_1_the_server_limits_itself(open_mqtt):
    mqtt = open_mqtt(receive_maximum=2)
    hearer = mqtt.connect("a", version=4, auto=False)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 5)
    assert numbers(hearer.take()) == [0, 1]


def test_what_was_not_acknowledged_is_sent_again(mqtt, kept):
    """In both versions [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT-4.6.0-1]: with DUP and the same packet ids; then the rest without."""
    hearer = mqtt.connect("a", auto=False, **kept)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 2, 1)
    fill(mqtt, 2, 2)
    before = hearer.take(Publish)
    hearer.send(Puback(before[1].packet_id))
    hearer.lose()
    fill(mqtt, 1, 1)
    again = mqtt.connect("a", auto=False, **kept).take(Publish)
    assert [packet.packet_id for packet in again[:3]] == [before[0].packet_id, before[2].packet_id, before[3].packet_id]
    assert [(int(packet.payload), packet.dup) for packet in again] == [(0, True), (0, True), (1, True), (0, False)]


def test_pubrel_is_sent_again_in_the_order_of_pubrec(mqtt, kept):
    """In both versions [MQTT-4.4.0-1], [MQTT-4.3.3-4], [MQTT-4.3.3-6] and [MQTT-4.6.0-4]: the message never after its PUBREC."""
    hearer = mqtt.connect("a", auto=False, **kept)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 3, 2)
    one, two, three = (packet.packet_id for packet in hearer.take(Publish))
    hearer.send(Pubrec(three), Pubrec(one))
    assert hearer.take() == [Pubrel(three), Pubrel(one)]
    hearer.lose()
    again = mqtt.connect("a", auto=False, **kept)
    packets = again.take()
    assert packets[:2] == [Pubrel(three), Pubrel(one)]
    assert [(packet.packet_id, packet.dup) for packet in packets[2:]] == [(two, True)]
    again.send(Pubcomp(three), Pubcomp(one), Pubrec(two))
    assert again.take() == [Pubrel(two)]


def test_nothing_is_sent_again_on_the_same_connection(mqtt):
    """[MQTT-4.4.0-1]: only after a new CONNECT."""
    hearer = mqtt.connect("a", auto=False)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 1)
    hearer.take()
    mqtt.pass_time(100)
    assert hearer.take() == []


def test_what_is_sent_again_keeps_to_the_receive_maximum(mqtt):
    """4.9: the count begins anew with each connection, and PUBREL needs no room."""
    hearer = mqtt.connect("a", auto=False, receive_maximum=10, **KEPT)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 4, 2)
    hearer.send(Pubrec(hearer.take(Publish)[0].packet_id))
    hearer.lose()
    again = mqtt.connect("a", auto=False, receive_maximum=2, **KEPT)
    packets = again.take()
    assert [type(packet) for packet in packets] == [Pubrel, Publish, Publish]
    again.send(Pubcomp(packets[0].packet_id), Puback(0xFFFF))
    assert again.take() == []
    again.send(Pubrec(packets[1].packet_id))
    again.send(Pubcomp(packets[1].packet_id))
    assert numbers(again.take(Publish)) == [3]


def test_a_new_session_gets_nothing_of_the_old_one(mqtt, kept):
    """In both versions [MQTT-3.1.2-4], [MQTT-3.1.4-4]."""
    hearer = mqtt.connect("a", auto=False, **kept)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 1)
    hearer.lose()
    fresh = mqtt.connect("a", **kept | {"clean_start": True})
    fill(mqtt, 1)
    assert fresh.take() == []
    assert mqtt.store.names()["queued"] == 0


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, 0x92)])
def test_a_pubrec_for_nothing_gets_a_pubrel(mqtt, version, code):
    """Section 3.5.2.1 and 3.6.2.1: so the client can free its packet id."""
    client = mqtt.connect("a", version=version)
    client.send(Pubrec(5))
    assert client.take() == [Pubrel(5, code)]


def test_acknowledgements_for_nothing_are_ignored(mqtt):
    client = mqtt.connect("a")
    client.send(Puback(5), Pubcomp(6))
    assert (client.take(), client.closed) == ([], False)


@pytest.mark.parametrize(("version", "reason"), [(4, None), (5, 0x82)])
@pytest.mark.parametrize(("qos", "wrong"), [(1, Pubcomp), (1, Pubrec), (2, Puback), (2, Pubcomp)])
def test_an_acknowledgement_out_of_order_ends_the_connection(mqtt, version, reason, qos, wrong):
    """4.3.2 and 4.3.3: that of another QoS, and a PUBCOMP before the PUBREC. The message is not lost."""
    kept = KEPT if version == 5 else KEPT_3_1_1
    hearer = mqtt.connect("a", auto=False, **kept)
    hearer.subscribe("x", qos=qos)
    fill(mqtt, 1, qos)
    hearer.send(wrong(hearer.one(Publish).packet_id))
    assert (hearer.reason, hearer.closed) == (reason, True)
    hearer.lose()
    assert numbers(mqtt.connect("a", **kept).take()) == [0]


def test_a_refusal_of_another_qos_ends_the_connection(mqtt):
    """4.3.2: a PUBREC with an error, for QoS 1."""
    hearer = mqtt.connect("a", auto=False)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 1)
    hearer.send(Pubrec(hearer.one(Publish).packet_id, 0x80))
    assert hearer.reason == 0x82


def test_what_was_acknowledged_before_a_wrong_acknowledgement_is_complete(mqtt):
    client = mqtt.connect("a", auto=False, clean_start=False, session_expiry_interval=100)
    client.subscribe("t/1", qos=1)
    client.subscribe("t/2", qos=2)
    other = mqtt.connect("b")
    for topic in ("t/1", "t/2", "t/1"):
        other.publish(topic, b"x", qos=2)
    first, second, third = client.take(Publish)
    client.send(Puback(first.packet_id), Puback(second.packet_id), Puback(third.packet_id))
    assert client.reason == 0x82
    client.lose()
    again = mqtt.connect("a", auto=False, clean_start=False, session_expiry_interval=100)
    assert [packet.packet_id for packet in again.take(Publish)] == [second.packet_id, third.packet_id]


def test_a_client_that_does_not_read_gets_the_rest_when_it_reads(mqtt):
    """QoS 1 waits in the session, QoS 0 is dropped and counted."""
    hearer = mqtt.connect("a")
    hearer.subscribe("x", qos=1)
    hearer.congested = True
    fill(mqtt, 3, 1)
    fill(mqtt, 3, 0)
    assert hearer.take() == []
    hearer.drain()
    assert numbers(hearer.take()) == [0, 1, 2]
    assert mqtt.broker.counters.dropped["not_reading"] == 3


@pytest.mark.parametrize("bound", [{"queued_messages": 5}, {"queued_bytes": 5 * 1100}])
@pytest.mark.parametrize("is_connected", [True, False])
def test_what_waits_for_a_session_is_bounded(open_mqtt, bound, is_connected):
    """The newest are dropped and counted; the publisher is acknowledged."""
    mqtt = open_mqtt(**bound)
    hearer = mqtt.connect("a", auto=False, **KEPT)
    hearer.subscribe("x", qos=1)
    if is_connected:
        hearer.congested = True
    else:
        hearer.lose()
    fill(mqtt, 8, 1, 999)
    assert mqtt.broker.counters.dropped["queue_full"] == 3
    if is_connected:
        hearer.drain()
    else:
        hearer = mqtt.connect("a", auto=False, **KEPT)
    assert numbers(hearer.take()) == [0, 1, 2, 3, 4]


def test_a_message_that_is_too_large_for_the_client_is_not_sent(mqtt):
    """[MQTT-3.1.2-24], [MQTT-3.1.2-25]: it counts as sent; others go on."""
    small = mqtt.connect("a", maximum_packet_size=100, receive_maximum=1)
    large = mqtt.connect("b")
    for client in (small, large):
        client.subscribe("x", qos=1)
    fill(mqtt, 1, 1, 200)
    fill(mqtt, 1, 0, 200)
    fill(mqtt, 2, 1)
    assert [len(packet.payload) > 100 for packet in small.take(Publish)] == [False, False]
    assert [len(packet.payload) > 100 for packet in large.take(Publish)] == [True, True, False, False]
    assert mqtt.broker.counters.dropped["too_large"] == 2


def test_topic_aliases_are_used_towards_clients_that_allow_them(mqtt):
    """[MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11]: at most as many as the client allows; the topic comes with the first."""
    client, hearer = mqtt.connect("p"), mqtt.connect("a", topic_alias_maximum=2)
    hearer.subscribe("#", qos=1)
    for topic, qos in (("x", 0), ("x", 1), ("y", 1), ("z", 0), ("y", 0), ("z", 1), ("x", 1)):
        client.publish(topic, b"", qos)
    found = [(packet.topic, packet.properties and packet.properties.topic_alias) for packet in hearer.take(Publish)]
    assert found == [("x", 1), ("", 1), ("y", 2), ("z", None), ("", 2), ("z", None), ("", 1)]


def test_aliases_towards_a_client_end_with_its_connection(mqtt):
    """[MQTT-3.3.2-7]."""
    hearer = mqtt.connect("a", auto=False, topic_alias_maximum=2, **KEPT)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 2)
    hearer.lose()
    again = mqtt.connect("a", topic_alias_maximum=2, **KEPT)
    assert [packet.topic for packet in again.take(Publish)] == ["x", ""]
    again.lose()
    fill(mqtt, 1)
    assert [packet.properties for packet in mqtt.connect("a", **KEPT).take(Publish)] == [None]


def test_no_message_is_sent_to_a_client_without_subscriptions(mqtt):
    client = mqtt.connect("a")
    fill(mqtt, 1)
    assert client.take() == []


def test_a_client_may_close_right_behind_its_publishes(mqtt):
    """What came before the end of the connection is delivered."""
    hearer, client = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x")
    client.send(Publish("x", b"1"), Publish("x", b"2", 1, packet_id=1), Disconnect())
    assert [payload for _, payload in hearer.messages] == [b"1", b"2"]


def test_without_room_everything_else_goes_on(mqtt):
    """[MQTT-3.3.4-10], [MQTT-4.9.0-3]: messages with QoS 0, answers to requests and to messages of the client."""
    hearer, other = mqtt.connect("a", auto=False, receive_maximum=1), mqtt.connect("b", auto=False)
    hearer.subscribe("x", qos=1)
    fill(mqtt, 3, 1)
    assert numbers(hearer.take()) == [0]
    other.send(Publish("x", b"9"))
    hearer.send(Pingreq(), Publish("y", b"", 1, packet_id=1), Publish("y", b"", 2, packet_id=2), Pubrel(2))
    kinds = [type(packet) for packet in hearer.take()]
    assert kinds == [Publish, Pingresp, Puback, Pubrec, Pubcomp]
    assert hearer.subscribe("z") == [0]
    assert hearer.unsubscribe("z") == [0]


@pytest.mark.parametrize("qos", [1, 2])
def test_what_has_been_sent_does_not_expire(mqtt, qos):
    """[MQTT-4.3.3-7], [MQTT-4.3.3-13]: it is sent again after its lifetime, and the exchange is completed."""
    hearer, client = mqtt.connect("a", auto=False, **KEPT), mqtt.connect("b")
    hearer.subscribe("x", qos=2)
    client.publish("x", b"1", qos, message_expiry_interval=5)
    first = hearer.one(Publish)
    hearer.lose()
    mqtt.pass_time(60)
    again = mqtt.connect("a", auto=False, **KEPT)
    packet = again.one(Publish)
    assert (packet.packet_id, packet.payload, packet.dup) == (first.packet_id, b"1", True)
    if qos == 2:
        again.send(Pubrec(packet.packet_id))
        again.lose()
        mqtt.pass_time(60)
        last = mqtt.connect("a", auto=False, **KEPT)
        assert last.take() == [Pubrel(packet.packet_id)]


def test_a_message_is_unacknowledged_until_its_own_acknowledgement(mqtt, kept):
    """In both versions [MQTT-4.3.2-1], [MQTT-4.3.2-3], [MQTT-4.3.3-1], [MQTT-4.3.3-3], [MQTT-4.3.3-5]: packet ids stay taken."""
    hearer = mqtt.connect("a", auto=False, **kept)
    hearer.subscribe("x", qos=2)
    fill(mqtt, 1, 1)
    fill(mqtt, 2, 2)
    one, two, three = (packet.packet_id for packet in hearer.take(Publish))
    hearer.send(Pubrec(two), Puback(999))
    hearer.lose()
    again = mqtt.connect("a", auto=False, **kept)
    found = again.take()
    assert [(type(packet), packet.packet_id) for packet in found] == [(Pubrel, two), (Publish, one), (Publish, three)]
    fill(mqtt, 1, 1)
    assert again.take(Publish)[0].packet_id not in (one, two, three)
