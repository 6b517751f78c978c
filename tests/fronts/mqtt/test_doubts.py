"""A storage that stores, and then fails before it answers: nothing with QoS 2 is stored twice, and nothing is taken for a repetition."""

import pytest

from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.mqtt.stored import MqttStore
from dhtwisted.model import Notification
from dhtwisted.testing.server import at_once
from dhtwisted.wire.mqtt.packets import Pubcomp, Publish, Pubrec, Pubrel

LAMP = "dh/notification///lamp/t"
KEPT = {"clean_start": False, "session_expiry_interval": 3600}


@pytest.fixture
def failing(hive):
    """A server whose storage fails as long as a test says ``failing.append(when)``: ``before`` it stores, or ``after``."""
    storage, moments = hive.memory.storage, []
    change_many = storage.change_many

    async def fail(*arguments):
        if "before" not in moments:
            await change_many(*arguments)
        raise StorageUnavailable("the test says so")

    storage.change_many = lambda *arguments: fail(*arguments) if moments else change_many(*arguments)
    hive.broker.store = MqttStore(storage, hive.memory.clock.seconds)
    return moments


def connect(hive, version):
    return hive.connect("anna", version=version, user=hive.anna, auto=False, **KEPT if version == 5 else {"clean_start": False})


def publish(client, payload, packet_id, dup=False):
    """Do a whole exchange."""
    client.send(Publish(LAMP, payload, 2, packet_id=packet_id, dup=dup))
    assert client.take() == [Pubrec(packet_id)]
    client.send(Pubrel(packet_id))
    assert client.take() == [Pubcomp(packet_id)]


def parameters(hive):
    return [message.parameters for message in hive.stored(Notification)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_of_3_1_1_sends_it_again_and_it_is_stored_once(hive, failing, when):
    """[MQTT-4.4.0-1], [MQTT-4.3.3-9]: several publishes of one read."""
    client = connect(hive, 4)
    failing.append(when)
    client.send(*[Publish(LAMP, b"%d" % number, 2, packet_id=number) for number in (1, 2, 3)])
    assert client.take() == []
    client.lose()
    assert client.closed
    failing.clear()
    again = connect(hive, 4)
    for number in (1, 2, 3):
        publish(again, b"%d" % number, number, dup=True)
    publish(again, b"4", 1)
    assert parameters(hive) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("comes_back", [False, True])
def test_after_an_error_a_packet_id_is_of_another_message(hive, failing, when, comes_back):
    client = connect(hive, 5)
    failing.append(when)
    client.send(Publish(LAMP, b"1", 2, packet_id=7))
    assert client.one(Pubrec).reason_code == 0x80
    failing.clear()
    if comes_back:
        client.lose()
        client = connect(hive, 5)
        assert at_once(hive.broker.store.read_received(client.connection.session)) == {}
    publish(client, b"2", 7)
    assert parameters(hive) == [b"1"] * (when == "after") + [b"2"]
