"""A token without device types, of a user who may not use them all, names none (auth reference, section 5)."""

import pytest
import pytest_twisted

from dhtwisted.model import Device, DeviceType, Network, User
from tests.support.rest_api import client as rest_client

DENIED = (403, "Access is denied")
ACCESS_DENIED = (403, {"error": 403, "message": "Access is denied"})
NOTHING_ACCESSIBLE = (403, "No access to any device type or network")
LONG_AGO = "2020-01-01T00:00:00"
ABSENT = {"device_type_ids": None}


@pytest_twisted.async_yield_fixture
async def world(server):
    """Device types 1 and 2; ``pump`` is of type 2 and in network 1, and has a command and a notification. ``anna`` has both."""
    entities = server.server.entities
    await entities.insert(Network(name="Garden"))
    await entities.insert(DeviceType(name="Pump"))
    await entities.insert(Device(id="pump", name="pump", network_id=1, device_type_id=2))
    admin = await server.client()
    for kind in ("command", "notification"):
        server.clock.advance(0.01)
        await admin.call(f"{kind}/insert", deviceId="pump", **{kind: {kind: "first"}})
    server.clock.advance(0.01)
    server.anna = await server.add_user(
        "anna", network_ids=frozenset({1}), all_device_types_available=False, device_type_ids=frozenset({1, 2})
    )
    yield server


@pytest_twisted.ensureDeferred
async def test_no_device_types(world):
    client, rest = await world.client(world.anna, **ABSENT), rest_client(world, world.anna, **ABSENT)
    assert (await client.call("devicetype/list"))["deviceTypes"] == []
    assert (await client.call("devicetype/count"))["count"] == 0
    assert await rest.get("/devicetype") == []
    assert await rest.get("/devicetype/count") == {"count": 0}
    for type_id in (2, 99):
        assert await client.refused("devicetype/get", deviceTypeId=type_id) == DENIED
        assert await client.refused("devicetype/update", deviceTypeId=type_id, deviceType={"name": "x"}) == DENIED
        assert await client.refused("devicetype/delete", deviceTypeId=type_id) == DENIED
        for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
            assert await rest.send(method, f"/devicetype/{type_id}", body) == ACCESS_DENIED


@pytest_twisted.ensureDeferred
async def test_no_devices_and_no_messages(world):
    client, rest = await world.client(world.anna, **ABSENT), rest_client(world, world.anna, **ABSENT)
    assert (await client.call("device/list"))["devices"] == []
    assert (await client.call("device/count"))["count"] == 0
    assert await rest.get("/device") == []
    assert await rest.get("/device/count") == {"count": 0}
    assert (await client.call("network/get", networkId=1))["network"]["devices"] == []
    assert (await rest.get("/network/1"))["devices"] == []
    assert await client.refused("device/get", deviceId="pump") == DENIED
    for kind in ("command", "notification"):
        assert await client.refused(f"{kind}/list", deviceId="pump") == DENIED
        assert await client.refused(f"{kind}/insert", deviceId="pump", **{kind: {kind: "x"}}) == DENIED
        assert await rest.send("GET", f"/device/pump/{kind}") == ACCESS_DENIED
        assert await rest.send("POST", f"/device/pump/{kind}", {kind: "x"}) == ACCESS_DENIED
    assert await client.refused("device/save", deviceId="pump", device={}) == (403, "No access to device")
    assert await client.refused("device/save", deviceId="new", device={}) == (403, "No access to device type!")


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_no_subscriptions_and_polls(world, kind):
    client, rest = await world.client(world.anna, **ABSENT), rest_client(world, world.anna, **ABSENT)
    assert await client.refused(f"{kind}/subscribe", timestamp=LONG_AGO) == NOTHING_ACCESSIBLE
    assert await client.refused(f"{kind}/subscribe", networkIds=[1]) == NOTHING_ACCESSIBLE
    assert await client.refused(f"{kind}/subscribe", deviceId="pump") == DENIED
    assert await client.refused(f"{kind}/subscribe", deviceTypeIds=[2]) == DENIED
    past = f"timestamp={LONG_AGO}&waitTimeout=0"
    assert await rest.send("GET", f"/device/{kind}/poll?{past}") == (200, [])
    assert await rest.send("GET", f"/device/{kind}/poll?networkIds=1&{past}") == (200, [])
    assert await rest.send("GET", f"/device/pump/{kind}/poll?{past}") == ACCESS_DENIED
    assert await rest.send("GET", f"/device/{kind}/poll?deviceTypeIds=2&{past}") == ACCESS_DENIED


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_who_may_use_all_no_more_is_not_delivered_to(world, kind):
    """The token names all while the user may use all: a change counts at once, for live messages and waiting polls too."""
    await world.server.entities.update(User, world.anna.id, {"all_device_types_available": True})
    admin, client = await world.client(), await world.client(world.anna, **ABSENT)
    poll = rest_client(world, world.anna, **ABSENT).send("GET", f"/device/{kind}/poll?waitTimeout=1")
    await client.call(f"{kind}/subscribe", deviceId="pump", timestamp=LONG_AGO)
    await admin.call(f"{kind}/insert", deviceId="pump", **{kind: {kind: "second"}})
    assert [event[kind][kind] for event in client.events] == ["first", "second"]
    await world.server.entities.update(User, world.anna.id, {"all_device_types_available": False})
    await admin.call(f"{kind}/insert", deviceId="pump", **{kind: {kind: "third"}})
    assert [event[kind][kind] for event in client.events] == ["first", "second"]
    assert not (await client.request("devicetype/list"))["deviceTypes"]
    while not poll.called:
        world.clock.advance(0.01)
    assert (await poll)[0] == 200
    assert "third" not in [message[kind] for message in (await poll)[1] or ()]


@pytest.mark.parametrize("asked", [["*"], [2], ["2", "99"], []])
@pytest_twisted.ensureDeferred
async def test_it_makes_no_token_with_device_types(world, asked):
    client = await world.client(world.anna, **ABSENT)
    reply = await client.call("token/create", payload={"userId": world.anna.id, "networkIds": ["*"], "deviceTypeIds": asked})
    for token in reply["accessToken"], reply["refreshToken"]:
        assert world.auth.verify(token).device_type_ids == frozenset()


@pytest_twisted.ensureDeferred
async def test_it_makes_no_token_of_a_device_with_device_types(world):
    client = await world.client(world.anna, **ABSENT)
    reply = await client.call("token/create", payload={"userId": world.anna.id, "deviceId": "new"})
    assert world.auth.verify(reply["accessToken"]).device_type_ids == frozenset()


@pytest_twisted.ensureDeferred
async def test_a_token_that_is_refreshed_or_made_without_them_has_none_either(world):
    client = world.connect()
    reply = await client.call("token/refresh", refreshToken=world.token(world.anna, refresh=True, **ABSENT))
    await client.call("authenticate", token=reply["accessToken"])
    assert (await client.call("devicetype/list"))["deviceTypes"] == []
    reply = await client.call("token/create", payload={"userId": world.anna.id, "actions": ["GetDeviceType"]})
    await client.call("authenticate", token=reply["accessToken"])
    assert (await client.call("devicetype/list"))["deviceTypes"] == []


@pytest.mark.parametrize("fields", [{"role": 0}, {"all_device_types_available": True}])
@pytest_twisted.ensureDeferred
async def test_it_names_all_for_an_administrator_and_for_a_user_with_all(world, fields):
    user = await world.server.entities.update(User, world.anna.id, fields)
    client, rest = await world.client(user, **ABSENT), rest_client(world, user, **ABSENT)
    assert [found["id"] for found in (await client.call("devicetype/list"))["deviceTypes"]] == [1, 2]
    assert (await rest.get("/devicetype/2"))["name"] == "Pump"
    assert await client.refused("devicetype/get", deviceTypeId=99) == (404, "Device type with id = 99 not found")
    assert (await client.call("device/count"))["count"] == 1
