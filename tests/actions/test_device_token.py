"""Tokens that are good for one device alone: what they open, in every action, and how they end."""

import pytest
import pytest_twisted
from msgspec.structs import replace

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.core.access import DEVICE_PERMISSIONS, Permission
from dhtwisted.model import Device, DeviceToken, EntityQuery, Network, User
from dhtwisted.providers.jwt.auth import JWTAuth
from tests.support.rest_api import RestClient
from tests.support.token_matrix import ALLOWED, FORBIDDEN, TABLE, World, over_rest, over_websocket_after_authenticate

OPEN = {"authenticate", "token", "token/refresh", "server/info", "server/cacheInfo", "cluster/info", "info"}
"""What needs no permission."""

OWN = {
    *("device/get", "device/list", "device/count", "device/save", "device/delete"),
    *("command/insert", "command/get", "command/list", "command/update", "command/subscribe", "command/unsubscribe"),
    *("notification/insert", "notification/get", "notification/list", "notification/subscribe", "notification/unsubscribe"),
    *("subscription/list", "command/poll", "command/wait", "notification/poll"),
}
"""What a token for a device permits, of that device."""


async def bound(server, device_id="pump", user=None, **payload):
    """The access and refresh token of a device, made by an administrator for a user, by default for himself."""
    admin = await server.client()
    payload = {"userId": (user or server.administrator).id, "deviceId": device_id} | payload
    reply = await admin.call("token/create", payload=payload)
    return reply["accessToken"], reply["refreshToken"]


async def connected(server, token):
    client = server.connect()
    await client.call("authenticate", token=token)
    return client


def test_every_action_is_in_one_of_the_lists():
    assert ACTIONS.keys() | REST_ONLY.keys() >= OPEN | OWN
    for name in OWN:
        assert (ACTIONS.get(name) or REST_ONLY[name]).permissions <= DEVICE_PERMISSIONS


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("action", TABLE)
@pytest_twisted.ensureDeferred
async def test_what_it_opens_is_its_own_device_alone(open_server, action):
    permission, members, _ = TABLE[action]
    wanted = ALLOWED if action in OPEN | OWN else FORBIDDEN
    for device_id, expected in (("pump", wanted), ("other", FORBIDDEN if "deviceId" in members and action in OWN else wanted)):
        for way in ("websocket", *(ACTIONS.get(action) or REST_ONLY[action]).routes):
            world = await World.make(open_server, permission)
            token, _ = await bound(world.server, device_id)
            request = world.members(members, "admin")
            if way != "websocket":
                assert await over_rest(world, way, request, token) == expected, (device_id, way.path)
            elif action in ACTIONS:
                assert await over_websocket_after_authenticate(world, action, request, token) == expected, device_id


@pytest_twisted.async_yield_fixture
async def server(open_server):
    """One with the devices ``pump`` and ``lamp``, in different networks."""
    server = await open_server()
    await server.server.entities.insert(Network(name="other"))
    admin = await server.client()
    await admin.call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
    await admin.call("device/save", deviceId="lamp", device={"networkId": 2, "deviceTypeId": 1})
    server.admin = admin
    yield server


async def heard(server, client):
    """From which devices a client hears of a notification by each."""
    before = len(client.events)
    for device_id in ("pump", "lamp"):
        await server.admin.call("notification/insert", deviceId=device_id, notification={"notification": "n"})
    return [event["notification"]["deviceId"] for event in client.events[before:]]


@pytest.mark.parametrize("action", ["device/get", "device/delete", "notification/list", "command/list"])
@pytest_twisted.ensureDeferred
async def test_it_does_not_tell_which_devices_there_are(server, action):
    await server.admin.call("device/save", deviceId="lamp", device={})
    client = await connected(server, (await bound(server))[0])
    answers = [await client.refused(action, deviceId=device_id) for device_id in ("lamp", "nowhere")]
    assert answers[0] == answers[1] == (403, "Access is denied")


@pytest.mark.parametrize("members", [{}, {"networkIds": [1, 2]}, {"deviceTypeIds": [1]}, {"names": ["n"]}, {"deviceId": "pump"}])
@pytest_twisted.ensureDeferred
async def test_a_subscription_is_to_its_device_whatever_it_names(server, members):
    client = await connected(server, (await bound(server))[0])
    await client.call("notification/subscribe", **members)
    assert await heard(server, client) == ["pump"]


@pytest_twisted.ensureDeferred
async def test_lists_and_histories_and_polls_are_of_its_device(server):
    token, _ = await bound(server)
    client, rest = await connected(server, token), RestClient(server, f"Bearer {token}")
    await heard(server, client)
    assert [device["id"] for device in (await client.call("device/list"))["devices"]] == ["pump"]
    assert (await client.call("device/count"))["count"] == 1
    await client.call("notification/subscribe", timestamp="2020-01-01T00:00:00")
    assert {event["notification"]["deviceId"] for event in client.events} == {"pump"}
    poll = rest.send("GET", "/device/notification/poll?timestamp=2020-01-01T00:00:00&waitTimeout=1")
    server.clock.advance(0.01)
    assert {notification["deviceId"] for notification in (await poll)[1]} == {"pump"}


@pytest_twisted.ensureDeferred
async def test_a_connection_that_had_more_rights_keeps_nothing_of_them(server):
    client = await server.client()
    await client.call("notification/subscribe")
    await client.call("notification/subscribe", deviceId="pump")
    command = (await client.call("command/insert", deviceId="lamp", command={"command": "c"}))["command"]
    await client.call("authenticate", token=(await bound(server))[0])
    assert await heard(server, client) == ["pump"]
    before = len(client.events)
    await server.admin.call("command/update", deviceId="lamp", commandId=command["id"], command={"status": "done"})
    assert client.events[before:] == []


@pytest_twisted.ensureDeferred
async def test_a_device_that_is_not_there_yet_registers_with_its_token(server):
    anna = await server.add_user("anna", network_ids=frozenset({2}))
    client = await connected(server, (await bound(server, "new", anna))[0])
    await client.call("device/save", deviceId="new", device={})
    assert (await server.server.entities.get(Device, "new")).network_id == 2
    assert (await client.refused("device/save", deviceId="newer", device={}))[0] == 403


@pytest_twisted.ensureDeferred
async def test_it_has_no_more_rights_than_were_given_and_than_its_user_has(server):
    anna = await server.add_user("anna", network_ids=frozenset({2}))
    stranger = await connected(server, (await bound(server, "pump", anna))[0])
    assert (await stranger.refused("device/get", deviceId="pump"))[0] == 403
    reader = await connected(server, (await bound(server, actions=["GetDevice", "ManageUser"]))[0])
    await reader.call("device/get", deviceId="pump")
    assert (await reader.refused("notification/insert", deviceId="pump", notification={"notification": "n"}))[0] == 403
    assert (await reader.refused("user/list"))[0] == 403


@pytest_twisted.ensureDeferred
async def test_nobody_binds_a_device_that_is_not_his(server):
    anna = await server.add_user("anna", network_ids=frozenset({2}))
    client = await server.client(anna, actions=frozenset({Permission.MANAGE_TOKEN, Permission.GET_DEVICE}))
    assert await client.refused("token/create", payload={"userId": anna.id, "deviceId": "pump"}) == (403, "Access is denied")
    assert (await client.refused("token/create", payload={"userId": anna.id, "deviceId": "a b\0"}))[0] == 400
    made = await client.call("token/create", payload={"userId": anna.id, "deviceId": "lamp"})
    assert server.auth.verify(made["accessToken"]).actions == {Permission.GET_DEVICE}, "cut to the caller's"


@pytest_twisted.ensureDeferred
async def test_revoking_ends_one_and_no_other(server):
    lost, refresh = await bound(server, label="lost")
    kept, _ = await bound(server, label="kept")
    clients = [await connected(server, token) for token in (lost, kept)]
    for client in clients:
        await client.call("notification/subscribe")
    (record,) = [record for record in (await server.admin.call("token/list", deviceId="pump"))["tokens"] if record["label"] == "lost"]
    await server.admin.call("token/revoke", tokenId=record["id"])
    assert [await heard(server, client) for client in clients] == [[], ["pump"]]
    assert await clients[0].refused("device/list") == (401, "Unauthorized")
    assert (await server.connect().refused("authenticate", token=lost))[0] == 401
    assert (await server.connect().refused("token/refresh", refreshToken=refresh))[0] == 401
    await clients[1].call("device/list")


@pytest_twisted.ensureDeferred
async def test_a_refreshed_token_is_good_for_the_same_device(server):
    _, refresh = await bound(server)
    access = (await server.connect().call("token/refresh", refreshToken=refresh))["accessToken"]
    client = await connected(server, access)
    assert (await client.refused("device/get", deviceId="lamp"))[0] == 403
    await client.call("device/get", deviceId="pump")


@pytest.mark.parametrize("change", [{"password": "another-one"}, {"status": 2}])
@pytest_twisted.ensureDeferred
async def test_what_ends_all_tokens_of_its_user_ends_it_too(server, change):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    token, _ = await bound(server, "pump", anna)
    await bound(server, "lamp")
    await server.admin.call("user/update", userId=anna.id, user=change)
    assert (await server.connect().refused("authenticate", token=token))[0] == 401
    assert [record["deviceId"] for record in (await server.admin.call("token/list"))["tokens"]] == ["lamp"]


@pytest_twisted.ensureDeferred
async def test_with_its_user_deleted_it_opens_nothing_and_a_device_made_anew_is_the_same(server):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    token, _ = await bound(server, "pump", anna)
    client = await connected(server, token)
    await server.admin.call("device/delete", deviceId="pump")
    await client.call("device/save", deviceId="pump", device={})
    await server.admin.call("user/delete", userId=anna.id)
    assert await client.refused("device/get", deviceId="pump") == (401, "Unauthorized")


@pytest_twisted.ensureDeferred
async def test_records_of_expired_tokens_go_when_the_next_is_made(server):
    await bound(server, expiration="2026-01-02T03:05:00")
    server.clock.advance(120)
    await bound(server, label="next")
    assert [record["label"] for record in (await server.admin.call("token/list"))["tokens"]] == ["next"]


@pytest_twisted.ensureDeferred
async def test_a_provider_that_loses_the_device_is_found_out(server, monkeypatch):
    """It would hand out tokens for everything."""
    issue = JWTAuth.issue
    monkeypatch.setattr(JWTAuth, "issue", lambda self, claims: issue(self, replace(claims, device_id=None, token_id=0)))
    code, text = await server.admin.refused("token/create", payload={"userId": 1, "deviceId": "pump"})
    assert (code, "auth provider" in text) == (400, True)
    assert await server.server.entities.find(DeviceToken, EntityQuery()) == []


@pytest_twisted.ensureDeferred
async def test_on_another_node_it_ends_when_that_hears_of_it(server):
    token, _ = await bound(server)
    client = await connected(server, token)
    token_id = server.auth.verify(token).token_id
    await server.storage.delete(DeviceToken, token_id)
    await client.call("device/list")
    await server.server.entities.changed_elsewhere([(DeviceToken, token_id)])
    assert await client.refused("device/list") == (401, "Unauthorized")
    assert await server.storage.get(User, 1)


@pytest_twisted.ensureDeferred
async def test_updates_of_what_was_inserted_with_another_token_do_not_come_to_its_connection(server):
    client = await connected(server, (await bound(server))[0])
    command = (await client.call("command/insert", token=server.token(), deviceId="lamp", command={"command": "c"}))["command"]
    own = (await client.call("command/insert", deviceId="pump", command={"command": "c"}))["command"]
    for device_id, inserted in (("lamp", command), ("pump", own)):
        await server.admin.call("command/update", deviceId=device_id, commandId=inserted["id"], command={"status": "done"})
    assert [event["command"]["deviceId"] for event in client.events] == ["pump"]


@pytest_twisted.ensureDeferred
async def test_a_record_lasts_as_long_as_the_last_of_its_tokens(server):
    access, _ = await bound(server, expiration="2026-01-02T04:00:00", refreshExpiration="2026-01-02T03:04:10")
    server.clock.advance(60)
    await bound(server)
    await connected(server, access)
    _, refresh = await bound(server, expiration="2026-01-02T03:10:00")
    refreshed = (await server.connect().call("token/refresh", refreshToken=refresh))["accessToken"]
    assert server.auth.verify(refreshed).expires == server.auth.verify(refresh).expires


@pytest_twisted.ensureDeferred
async def test_records_go_with_their_user(server):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    await bound(server, "pump", anna)
    await bound(server)
    await server.admin.call("user/delete", userId=anna.id)
    assert [record["userId"] for record in (await server.admin.call("token/list"))["tokens"]] == [1]


@pytest_twisted.ensureDeferred
async def test_one_that_was_revoked_stays_so_when_ids_are_counted_anew(server):
    """As after an export, which has no counters, and an import."""
    lost, _ = await bound(server)
    await server.admin.call("token/revoke", tokenId=server.auth.verify(lost).token_id)
    server.storage._sequences.clear()
    kept, _ = await bound(server)
    assert (await server.connect().refused("authenticate", token=lost))[0] == 401
    await connected(server, kept)
