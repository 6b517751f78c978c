"""The metrics of MQTT, by a scrape of a server that real clients use."""

import pytest_twisted

from dhtwisted.fronts.mqtt.counters import BOUNDS, DROPS
from dhtwisted.wire.mqtt.packets import Connect, Pingreq, Publish, Pubrec, Pubrel, Subscribe, Subscription, Unsubscribe
from tests.monitoring.test_metrics import scrape
from tests.support.mqtt.listening import MqttPeer


def of(found, name):
    """The samples of one metric: the label's value -> the value."""
    return {key[1][1] if len(key) > 1 else "": value for key, value in found.items() if key[0] == f"mqtt_{name}"}


@pytest_twisted.ensureDeferred
async def test_without_mqtt_there_are_none(listen):
    assert not [key for key in await scrape(await listen()) if key[0].startswith("mqtt")]


@pytest_twisted.ensureDeferred
async def test_what_is_known_from_the_start_is_there_with_0(serve_mqtt):
    found = await scrape(await serve_mqtt())
    assert {value for key, value in found.items() if key[0].startswith("mqtt")} == {0}
    assert set(of(found, "connections")) == {"none", "3.1", "3.1.1", "5.0"}
    assert set(of(found, "dropped_messages_total")) == set(DROPS)
    assert set(of(found, "refusals_total")) == set(BOUNDS)
    assert {"CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "PINGRESP", "DISCONNECT"} == set(
        of(found, "packets_sent_total")
    )
    assert {"CONNECT", "PUBLISH", "PINGREQ", "SUBSCRIBE", "AUTH"} <= set(of(found, "packets_received_total"))


@pytest_twisted.ensureDeferred
async def test_clients_packets_and_messages_are_counted(serve_mqtt):
    server = await serve_mqtt()
    hearer, speaker = await server.connected("hearer"), await server.connected("speaker", 4)
    await server.connected("old", 3)
    await server.peer()
    hearer.send(Subscribe(1, [Subscription("a", 1)]))
    await hearer.packet()
    speaker.send(Publish("a", b"12345", 1, packet_id=1, retain=True), Pingreq())
    await speaker.packet()
    await hearer.packet()
    await server.turns(lambda: len(server.broker.connections) == 4)
    found = await scrape(server)
    assert of(found, "connections") == {"none": 1, "3.1": 1, "3.1.1": 1, "5.0": 1}
    assert of(found, "sessions") == {"yes": 3, "no": 0}
    received = of(found, "packets_received_total")
    assert [received[name] for name in ("CONNECT", "SUBSCRIBE", "PUBLISH", "PINGREQ", "PUBACK")] == [3, 1, 1, 1, 0]
    sent = of(found, "packets_sent_total")
    assert {name: n for name, n in sent.items() if n} == {"CONNACK": 3, "SUBACK": 1, "PUBLISH": 1, "PUBACK": 1, "PINGRESP": 1}
    assert [of(found, name)[""] for name in ("in_flight_messages", "queued_messages", "retained_messages")] == [1, 1, 1]
    assert of(found, "retained_bytes")[""] > 5
    assert of(found, "received_bytes_total")[""] > of(found, "sent_bytes_total")[""] > 20
    assert (found["connections",], found["websocket_connections",]) == (4, 0)


@pytest_twisted.ensureDeferred
async def test_ends_and_refusals_have_their_reason(serve_mqtt):
    server = await serve_mqtt(mqtt={"sessions": 1})
    first = await server.connected("first")
    refused = MqttPeer(await server.raw())
    assert (await refused.connect("second")).reason_code == 0x97
    first.raw.write(b"\x00\x00")
    await first.until_closed()
    found = await scrape(server)
    assert of(found, "connects_total") == {"0x00": 1, "0x97": 1}
    assert of(found, "ended_total") == {"0x81": 1, "0x97": 1}
    assert of(found, "refusals_total")["sessions"] == 1


@pytest_twisted.ensureDeferred
async def test_every_packet_to_a_client_is_counted_by_its_type(serve_mqtt):
    """All exchanges of QoS 2 in both directions, and an answer with a reason."""
    server = await serve_mqtt()
    peer = await server.connected("both")
    peer.send(Subscribe(1, [Subscription("a", 2)]), Publish("a", b"1", 2, packet_id=7), Pubrel(7), Unsubscribe(2, ["x"]))
    packets = [await peer.packet() for _ in range(4)]
    (heard,) = [packet for packet in packets if type(packet) is Publish] or [await peer.packet()]
    peer.send(Pubrec(heard.packet_id), Pubrel(9), Pubrec(99))
    while "DISCONNECT" not in {type(packet).__name__.upper() for packet in packets}:
        packets.append(await peer.packet())
        if type(packets[-1]) is Pubrel and packets[-1].packet_id == 99:
            peer.send(Connect(version=5, client_id="both"))
    sent = of(await scrape(server), "packets_sent_total")
    wanted = {"CONNACK": 1, "SUBACK": 1, "PUBLISH": 1, "PUBREC": 1, "PUBREL": 2, "PUBCOMP": 2, "UNSUBACK": 1, "DISCONNECT": 1}
    assert {name: n for name, n in sent.items() if n} == wanted
