"""SUBSCRIBE and UNSUBSCRIBE with their options; shared subscriptions (sections 3.8 to 3.11, 4.7 and 4.8)."""

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from dhtwisted.wire.mqtt.packets import Properties, Publish, Suback, Subscribe, Subscription, Unsuback, Unsubscribe
from tests.support.mqtt.raw import field, with_id

KEPT = {"clean_start": False, "session_expiry_interval": 1000}


@pytest.mark.parametrize("version", [3, 4, 5])
def test_each_filter_is_answered_in_its_order(mqtt, version):
    """The granted QoS, for all filters in one SUBACK: [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5] to [MQTT-3.8.4-7], [MQTT-3.9.3-1],
    [MQTT-2.2.1-6].
    """
    client = mqtt.connect("a", version=version)
    client.send(Subscribe(12, [Subscription("x", 2), Subscription("y/#", 0), Subscription("+", 1)]))
    assert client.take() == [Suback(12, [2, 0, 1])]


@pytest.mark.parametrize(("version", "code"), [(4, 0x80), (5, 0x87)])
def test_a_filter_without_the_right_is_refused_alone(mqtt, version, code):
    """[MQTT-3.9.3-2], [MQTT-3.8.4-7]: 0x80 in 3.1.1. The others of the packet are granted."""
    mqtt.access.hidden.add("secret/#")
    client, other = mqtt.connect("a", version=version), mqtt.connect("b")
    assert client.subscribe("secret/#", "$share/g/secret/#", "x", qos=1) == [code, code, 1]
    other.publish("secret/x", b"")
    assert client.messages == []


@pytest.fixture
def lines():
    """What is logged, as texts."""
    found = []

    def observe(event):
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize(("version", "logged"), [(4, 1), (5, 0)])
def test_the_log_says_what_a_client_of_3_1_1_cannot_be_told(mqtt, lines, version, logged):
    """SUBACK and PUBACK of 3.1.1 have no reason, so the log has filter, topic and reason."""
    mqtt.access.hidden.add("secret/#")
    client = mqtt.connect("a", version=version)
    client.subscribe("secret/#")
    client.publish("dh/x", b"", 1)
    starts = ("a subscription to 'secret/#' was refused: ", "a publish to 'dh/x' was refused: ")
    for start in starts:
        assert [("mqtt.access" in line) for line in lines if line.startswith(start)] == [True] * logged


def test_one_packet_does_not_fill_the_log(mqtt, lines):
    """Only the first ten refused filters of a SUBSCRIBE have a line."""
    client = mqtt.connect("a", version=4)
    assert client.subscribe(*["a/#/b"] * 100) == [0x80] * 100
    assert len([line for line in lines if line.startswith("a subscription to ")]) == 10


@pytest.mark.parametrize("text", ["a/#/b", "a+", "#a", "$share/g", "$share//x", "$share/g+/x"])
@pytest.mark.parametrize(("version", "code"), [(4, 0x80), (5, 0x8F)])
def test_a_wrong_filter_is_refused(mqtt, text, version, code):
    """[MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2]: refused with 0x8F, or the connection ends."""
    client = mqtt.connect("a", version=version)
    client.send(Subscribe(1, [Subscription(text), Subscription("x")]))
    answers = client.take(Suback)
    assert client.closed or [answer.reason_codes for answer in answers] == [[code, 0]]


@pytest.mark.parametrize("version", [4, 5])
def test_overlapping_filters_give_one_copy(mqtt, version):
    """[MQTT-3.3.4-2] of 5.0, [MQTT-3.3.5-1] of 3.1.1: with the highest QoS of them."""
    client, other = mqtt.connect("a", version=version), mqtt.connect("b")
    for text, qos in (("x/#", 0), ("x/y", 2), ("+/y", 1)):
        client.subscribe(text, qos=qos)
    other.publish("x/y", b"", 2)
    assert [packet.qos for packet in client.take(Publish)] == [2]


def test_a_copy_has_the_identifiers_of_all_filters(mqtt):
    """[MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5]."""
    client, other = mqtt.connect("a"), mqtt.connect("b")
    client.subscribe("x/#", identifier=7)
    client.subscribe("x/y", identifier=268_435_455)
    client.subscribe("+/y")
    for qos in (0, 1):
        other.publish("x/y", b"", qos)
    other.publish("z/y", b"")
    found = [set(packet.properties.subscription_identifier) if packet.properties else None for packet in client.take(Publish)]
    assert found == [{7, 268_435_455}, {7, 268_435_455}, None]


def test_a_filter_is_replaced(mqtt):
    """[MQTT-3.8.4-3], [MQTT-3.8.4-4]: QoS, options and identifier are those of the last SUBSCRIBE; one copy comes."""
    client, other = mqtt.connect("a"), mqtt.connect("b")
    client.subscribe("x", qos=2, identifier=1)
    client.subscribe("x", qos=0)
    other.publish("x", b"", 2)
    (packet,) = client.take(Publish)
    assert (packet.qos, packet.properties) == (0, None)


def test_a_client_hears_itself_unless_it_does_not_want_to(mqtt):
    """[MQTT-3.8.3-3]: No Local holds for the client, not for others, and not for filters without it."""
    client, other = mqtt.connect("a"), mqtt.connect("b")
    client.subscribe("x", no_local=True, identifier=1)
    client.publish("x", b"1")
    other.publish("x", b"2")
    assert client.messages == [("x", b"2")]
    client.subscribe("+", identifier=2)
    client.publish("x", b"3")
    other.publish("x", b"4")
    assert [packet.properties.subscription_identifier for packet in client.take(Publish)] == [(2,), (1, 2)]


def test_a_shared_subscription_cannot_leave_out_local_messages(mqtt):
    """[MQTT-3.8.3-4]: 0x82."""
    client = mqtt.connect("a")
    client.send_bytes(with_id(5, 0x82, field(b"$share/g/x"), b"\x04"))
    assert client.reason == 0x82


@pytest.mark.parametrize(("keeps", "sent", "heard"), [(False, True, False), (True, True, True), (True, False, False)])
def test_the_retain_flag_is_sent_as_wanted(mqtt, keeps, sent, heard):
    """[MQTT-3.3.1-12], [MQTT-3.3.1-13]."""
    client, other = mqtt.connect("a"), mqtt.connect("b")
    client.subscribe("x", retain_as_published=keeps)
    other.publish("x", b"1", retain=sent)
    assert [packet.retain for packet in client.take(Publish)] == [heard]


def test_in_3_1_1_an_established_subscription_gets_no_retain_flag(mqtt):
    """[MQTT-3.3.1-9] of 3.1.1."""
    client, other = mqtt.connect("a", version=4), mqtt.connect("b", version=4)
    client.subscribe("x")
    other.publish("x", b"1", retain=True)
    assert [packet.retain for packet in client.take(Publish)] == [False]


@pytest.mark.parametrize("version", [4, 5])
def test_unsubscribe_ends_the_filter_of_the_same_text(mqtt, version):
    """[MQTT-3.10.4-1], [MQTT-3.10.4-2], [MQTT-3.10.4-4], [MQTT-3.10.4-6], [MQTT-3.11.3-1]: and no other."""
    client, other = mqtt.connect("a", version=version), mqtt.connect("b")
    client.subscribe("x", "+")
    assert client.unsubscribe("x", "x", "y") == ([0, 0x11, 0x11] if version == 5 else [])
    other.publish("x", b"1")
    assert client.messages == [("x", b"1")]
    client.unsubscribe("+")
    other.publish("x", b"2")
    assert client.messages == []


def test_unsubscribe_answers_a_wrong_filter(mqtt):
    """[MQTT-3.11.3-2]: 0x8F, or the connection ends."""
    client = mqtt.connect("a")
    client.send_bytes(with_id(5, 0xA2, field(b"a/#/b")))
    assert client.closed or client.packets[0].reason_codes == [0x8F]


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_under_way_is_completed_after_unsubscribe(mqtt, version):
    """[MQTT-3.10.4-3]."""
    kept = KEPT if version == 5 else {"clean_start": False}
    client, other = mqtt.connect("a", version=version, auto=False, **kept), mqtt.connect("b")
    client.subscribe("x", qos=1)
    other.publish("x", b"1", 1)
    client.unsubscribe("x")
    client.lose()
    assert mqtt.connect("a", version=version, **kept).messages == [("x", b"1")]


def test_filters_are_bounded(open_mqtt):
    """0x97; a filter that is there already can be replaced."""
    mqtt = open_mqtt(filters_per_session=2)
    client = mqtt.connect("a")
    assert client.subscribe("x", "y") == [0, 0]
    assert client.subscribe("z", "x", qos=1) == [0x97, 1]
    assert mqtt.broker.counters.bounds["filters_per_session"] == 1
    client.unsubscribe("x")
    assert client.subscribe("z") == [0]


def test_levels_are_bounded(open_mqtt):
    mqtt = open_mqtt(topic_levels=3)
    client = mqtt.connect("a")
    assert client.subscribe("a/b/c", "a/b/c/d") == [0, 0x8F]
    assert client.publish("a/b/c/d", b"", 1).reason_code == 0x90


def test_the_subscribers_of_a_group_share_its_messages(mqtt):
    """Section 4.8.2: each message goes to one of them, and to others as before."""
    members = [mqtt.connect(f"m{number}") for number in range(3)]
    single, other = mqtt.connect("s"), mqtt.connect("b")
    for member in members:
        member.subscribe("$share/g/x/+", qos=1)
    single.subscribe("x/#")
    for number in range(9):
        other.publish("x/y", b"%d" % number, 1)
    assert [len(member.messages) for member in members] == [3, 3, 3]
    assert len(single.messages) == 9


def test_groups_are_independent(mqtt):
    """Section 4.8.2: a message goes to one member of each; and a member may subscribe outside of them too."""
    one, two, other = mqtt.connect("m1"), mqtt.connect("m2"), mqtt.connect("b")
    one.subscribe("$share/g/x", "x")
    two.subscribe("$share/h/x")
    other.publish("x", b"1")
    assert (len(one.messages), len(two.messages)) == (2, 1)


def test_in_3_1_1_subscriptions_can_be_shared_too(mqtt):
    one, two, other = mqtt.connect("m1", version=4), mqtt.connect("m2", version=4), mqtt.connect("b")
    for member in (one, two):
        member.subscribe("$share/g/x")
    for _ in range(4):
        other.publish("x", b"")
    assert (len(one.messages), len(two.messages)) == (2, 2)


def test_a_member_that_cannot_take_a_message_is_passed_over(mqtt):
    """Section 4.8.2: who reads and has room first; then who is connected; then whose session is kept."""
    slow, quick, other = mqtt.connect("m1"), mqtt.connect("m2", **KEPT), mqtt.connect("b")
    for member in (slow, quick):
        member.subscribe("$share/g/x", qos=1)
    slow.congested = True
    for number in range(3):
        other.publish("x", b"%d" % number, 1)
    assert [payload for _, payload in quick.messages] == [b"0", b"1", b"2"]
    quick.lose()
    other.publish("x", b"3", 1)
    slow.drain()
    assert slow.messages == [("x", b"3")]
    slow.lose()
    other.publish("x", b"4", 1)
    other.publish("x", b"5", 0)
    assert mqtt.connect("m2", **KEPT).messages == [("x", b"4")]


def test_the_lower_qos_counts_for_a_group(mqtt):
    """[MQTT-4.8.2-3]."""
    member, other = mqtt.connect("m"), mqtt.connect("b")
    member.subscribe("$share/g/x", qos=1)
    for qos in (0, 1, 2):
        other.publish("x", b"", qos)
    assert [packet.qos for packet in member.take(Publish)] == [0, 1, 1]


def test_a_message_that_a_member_refused_goes_to_nobody_else(mqtt):
    """[MQTT-4.8.2-6]."""
    from dhtwisted.wire.mqtt.packets import Puback

    one, two, other = mqtt.connect("m1", auto=False), mqtt.connect("m2", auto=False), mqtt.connect("b")
    for member in (one, two):
        member.subscribe("$share/g/x", qos=1)
    other.publish("x", b"1", 1)
    (packet,) = one.take(Publish)
    one.send(Puback(packet.packet_id, 0x80))
    assert two.take() == []


@pytest.mark.parametrize("version", [4, 5])
def test_dollar_topics_are_not_matched_by_wildcards_at_the_begin(mqtt, version):
    """[MQTT-4.7.2-1]."""
    client, other = mqtt.connect("a", version=version), mqtt.connect("b")
    client.subscribe("#", "+/x")
    other.publish("$other/x", b"")
    assert client.messages == []
    client.subscribe("$other/#")
    other.publish("$other/x", b"")
    assert client.messages == [("$other/x", b"")]


def test_rights_that_were_lost_end_the_subscription(mqtt):
    """They are looked at when users change, and when the session is taken up again."""
    client, other = mqtt.connect("a", **KEPT), mqtt.connect("b")
    client.subscribe("x", "y", qos=1)
    mqtt.access.hidden.add("x")
    client.connection.check_identity()
    client.lose()
    mqtt.access.hidden.add("y")
    again = mqtt.connect("a", **KEPT)
    other.publish("x", b"")
    other.publish("y", b"")
    assert again.messages == []


def test_properties_of_subscribe_may_be_empty(mqtt):
    client = mqtt.connect("a")
    client.send(Subscribe(3, [Subscription("x")], Properties()))
    assert client.take() == [Suback(3, [0])]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_unsuback_has_the_packet_id_also_if_there_was_no_filter(mqtt, version):
    """[MQTT-3.10.4-5]; [MQTT-3.10.4-5] of 3.1.1."""
    client = mqtt.connect("a", version=version)
    client.send(Unsubscribe(77, ["never", "there"]))
    assert client.take() == [Unsuback(77, [0x11, 0x11] if version == 5 else [])]


@pytest.mark.parametrize("version", [4, 5])
def test_only_topics_that_match_are_heard(mqtt, version):
    """[MQTT-3.3.2-3]."""
    client, other = mqtt.connect("a", version=version), mqtt.connect("b")
    client.subscribe("tele/+/state", "tele/#", "/x", "+/y")
    for topic in ("tele", "tele/1/state", "/tele", "x", "/x", "a/x", "/y", "a/b/y", "telex/1", "Tele/1"):
        other.publish(topic, b"")
    assert [topic for topic, _ in client.messages] == ["tele", "tele/1/state", "/x", "/y"]


@pytest.mark.parametrize("version", [4, 5])
def test_nothing_is_lost_when_a_filter_is_replaced(mqtt, version):
    """[MQTT-3.8.4-4]: retained messages come again, and what is in flight or waits comes too."""
    kept = KEPT if version == 5 else {"clean_start": False}
    client, other = mqtt.connect("a", version=version, auto=False, **kept), mqtt.connect("b")
    other.publish("x", b"retained", 1, retain=True)
    client.subscribe("x", qos=1)
    client.congested = True
    other.publish("x", b"1", 1)
    client.send(Subscribe(9, [Subscription("x", 2)]))
    other.publish("x", b"2", 1)
    client.drain()
    payloads = [packet.payload for packet in client.take(Publish)]
    assert payloads.count(b"retained") == 2
    assert [payload for payload in payloads if payload != b"retained"] == [b"1", b"2"]


@pytest.mark.parametrize(
    "request_of", [lambda names: Subscribe(3, [Subscription(name) for name in names]), lambda names: Unsubscribe(3, names)]
)
def test_a_client_that_cannot_take_the_answer_is_closed(mqtt, request_of):
    """[MQTT-3.1.2-24] and 4.13: 0x95. It would wait for SUBACK or UNSUBACK for ever."""
    client, other = mqtt.connect("a", maximum_packet_size=20), mqtt.connect("b")
    client.send(request_of([f"x/{number}" for number in range(15)]))
    assert (len(client.packets.pop().reason_codes), client.closed) == (15, False)
    client.send(request_of([f"x/{number}" for number in range(16)]))
    assert (client.reason, client.closed) == (0x95, True)
    other.publish("x/1", b"")
    assert client.messages == []
