"""Commands (WebSocket reference, section 3.5)."""

import pytest
import pytest_twisted

from dhtwisted.model import Device
from dhtwisted.wire.timestamps import format_timestamp

NOW = "2026-01-02T03:04:05.678"
EMPTY = {"parameters": None, "lifetime": None, "status": None, "result": None}


@pytest_twisted.async_yield_fixture
async def client(server):
    """An administrator; there is a device ``d``."""
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    yield await server.client()


async def insert(client, **body):
    """Insert a command; returns the reply's member."""
    return (await client.call("command/insert", deviceId="d", command={"command": "on"} | body))["command"]


async def get(client, command_id):
    """A command as clients see it."""
    return (await client.call("command/get", deviceId="d", commandId=command_id))["command"]


@pytest_twisted.ensureDeferred
async def test_the_reply_has_exactly_four_members(client):
    assert await insert(client) == {"id": 1, "timestamp": NOW, "lastUpdated": NOW, "userId": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"parameters": {"b": [1, 1.5, None], "a": "\0 ü 🚀"}, "result": "text", "lifetime": 30, "status": "new"},
        {"parameters": False, "result": 0},
        {"parameters": 12345678901234567890123, "result": []},
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_given_comes_back(client, body):
    command = await insert(client, **body)
    whole = {"command": "on", "deviceId": "d", "networkId": 1, "deviceTypeId": 1, **command, **EMPTY, **body}
    assert await get(client, command["id"]) == whole
    assert (await client.call("command/list", deviceId="d"))["commands"] == [whole]


@pytest_twisted.ensureDeferred
async def test_the_clients_own_time(client):
    command = await insert(client, timestamp=1000)
    assert (command["timestamp"], command["lastUpdated"]) == ("1970-01-01T00:00:01.000", "1970-01-01T00:00:01.000")


@pytest.mark.parametrize(
    ("change", "status", "result"),
    [
        ({}, "new", [1]),
        ({"status": "done"}, "done", [1]),
        ({"result": {"a": 1}}, "new", {"a": 1}),
        ({"status": None, "result": None}, "new", [1]),
        ({"status": 5, "result": False}, "5", False),
        ({"command": "other", "parameters": 9, "lifetime": 9, "timestamp": "", "userId": 9, "id": 9}, "new", [1]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_update_changes_status_and_result_alone(server, client, change, status, result):
    command = await insert(client, status="new", result=[1], parameters=7, lifetime=60)
    before = await get(client, command["id"])
    server.clock.advance(1)
    reply = await client.call("command/update", deviceId="d", commandId=command["id"], command=change)
    assert reply.keys() == {"action", "requestId", "status"}
    expected = {"status": status, "result": result, "lastUpdated": format_timestamp(server.server.now())}
    assert await get(client, command["id"]) == before | expected


@pytest.mark.parametrize(("length", "code"), [(256, None), (257, 400)])
@pytest_twisted.ensureDeferred
async def test_names_and_states_are_capped(client, length, code):
    text = "ä" * length
    await insert(client)
    for members in ({"command": text}, {"command": "x", "status": text}):
        reply = await client.request("command/insert", deviceId="d", command=members)
        assert reply.get("code") == code
    reply = await client.request("command/update", deviceId="d", commandId=1, command={"status": text})
    assert reply.get("code") == code


@pytest_twisted.ensureDeferred
async def test_updated_ones_alone(client):
    for _ in range(3):
        await insert(client)
    await client.call("command/update", deviceId="d", commandId=2, command={})
    for wanted, ids in ((True, [2]), ("true", [2]), (False, [1, 2, 3])):
        listed = await client.call("command/list", deviceId="d", returnUpdated=wanted)
        assert [command["id"] for command in listed["commands"]] == ids


@pytest.mark.parametrize("action", ["command/insert", "notification/insert"])
@pytest.mark.parametrize("refuse", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_blocked_device_is_refused_only_when_configured(open_server, action, refuse):
    server = await open_server(server={"refuse_blocked_devices": refuse})
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1, is_blocked=True))
    client = await server.client()
    kind = action.partition("/")[0]
    reply = await client.request(action, deviceId="d", **{kind: {kind: "on"}})
    assert reply.get("code") == (403 if refuse else None)
    await client.call("device/save", deviceId="d", device={"isBlocked": False})
    await client.call(action, deviceId="d", **{kind: {kind: "on"}})


@pytest_twisted.ensureDeferred
async def test_a_command_may_be_asked_for_only_if_it_was_updated(server):
    admin = await server.client()
    await admin.call("device/save", deviceId="pump", device={})
    command_id = (await admin.call("command/insert", deviceId="pump", command={"command": "on"}))["command"]["id"]
    wanted = {"deviceId": "pump", "commandId": command_id, "returnUpdatedCommands": True}
    assert await admin.refused("command/get", **wanted) == (404, f"Command with id = {command_id} not found")
    await admin.call("command/update", deviceId="pump", commandId=command_id, command={})
    assert (await admin.call("command/get", **wanted))["command"]["id"] == command_id
