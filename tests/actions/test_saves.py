"""What ``device/save`` stores and tells costs what was changed (WebSocket reference, section 4.6)."""

import json

import pytest
import pytest_twisted

from dhtwisted.model import Device, MessageQuery, Notification

LARGE = {"plan": "x" * 100_000}
PUMP = {"name": "Pump", "data": LARGE, "networkId": 1, "deviceTypeId": 1, "isBlocked": False}


@pytest_twisted.async_yield_fixture
async def client(open_server, each_storage):
    """A client that has saved a device with much data, and subscribes to everything."""
    server = await open_server(storage=each_storage)
    client = await server.client()
    await client.call("device/save", deviceId="pump", device=PUMP)
    await client.call("notification/subscribe")
    client.server = server.server
    yield client


async def told(client):
    """The parameters of what is stored since the device was made, each of which was also sent."""
    stored = await client.server.messages.find_messages(Notification, MessageQuery(names=("$device-update",)))
    parameters = [json.loads(notification.parameters) for notification in stored]
    assert parameters == [event["notification"]["parameters"] for event in client.events]
    return parameters


@pytest.mark.parametrize("fields", [{}, PUMP, {"name": "Pump"}, {"name": None, "isBlocked": False}, {"data": LARGE}, {"status": "Online"}])
@pytest_twisted.ensureDeferred
async def test_a_save_that_changes_nothing_stores_and_tells_nothing(client, fields):
    for _ in range(3):
        await client.call("device/save", deviceId="pump", device=fields)
    assert await told(client) == []


@pytest_twisted.ensureDeferred
async def test_large_data_is_told_when_it_was_changed(client):
    await client.call("device/save", deviceId="pump", device={"name": "New"})
    await client.call("device/save", deviceId="pump", device={"data": LARGE | {"floor": 2}})
    await client.call("device/save", deviceId="pump", device={"data": {"floor": 2}})
    await client.call("device/save", deviceId="pump", device={"name": "Newer"})
    whole = {"id": "pump"} | PUMP
    dataless = {name: value for name, value in whole.items() if name != "data"}
    assert await told(client) == [
        dataless | {"name": "New"},
        whole | {"name": "New", "data": LARGE | {"floor": 2}},
        whole | {"name": "New", "data": {"floor": 2}},
        whole | {"name": "Newer", "data": {"floor": 2}},
    ]
    assert (await client.call("device/get", deviceId="pump"))["device"] == whole | {"name": "Newer", "data": {"floor": 2}}


@pytest.mark.parametrize("fields", [{"name": "Pump"}, {"data": LARGE}])
@pytest_twisted.ensureDeferred
async def test_what_another_node_has_changed_is_set_back(client, fields):
    # A node hears of changes a moment later than whoever made them was answered.
    await client.server.entities._storage.update(Device, "pump", {"name": "Other", "data": b"1"})
    await client.call("device/save", deviceId="pump", device=fields)
    (parameters,) = await told(client)
    assert parameters.items() >= fields.items()
