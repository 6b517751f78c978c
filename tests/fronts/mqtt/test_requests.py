"""``dh/request`` and its answers."""

import json

import pytest

from dhtwisted.model import Command, Notification
from dhtwisted.wire.mqtt.packets import Publish
from tests.support.mqtt.devices import parameters, topics


def request(client, action, qos=0, properties=None, **members):
    return client.publish("dh/request", json.dumps({"action": action} | members).encode(), qos, **(properties or {}))


def answers(client):
    return [json.loads(payload) for topic, payload in client.messages if topic.startswith("dh/response/")]


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_answer_comes_to_who_has_subscribed(hive, version, qos):
    client = hive.admin(version=version)
    client.subscribe("dh/response/device/count@admin")
    request(client, "device/count", qos, requestId=7)
    ((topic, payload),) = client.messages
    assert topic == "dh/response/device/count@admin"
    assert payload == b'{"action":"device/count","requestId":7,"status":"success","count":2}'


def test_an_answer_that_nobody_hears_is_dropped(hive):
    client = hive.admin()
    client.subscribe("dh/response/device/list@admin")
    request(client, "device/count")
    assert client.take(Publish) == []
    client.subscribe("dh/response/+/+", qos=1, identifier=9)
    request(client, "device/count")
    (message,) = client.take(Publish)
    assert (message.topic, message.qos, message.properties.subscription_identifier) == ("dh/response/device/count@admin", 1, (9,))
    client.unsubscribe("dh/response/+/+")
    request(client, "device/count")
    assert client.take(Publish) == []


def test_every_action_of_a_websocket(hive):
    """The answers are those of a WebSocket, byte for byte."""
    socket, client = hive.memory.connect(), hive.admin()
    socket.send_text(json.dumps({"action": "authenticate", "token": hive.memory.token()}))
    client.subscribe("dh/response/#")
    for text in (
        b'{"action":"device/list","requestId":1}',
        b'{"action":"device/get","deviceId":"nobody","requestId":[1]}',
        b'{"action":"network/list","take":1}',
        b'{"action":"user/getCurrent"}',
        b'{"action":"configuration/get","name":"none"}',
        b'{"action":"no/such"}',
        b'{"action":5}',
        b"{}",
        b"[]",
        b"no json",
        b'{"action":"notification/insert","deviceId":"lamp","notification":{"notification":"x","parameters":{"a":1e999}}}',
        b'{"action":"subscription/list"}',
    ):
        sent = []
        socket.send, socket.session.output.send = sent.append, sent.append
        socket.send_text(text)
        client.publish("dh/request", text)
        assert [payload for _, payload in client.messages] == sent, text


def test_answers_to_what_has_no_action(hive):
    client = hive.admin()
    client.subscribe("dh/response/error@admin")
    client.publish("dh/request", b"no json", 1)
    client.publish("dh/request", b'{"action":"a/+/#"}', 1)
    assert [answer["code"] for answer in answers(client)] == [400, 400]
    assert client.publish("dh/request", b"\xff", 1).reason_code == 0x99


def test_a_response_topic_with_correlation_data(hive):
    """Sections 3.3.2.3.5, 3.3.2.3.6 and 4.10 of 5.0. Only a topic of the client's own is taken."""
    client = hive.admin()
    client.subscribe("dh/response/#")
    request(client, "device/count", properties={"response_topic": "dh/response/mine/7@admin", "correlation_data": b"\0\1"})
    request(client, "device/count", properties={"response_topic": "dh/response/mine@other", "correlation_data": b"2"})
    request(client, "device/count", properties={"response_topic": "plain/topic"})
    found = [(message.topic, message.properties and message.properties.correlation_data) for message in client.take(Publish)]
    usual = "dh/response/device/count@admin"
    assert found == [("dh/response/mine/7@admin", b"\0\1"), (usual, b"2"), (usual, None)]


def test_an_anonymous_client_logs_in(hive):
    client = hive.connect("c1")
    assert client.subscribe("dh/response/authenticate@c1", "dh/response/token@c1", "dh/response/token/refresh@c1") == [0, 0, 0]
    refused = ["dh/response/authenticate@other", "dh/response/authenticate@+", "dh/response/device/list@c1", "dh/notification/#"]
    assert client.subscribe(*refused) == [0x87, 0x8F, 0x87, 0x87]
    request(client, "device/list")
    request(client, "authenticate", token="nonsense")
    assert [(answer["action"], answer["code"]) for answer in answers(client)] == [("authenticate", 401)]
    assert client.publish("dh/notification///lamp/t", b"1", 1).reason_code == 0x87
    request(client, "authenticate", token=hive.memory.token(hive.anna))
    assert [answer["status"] for answer in answers(client)] == ["success"]
    assert client.subscribe("dh/notification/#") == [0]
    assert client.publish("dh/notification///lamp/t", b"1", 1).reason_code == 0
    assert client.publish("dh/notification///pump/t", b"1", 1).reason_code == 0x87
    assert parameters(client) == [1]
    account = hive.memory.server.quotas.account(hive.anna.id)
    assert (account.connections, account.subscriptions) == (1, 1)
    client.lose()
    assert (account.connections, account.subscriptions) == (0, 0)


def test_who_logged_in_later_leaves_nothing_to_the_next(hive):
    """The session of an anonymous client is nobody's: what a user did not receive, the next one with its id does not see."""
    client = hive.connect("c1", version=4, clean_start=False, auto=False)
    request(client, "authenticate", token=hive.memory.token(hive.anna))
    client.subscribe("dh/notification/#", qos=1)
    admin = hive.admin()
    admin.publish("dh/notification///lamp/t", b"1")
    client.lose()
    admin.publish("dh/notification///lamp/t", b"2")
    other = hive.connect("c1", version=4, clean_start=False)
    assert other.take(Publish) == []
    request(other, "authenticate", token=hive.memory.token(hive.berta))
    admin.publish("dh/notification///lamp/t", b"3")
    assert other.take(Publish) == []


def test_a_client_does_not_become_another_user(hive):
    client = hive.connect("a", user=hive.anna)
    client.subscribe("dh/response/#", "dh/notification/#")
    request(client, "authenticate", token=hive.memory.token(hive.berta))
    request(client, "authenticate", token=hive.memory.token(hive.anna))
    assert [answer.get("code", 200) for answer in answers(client)] == [403, 200]
    hive.admin().publish("dh/notification///pump/t", b"1")
    assert client.take(Publish) == []


def test_subscriptions_by_request_have_their_events(hive):
    """The report #18 of the bridge. The topic is that of the event."""
    client = hive.admin()
    client.subscribe("dh/response/#")
    request(client, "notification/subscribe", deviceId="lamp")
    request(client, "command/subscribe", deviceId="lamp", returnUpdatedCommands=True)
    ids = [answer["subscriptionId"] for answer in answers(client)]
    client.publish("dh/notification///lamp/t", b"1")
    client.publish("dh/notification///pump/t", b"2")
    ((topic, payload),) = client.messages
    assert topic == "dh/notification/1/1/lamp/t"
    assert json.loads(payload)["subscriptionId"] == ids[0]
    client.publish("dh/command///lamp/on", b"1")
    (command,) = hive.stored(Command)
    client.publish("dh/command_update///lamp/on", b'{"id":%d,"status":"ok"}' % command.id)
    assert topics(client) == ["dh/command_update/1/1/lamp/on"]
    request(client, "notification/unsubscribe")
    client.publish("dh/notification///lamp/t", b"1")
    assert [answer["action"] for answer in answers(client)] == ["notification/unsubscribe"]


def test_history_by_request(hive):
    client = hive.admin()
    for number in range(5):
        client.publish("dh/notification///lamp/t", b"%d" % number)
    request(client, "notification/subscribe", deviceId="lamp", timestamp="2020-01-01")
    assert parameters(client) == list(range(5))


def test_requests_of_one_read_are_answered_in_order(hive):
    client = hive.admin()
    client.subscribe("dh/response/#")
    texts = [
        json.dumps({"action": "notification/insert", "deviceId": "lamp", "requestId": number, "notification": {"notification": "n"}})
        for number in range(20)
    ]
    client.send(
        *[Publish("dh/request", text.encode(), number % 2, packet_id=number % 2 * (number + 1)) for number, text in enumerate(texts)]
    )
    assert [answer["requestId"] for answer in answers(client)] == list(range(20))
    assert len(hive.stored(Notification)) == 20


def test_a_command_by_request_gives_one_copy_of_its_update(hive):
    client = hive.admin()
    client.subscribe("dh/command_update/#")
    request(client, "command/insert", deviceId="lamp", command={"command": "on"})
    (command,) = hive.stored(Command)
    request(client, "command/update", deviceId="lamp", commandId=command.id, command={"status": "ok"})
    assert topics(client) == ["dh/command_update/1/1/lamp/on"]


def test_a_will_on_requests(hive):
    from dhtwisted.wire.mqtt.packets import Will

    client = hive.client()
    text = b'{"action":"notification/insert","deviceId":"lamp","notification":{"notification":"gone"}}'
    client.connect("a", user_name="x", password=hive.memory.token(hive.anna).encode(), will=Will("dh/request", text, 1))
    client.lose()
    assert [notification.name for notification in hive.stored(Notification)] == ["gone"]
