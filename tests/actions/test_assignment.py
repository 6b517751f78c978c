"""What a user has counts at once, on connections that are open too."""

from types import SimpleNamespace

import pytest
import pytest_twisted

from dhtwisted.core.access import Permission
from dhtwisted.model import DeviceType, Network, User

NOWHERE = frozenset()


@pytest_twisted.async_yield_fixture
async def hive(server):
    """Two networks and types, a device in the second of each, ``anna`` who has them, and her subscription."""

    entities = server.server.entities
    await entities.insert(Network(name="Garden"))
    await entities.insert(DeviceType(name="Pump"))
    user = await server.add_user("anna", network_ids=frozenset({2}), device_type_ids=frozenset({2}), all_device_types_available=False)
    admin, anna = await server.client(), await server.client(user)
    await admin.call("device/save", deviceId="pump", device={"networkId": 2, "deviceTypeId": 2})
    await anna.call("notification/subscribe")
    yield SimpleNamespace(admin=admin, anna=anna, user=user)


async def events_after(hive, *changes):
    """How many events anna gets of one notification after some changes by the administrator."""
    for action, members in changes:
        await hive.admin.call(action, **members)
    before = len(hive.anna.events)
    await hive.admin.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    return len(hive.anna.events) - before


@pytest.mark.parametrize(
    ("take", "give"),
    [
        (("user/unassignNetwork", {"networkId": 2}), ("user/assignNetwork", {"networkId": 2})),
        (("user/unassignDeviceType", {"deviceTypeId": 2}), ("user/assignDeviceType", {"deviceTypeId": 2})),
        (("user/disallowAllDeviceTypes", {}), ("user/allowAllDeviceTypes", {})),
    ],
    ids=["network", "device type", "all device types"],
)
@pytest_twisted.ensureDeferred
async def test_an_open_subscription_follows(hive, take, give):
    changes = [(action, {"userId": hive.user.id} | members) for action, members in (take, give)]
    assert await events_after(hive) == 1
    assert await events_after(hive, changes[0]) == 0
    assert (await hive.anna.refused("device/get", deviceId="pump"))[0] in (401, 403)
    assert await events_after(hive, changes[1]) == 1
    await hive.anna.call("device/get", deviceId="pump")


@pytest_twisted.ensureDeferred
async def test_a_deleted_user_gets_nothing_more(hive):
    assert await events_after(hive, ("user/delete", {"userId": hive.user.id})) == 0
    assert await hive.anna.refused("device/list") == (401, "Unauthorized")


@pytest.mark.parametrize(("action", "member"), [("network/delete", "networkId"), ("devicetype/delete", "deviceTypeId")])
@pytest_twisted.ensureDeferred
async def test_what_is_deleted_is_assigned_to_nobody(server, hive, action, member):
    await hive.admin.call(action, **{member: 2, "force": True})
    user = await server.server.entities.get(User, hive.user.id)
    assert 2 not in (user.network_ids if member == "networkId" else user.device_type_ids)
    assert await hive.anna.refused("device/save", deviceId="new", device={}) in (
        (403, "No access to network!"),
        (403, "No access to device type!"),
    )


@pytest_twisted.ensureDeferred
async def test_only_the_action_is_asked_of_the_token(server, hive):
    manager = await server.client(
        actions=frozenset({Permission.MANAGE_NETWORK, Permission.GET_NETWORK}), network_ids=None, device_type_ids=NOWHERE
    )
    await manager.call("user/assignNetwork", userId=hive.user.id, networkId=1)
    reply = await manager.call("user/getNetwork", userId=hive.user.id, networkId=1)
    assert reply["network"]["network"]["id"] == 1
    assert (await manager.refused("user/assignDeviceType", userId=hive.user.id, deviceTypeId=1))[0] == 403
