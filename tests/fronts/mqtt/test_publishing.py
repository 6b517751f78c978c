"""PUBLISH of a client, and its acknowledgements (sections 3.3 to 3.7, 4.3, 4.6)."""

import pytest

from dhtwisted.wire.mqtt.packets import Properties, Puback, Pubcomp, Publish, Pubrec, Pubrel
from tests.support.mqtt.raw import field, packet

QOS = pytest.mark.parametrize("qos", [0, 1, 2])


@pytest.mark.parametrize("publisher", [3, 4, 5])
@pytest.mark.parametrize("subscriber", [3, 4, 5])
@QOS
def test_a_message_reaches_a_subscriber_of_any_version(mqtt, publisher, subscriber, qos):
    """[MQTT-3.3.4-1], [MQTT-4.3.1-1], [MQTT-4.3.2-2], [MQTT-4.3.3-2], [MQTT-4.5.0-1]: with the QoS of both."""
    client, hearer = mqtt.connect("a", version=publisher), mqtt.connect("b", version=subscriber)
    hearer.subscribe("a/+", qos=qos)
    client.publish("a/b", b"payload", qos)
    (message,) = hearer.take(Publish)
    assert (message.topic, message.payload, message.qos, message.retain, message.dup) == ("a/b", b"payload", qos, False, False)


@pytest.mark.parametrize(("sent", "granted", "heard"), [(0, 2, 0), (1, 0, 0), (1, 2, 1), (2, 0, 0), (2, 1, 1), (2, 2, 2)])
def test_the_lower_qos_counts(mqtt, sent, granted, heard):
    """In both versions [MQTT-3.8.4-8]."""
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x", qos=granted)
    client.publish("x", b"", sent)
    assert [message.qos for message in hearer.take(Publish)] == [heard]


@pytest.mark.parametrize("version", [4, 5])
def test_qos_1_is_acknowledged(mqtt, version):
    """[MQTT-4.3.2-4], [MQTT-2.2.1-5]: PUBACK with the packet id."""
    client = mqtt.connect("a", version=version)
    mqtt.connect("b").subscribe("x")
    client.send(Publish("x", b"", 1, packet_id=77))
    assert client.take() == [Puback(77)]


@pytest.mark.parametrize("version", [4, 5])
def test_qos_2_is_acknowledged_in_three_steps(mqtt, version):
    """[MQTT-4.3.3-8], [MQTT-4.3.3-11]: PUBREC, and PUBCOMP for PUBREL."""
    client = mqtt.connect("a", version=version, auto=False)
    mqtt.connect("b").subscribe("x")
    client.send(Publish("x", b"", 2, packet_id=77))
    assert client.take() == [Pubrec(77)]
    client.send(Pubrel(77))
    assert client.take() == [Pubcomp(77)]


def test_qos_2_is_delivered_once_until_its_pubrel(mqtt):
    """[MQTT-4.3.3-10], [MQTT-4.3.3-12]: the same packet id is acknowledged again and nothing more; after PUBREL it is another message."""
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x")
    first = Publish("x", b"1", 2, packet_id=5)
    client.send(first)
    client.send(Publish("x", b"1", 2, dup=True, packet_id=5), Publish("x", b"1", 2, dup=True, packet_id=5))
    assert client.take() == [Pubrec(5)] * 3
    client.send(Pubrel(5))
    client.send(Publish("x", b"2", 2, packet_id=5))
    assert client.take() == [Pubcomp(5), Pubrec(5)]
    assert hearer.messages == [("x", b"1"), ("x", b"2")]


def test_qos_2_is_delivered_before_its_pubrel(mqtt):
    """Section 4.3.3, figure 4.3: delivery begins with PUBLISH."""
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x")
    client.publish("x", b"1", 2)
    assert hearer.messages == [("x", b"1")]


@pytest.mark.parametrize(("version", "code"), [(4, 0), (5, 0x92)])
def test_a_pubrel_for_nothing_is_completed(mqtt, version, code):
    """Section 3.7.2.1: 0x92, since the client must be able to free its packet id."""
    client = mqtt.connect("a", version=version)
    client.send(Pubrel(9))
    assert client.take() == [Pubcomp(9, code)]


def test_what_nobody_hears_is_said_to_5_0_alone(mqtt):
    """0x10 in PUBACK and PUBREC (3.4.2.1, 3.5.2.1)."""
    assert mqtt.connect("a").publish("x", b"", 1).reason_code == 0x10
    assert mqtt.connect("b").publish("x", b"", 2).reason_code == 0x10
    assert mqtt.connect("c", version=4).publish("x", b"", 1) == Puback(1)


def test_acknowledgements_keep_the_order_of_the_publishes(mqtt):
    """[MQTT-4.6.0-2], [MQTT-4.6.0-3]: those of one QoS; we keep it for all together."""
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("#", qos=2)
    client.send(*[Publish("x", bytes((number,)), 1 + number % 2, packet_id=100 - number) for number in range(20)])
    assert [packet.packet_id for packet in client.take()] == [100 - number for number in range(20)]
    assert [payload[0] for _, payload in hearer.messages] == list(range(20))


@QOS
def test_messages_keep_their_order(mqtt, qos):
    """[MQTT-4.6.0-5], [MQTT-4.6.0-6]."""
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x", qos=qos)
    for number in range(200):
        client.publish("x", b"%d" % number, qos)
    assert [int(payload) for _, payload in hearer.messages] == list(range(200))


def test_the_properties_of_a_message_go_on_unchanged(mqtt):
    """[MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]."""
    client, hearer, old = mqtt.connect("a"), mqtt.connect("b"), mqtt.connect("c", version=4)
    hearer.subscribe("x")
    old.subscribe("x")
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answers",
        "correlation_data": b"\0\1",
        "user_property": (("a", "1"), ("b", "2"), ("a", "1")),
    }
    client.publish("x", b"text", **properties)
    assert hearer.one(Publish).properties == Properties(**properties)
    assert old.one(Publish).properties is None


def test_the_lifetime_of_a_message_is_what_is_left_of_it(mqtt):
    """[MQTT-3.3.2-6]."""
    client, hearer = mqtt.connect("a"), mqtt.connect("b", session_expiry_interval=100, clean_start=False)
    hearer.subscribe("x", qos=1)
    hearer.lose()
    client.publish("x", b"short", 1, message_expiry_interval=5)
    client.publish("x", b"long", 1, message_expiry_interval=60)
    mqtt.pass_time(10)
    again = mqtt.connect("b", session_expiry_interval=100, clean_start=False)
    assert [(packet.payload, packet.properties.message_expiry_interval) for packet in again.take(Publish)] == [(b"long", 50)]
    assert mqtt.broker.counters.dropped["expired"] == 1
    assert mqtt.store.names()["queued"] == 0


def test_a_topic_alias_stands_for_its_topic(mqtt):
    """[MQTT-3.3.2-12] of 5.0 and section 3.3.2.3.4: set, used, and set again; of this direction and connection alone."""
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("#")
    client.publish("x", b"1", topic_alias=1)
    client.publish("", b"2", topic_alias=1)
    client.publish("y", b"3", topic_alias=1)
    client.publish("", b"4", topic_alias=1)
    client.publish("x", b"5")
    found = hearer.take(Publish)
    assert [(packet.topic, packet.payload) for packet in found] == [("x", b"1"), ("x", b"2"), ("y", b"3"), ("y", b"4"), ("x", b"5")]
    # [MQTT-3.3.2-7]: the alias of the publisher is none of the subscriber's.
    assert all(packet.properties is None for packet in found)


def test_topic_aliases_end_with_the_connection(mqtt):
    """[MQTT-3.3.2-7]."""
    client = mqtt.connect("a", session_expiry_interval=60, clean_start=False)
    client.publish("x", b"1", topic_alias=1)
    client.lose()
    again = mqtt.connect("a", session_expiry_interval=60, clean_start=False)
    again.publish("", b"2", topic_alias=1)
    assert again.reason == 0x82


@pytest.mark.parametrize("alias", [17, 65535])
def test_an_alias_above_the_maximum_ends_the_connection(mqtt, alias):
    """[MQTT-3.3.2-9]: 0x94."""
    client = mqtt.connect("a")
    client.publish("x", b"", topic_alias=alias)
    assert (client.reason, client.closed) == (0x94, True)


def test_the_alias_0_ends_the_connection(mqtt):
    """[MQTT-3.3.2-8]: 0x94."""
    client = mqtt.connect("a")
    client.send_bytes(packet(0x30, field(b"x"), b"\x03\x23\x00\x00"))
    assert (client.reason, client.closed) == (0x94, True)


def test_no_topic_and_no_alias_end_the_connection(mqtt):
    """Section 3.3.2.1: 0x82."""
    client = mqtt.connect("a")
    client.send_bytes(packet(0x30, field(b""), b"\x00"))
    assert client.reason == 0x82


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("topic", [b"a/+", b"#"])
def test_a_wildcard_in_a_topic_ends_the_connection(mqtt, version, topic):
    """[MQTT-3.3.2-2]."""
    client, hearer = mqtt.connect("a", version=version), mqtt.connect("b")
    hearer.subscribe("#")
    client.send_bytes(packet(0x30, field(topic), b"" if version == 4 else b"\x00"))
    assert client.closed
    assert hearer.messages == []


@pytest.mark.parametrize(("qos", "kind"), [(1, Puback), (2, Pubrec)])
def test_a_publish_without_the_right_is_refused(mqtt, qos, kind):
    """0x87 with a reason; the message reaches nobody, and the connection stays."""
    mqtt.access.silenced.add("secret")
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("#")
    answer = client.publish("secret", b"", qos)
    assert (type(answer), answer.reason_code) == (kind, 0x87)
    assert answer.properties.reason_string
    assert (hearer.messages, client.closed) == ([], False)


def test_a_refused_packet_id_is_free(mqtt):
    """[MQTT-4.3.3-9] and 4.3.3: after a PUBREC with an error the packet id may be used for another message."""
    mqtt.access.silenced.add("secret")
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x")
    client.send(Publish("secret", b"", 2, packet_id=3))
    client.send(Publish("x", b"1", 2, packet_id=3))
    assert [answer.reason_code for answer in client.take(Pubrec)] == [0x87, 0]
    assert hearer.messages == [("x", b"1")]


@pytest.mark.parametrize("qos", [1, 2])
def test_3_1_1_cannot_be_refused(mqtt, qos):
    """[MQTT-3.3.5-2] of 3.1.1: it is acknowledged, dropped and counted."""
    mqtt.access.silenced.add("secret")
    client, hearer = mqtt.connect("a", version=4), mqtt.connect("b")
    hearer.subscribe("#")
    assert client.publish("secret", b"", qos).reason_code == 0
    assert (hearer.messages, client.closed) == ([], False)
    assert mqtt.broker.counters.refused[0x87] == 1


def test_reasons_are_told_only_to_who_wants_them(mqtt):
    """[MQTT-3.1.2-29]."""
    mqtt.access.silenced.add("secret")
    client = mqtt.connect("a", request_problem_information=0)
    assert client.publish("secret", b"", 1).properties is None


def test_a_reason_does_not_make_a_packet_too_large(mqtt):
    """[MQTT-3.4.2-2] and the same of others: it is left out."""
    mqtt.access.silenced.add("secret")
    client = mqtt.connect("a", maximum_packet_size=40)
    answer = client.publish("secret", b"", 1)
    assert (answer.reason_code, answer.properties) in [(0x87, None), (0x87, Properties())]


def test_without_plain_topics_nothing_is_forwarded(open_mqtt):
    mqtt = open_mqtt(plain_topics=False)
    client = mqtt.connect("a")
    assert client.subscribe("x", qos=1) == [0x87]
    assert client.publish("x", b"", 1).reason_code == 0x87


@pytest.mark.parametrize("topic", ["dh/request", "dh", "dh/notification/1/1/d/n"])
def test_what_is_below_dh_is_never_forwarded(mqtt, topic):
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("#", "+/request", "+", "+/+/+/+/+/+")
    assert client.publish(topic, b"password", 1).reason_code == 0x87
    assert hearer.messages == []


def test_more_than_the_receive_maximum_ends_the_connection(open_mqtt):
    """[MQTT-3.3.4-7] and 4.9: 0x93. PUBREL, not PUBREC, makes room."""
    client = open_mqtt(receive_maximum=2).connect("a", auto=False)
    client.send(Publish("x", b"", 2, packet_id=1))
    client.send(Publish("x", b"", 2, packet_id=2))
    client.send(Pubrel(1))
    client.send(Publish("x", b"", 2, packet_id=3))
    assert not client.closed
    client.send(Publish("x", b"", 1, packet_id=4))
    assert (client.reason, client.closed) == (0x93, True)


def test_publishes_that_no_answer_could_have_preceded_count_together(open_mqtt):
    """[MQTT-3.3.4-7]: those read at once."""
    mqtt = open_mqtt(receive_maximum=2)
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x")
    client.send(*[Publish("x", b"%d" % number, 1, packet_id=number) for number in (1, 2, 3)])
    assert client.reason == 0x93
    assert hearer.messages == [("x", b"1"), ("x", b"2")]


def test_qos_0_needs_no_room(open_mqtt):
    """Section 4.9."""
    mqtt = open_mqtt(receive_maximum=1)
    client, hearer = mqtt.connect("a", auto=False), mqtt.connect("b")
    hearer.subscribe("x")
    client.send(Publish("x", b"", 2, packet_id=1), *[Publish("x", b"")] * 10)
    assert not client.closed
    assert len(hearer.messages) == 11


def test_3_1_1_knows_no_receive_maximum(open_mqtt):
    client = open_mqtt(receive_maximum=1).connect("a", version=4, auto=False)
    client.send(*[Publish("x", b"", 2, packet_id=number) for number in range(1, 100)])
    assert not client.closed
    assert len(client.take(Pubrec)) == 99


def test_a_client_that_does_not_read_its_answers_is_not_read(mqtt):
    client = mqtt.connect("a")
    client.congested = True
    client.send(*[Publish("x", b"", 1, packet_id=number) for number in range(1, 10)])
    assert client.paused
    assert client.take() == []
    client.drain()
    assert not client.paused
    assert len(client.take(Puback)) == 9


def test_more_publishes_than_the_rate_wait(open_mqtt):
    mqtt = open_mqtt(limits={"requests_per_second": 5})
    client, hearer = mqtt.connect("a"), mqtt.connect("b")
    hearer.subscribe("x")
    client.send(*[Publish("x", b"%d" % number) for number in range(20)])
    assert len(hearer.messages) == 5
    assert client.paused
    mqtt.pass_time(2)
    assert [payload for _, payload in hearer.messages] == [b"%d" % number for number in range(5, 15)]
    mqtt.pass_time(2)
    assert not client.paused
    assert len(hearer.messages) == 5


def test_many_subscribers_get_each_their_own_form(mqtt):
    """QoS 0 to many at once: versions, identifiers, aliases, the largest packet, a client that does not read, and one that is gone."""
    client = mqtt.connect("p")
    old, new, large = mqtt.connect("a", version=4), mqtt.connect("b"), mqtt.connect("c", maximum_packet_size=30)
    named, short = mqtt.connect("d"), mqtt.connect("e", topic_alias_maximum=1)
    slow, absent = mqtt.connect("f"), mqtt.connect("g", clean_start=False, session_expiry_interval=9)
    named.subscribe("x", identifier=9)
    for hearer in (old, new, large, short, slow, absent):
        hearer.subscribe("x")
    slow.congested = True
    absent.lose()
    for payload in (b"1", b" " * 50):
        client.publish("x", payload)
    assert [packet.properties for packet in old.take(Publish)] == [None, None]
    assert [packet.properties for packet in new.take(Publish)] == [None, None]
    assert [packet.payload for packet in large.take(Publish)] == [b"1"]
    assert [packet.properties.subscription_identifier for packet in named.take(Publish)] == [(9,), (9,)]
    assert [packet.topic for packet in short.take(Publish)] == ["x", ""]
    assert slow.take() == []
    assert {name: count for name, count in mqtt.broker.counters.dropped.items() if count} == {"not_reading": 2, "too_large": 1}


def test_a_subscriber_that_breaks_does_not_keep_a_message_from_others(mqtt):
    client, broken, hearer = mqtt.connect("p"), mqtt.connect("a"), mqtt.connect("b")
    for one in (broken, hearer):
        one.subscribe("x", qos=1)
    broken.write = None
    for qos in (0, 1):
        assert client.publish("x", b"%d" % qos, qos) in (None, Puback(1))
    assert [payload for _, payload in hearer.messages] == [b"0", b"1"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [1, 2])
def test_the_flag_of_a_duplicate_is_not_passed_on(mqtt, version, qos):
    """[MQTT-3.3.1-3]."""
    client, hearer = mqtt.connect("a", version=version), mqtt.connect("b", version=version)
    hearer.subscribe("x", qos=2)
    client.send(Publish("x", b"1", qos, dup=True, packet_id=3))
    assert [packet.dup for packet in hearer.take(Publish)] == [False]


@pytest.mark.parametrize("version", [4, 5])
def test_after_puback_a_packet_id_is_that_of_a_new_message(mqtt, version):
    """[MQTT-4.3.2-5]: whatever its flag of a duplicate is."""
    client, hearer = mqtt.connect("a", version=version), mqtt.connect("b")
    hearer.subscribe("x")
    for payload, dup in ((b"1", False), (b"2", True), (b"3", False)):
        client.send(Publish("x", payload, 1, dup=dup, packet_id=3))
    assert [payload for _, payload in hearer.messages] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("version", [4, 5])
def test_a_topic_may_have_65535_bytes(mqtt, version):
    """[MQTT-4.7.3-3]: and a filter; the text of a packet cannot have more."""
    client, hearer = mqtt.connect("a", version=version), mqtt.connect("b", version=version)
    topic = "x" * 65_533 + "/y"
    assert hearer.subscribe(topic, "x" * 65_533 + "/+") == [0, 0]
    client.publish(topic, b"1")
    assert hearer.messages == [(topic, b"1")]


@pytest.mark.parametrize("version", [4, 5])
def test_no_character_of_a_topic_is_replaced(mqtt, version):
    """[MQTT-4.7.3-4]: case, accents in one character or two, characters of no meaning, slashes, spaces, and U+FEFF count."""
    client = mqtt.connect("a", version=version)
    topics = ["é", "e\u0301", "É", "x", "X", "x/", "/x", "//x", " x", "x ", "\ufeffx", "x\ufffe", "\u212b", "\u00c5", "ﬁ", "fi", "x%2F"]
    hearers = {topic: mqtt.connect(f"h{number}", version=version) for number, topic in enumerate(topics)}
    for topic, hearer in hearers.items():
        hearer.subscribe(topic)
    for topic in topics:
        client.publish(topic, topic.encode())
    assert {topic: hearer.messages for topic, hearer in hearers.items()} == {topic: [(topic, topic.encode())] for topic in topics}
