"""Requests that are in order, and made to take what belongs to others: time, memory, the readability of what is stored."""

import json

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import MemoryServer, at_once
from dhtwisted.testing.storage import base as storage_base
from dhtwisted.wire.timestamps import LATEST
from tests.support.delaying import DelayingStorage

LONG = "x" * 257


@pytest_twisted.async_yield_fixture
async def client(open_server):
    """An administrator's client, with a device."""
    server = await open_server()
    client = await server.client()
    await client.call("device/save", deviceId="pump-4", device={})
    yield client


@pytest_twisted.ensureDeferred
async def test_a_command_of_the_last_instant_stays_readable_when_it_is_updated(open_server):
    """Formerly a client could date it so, and the storage has it still."""
    server = await open_server()
    client = await server.client()
    await client.call("device/save", deviceId="pump-4", device={})
    await client.call("command/subscribe", deviceId="pump-4", returnUpdatedCommands=True)
    await server.server.messages.append([command := storage_base.command("on", "pump-4", timestamp=LATEST)])
    await client.call("command/update", deviceId="pump-4", commandId=command.id, command={"status": "done"})
    assert client.events[0]["command"]["lastUpdated"] == "9999-12-31T23:59:59.999"
    assert (await client.call("command/list", deviceId="pump-4"))["commands"] == [client.events[0]["command"]]


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_names_that_no_message_has_are_not_kept_with_a_subscription(client, kind):
    assert await client.refused(f"{kind}/subscribe", names=["on", LONG]) == (400, "Invalid request parameters")
    await client.call(f"{kind}/subscribe", names=["on", LONG[1:]])


@pytest.mark.parametrize("action", ["device/list", "device/count"])
@pytest_twisted.ensureDeferred
async def test_a_pattern_longer_than_any_name_is_refused_and_not_compiled(client, action):
    assert await client.refused(action, namePattern="_%" * 129) == (400, "Invalid request parameters")
    await client.call(action, namePattern="_%" * 128)


def test_a_device_that_others_create_and_delete_at_the_same_moment(reactor):
    storage = DelayingStorage(MemoryStorage(Clock()))
    server = at_once(MemoryServer.open(reactor, storage=storage, hash_password=False))
    first, second, third = (at_once(server.client()) for _ in range(3))
    storage.delay("get", "insert")
    for client in (first, second):
        client.send_text(json.dumps({"action": "device/save", "requestId": 1, "deviceId": "pump-4", "device": {}}))
    storage.release("get", 2)
    storage.prompt("get")
    assert storage.waiting == ["insert", "insert"]
    storage.release("insert")
    at_once(third.call("device/delete", deviceId="pump-4"))
    storage.release_all()
    assert first.messages[-1]["status"] == "success"
    assert (second.messages[-1]["code"], second.messages[-1]["error"]) == (
        409,
        "The object was changed at the same time. Please repeat the request.",
    )
