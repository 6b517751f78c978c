"""Networks and device types: whose they are, and their end."""

import json

import pytest
import pytest_twisted

from dhtwisted.core.access import CLIENT_PERMISSIONS, EVERYTHING
from dhtwisted.model import Device, DeviceType, EntityQuery, Network
from dhtwisted.providers.memory import MemoryStorage
from tests.support.delaying import DelayingStorage
from tests.support.rest_api import client

KINDS = [("network", "networkId", Network, {"networkId": 2}), ("devicetype", "deviceTypeId", DeviceType, {"deviceTypeId": 2})]
each_kind = pytest.mark.parametrize(("name", "member", "kind", "place"), KINDS, ids=["network", "devicetype"])


@pytest_twisted.async_yield_fixture
async def admin(server):
    """The administrator, of two networks and two device types."""
    await server.server.entities.insert(Network(name="Garden"))
    await server.server.entities.insert(DeviceType(name="Pump"))
    yield await server.client()


async def delaying(reactor):
    """A storage in memory whose answers can be kept back."""
    storage = DelayingStorage(MemoryStorage(reactor))
    await storage.open()
    return storage


@each_kind
@pytest_twisted.ensureDeferred
async def test_what_the_token_names_but_the_user_lacks_is_not_found(server, admin, name, member, kind, place):
    user = await server.add_user("anna", all_device_types_available=False)
    anna = await server.client(user, actions=CLIENT_PERMISSIONS, network_ids=EVERYTHING, device_type_ids=EVERYTHING)
    code, text = await anna.refused(f"{name}/get", **{member: 1})
    assert (code, text.endswith("with id = 1 not found")) == (404, True)
    narrow = client(server, user, network_ids=frozenset({"2"}), device_type_ids=frozenset({"2"}))
    assert (await narrow.send("GET", f"/{name}/1"))[0] == 403
    assert (await narrow.send("GET", f"/{name}/2"))[0] == 404


@each_kind
@pytest_twisted.ensureDeferred
async def test_messages_and_subscriptions_go_with_the_devices(server, admin, name, member, kind, place):
    await admin.call("device/save", deviceId="pump", device=place)
    await admin.call("notification/subscribe", deviceId="pump")
    await admin.call(f"{name}/delete", **{member: 2, "force": True})
    await admin.call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
    kept = (await admin.call("notification/list", deviceId="pump"))["notifications"]
    assert [notification["notification"] for notification in kept] == ["$device-add"]


@each_kind
@pytest_twisted.ensureDeferred
async def test_a_delete_that_was_cut_short_is_mended_by_doing_it_again(open_server, reactor, name, member, kind, place):
    storage = await delaying(reactor)
    server = await open_server(storage=storage)
    admin = await server.client()
    for entity in (Network(name="Garden"), DeviceType(name="Pump")):
        await server.server.entities.insert(entity)
    for number in range(3):
        await admin.call("device/save", deviceId=f"d{number}", device=place)
    storage.delay("delete", late=True)
    admin.send_text(json.dumps({"action": f"{name}/delete", member: 2, "force": True}))
    storage.release("delete")
    storage.fail("delete")
    storage.release_all()
    assert admin.messages[-1]["code"] == 503
    assert (await storage.count(Device, EntityQuery()), await storage.get(kind, 2) is None) == (1, False), "the group goes last"
    storage.prompt()
    await admin.call(f"{name}/delete", **{member: 2, "force": True})
    assert (await storage.count(Device, EntityQuery()), await storage.get(kind, 2)) == (0, None)


@each_kind
@pytest_twisted.ensureDeferred
async def test_no_device_is_left_where_nothing_is(open_server, reactor, name, member, kind, place):
    storage = await delaying(reactor)
    server = await open_server(storage=storage)
    admin, device = await server.client(), await server.client()
    for entity in (Network(name="Garden"), DeviceType(name="Pump")):
        await server.server.entities.insert(entity)
    # The device is saved while its group is on its way out: the group's end comes between the look at it and the insert.
    storage.delay("insert", late=True)
    device.send_text(json.dumps({"action": "device/save", "deviceId": "pump", "device": place}))
    await admin.call(f"{name}/delete", **{member: 2, "force": True})
    storage.release_all()
    assert [message["code"] for message in device.messages if message["action"] == "device/save"] == [400]
    assert await storage.get(Device, "pump") is None
