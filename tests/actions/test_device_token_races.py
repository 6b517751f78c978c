"""Tokens for one device while things happen beside them: revoked amid a request, their device or their user deleted."""

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.model import Device, DeviceToken, EntityQuery, User
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import START
from tests.actions.test_device_token import bound, connected
from tests.support.delaying import DelayingStorage
from tests.support.rest_api import RestClient


@pytest_twisted.async_yield_fixture
async def server(open_server):
    """One whose storage may be held, and which has the device ``pump``."""
    clock = Clock()
    clock.advance(START)
    storage = DelayingStorage(MemoryStorage(clock))
    server = await open_server(storage=storage, clock=clock)
    server.admin = await server.client()
    await server.admin.call("device/save", deviceId="pump", device={})
    yield server


def begin(coroutine):
    return Deferred.fromCoroutine(coroutine)


async def only_id(server):
    """The id of the only record that there is."""
    (record,) = await server.storage.find(DeviceToken, EntityQuery())
    return record.id


async def notify(server):
    await server.admin.call("notification/insert", deviceId="pump", notification={"notification": "n"})


async def make_anew(server):
    await server.admin.call("device/delete", deviceId="pump")
    await server.admin.call("device/save", deviceId="pump", device={})


@pytest.mark.parametrize("members", [{}, {"networkIds": [1]}, {"names": ["n"]}])
@pytest_twisted.ensureDeferred
async def test_a_subscription_that_names_no_device_goes_on_when_its_device_is_made_anew(server, members):
    client = await connected(server, (await bound(server))[0])
    subscription = await client.call("notification/subscribe", **members)
    for _ in range(2):
        await make_anew(server)
    before = len(client.events)
    await notify(server)
    assert len(client.events) == before + 1
    await client.call("notification/unsubscribe", subscriptionId=subscription["subscriptionId"])
    await notify(server)
    assert len(client.events) == before + 1


@pytest.mark.parametrize("members", [{"deviceId": "pump"}, {"deviceIds": ["pump"]}])
@pytest_twisted.ensureDeferred
async def test_one_that_names_it_ends_with_it_as_those_of_other_tokens_do(server, members):
    client = await connected(server, (await bound(server))[0])
    await client.call("notification/subscribe", **members)
    await make_anew(server)
    before = len(client.events)
    await notify(server)
    assert len(client.events) == before


@pytest_twisted.ensureDeferred
async def test_a_subscription_before_its_device_is_there_lasts_over_a_bus_that_was_cut_off(server):
    client = await connected(server, (await bound(server, "new"))[0])
    await client.call("notification/subscribe")
    await server.server.bus_receiver.entities_changed(None)
    await client.call("device/save", deviceId="new", device={})
    assert [event["notification"]["notification"] for event in client.events] == ["$device-add"]


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_goes_on_is_not_heard_by_a_token_that_was_revoked(server):
    client = await connected(server, (await bound(server))[0])
    await client.call("notification/subscribe")
    await make_anew(server)
    await server.admin.call("token/revoke", tokenId=await only_id(server))
    before = len(client.events)
    await notify(server)
    assert len(client.events) == before


@pytest_twisted.ensureDeferred
async def test_a_poll_hears_nothing_after_its_token_was_revoked(server):
    rest = RestClient(server, f"Bearer {(await bound(server))[0]}")
    poll = rest.send("GET", "/device/notification/poll?waitTimeout=2")
    await server.admin.call("token/revoke", tokenId=await only_id(server))
    await notify(server)
    server.clock.advance(0.01)
    server.clock.advance(2)
    assert await poll == (200, [])


@pytest_twisted.ensureDeferred
async def test_revoked_while_its_device_is_being_saved(server):
    client = await connected(server, (await bound(server, "new"))[0])
    server.storage.delay("get")
    saving = begin(client.request("device/save", deviceId="new", device={}))
    assert server.storage.waiting == ["get"]
    revoking = begin(server.admin.request("token/revoke", tokenId=await only_id(server)))
    server.storage.prompt()
    assert (await revoking)["status"] == "success"
    server.storage.release_all()
    assert (await saving)["code"] == 401
    assert await server.server.entities.get(Device, "new") is None


async def restarted(server, open_server):
    """A server that has nothing at hand."""
    again = await open_server(storage=server.storage, clock=server.clock)
    again.admin = await again.client()
    await again.admin.call("device/list")
    return again


@pytest.mark.parametrize("request_name", ["authenticate", "token/refresh"])
@pytest_twisted.ensureDeferred
async def test_revoked_while_its_record_is_being_read(server, open_server, request_name):
    """The revocation waits for the same answer, and goes on first."""
    access, refresh = await bound(server)
    server = await restarted(server, open_server)
    await server.server.entities.get(User, 1)
    server.storage.delay("get")
    revoking = begin(server.admin.request("token/revoke", tokenId=await only_id(server)))
    members = {"token": access} if request_name == "authenticate" else {"refreshToken": refresh}
    asking = begin(server.connect().request(request_name, **members))
    assert server.storage.waiting == ["get"]
    server.storage.release_all()
    assert (await revoking)["status"] == "success"
    assert (await asking)["code"] == 401


@pytest_twisted.ensureDeferred
async def test_its_user_is_deleted_while_he_is_being_read(server, open_server):
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    token = server.token(anna)
    server = await restarted(server, open_server)
    server.storage.delay("get")
    deleting = begin(server.admin.request("user/delete", userId=anna.id))
    asking = begin(server.connect().request("authenticate", token=token))
    assert server.storage.waiting == ["get"]
    server.storage.release_all()
    assert (await deleting)["status"] == "success"
    assert (await asking)["code"] == 401


@pytest_twisted.ensureDeferred
async def test_a_provider_that_loses_the_device_at_refresh_is_found_out(server, monkeypatch):
    _, refresh = await bound(server)
    issue = JWTAuth.issue
    monkeypatch.setattr(JWTAuth, "issue", lambda self, claims: issue(self, replace(claims, device_id=None, token_id=0)))
    code, text = await server.connect().refused("token/refresh", refreshToken=refresh)
    assert (code, "auth provider" in text) == (400, True)
    assert len(await server.storage.find(DeviceToken, EntityQuery())) == 1


@pytest_twisted.ensureDeferred
async def test_the_token_of_a_request_is_held_to_its_device_whatever_the_connection_may(server):
    token, _ = await bound(server)
    await server.admin.call("device/save", deviceId="lamp", device={})
    client = await server.client()
    assert (await client.refused("device/get", deviceId="lamp", token=token))[0] == 403
    await client.call("notification/subscribe", token=token)
    await server.admin.call("notification/insert", deviceId="lamp", notification={"notification": "n"})
    await notify(server)
    assert [event["notification"]["deviceId"] for event in client.events] == ["pump"]
