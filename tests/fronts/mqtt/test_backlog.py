"""What waits for a session is in the storage alone, and comes back from there in order when its client does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.fronts.mqtt import in_flight
from dhtwisted.fronts.mqtt.backlog import Backlog
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.wire.mqtt.packets import Puback, Pubcomp, Publish, Pubrec, Pubrel

KEPT = {"clean_start": False, "session_expiry_interval": 100}


@pytest.fixture(params=[4, 5])
def options(request):
    """How a client of either version asks for a session that is kept."""
    return KEPT | {"version": 5} if request.param == 5 else {"clean_start": False, "version": 4}


def outgoing(mqtt):
    return mqtt.broker.sessions[0, "c"].outgoing


def absent(mqtt, options, **subscription):
    """A session that waits."""
    client = mqtt.connect("c", auto=False, **options)
    client.subscribe("#", **{"qos": 2} | subscription)
    client.lose()


def publish(mqtt, *numbers, qos=1, topic="x", **properties):
    client = mqtt.connect("p", auto=True)
    for number in numbers:
        client.publish(topic, b"%d" % number, qos, **properties)
    client.disconnect()


def numbers(packets):
    return [int(packet.payload) for packet in packets if type(packet) is Publish]


def acknowledge(client, packets):
    for packet in packets:
        client.send(Puback(packet.packet_id) if packet.qos == 1 else Pubrec(packet.packet_id))
        if packet.qos == 2:
            client.send(Pubcomp(packet.packet_id))


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_that_waits_is_in_memory(mqtt, options, qos):
    absent(mqtt, options)
    publish(mqtt, *range(20), qos=qos)
    waiting = outgoing(mqtt)
    assert (waiting.pending, list(waiting.queue)) == ({}, [])
    assert (waiting.count, waiting.size) == (20, sum(len(b"%d" % number) + 100 for number in range(20)))
    client = mqtt.connect("c", auto=False, **options)
    found = client.take(Publish)
    assert numbers(found) == list(range(20))
    assert {(packet.qos, packet.dup) for packet in found} == {(qos, False)}
    acknowledge(client, found)
    assert (waiting.count, waiting.size, mqtt.store.names()) == (0, 0, {"session": 1})


def test_no_more_is_read_than_the_client_takes(mqtt):
    absent(mqtt, KEPT)
    publish(mqtt, *range(30))
    client = mqtt.connect("c", auto=False, receive_maximum=4, **KEPT)
    heard = []
    while found := client.take(Publish):
        assert len(found) <= 4
        assert len(outgoing(mqtt).pending) <= 7, "those in flight, and the rest of one portion"
        heard += numbers(found)
        acknowledge(client, found)
    assert (heard, outgoing(mqtt).count) == (list(range(30)), 0)


def test_what_comes_meanwhile_is_behind(mqtt, options):
    absent(mqtt, options)
    publish(mqtt, *range(5))
    mqtt.store.is_slow = True
    client = mqtt.client(options["version"])
    client.auto = False
    mqtt.memory.clock.callLater(0, mqtt.store.release)
    client.connect("c", **{key: value for key, value in options.items() if key != "version"})
    publisher = mqtt.connect("p")
    publisher.publish("x", b"5", 1)
    while mqtt.store.release():
        pass
    for _ in range(9):
        mqtt.store.release()
    assert numbers(client.take()) == [0, 1, 2, 3, 4, 5]


def test_what_had_left_comes_first_with_its_packet_id(mqtt, options):
    """[MQTT-4.4.0-1], [MQTT-4.6.0-1]: though its content was not in memory meanwhile."""
    client = mqtt.connect("c", auto=False, **options)
    client.subscribe("#", qos=2)
    publish(mqtt, 0, 1)
    publish(mqtt, 2, qos=2)
    first = client.take(Publish)
    client.lose()
    assert [delivery.message.payload for delivery in outgoing(mqtt).pending.values()] == [b"", b"", b""]
    publish(mqtt, 3)
    client = mqtt.connect("c", auto=False, **options)
    again = client.take(Publish)
    assert [(packet.payload, packet.dup) for packet in again] == [(b"0", True), (b"1", True), (b"2", True), (b"3", False)]
    assert [packet.packet_id for packet in again[:3]] == [packet.packet_id for packet in first]


def test_an_exchange_goes_on_with_pubrel(mqtt, options):
    client = mqtt.connect("c", auto=False, **options)
    client.subscribe("#", qos=2)
    publish(mqtt, 0, qos=2)
    (message,) = client.take(Publish)
    client.send(Pubrec(message.packet_id))
    client.lose()
    client = mqtt.connect("c", auto=False, **options)
    assert client.take() == [Pubrel(message.packet_id)]
    client.send(Pubcomp(message.packet_id))
    assert (outgoing(mqtt).count, mqtt.store.names()) == (0, {"session": 1})


def test_a_client_that_does_not_read_has_few_in_memory(mqtt, options, monkeypatch):
    monkeypatch.setattr(in_flight, "MOST_QUEUED", 10)
    client = mqtt.connect("c", auto=False, **options)
    client.subscribe("#", qos=1)
    client.congested = True
    publish(mqtt, *range(50))
    assert (len(outgoing(mqtt).pending), outgoing(mqtt).count) == (10, 50)
    client.auto = True
    client.drain()
    assert numbers(client.take()) == list(range(50))
    assert outgoing(mqtt).count == 0


def test_what_waits_too_long_is_dropped(mqtt):
    absent(mqtt, KEPT)
    publish(mqtt, 0, message_expiry_interval=10)
    publish(mqtt, 1)
    mqtt.pass_time(20)
    client = mqtt.connect("c", **KEPT)
    assert numbers(client.take()) == [1]
    assert mqtt.broker.counters.dropped["expired"] == 1
    assert mqtt.store.names() == {"session": 1}


def test_what_may_not_be_heard_any_more_is_dropped(mqtt):
    client = mqtt.connect("c", **KEPT)
    client.subscribe("a", "b", qos=1)
    client.lose()
    publish(mqtt, 0, topic="a")
    publish(mqtt, 1, topic="b")
    mqtt.access.hidden.add("a")
    client = mqtt.connect("c", **KEPT)
    assert client.messages == [("b", b"1")]
    assert mqtt.broker.counters.dropped["no_right"] == 1
    assert mqtt.store.names() == {"session": 1}


@pytest.mark.parametrize("has_left", [False, True])
def test_without_the_storage_nothing_is_lost(mqtt, options, has_left):
    client = mqtt.connect("c", auto=False, **options)
    client.subscribe("#", qos=1)
    if has_left:
        publish(mqtt, 0)
    client.lose()
    publish(mqtt, 1, 2)
    client = mqtt.client(options["version"])
    mqtt.store.is_down = True
    fields = {key: value for key, value in options.items() if key != "version"}
    assert client.connect("c", **fields).reason_code != 0
    mqtt.store.is_down = False
    client.lose()
    client = mqtt.connect("c", **options)
    assert numbers(client.take()) == [0, 1, 2][not has_left :]


def test_a_storage_that_fails_later_ends_the_connection(mqtt):
    absent(mqtt, KEPT)
    publish(mqtt, *range(9))
    client = mqtt.connect("c", auto=False, receive_maximum=2, **KEPT)
    found = client.take(Publish)
    mqtt.store.is_down = True
    acknowledge(client, found)
    acknowledge(client, client.take(Publish)[:1])
    assert client.closed
    mqtt.store.is_down = False
    client.lose()
    found = numbers(mqtt.connect("c", **KEPT).take())
    assert found == list(range(found[0], 9))


@pytest.mark.parametrize("is_clean", [False, True])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_a_session_leaves_to_its_group_is_read(mqtt, qos, is_clean):
    one = mqtt.connect("c", **KEPT)
    one.subscribe("$share/g/x", "x/own", qos=qos)
    one.lose()
    publish(mqtt, *range(10), qos=qos)
    publish(mqtt, 99, topic="x/own")
    two = mqtt.connect("two")
    two.subscribe("$share/g/x", qos=qos)
    assert outgoing(mqtt).pending == {}
    if is_clean:
        mqtt.connect("c")
    else:
        mqtt.pass_time(102)
    assert numbers(two.take()) == list(range(10))
    assert mqtt.store.names()["queued"] == 0


def test_the_end_of_a_session_waits_for_the_storage(mqtt):
    one = mqtt.connect("c", **KEPT)
    one.subscribe("$share/g/x", qos=1)
    one.lose()
    publish(mqtt, 0)
    two = mqtt.connect("two")
    two.subscribe("$share/g/x", qos=1)
    mqtt.store.is_down = True
    mqtt.pass_time(110)
    mqtt.store.is_down = False
    mqtt.pass_time(12)
    assert numbers(two.take()) == [0]
    assert list(mqtt.broker.sessions) == [(0, "two")]


def test_packet_ids_do_not_come_round_to_what_waits(mqtt):
    """[MQTT-2.2.1-4]: the ids of what waits are not in memory."""
    absent(mqtt, KEPT)
    publish(mqtt, 0)
    waiting = outgoing(mqtt)
    first = waiting.last_id
    waiting.go_on_behind(5, (first - 2) % 65_535)
    assert waiting.has_room_for(Message("x"))
    publish(mqtt, 1)
    assert not waiting.has_room_for(Message("x"))
    found = mqtt.connect("c", auto=False, **KEPT).take(Publish)
    assert numbers(found) == [0, 1]
    assert len({packet.packet_id for packet in found}) == 2


def delivery(number):
    return Delivery(Message("x"), 1, False, (), number, number=number, size=1)


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30)), st.integers(1, 4))
def test_a_backlog_gives_what_is_there_in_order(added, missing, size):
    backlog, taken = Backlog(1), []
    for number in sorted(added):
        backlog.add(number, 1)
    assert (list(backlog.numbers()), backlog.count) == (sorted(added), len(added))
    while backlog.count:
        first, last = portion = backlog.portion
        stored = [number for number in range(first, last + 1) if number not in missing]
        taken += [each.number for each in backlog.take(portion, map(delivery, stored[:size]), len(stored) <= size)]
    assert taken == sorted(added - missing)


def test_a_portion_that_grew_while_it_was_read_is_not_over():
    backlog = Backlog(1)
    backlog.add(1, 1)
    portion = backlog.portion
    backlog.add(2, 1)
    assert [each.number for each in backlog.take(portion, [delivery(1)], True)] == [1]
    assert (backlog.count, list(backlog.numbers())) == (1, [2])


def test_a_portion_that_has_another_begin_by_now_is_read_again():
    backlog = Backlog(1)
    backlog.add(3, 1)
    portion = backlog.portion
    backlog.put_back([delivery(1), delivery(2)])
    assert backlog.take(portion, [delivery(3)], True) == []
    assert list(backlog.numbers()) == [1, 2, 3]
