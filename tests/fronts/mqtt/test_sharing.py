"""What a session leaves to the other members of a shared subscription (MQTT 5.0, section 4.8.2)."""

import pytest

from dhtwisted.fronts.mqtt.sharing import share_of
from dhtwisted.wire.mqtt.packets import Puback, Publish, Pubrec, Pubrel

KEPT = {"clean_start": False, "session_expiry_interval": 100}
SHARED = "$share/g/x"


def members(mqtt, qos=1, version=5, **second):
    """Two members of a group, of whom the first gets the first message; and a publisher."""
    found = [mqtt.connect("m1", version=version, auto=False), mqtt.connect("m2", version=version, auto=False, **second)]
    for member in found:
        member.subscribe(SHARED, qos=qos)
    return [*found, mqtt.connect("b")]


def payloads(member):
    return [packet.payload for packet in member.take(Publish)]


@pytest.mark.parametrize("version", [4, 5])
def test_what_a_member_has_not_acknowledged_goes_to_another(mqtt, version):
    """Section 4.8.2, for QoS 1, when the session ends with its connection."""
    one, two, other = members(mqtt, version=version)
    other.publish("x", b"1", 1)
    other.publish("x", b"2", 1)
    other.publish("x", b"3", 1)
    first, last = one.take(Publish)
    one.send(Puback(first.packet_id))
    if version == 5:
        one.lose()
    else:
        mqtt.connect("m1", version=4)
    assert (first.payload, last.payload) == (b"1", b"3")
    assert payloads(two) == [b"2", b"3"]


def test_it_waits_for_a_session_that_is_kept(mqtt):
    """The chosen client may come back, so its messages stay as long as its session."""
    one, other = mqtt.connect("m1", auto=False, **KEPT), mqtt.connect("b")
    one.subscribe(SHARED, qos=1)
    other.publish("x", b"1", 1)
    two = mqtt.connect("m2")
    two.subscribe(SHARED, qos=1)
    one.lose()
    mqtt.pass_time(99)
    assert payloads(two) == []
    assert mqtt.store.names()["queued"] == 1
    mqtt.pass_time(3)
    assert payloads(two) == [b"1"]
    assert mqtt.store.names()["queued"] == 0


def test_it_is_stored_for_a_member_that_is_kept(mqtt):
    """In one commit: a crash neither loses the message nor doubles it."""
    one, two, other = members(mqtt, **KEPT)
    other.publish("x", b"1", 1)
    mqtt.store.is_slow = True
    one.lose()
    assert payloads(two) == []
    assert mqtt.store.release() == 1
    assert payloads(two) == [b"1"]
    assert mqtt.store.names()["queued"] == 1


def test_it_is_sent_also_if_it_cannot_be_stored(mqtt):
    one, two, other = members(mqtt, **KEPT)
    other.publish("x", b"1", 1)
    mqtt.store.is_down = True
    one.lose()
    assert payloads(two) == [b"1"]


def test_qos_2_that_has_left_goes_to_nobody_else(mqtt):
    """[MQTT-4.8.2-5]: the client may have it."""
    one, two, other = members(mqtt, qos=2)
    other.publish("x", b"1", 2)
    assert payloads(one) == [b"1"]
    one.lose()
    assert payloads(two) == []


def test_qos_2_that_has_not_left_goes_to_another(mqtt):
    one, other = mqtt.connect("m1", auto=False, receive_maximum=1), mqtt.connect("b")
    one.subscribe(SHARED, qos=2)
    other.publish("x", b"1", 2)
    other.publish("x", b"2", 2)
    two = mqtt.connect("m2", auto=False)
    two.subscribe(SHARED, qos=2)
    one.send(Pubrec(one.one(Publish).packet_id))
    one.lose()
    assert payloads(two) == [b"2"]


def test_other_subscriptions_leave_nothing(mqtt):
    one, two, other = members(mqtt)
    one.subscribe("x", "$share/h/x", qos=1)
    other.publish("x", b"1", 1)
    assert len(one.take(Publish)) == 3
    one.lose()
    # Of the group h nobody is left.
    assert payloads(two) == [b"1"]
    assert mqtt.broker.counters.dropped["no_member"] == 1


def test_a_message_whose_time_is_over_is_dropped(mqtt):
    one, two, other = members(mqtt)
    other.publish("x", b"1", 1, message_expiry_interval=2)
    mqtt.pass_time(3)
    one.lose()
    assert payloads(two) == []
    assert mqtt.broker.counters.dropped["expired"] == 1


def test_a_message_passes_through_many_members(mqtt):
    """Each leaves what the one before has left."""
    found = [mqtt.connect(f"m{number}", auto=False) for number in range(300)]
    other = mqtt.connect("b")
    for member in found:
        member.subscribe(SHARED, qos=1)
    other.publish("x", b"1", 1)
    for member in found[:-1]:
        member.lose()
    assert payloads(found[-1]) == [b"1"]


@pytest.mark.parametrize(
    ("filters", "share"),
    [
        ((), ""),
        (("x", "#"), ""),
        ((SHARED,), SHARED),
        (("$share/g/+", "y"), "$share/g/+"),
        ((SHARED, "#"), ""),
        ((SHARED, "$share/h/x"), ""),
    ],
)
def test_after_a_restart_the_filters_tell_the_group(mqtt, filters, share):
    """Where they leave a doubt, the message is nobody else's: a group must not hear it twice."""
    client = mqtt.connect("a")
    if filters:
        client.subscribe(*filters, qos=1)
    assert share_of(client.connection.session, "x") == share


def test_qos_2_is_completed_with_its_member_when_they_come_back(mqtt):
    """[MQTT-4.8.2-4]: with the packet ids that it had, while another member could take it."""
    one, two, other = mqtt.connect("m1", auto=False, **KEPT), mqtt.connect("m2", auto=False), mqtt.connect("b")
    for member in (one, two):
        member.subscribe(SHARED, qos=2)
    for payload in (b"1", b"2", b"3"):
        other.publish("x", payload, 2)
    first, second = one.take(Publish)
    one.send(Pubrec(first.packet_id))
    one.lose()
    again = mqtt.connect("m1", auto=False, **KEPT)
    found = again.take()
    assert [(type(packet), packet.packet_id) for packet in found] == [(Pubrel, first.packet_id), (Publish, second.packet_id)]
    assert payloads(two) == [b"2"]


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_member_that_goes_while_the_message_is_stored_loses_nothing(mqtt, qos, is_kept):
    """Another member gets it: the message was acknowledged, since somebody else's copy was stored."""
    one, two, other = members(mqtt, qos, **(KEPT if is_kept else {}))
    mqtt.connect("absent", **KEPT).subscribe("x", qos=1)
    other.auto = False
    mqtt.store.is_slow = True
    other.publish("x", b"1", qos)
    one.lose()
    while mqtt.store.release():
        pass
    assert (payloads(one), payloads(two)) == ([], [b"1"])
    assert other.take(Pubrec if qos == 2 else Puback)


def test_without_another_member_it_is_dropped_and_counted(mqtt):
    one, two, other = members(mqtt)
    mqtt.connect("absent", **KEPT).subscribe("x", qos=1)
    mqtt.store.is_slow = True
    other.publish("x", b"1", 1)
    one.lose()
    two.lose()
    mqtt.store.release()
    assert mqtt.broker.counters.dropped["no_member"] == 1
