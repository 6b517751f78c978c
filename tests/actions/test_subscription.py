"""Subscribing (WebSocket reference, sections 3.7, 4.1 and 4.5)."""

import pytest
import pytest_twisted

from dhtwisted.model import Device, DeviceType, Network
from dhtwisted.wire.fields import MAX_SUBSCRIPTION_LIST

KINDS = ["command", "notification"]
each_kind = pytest.mark.parametrize("kind", KINDS)
NOTHING = (403, "No access to any device type or network")
DENIED = (403, "Access is denied")


@pytest_twisted.async_yield_fixture
async def world(server):
    """Networks 1 and 2, device types 1 and 2, a device ``d`` in network 1 and of type 1."""
    await server.server.entities.insert(Network(name="Garden"))
    await server.server.entities.insert(DeviceType(name="Pump"))
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    yield server


@each_kind
@pytest_twisted.ensureDeferred
async def test_the_reply_has_the_id_alone(world, kind):
    reply = await (await world.client()).call(f"{kind}/subscribe")
    assert reply.keys() == {"action", "requestId", "status", "subscriptionId"}
    assert type(reply["subscriptionId"]) is int


@each_kind
@pytest.mark.parametrize(
    ("given", "administrator"),
    [
        ({"networkIds": [5, 6]}, (404, "Networks with such networkIds wasn't found: {[5, 6]}")),
        ({"networkIds": [1, 6]}, (404, "Networks with such networkIds wasn't found: {[1, 6]}")),
        ({"deviceTypeIds": [9]}, (404, "Device types with such deviceTypeIds wasn't found: {[9]}")),
        ({"networkIds": [1], "deviceTypeIds": [1, 9]}, (404, "Device types with such deviceTypeIds wasn't found: {[1, 9]}")),
        ({"deviceId": "d", "networkIds": [5]}, (404, "Networks with such networkIds wasn't found: {[5]}")),
        ({"deviceId": "unknown"}, (404, "Device with such deviceId = unknown not found")),
        ({"deviceIds": ["d", "unknown"]}, (404, "Device with such deviceId = unknown not found")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_does_not_exist(world, kind, given, administrator):
    client = await world.client(await world.add_user("anna", network_ids=frozenset({1})))
    assert await (await world.client()).refused(f"{kind}/subscribe", **given) == administrator
    assert await client.refused(f"{kind}/subscribe", **given) == DENIED


@each_kind
@pytest.mark.parametrize(
    ("user", "claims", "given", "error"),
    [
        ({"network_ids": frozenset({1})}, {}, {"networkIds": [2]}, DENIED),
        ({"network_ids": frozenset({1})}, {}, {"networkIds": [1, 2]}, DENIED),
        ({"network_ids": frozenset({1})}, {"device_type_ids": frozenset({"1"})}, {"deviceTypeIds": [2]}, DENIED),
        ({"network_ids": frozenset({2})}, {}, {"deviceId": "d"}, DENIED),
        ({"network_ids": frozenset({1})}, {"network_ids": None}, {}, NOTHING),
        ({"network_ids": frozenset({1})}, {"network_ids": frozenset({"2"})}, {}, NOTHING),
        ({}, {}, {}, NOTHING),
        ({}, {}, {"names": ["on"]}, NOTHING),
        ({"network_ids": frozenset({1}), "all_device_types_available": False}, {}, {}, NOTHING),
        ({"network_ids": frozenset({1}), "all_device_types_available": False}, {}, {"networkIds": [1]}, NOTHING),
        ({"role": 0}, {"network_ids": frozenset({"2"})}, {"networkIds": [1]}, DENIED),
        ({"role": 0}, {"network_ids": frozenset({"2"})}, {"networkIds": [9]}, (404, "Networks with such networkIds wasn't found: {[9]}")),
        ({"role": 0}, {"network_ids": None}, {}, NOTHING),
        ({"network_ids": frozenset({1})}, {}, {"networkIds": [1]}, None),
        ({"network_ids": frozenset({1})}, {}, {"deviceId": "d"}, None),
        ({"network_ids": frozenset({1}), "all_device_types_available": False, "device_type_ids": frozenset({1})}, {}, {}, None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_the_callers(world, kind, user, claims, given, error):
    client = await world.client(await world.add_user("anna", **user), **claims)
    if error is None:
        await client.call(f"{kind}/subscribe", **given)
    else:
        assert await client.refused(f"{kind}/subscribe", **given) == error
        assert client.session.subscriptions == {}


@each_kind
@pytest.mark.parametrize("member", ["networkIds", "deviceTypeIds", "names", "deviceIds"])
@pytest_twisted.ensureDeferred
async def test_lists(world, kind, member):
    client = await world.client()
    malformed = (400, "Malformed Json received.")
    for value in (5, "1", True, {}, [[]], [{}]):
        assert await client.refused(f"{kind}/subscribe", **{member: value}) == malformed
    for value in (None, []):
        await client.call(f"{kind}/subscribe", **{member: value})
    for name in ("a\0b", "x" * 257):
        assert await client.refused(f"{kind}/subscribe", names=[name]) == (400, "Invalid request parameters")
    too_many = ["1"] * (MAX_SUBSCRIPTION_LIST + 1)
    assert await client.refused(f"{kind}/subscribe", **{member: too_many}) == (400, "Invalid request parameters")


@pytest_twisted.ensureDeferred
async def test_subscriptions_are_limited_per_connection(open_server):
    server = await open_server(limits={"subscriptions_per_connection": 3})
    client, other = await server.client(), await server.client()
    for kind in ("command", "notification", "command"):
        last = await client.call(f"{kind}/subscribe")
    for kind in KINDS:
        assert await client.refused(f"{kind}/subscribe") == (429, "Too many requests")
    await other.call("command/subscribe")
    await client.call("command/unsubscribe", subscriptionId=last["subscriptionId"])
    await client.call("notification/subscribe")


@pytest_twisted.ensureDeferred
async def test_what_the_subscriptions_of_a_connection_name_is_limited(open_server):
    server = await open_server(limits={"subscribed_names": 10})
    client, other = await server.client(), await server.client()
    await client.call("device/save", deviceId="pump", device={})
    first = await client.call("notification/subscribe", deviceId="pump", names=list("abcd"))
    await client.call("command/subscribe", networkIds=[1], deviceTypeIds=[1], names=list("abc"))
    reply = await client.request("notification/subscribe", names=["a"])
    assert (reply["code"], "limits.subscribed_names" in reply["detail"]) == (429, True)
    await client.call("notification/subscribe")
    await other.call("notification/subscribe", names=list("abcdefghij"))
    await client.call("notification/unsubscribe", subscriptionId=first["subscriptionId"])
    await client.call("notification/subscribe", names=list("abcde"))
    assert server.server.metrics.refusals["subscribed_names"] == 1


@pytest_twisted.ensureDeferred
async def test_subscriptions_to_the_same_share_what_they_name(open_server):
    server = await open_server(limits={"subscribed_names": 0})
    client = await server.client()
    for _ in range(3):
        await client.call("notification/subscribe", networkIds=[1, 1], names=["b", "a"])
    assert len({id(subscription.names) for subscription in client.session.subscriptions.values()}) == 1


@each_kind
@pytest_twisted.ensureDeferred
async def test_unsubscribe(world, kind):
    client, other = await world.client(), await world.client()
    own = (await client.call(f"{kind}/subscribe"))["subscriptionId"]
    foreign = (await other.call(f"{kind}/subscribe"))["subscriptionId"]
    another_kind = (await client.call(f"{KINDS[1 - KINDS.index(kind)]}/subscribe"))["subscriptionId"]
    for wrong in (foreign, another_kind, 0, -1):
        assert await client.refused(f"{kind}/unsubscribe", subscriptionId=wrong) == (404, f"Subscription with id {wrong} was not found")
    await client.call(f"{kind}/unsubscribe", subscriptionId=str(own))
    assert await client.refused(f"{kind}/unsubscribe", subscriptionId=own) == (404, f"Subscription with id {own} was not found")
    await client.call(f"{kind}/unsubscribe")
    assert list(client.session.subscriptions) == [another_kind]
    assert list(other.session.subscriptions) == [foreign]


@pytest_twisted.ensureDeferred
async def test_a_list_is_limited_to_the_kinds_that_the_token_may_read(world):
    client = await world.client()
    ids = {kind: (await client.call(f"{kind}/subscribe"))["subscriptionId"] for kind in KINDS}

    async def listed(actions, **members):
        reply = await client.call("subscription/list", token=world.token(actions=frozenset(actions)), **members)
        return [subscription["subscriptionId"] for subscription in reply["subscriptions"]]

    assert sorted(await listed({0})) == sorted(ids.values())
    assert await listed({5}) == [ids["command"]]
    assert await listed({4}) == [ids["notification"]]
    assert await listed({4}, type="command") == []
    assert await listed({0}, type="COMMAND") == []
    assert await client.refused("subscription/list", token=world.token(actions=frozenset({3}))) == DENIED


@each_kind
@pytest_twisted.ensureDeferred
async def test_a_list_shows_what_was_given(world, kind):
    client = await world.client()
    padding = "x" * 1000
    given = {"deviceId": "d", "networkIds": ["1"], "deviceTypeIds": [1, 1], "names": ["on", 5], "timestamp": 1000, "more": padding}
    own = (await client.call(f"{kind}/subscribe", **given))["subscriptionId"]
    [shown] = (await client.call("subscription/list"))["subscriptions"]
    assert shown == {
        "subscriptionId": own,
        "type": kind,
        "deviceId": "d",
        "networkIds": [1],
        "deviceTypeIds": [1, 1],
        "names": ["on", "5"],
        "timestamp": "1970-01-01T00:00:01.000",
    }
