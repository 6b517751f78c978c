"""A message is stored, then its event is published, then its reply is sent, whatever the message and however long the storage takes."""

import json

import pytest
from twisted.internet.task import Clock

from dhtwisted.model import Command, Device, MessageQuery, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import MemoryServer, at_once
from tests.support.delaying import DelayingStorage

REQUESTS = {
    "command/insert": {"command": {"command": "on", "result": 1}},
    "command/update": {"commandId": 1, "command": {"status": "done", "result": {"a": 1}}},
    "notification/insert": {"notification": {"notification": "t"}},
    "device/save": {"device": {"name": "other", "data": {"a": 1}}},
}
each_request = pytest.mark.parametrize("action", REQUESTS)
EVENTS = {"device/save": "notification/insert"}
"""Action -> its event, where that is another one."""


@pytest.fixture
def storage(reactor):
    return DelayingStorage(MemoryStorage(Clock()))


@pytest.fixture
def server(reactor, storage):
    server = at_once(MemoryServer.open(reactor, storage=storage, hash_password=False))
    at_once(server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1)))
    at_once(storage.append((Command(name="there", device_id="d", network_id=1, device_type_id=1),)))
    yield server
    storage.release_all()
    at_once(server.close())


@pytest.fixture
def client(server):
    client = at_once(server.client())
    for name in ("command", "notification"):
        at_once(client.call(f"{name}/subscribe"))
    at_once(client.call("command/subscribe", returnUpdatedCommands=True))
    client.messages.clear()
    return client


def send(client, action, **members):
    client.send_text(json.dumps({"action": action, "requestId": "x", "deviceId": "d"} | REQUESTS.get(action, {}) | members))


def seen(client):
    """What came: an event as its action, a reply as its status."""
    return [message.get("status") if "requestId" in message else message["action"] for message in client.messages]


def stored(storage):
    return [message for kind in (Command, Notification) for message in at_once(storage.find_messages(kind, MessageQuery()))]


@each_request
def test_the_event_comes_before_the_reply(client, action):
    send(client, action)
    assert seen(client) == [EVENTS.get(action, action), "success"]


@each_request
def test_nothing_is_sent_before_the_message_is_stored(client, storage, action):
    storage.delay("append", "update_command")
    send(client, action)
    assert seen(client) == []
    storage.release()
    assert seen(client) == [EVENTS.get(action, action), "success"]


@each_request
def test_what_cannot_be_stored_has_no_event_and_counts_for_no_quota(server, client, storage, action):
    before, stored_today = stored(storage), server.server.quotas.account(1).today.stored
    storage.fail("append", "update_command")
    send(client, action)
    assert seen(client) == ["error"]
    assert stored(storage) == before
    assert server.server.quotas.account(1).today.stored == stored_today


@each_request
def test_its_bytes_count_for_the_user_and_the_device(server, client, action):
    today = server.server.quotas.account(1).today
    before = today.stored
    send(client, action)
    assert today.stored > before


def test_the_inserter_gets_an_update_that_the_event_causes_at_once(server):
    class Answering(type(server.connect())):
        def send_event(self, prefix, body):
            super().send_event(prefix, body)
            send(self, "command/update", commandId=self.messages[-1]["command"]["id"])

    device, sender = Answering(server), at_once(server.client())
    at_once(device.call("authenticate", token=server.token()))
    at_once(device.call("command/subscribe", deviceId="d"))
    sender.messages.clear()
    send(sender, "command/insert")
    assert seen(sender) == ["command/update", "success"]
    device.close()


def test_a_command_that_is_not_there_is_not_updated(client):
    send(client, "command/update", commandId=99)
    assert [(message["status"], message["code"]) for message in client.messages] == [("error", 404)]
