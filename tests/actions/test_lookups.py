"""What several actions have in common: the order of checks, nonexistent and forbidden devices, pages (WebSocket reference, section 2.1)."""

import pytest
import pytest_twisted

from dhtwisted.model import Device, DeviceType, Network, User

OBJECTS = {
    "device/get": {},
    "device/delete": {},
    "command/insert": {"command": {"command": "on"}},
    "command/get": {"commandId": 1},
    "command/list": {},
    "command/update": {"commandId": 1, "command": {}},
    "command/subscribe": {},
    "notification/insert": {"notification": {"notification": "on"}},
    "notification/get": {"notificationId": 1},
    "notification/list": {},
    "notification/subscribe": {},
}
"""Actions on one device, with the members that they require beside ``deviceId``."""

KNOWN_TO_ALL = {"notification/get", "notification/list"}
DENIED = (403, "Access is denied")
NOT_FOUND = (404, "Device with such deviceId = unknown not found")

each_action = pytest.mark.parametrize("action", sorted(OBJECTS))


@pytest_twisted.async_yield_fixture
async def people(server):
    """Clients by what they may; ``d`` is a device in network 1 and of type 1."""
    entities = server.server.entities
    await entities.insert(Network(name="Garden"))
    await entities.insert(DeviceType(name="Pump"))
    await entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    inside = await server.add_user("inside", network_ids=frozenset({1}))
    outside = await server.add_user("outside", network_ids=frozenset({2}))
    other_type = await server.add_user(
        "other", network_ids=frozenset({1}), all_device_types_available=False, device_type_ids=frozenset({2})
    )
    yield {
        "administrator": await server.client(),
        "types absent": await server.client(device_type_ids=None),
        "other network in the token": await server.client(network_ids=frozenset({"2"})),
        "other type in the token": await server.client(device_type_ids=frozenset({"2"})),
        "no networks in the token": await server.client(network_ids=None),
        "inside": await server.client(inside),
        "outside": await server.client(outside),
        "other type": await server.client(other_type),
        "powerless": await server.client(inside, actions=frozenset({1})),
        "nobody": server.connect(),
    }


@each_action
@pytest.mark.parametrize("who", ["administrator", "types absent"])
@pytest_twisted.ensureDeferred
async def test_who_may_use_every_device_is_told_that_one_does_not_exist(people, who, action):
    assert await people[who].refused(action, deviceId="unknown", **OBJECTS[action]) == NOT_FOUND


@each_action
@pytest.mark.parametrize(
    "who", ["other network in the token", "other type in the token", "no networks in the token", "inside", "outside", "other type"]
)
@pytest_twisted.ensureDeferred
async def test_all_others_are_not_told(people, who, action):
    expected = NOT_FOUND if action in KNOWN_TO_ALL else DENIED
    assert await people[who].refused(action, deviceId="unknown", **OBJECTS[action]) == expected


@each_action
@pytest.mark.parametrize(
    "who", ["other network in the token", "other type in the token", "no networks in the token", "outside", "other type"]
)
@pytest_twisted.ensureDeferred
async def test_a_device_of_others_is_forbidden(people, who, action):
    assert await people[who].refused(action, deviceId="d", **OBJECTS[action]) == DENIED


@each_action
@pytest_twisted.ensureDeferred
async def test_the_permission_comes_before_everything_but_types(people, action):
    powerless, nobody = people["powerless"], people["nobody"]
    malformed = (400, "Malformed Json received.")
    for members in ({}, {"deviceId": ""}, {"deviceId": "unknown"}, {"deviceId": "d"}):
        assert await powerless.refused(action, **members) == DENIED
        assert await nobody.refused(action, **members) == (401, "Unauthorized")
    assert await powerless.refused(action, deviceId={}) == malformed
    assert await nobody.refused(action, deviceId=[]) == malformed


@pytest.mark.parametrize("action", ["command/insert", "command/get", "command/update", "notification/get"])
@pytest_twisted.ensureDeferred
async def test_the_right_to_the_device_comes_before_the_required_members(people, action):
    assert await people["outside"].refused(action, deviceId="d") == DENIED
    assert (await people["inside"].refused(action, deviceId="d"))[0] == 400


@each_action
@pytest_twisted.ensureDeferred
async def test_no_device_id(people, action):
    members = OBJECTS[action]
    empty = (400, "Device id is wrong or empty")
    assert await people["inside"].refused(action, deviceId="", **members) == empty
    if not action.endswith("subscribe"):
        assert await people["inside"].refused(action, **members) == empty
        assert await people["inside"].refused(action, deviceId=None, **members) == empty


@each_action
@pytest_twisted.ensureDeferred
async def test_a_device_id_with_nul_breaks_the_pattern(people, action):
    broken = await people["inside"].refused(action, deviceId="d\0", **OBJECTS[action])
    assert broken == (400, "Device Id can only contain letters, digits and dashes.")


@pytest.mark.parametrize("action", sorted(set(OBJECTS) - {"device/delete", "command/get", "command/update", "notification/get"}))
@pytest_twisted.ensureDeferred
async def test_an_assignment_that_ends_acts_at_once(server, people, action):
    await people["inside"].call(action, deviceId="d", **OBJECTS[action])
    await server.server.entities.update(User, people["inside"].session.principal.user_id, {"network_ids": frozenset()})
    assert (await people["inside"].refused(action, deviceId="d", **OBJECTS[action]))[0] == 403


@pytest_twisted.ensureDeferred
async def test_a_page_is_cut_to_the_largest_list(open_server):
    server = await open_server(limits={"list_size": 3})
    client = await server.client()
    for number in range(5):
        await client.call("device/save", deviceId=f"d{number}", device={})
    for members, expected in (({}, 3), ({"take": 2}, 2), ({"take": 4}, 3), ({"take": 2**62, "skip": 3}, 2), ({"take": 0}, 0)):
        assert len((await client.call("device/list", **members))["devices"]) == expected


@pytest_twisted.ensureDeferred
async def test_a_page_is_a_hundred_when_nothing_is_said(server):
    client = await server.client()
    await client.call("device/save", deviceId="d", device={})
    for _ in range(120):
        await client.call("command/insert", deviceId="d", command={"command": "on"})
        await client.call("notification/insert", deviceId="d", notification={"notification": "on"})
    assert len((await client.call("command/list", deviceId="d"))["commands"]) == 100
    assert len((await client.call("notification/list", deviceId="d"))["notifications"]) == 100


@pytest.mark.parametrize("action", ["device/list", "command/list", "notification/list"])
@pytest.mark.parametrize("take", [2**63 - 1, 100, 0])
@pytest.mark.parametrize("skip", [2**63 - 1, 2**62, 0])
@pytest_twisted.ensureDeferred
async def test_no_page_is_too_large(people, action, take, skip):
    await people["administrator"].call(action, deviceId="d", take=take, skip=skip)


@pytest_twisted.ensureDeferred
async def test_the_bound_holds_for_few_large_messages(open_server):
    server = await open_server(limits={"list_bytes": 300_000, "message_size": 100_000})
    admin = await server.client()
    await admin.call("device/save", deviceId="pump", device={})
    for number in range(20):
        await admin.call("notification/insert", deviceId="pump", notification={"notification": str(number), "parameters": "x" * 90_000})
    found = (await admin.call("notification/list", deviceId="pump", sortField="notification", sortOrder="DESC"))["notifications"]
    assert 3 <= len(found) <= 6


@pytest.mark.parametrize("kind", ["command", "notification"])
@pytest_twisted.ensureDeferred
async def test_a_list_has_a_bound_in_bytes(open_server, kind):
    server = await open_server(limits={"list_bytes": 300_000})
    admin = await server.client()
    await admin.call("device/save", deviceId="pump", device={})
    for number in range(250):
        await admin.call(f"{kind}/insert", deviceId="pump", **{kind: {kind: str(number), "parameters": "x" * 2000}})

    async def names(**page):
        reply = await admin.call(f"{kind}/list", deviceId="pump", sortField=kind, sortOrder="ASC", **page)
        return [message[kind] for message in reply[f"{kind}s"] if message[kind] != "$device-add"]

    everything = sorted(map(str, range(250)))
    found = await names(take=1000)
    assert 120 <= len(found) < 150
    assert found == everything[: len(found)]
    assert await names(take=20, skip=230 + (kind == "notification")) == everything[230:]
    assert len(await names(take=110)) >= 109
