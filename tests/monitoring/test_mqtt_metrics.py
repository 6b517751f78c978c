"""The metrics of MQTT, by a scrape of a server that real clients use."""

import pytest_twisted

from dhtwisted.fronts.mqtt.counters import BOUNDS, DROPS
from dhtwisted.wire.mqtt.packets import Pingreq, Publish, Subscribe, Subscription
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
    assert [of(found, name)[""] for name in ("publishes_sent_total", "in_flight_messages", "queued_messages", "retained_messages")] == [
        1,
        1,
        1,
        1,
    ]
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
