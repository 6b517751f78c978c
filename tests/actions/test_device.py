"""Devices (WebSocket reference, sections 3.4, 4.5 and 4.6; auth reference, section 5)."""

import pytest
import pytest_twisted

from dhtwisted.model import Command, Device, DeviceType, MessageQuery, Network, Notification, User
from dhtwisted.wire.timestamps import parse_timestamp

PUMP = {"id": "pump", "name": "Pump", "data": {"floor": 2}, "networkId": 2, "deviceTypeId": 2, "isBlocked": True}


@pytest_twisted.async_yield_fixture
async def world(server):
    """Networks 1 to 3 and device types 1 to 3."""
    for name in ("second", "third"):
        await server.server.entities.insert(Network(name=name))
        await server.server.entities.insert(DeviceType(name=name))
    yield server


async def get(client, device_id="pump"):
    """A device as clients see it."""
    return (await client.call("device/get", deviceId=device_id))["device"]


async def save(client, device_id="pump", **fields):
    """Save a device that must be accepted."""
    reply = await client.call("device/save", deviceId=device_id, device=fields)
    assert reply.keys() == {"action", "requestId", "status"}


@pytest_twisted.ensureDeferred
async def test_every_member_is_kept(world):
    client = await world.client()
    await save(client, **PUMP)
    assert await get(client) == PUMP


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({}, {}),
        ({"name": "New"}, {"name": "New"}),
        ({"name": None, "data": None}, {"data": None}),
        ({"data": [1]}, {"data": [1]}),
        ({"networkId": 1, "deviceTypeId": "3"}, {"networkId": 1, "deviceTypeId": 3}),
        ({"networkId": None, "deviceTypeId": None, "isBlocked": None}, {}),
        ({"isBlocked": False}, {"isBlocked": False}),
        ({"isBlocked": "nonsense"}, {"isBlocked": False}),
        ({"id": "other", "key": "x", "status": "Online", "deviceClass": {"name": 1}}, {}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_change_changes_what_is_given(world, change, result):
    client = await world.client()
    await save(client, **PUMP)
    await save(client, **change)
    assert await get(client) == PUMP | result


@pytest.mark.parametrize("length", [1, 48])
@pytest_twisted.ensureDeferred
async def test_device_ids_of_any_permitted_length(world, length):
    client = await world.client()
    device_id = "aB-9" * 12
    await save(client, device_id[:length])
    assert (await get(client, device_id[:length]))["name"] == device_id[:length]


@pytest.mark.parametrize("device_id", ["a" * 49, "a b", "a_b", "ä", "a/b", "a\n", "a\0", " a", "\u0661"])
@pytest_twisted.ensureDeferred
async def test_device_ids_that_break_the_pattern(world, device_id):
    client = await world.client()
    error = await client.refused("device/save", deviceId=device_id, device={})
    assert error == (400, "Device Id can only contain letters, digits and dashes.")


@pytest_twisted.ensureDeferred
async def test_names_have_1_to_128_characters(world):
    client = await world.client()
    text = "Field cannot be empty. The length of name should be from 1 to 128 symbols."
    await save(client, name="ü" * 128)
    for name in ("", "x" * 129):
        assert await client.refused("device/save", deviceId="pump", device={"name": name}) == (400, text)
    assert (await client.refused("device/save", deviceId="pump", device={"name": "a\0"}))[0] == 400


# Where a new device goes


@pytest.mark.parametrize(
    ("user", "claims", "place"),
    [
        ({"role": 0, "network_ids": frozenset({3, 2})}, {}, (2, 1)),
        ({"network_ids": frozenset({3, 2})}, {}, (2, 1)),
        ({"network_ids": frozenset({3, 2})}, {"network_ids": frozenset({"3"})}, (3, 1)),
        ({"network_ids": frozenset({3, 2})}, {"network_ids": None}, (2, 1)),
        ({"network_ids": frozenset({2})}, {"device_type_ids": frozenset({"2", "3"})}, (2, 2)),
        ({"network_ids": frozenset({2}), "all_device_types_available": False, "device_type_ids": frozenset({3})}, {}, (2, 3)),
        ({"network_ids": frozenset({2})}, {"device_type_ids": None}, (2, 1)),
        ({}, {}, "No access to network!"),
        ({"role": 0}, {}, "No access to network!"),
        ({"network_ids": frozenset({2})}, {"network_ids": frozenset({"3"})}, "No access to network!"),
        ({"network_ids": frozenset({2})}, {"network_ids": frozenset()}, "No access to network!"),
        ({"network_ids": frozenset({2}), "all_device_types_available": False}, {}, "No access to device type!"),
        ({"network_ids": frozenset({2})}, {"device_type_ids": frozenset()}, "No access to device type!"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_place_of_a_new_device(world, user, claims, place):
    client = await world.client(await world.add_user("anna", **user), **claims)
    if isinstance(place, str):
        assert await client.refused("device/save", deviceId="pump", device={}) == (403, place)
        return
    await save(client)
    device = await get(await world.client())
    assert (device["networkId"], device["deviceTypeId"]) == place


@pytest.mark.parametrize(
    ("user", "claims", "fields", "error"),
    [
        ({"role": 0}, {}, {"networkId": 3}, None),
        ({"role": 0}, {}, {"networkId": 9}, (400, "Invalid request parameters")),
        ({"role": 0}, {}, {"networkId": 3, "deviceTypeId": 9}, (400, "Invalid request parameters")),
        ({"role": 0}, {"network_ids": frozenset({"2"})}, {"networkId": 3}, (403, "No access to network!")),
        ({"role": 0}, {"network_ids": None}, {"networkId": 3}, None),
        ({"network_ids": frozenset({2})}, {}, {"networkId": 2}, None),
        ({"network_ids": frozenset({2})}, {}, {"networkId": 3}, (403, "No access to network!")),
        ({"network_ids": frozenset({2})}, {}, {"networkId": 9}, (400, "Invalid request parameters")),
        ({"network_ids": frozenset({2})}, {"network_ids": None}, {"networkId": 2}, None),
        ({"network_ids": frozenset({2})}, {"network_ids": None}, {"networkId": 3}, (403, "No access to network!")),
        ({}, {"network_ids": None}, {"networkId": 3}, (403, "No access to network!")),
        ({"network_ids": frozenset({2})}, {"device_type_ids": frozenset({"3"})}, {"deviceTypeId": 2}, (403, "No access to device type!")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_given_place_must_be_the_callers(world, user, claims, fields, error):
    client = await world.client(await world.add_user("anna", **user), **claims)
    if error is None:
        await save(client, **fields)
    else:
        assert await client.refused("device/save", deviceId="pump", device=fields) == error


@pytest.mark.parametrize("claims", [{}, {"network_ids": None}])
@pytest_twisted.ensureDeferred
async def test_an_existing_device_must_be_the_callers(world, claims):
    user = await world.add_user("anna", network_ids=frozenset({3}))
    await save(await world.client(), **PUMP)
    client = await world.client(user, **claims)
    assert await client.refused("device/save", deviceId="pump", device={"networkId": 3}) == (403, "No access to device")
    await world.server.entities.update(User, user.id, {"network_ids": frozenset({2, 3})})
    await save(client, networkId=3)
    assert (await get(await world.client()))["networkId"] == 3


# What follows


@pytest_twisted.ensureDeferred
async def test_subscribers_are_told_with_the_place_filled_in(world):
    watcher, client = await world.client(), await world.client()
    await watcher.call("notification/subscribe", networkIds=[2], deviceTypeIds=[2], names=["$device-add", "$device-update"])
    await save(client, **PUMP)
    await save(client, name="New")
    added, updated = [event["notification"] for event in watcher.events]
    assert (added["notification"], added["parameters"]) == ("$device-add", PUMP)
    assert (updated["notification"], updated["parameters"]) == ("$device-update", PUMP | {"name": "New"})
    for notification in (added, updated):
        assert (notification["deviceId"], notification["networkId"], notification["deviceTypeId"]) == ("pump", 2, 2)
        assert parse_timestamp(notification["timestamp"]) == world.server.now()
    listed = (await client.call("notification/list", deviceId="pump"))["notifications"]
    assert listed == [added, updated]


@pytest_twisted.ensureDeferred
async def test_a_device_goes_with_all_its_messages_however_many(world):
    client = await world.client()
    await save(client)
    await save(client, "other")
    messages = world.server.messages
    place = {"network_id": 1, "device_type_id": 1}
    for device_id, count in (("pump", 2500), ("other", 3)):
        await messages.append([Command(name="on", device_id=device_id, **place) for _ in range(count)])
        await messages.append([Notification(name="on", device_id=device_id, **place) for _ in range(count)])
    await client.call("device/delete", deviceId="pump")
    for kind, left in ((Command, 3), (Notification, 4)):
        assert len(await messages.find_messages(kind, MessageQuery())) == left
    assert await client.refused("device/get", deviceId="pump") == (404, "Device with such deviceId = pump not found")


@pytest_twisted.ensureDeferred
async def test_a_list_follows_assignments(world):
    entities = world.server.entities
    for network in (1, 2, 3):
        for kind in (1, 2, 3):
            await entities.insert(Device(id=f"d{network}{kind}", name="d", network_id=network, device_type_id=kind))
    user = await world.add_user("anna", network_ids=frozenset({1, 2}))
    client = await world.client(user, network_ids=frozenset({"2", "3"}), device_type_ids=frozenset({"1", "2"}))

    async def listed():
        devices = [device["id"] for device in (await client.call("device/list"))["devices"]]
        assert (await client.call("device/count"))["count"] == len(devices)
        return devices

    assert await listed() == ["d21", "d22"]
    await entities.update(User, user.id, {"network_ids": frozenset({3})})
    assert await listed() == ["d31", "d32"]
    await entities.update(User, user.id, {"all_device_types_available": False, "device_type_ids": frozenset({2, 3})})
    assert await listed() == ["d32"]
    await entities.update(User, user.id, {"network_ids": frozenset()})
    assert await listed() == []
