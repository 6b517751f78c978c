"""Notifications (WebSocket reference, section 3.6)."""

import pytest
import pytest_twisted

from dhtwisted.model import Device

RESERVED = "It's forbidden to insert these special notifications: $device-update, $device-add."


@pytest_twisted.async_yield_fixture
async def client(server):
    """An administrator; there is a device ``d``."""
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    yield await server.client()


async def insert(client, **body):
    """Insert a notification; returns the reply's member."""
    return (await client.call("notification/insert", deviceId="d", notification={"notification": "on"} | body))["notification"]


@pytest_twisted.ensureDeferred
async def test_the_reply_has_exactly_two_members(client):
    assert await insert(client) == {"id": 1, "timestamp": "2026-01-02T03:04:05.678"}


@pytest.mark.parametrize("parameters", [None, {"b": [1.5, None], "a": "\0 ü 🚀"}, False, 0, "", [], 12345678901234567890123])
@pytest_twisted.ensureDeferred
async def test_what_is_given_comes_back(client, parameters):
    notification = await insert(client, parameters=parameters)
    whole = {"notification": "on", "deviceId": "d", "networkId": 1, "deviceTypeId": 1, "parameters": parameters, **notification}
    assert (await client.call("notification/get", deviceId="d", notificationId=1))["notification"] == whole
    assert (await client.call("notification/list", deviceId="d"))["notifications"] == [whole]


@pytest.mark.parametrize("name", ["$device-add", "$device-update"])
@pytest_twisted.ensureDeferred
async def test_only_the_server_makes_some(client, name):
    assert await client.refused("notification/insert", deviceId="d", notification={"notification": name}) == (403, RESERVED)
    assert (await client.call("notification/list", deviceId="d"))["notifications"] == []


@pytest.mark.parametrize("name", ["$device-delete", "device-add", "$DEVICE-ADD", "ä" * 256])
@pytest_twisted.ensureDeferred
async def test_any_other_name_is_the_clients(client, name):
    await insert(client, notification=name)


@pytest_twisted.ensureDeferred
async def test_the_checks_have_this_order(client):
    required = (400, "Notification is required")
    for notification in (None, {}, {"notification": None}, {"notification": ""}, {"parameters": 1}):
        assert await client.refused("notification/insert", notification=notification) == required
        assert await client.refused("notification/insert", deviceId="unknown", notification=notification) == required
    name = {"notification": "$device-add"}
    assert await client.refused("notification/insert", notification=name) == (400, "Device id is wrong or empty")
    assert (await client.refused("notification/insert", deviceId="unknown", notification=name))[0] == 404
    assert (await client.refused("notification/insert", deviceId="d", notification=name))[0] == 403


@pytest.mark.parametrize("notification_id", ["abc", 1.5, {}, [], True])
@pytest_twisted.ensureDeferred
async def test_an_id_of_the_wrong_type_has_a_text_of_its_own(client, notification_id):
    error = await client.refused("notification/get", deviceId="d", notificationId=notification_id)
    assert error == (400, "Notification id should be an integer value.")


@pytest.mark.parametrize("notification_id", ["1", 1.0])
@pytest_twisted.ensureDeferred
async def test_an_id_may_be_text(client, notification_id):
    await insert(client)
    assert (await client.call("notification/get", deviceId="d", notificationId=notification_id))["notification"]["id"] == 1
