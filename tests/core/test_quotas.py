"""What one user and one device may have and start: below, at and above each quota, by each front; what is given back; after a restart."""

import base64
import json
from dataclasses import replace

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.config.settings import QuotaSettings
from dhtwisted.core.expired_tokens import MANY
from dhtwisted.core.quotas import BYTES_OF_A_MESSAGE, QUOTAS
from dhtwisted.model import Device, DeviceToken, EntityQuery, StoredBytes, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.server import START, MemoryServer, at_once
from tests.support import rest_api
from tests.support.delaying import DelayingStorage
from tests.support.fronts import front

FRONTS = pytest.mark.parametrize("by", ["websocket", "rest"])
NO_DAILY = {"device_stored_per_day": 0, "stored_per_day": 0}


async def opened(open_server, by, quotas, **options):
    """A server, its only user who is a client, and a client of theirs."""
    server = await open_server(quotas=quotas, **options)
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    return server, anna, await front(by, server, anna)


async def used(server, user_id, name):
    return (await server.server.quotas.use(user_id))[name][0]


def texts(length):
    """A text that is so many bytes of JSON."""
    return "x" * (length - 2)


def server_clock():
    """For a storage: the time at which servers of tests begin."""
    clock = Clock()
    clock.advance(START)
    return clock


def _all():
    return EntityQuery()


def _with_quotas(settings, **quotas):
    return replace(settings, quotas=replace(settings.quotas, **quotas))


def test_each_quota_is_an_option_and_each_option_a_quota():
    assert {*QUOTAS, "administrators"} == set(QuotaSettings.__dataclass_fields__)


# What is kept: how it is made, and how it is deleted

KEPT = {
    "devices": (
        lambda number: ("device/save", {"deviceId": f"d-{number}", "device": {"name": "d"}}),
        lambda reply: ("device/delete", {"deviceId": "d-1"}),
    ),
    "networks": (
        lambda number: ("network/insert", {"network": {"name": f"n-{number}"}}),
        lambda reply: ("network/delete", {"networkId": reply.get("network", reply)["id"], "force": True}),
    ),
    "device_types": (
        lambda number: ("devicetype/insert", {"deviceType": {"name": f"t-{number}"}}),
        lambda reply: ("devicetype/delete", {"deviceTypeId": reply.get("deviceType", reply)["id"], "force": True}),
    ),
    "device_tokens": (
        lambda number: ("token/create", {"payload": {"userId": 2, "deviceId": f"d-{number}"}}),
        lambda reply: ("token/revoke", {"tokenId": _token_id(reply["accessToken"])}),
    ),
}


async def _asked(client, call):
    action, members = call
    return await client.ask(action, **members)


def _token_id(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["payload"]["id"]


@FRONTS
@pytest.mark.parametrize("name", KEPT)
@pytest_twisted.ensureDeferred
async def test_below_at_above_and_given_back(open_server, by, name):
    server, anna, client = await opened(open_server, by, {name: 3})
    admin, (make, delete), replies = await front(by, server), KEPT[name], []
    for number in range(3):
        code, _, reply = await _asked(client, make(number))
        replies.append(reply)
        assert (code, await used(server, anna.id, name)) == (200, number + 1)
    assert (await _asked(client, make(3)))[:2] == (403, f"Quota exceeded: {name}")
    assert await used(server, anna.id, name) == 3
    assert server.server.metrics.quota_refusals[name] == 1
    # Whoever deletes it: it was hers.
    assert (await _asked(admin, delete(replies[1])))[0] == 200
    assert await used(server, anna.id, name) == 2
    assert (await _asked(client, make(3)))[0] == 200
    assert (await _asked(client, make(4)))[0] == 403
    if name != "device_tokens":  # Those count for whose they are, whoever makes them.
        assert (await _asked(admin, make(5)))[0] == 200, "others have quotas of their own"


@FRONTS
@pytest_twisted.ensureDeferred
async def test_data_counts_by_its_bytes_and_its_growth(open_server, by):
    server, anna, client = await opened(open_server, by, {"data": 100})

    async def save(device_id, length):
        return (await client.ask("device/save", deviceId=device_id, device={"data": texts(length)}))[0]

    assert [await save("a", 60), await save("b", 40)] == [200, 200]
    assert await used(server, anna.id, "data") == 100
    assert [await save("c", 3), await save("a", 61)] == [403, 403]
    assert [await save("a", 50), await save("b", 50), await save("b", 51)] == [200, 200, 403]
    assert (await client.ask("device/save", deviceId="a", device={"name": "other"}))[0] == 200, "what does not grow is permitted"
    assert (await client.ask("user/updateCurrent", user={"data": texts(3)}))[:2] == (403, "Quota exceeded: data")
    assert (await client.ask("device/save", deviceId="a", device={"data": None}))[0] == 200
    assert (await client.ask("user/updateCurrent", user={"data": texts(50)}))[0] == 200
    assert await used(server, anna.id, "data") == 100
    assert (await client.ask("device/delete", deviceId="b"))[0] == 200
    assert await used(server, anna.id, "data") == 50


@pytest.mark.parametrize("what", ["device", "user"])
@pytest_twisted.ensureDeferred
async def test_what_shrinks_and_grows_at_the_same_time_leaves_no_room(open_server, what):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, one = await opened(open_server, "websocket", {"data": 100}, storage=storage)
    clients = [one, *[await front("websocket", server, anna) for _ in range(2)]]

    def save(client, data):
        request = ("device/save", {"deviceId": "a", "device": data}) if what == "device" else ("user/updateCurrent", {"user": data})
        return Deferred.fromCoroutine(_asked(client, request))

    await clients[0].ask("device/save", deviceId="a", device={})
    await save(clients[0], {"data": texts(100)})
    storage.delay("update", late=True)
    shrunk, grown = save(clients[0], {"data": None}), save(clients[1], {"data": texts(99)})
    storage.release()
    await shrunk
    other = Deferred.fromCoroutine(clients[2].ask("device/save", deviceId="b", device={"data": texts(90)}))
    while not (grown.called and other.called):
        assert storage.release(), "they wait for each other"
    assert sorted([(await one)[0] for one in (grown, other)]) == [200, 403]
    assert await used(server, anna.id, "data") in (90, 99)


@FRONTS
@pytest_twisted.ensureDeferred
async def test_data_of_one_device(open_server, by):
    server, _anna, client = await opened(open_server, by, {"device_data": 50})
    for device_id in ("new", "new", "other"):
        assert (await client.ask("device/save", deviceId=device_id, device={"data": texts(51)}))[:2] == (403, "Quota exceeded: device_data")
        assert (await client.ask("device/save", deviceId=device_id, device={"data": texts(50)}))[0] == 200
    assert server.server.metrics.quota_refusals["device_data"] == 3


@FRONTS
@pytest_twisted.ensureDeferred
async def test_growth_counts_for_who_made_the_device(open_server, by):
    server, anna, client = await opened(open_server, by, {"data": 100, "administrators": 1})
    await client.ask("device/save", deviceId="a", device={"data": texts(90)})
    admin = await front(by, server)
    assert (await admin.ask("device/save", deviceId="a", device={"data": texts(101)}))[0] == 403
    assert (await admin.ask("device/save", deviceId="a", device={"data": texts(100)}))[0] == 200
    assert [await used(server, anna.id, "data"), await used(server, 1, "data")] == [100, 0]


@pytest_twisted.ensureDeferred
async def test_devices_that_go_with_their_network_are_given_back(open_server):
    server, anna, client = await opened(open_server, "websocket", {"devices": 2, "data": 100})
    for number in range(2):
        await client.ask("device/save", deviceId=f"d-{number}", device={"data": texts(50)})
    admin = await front("websocket", server)
    await admin.ask("network/delete", networkId=1, force=True)
    assert [await used(server, anna.id, name) for name in ("devices", "data")] == [0, 0]


@pytest_twisted.ensureDeferred
async def test_tokens_that_have_ended_make_room(open_server):
    server, _anna, client = await opened(open_server, "websocket", {"device_tokens": 2})
    await client.ask("token/create", payload={"userId": 2, "deviceId": "a", "expiration": "2026-01-02T03:05:00"})
    await client.ask("token/create", payload={"userId": 2, "deviceId": "b"})
    assert (await client.ask("token/create", payload={"userId": 2, "deviceId": "c"}))[0] == 403
    server.clock.advance(120)
    assert (await client.ask("token/create", payload={"userId": 2, "deviceId": "c"}))[0] == 200


@pytest_twisted.ensureDeferred
async def test_many_tokens_are_not_looked_through_for_each_one_more(open_server):
    storage = _CountingStorage(MemoryStorage(server_clock()))
    server, _anna, client = await opened(open_server, "websocket", {"device_tokens": MANY + 1}, storage=storage)

    async def make(device_id="a", **members):
        return (await client.ask("token/create", payload={"userId": 2, "deviceId": device_id} | members))[0]

    assert await make(expiration="2026-01-02T03:04:15") == 200
    assert {await make() for _ in range(MANY)} == {200}
    storage.read = 0
    assert {await make(device_id) for _ in range(10) for device_id in "ab"} == {403}
    assert storage.read < 3 * MANY
    server.clock.advance(15)
    assert [await make(), await make()] == [200, 403], "what has ended makes room"


class _CountingStorage(DelayingStorage):
    """:ivar read: how many records of tokens it has given out."""

    read = 0

    async def find(self, kind, query):
        found = await super().find(kind, query)
        self.read += len(found) * (kind is DeviceToken)
        return found


@pytest_twisted.ensureDeferred
async def test_administrators_have_some_times_as_much_and_0_is_any_amount(open_server):
    server, _anna, client = await opened(open_server, "websocket", {"devices": 1, "networks": 0, "administrators": 2})
    admin = await front("websocket", server)
    codes = [(await admin.ask("device/save", deviceId=f"a-{number}", device={}))[0] for number in range(3)]
    assert codes == [200, 200, 403]
    assert [(await client.ask("network/insert", network={"name": str(number)}))[0] for number in range(3)] == [200] * 3
    _, _, reply = await client.ask("user/getCurrent")
    assert reply["current"]["quotas"]["networks"] == {"used": 3, "limit": None}


@pytest_twisted.ensureDeferred
async def test_an_insert_that_fails_is_given_back(open_server):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, client = await opened(open_server, "websocket", {"devices": 1}, storage=storage)
    storage.fail("insert")
    assert (await client.ask("device/save", deviceId="a", device={}))[0] == 503
    storage.prompt()
    assert (await client.ask("device/save", deviceId="a", device={}))[0] == 200
    assert not +server.server.quotas.account(anna.id).pending


@pytest_twisted.ensureDeferred
async def test_of_many_at_once_as_many_succeed_as_there_is_room(open_server):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, _ = await opened(open_server, "websocket", {"devices": 5}, storage=storage)
    clients = [await front("websocket", server, anna) for _ in range(12)]
    storage.delay("insert", "holdings")
    asked = [Deferred.fromCoroutine(c.ask("device/save", deviceId=f"d-{n}", device={})) for n, c in enumerate(clients)]
    while not all(one.called for one in asked):
        assert storage.release(), "they wait for each other"
    codes = sorted([(await one)[0] for one in asked])
    assert codes == [200] * 5 + [403] * 7


# What is running


@pytest_twisted.ensureDeferred
async def test_connections_of_a_user(open_server):
    server = await open_server(quotas={"connections": 2})
    anna = await server.add_user("anna")
    clients = [await server.client(anna) for _ in range(2)]
    third = server.connect()
    assert await third.refused("authenticate", token=server.token(anna)) == (403, "Quota exceeded: connections")
    await clients[0].call("authenticate", token=server.token(anna))
    clients[0].close()
    await third.call("authenticate", token=server.token(anna))
    await third.call("authenticate", token=server.token())
    assert [await used(server, user_id, "connections") for user_id in (1, anna.id)] == [1, 1]
    third.close()
    clients[1].close()
    clients[1].close()
    assert [await used(server, user_id, "connections") for user_id in (1, anna.id)] == [0, 0]


@pytest_twisted.ensureDeferred
async def test_subscriptions_and_their_ids_in_all_connections(open_server):
    server = await open_server(quotas={"subscriptions": 2, "subscription_ids": 5})
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    one, other = await server.client(anna), await server.client(anna)
    await one.call("device/save", deviceId="a", device={})
    first = await one.call("command/subscribe", deviceId="a", names=["x", "y"])
    assert await other.refused("notification/subscribe", networkIds=[1], names=["x", "y"]) == (403, "Quota exceeded: subscription_ids")
    await other.call("notification/subscribe", deviceId="a", names=["x"])
    assert await one.refused("command/subscribe") == (403, "Quota exceeded: subscriptions")
    await one.call("command/unsubscribe", subscriptionId=first["subscriptionId"])
    await other.call("command/subscribe", names=["x", "y", "z"])
    assert [await used(server, anna.id, name) for name in ("subscriptions", "subscription_ids")] == [2, 5]
    other.close()
    assert [await used(server, anna.id, name) for name in ("subscriptions", "subscription_ids")] == [0, 0]


@pytest_twisted.ensureDeferred
async def test_what_polls_name_counts_with_the_ids_of_subscriptions(open_server):
    server = await open_server(quotas={"subscription_ids": 3})
    anna = await server.add_user("anna", network_ids=frozenset({1}))
    client, poll = await server.client(anna), rest_api.client(server, anna)
    await client.call("command/subscribe", names=["x"])
    waiting = poll.send("GET", "/device/notification/poll?names=x,y")
    assert await used(server, anna.id, "subscription_ids") == 3
    refused = poll.send("GET", "/device/command/poll?names=x")
    server.clock.advance(1)  # For so long the errors of polls are held back.
    status, content = await refused
    assert (status, content["message"]) == (403, "Quota exceeded: subscription_ids")
    server.clock.advance(29)
    assert await waiting == (200, [])
    assert await used(server, anna.id, "subscription_ids") == 1


@pytest_twisted.ensureDeferred
async def test_subscriptions_count_for_the_identity_of_their_connection(open_server):
    server = await open_server(quotas={"subscriptions": 2})
    anna, berta = [await server.add_user(login, network_ids=frozenset({1})) for login in ("anna", "berta")]
    client, others = await server.client(anna), await server.client(berta)
    await client.call("command/subscribe")
    await client.call("command/subscribe", token=server.token(berta))
    assert [await used(server, user.id, "subscriptions") for user in (anna, berta)] == [1, 1]
    await others.call("command/subscribe")
    assert await client.refused("authenticate", token=server.token(berta)) == (403, "Quota exceeded: subscriptions")
    assert [await used(server, user.id, "connections") for user in (anna, berta)] == [1, 1]
    others.close()
    await client.call("authenticate", token=server.token(berta))
    assert [await used(server, user.id, "subscriptions") for user in (anna, berta)] == [0, 2]
    client.close()
    assert [await used(server, user.id, "subscriptions") for user in (anna, berta)] == [0, 0]


@FRONTS
@pytest_twisted.ensureDeferred
async def test_requests_that_wait(open_server, by):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, client = await opened(open_server, by, {"requests": 2}, storage=storage)
    others = [await front(name, server, anna) for name in ("websocket", "rest")]
    await client.ask("device/save", deviceId="a", device={})
    storage.delay("append")
    insert = {"deviceId": "a", "notification": {"notification": "t"}}
    waiting = [Deferred.fromCoroutine(other.ask("notification/insert", **insert)) for other in others]
    code, text, reply = await client.ask("notification/insert", **insert)
    assert (code, text, reply["retryAfter"]) == (429, "Quota exceeded: requests", 1)
    storage.release()
    assert await used(server, anna.id, "requests") == 1
    storage.prompt()
    storage.release_all()
    assert [(await one)[0] for one in waiting] == [200, 200]
    assert (await client.ask("notification/insert", **insert))[0] == 200
    assert await used(server, anna.id, "requests") == 0


@pytest_twisted.ensureDeferred
async def test_a_request_with_a_token_of_its_own_counts_for_that_user(open_server):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, _ = await opened(open_server, "websocket", {}, storage=storage)
    admin = await server.client()
    await admin.call("device/save", deviceId="a", device={})
    storage.delay("append")
    token = server.token(anna)
    waiting = Deferred.fromCoroutine(admin.request("notification/insert", token=token, deviceId="a", notification={"notification": "t"}))
    assert [await used(server, user_id, "requests") for user_id in (1, anna.id)] == [0, 1]
    storage.release_all()
    assert (await waiting)["status"] == "success"
    assert [await used(server, user_id, "requests") for user_id in (1, anna.id)] == [0, 0]


# What is stored in a day


def insert(length, device_id="a"):
    """A notification that counts as so many bytes."""
    return {"deviceId": device_id, "notification": {"notification": "t", "parameters": texts(length - BYTES_OF_A_MESSAGE)}}


@FRONTS
@pytest.mark.parametrize("name", ["stored_per_day", "device_stored_per_day"])
@pytest_twisted.ensureDeferred
async def test_bytes_of_a_day(open_server, by, name):
    server, anna, client = await opened(open_server, by, NO_DAILY | {name: 10_000})
    await client.ask("device/save", deviceId="a", device={})
    assert [(await client.ask("notification/insert", **insert(4900)))[0] for _ in range(2)] == [200, 200]
    code, text, reply = await client.ask("notification/insert", **insert(103))
    assert (code, text) == (429, f"Quota exceeded: {name}")
    assert reply["retryAfter"] == 75_355, "from 03:04:05.678 to midnight UTC"
    assert (await client.ask("notification/insert", **insert(102)))[0] == 429, "what was refused does not count"
    command = {"command": "c", "parameters": None}
    code, _, reply = await client.ask("command/insert", deviceId="a", command=command)
    assert code == 200, "just as much as there is room for"
    update = {"deviceId": "a", "commandId": reply.get("command", reply)["id"], "command": {"status": "done"}}
    assert (await client.ask("command/update", **update))[0] == 429
    assert (await client.ask("device/save", deviceId="a", device={"name": "other"}))[0] == 429, "of which $device-update is stored"
    server.clock.advance(75_355)
    client = await front(by, server, anna)
    assert (await client.ask("command/update", **update))[0] == 200
    assert server.server.metrics.quota_refusals[name] == 4


@pytest_twisted.ensureDeferred
async def test_a_message_that_is_not_stored_does_not_count(open_server):
    storage = DelayingStorage(MemoryStorage(server_clock()))
    server, anna, client = await opened(open_server, "websocket", {}, storage=storage)
    await client.ask("device/save", deviceId="a", device={})
    before = await used(server, anna.id, "stored_per_day")
    for mode in ((), ("append", "update_command")):
        storage.delay(*mode)
        storage.fail("append", "update_command")
        asked = [
            Deferred.fromCoroutine(client.ask("notification/insert", **insert(500))),
            Deferred.fromCoroutine(client.ask("command/update", deviceId="a", commandId=1, command={"result": 1})),
        ]
        storage.release_all()
        assert [(await one)[0] for one in asked] == [503, 503]
        storage.prompt()
    assert (await client.ask("command/update", deviceId="a", commandId=1, command={"result": 1}))[0] == 404
    assert await used(server, anna.id, "stored_per_day") == before
    assert server.server.quotas._stored.devices["a"].stored == before


@pytest_twisted.ensureDeferred
async def test_nodes_on_one_storage_tell_each_other_by_it(open_server):
    one, anna, client = await opened(open_server, "websocket", {"stored_per_day": 10_000})
    await client.ask("device/save", deviceId="a", device={})
    other = await open_server(quotas={"stored_per_day": 10_000}, storage=one.storage, clock=one.clock)
    elsewhere = await front("websocket", other, anna)
    assert [(await client.ask("notification/insert", **insert(4000)))[0] for _ in range(2)] == [200, 200]
    assert await used(other, anna.id, "stored_per_day") == 8100
    assert [(await elsewhere.ask("notification/insert", **insert(1000)))[0] for _ in range(3)] == [200, 429, 429]


@pytest_twisted.ensureDeferred
async def test_devices_count_at_all_nodes(open_server):
    one, anna, client = await opened(open_server, "websocket", {"devices": 1})
    other = await open_server(quotas={"devices": 1}, storage=one.storage, clock=one.clock)
    assert (await client.ask("device/save", deviceId="a", device={}))[0] == 200
    assert (await (await front("websocket", other, anna)).ask("device/save", deviceId="b", device={}))[0] == 403


# After a restart


@FRONTS
@pytest_twisted.ensureDeferred
async def test_what_is_used_stays_used_over_a_restart(reactor, tmp_path, by):
    quotas = {"devices": 2, "networks": 1, "device_types": 1, "device_tokens": 1, "data": 60, "stored_per_day": 10_000}
    for is_again in (False, True):
        storage = FileStorage(str(tmp_path / "data.sqlite"), reactor)
        await storage.open()
        server = await MemoryServer.open(reactor, storage=storage, real_time=True, hash_password=False, quotas=quotas)
        anna = await server.server.entities.get(User, 2) or await server.add_user("anna", network_ids=frozenset({1}))
        client = await front(by, server, anna)
        asked = [KEPT[name][0](number) for name in ("networks", "device_types", "device_tokens") for number in (1 + is_again,)]
        asked += [("device/save", {"deviceId": f"{is_again}-{length}", "device": {"data": texts(length)}}) for length in (20, 40)]
        asked += [("notification/insert", insert(size, "False-20")) for size in (5000, 5000 if is_again else 4000)]
        codes = [(await _asked(client, call))[0] for call in asked]
        await server.close()
        await storage.close()
        assert codes == ([403] * 5 + [429] * 2 if is_again else [200] * 7)


@pytest_twisted.ensureDeferred
async def test_rows_of_other_days_are_forgotten(open_server):
    storage = MemoryStorage(server_clock())
    for key in ("20260101 user 1", "20260102 user 1", "20260102 device a b", "20260103 user 1"):
        await storage.insert(StoredBytes(id=key, size=5))
    server = await open_server(storage=storage)
    assert [row.id for row in await storage.find(StoredBytes, _all())] == ["20260102 device a b", "20260102 user 1"]
    assert await used(server, 1, "stored_per_day") == 5
    server.clock.advance(86_400)
    assert await used(server, 1, "stored_per_day") == 0
    assert await storage.find(StoredBytes, _all()) == []


@pytest_twisted.ensureDeferred
async def test_several_messages_that_are_too_many_for_a_device_at_midnight_give_their_user_nothing(open_server):
    server = await open_server(quotas={"stored_per_day": 10**9, "device_stored_per_day": 2000})
    client = await server.client()
    await client.call("device/save", deviceId="a", device={})
    await client.call("notification/insert", **insert(500))
    server.clock.advance(86_400)
    client.send_texts([json.dumps({"action": "notification/insert", "requestId": number} | insert(1500)).encode() for number in range(2)])
    assert [reply.get("code") for reply in client.messages[-2:]] == [None, 429]
    assert await used(server, 1, "stored_per_day") == 1500


# What is told


@FRONTS
@pytest_twisted.ensureDeferred
async def test_users_see_their_own_and_administrators_all(open_server, by):
    server, anna, client = await opened(open_server, by, {"devices": 7, "administrators": 10})
    await client.ask("device/save", deviceId="a", device={"data": texts(20)})
    admin = await front(by, server)
    for asking, action in ((client, "user/getCurrent"), (client, "user/get"), (admin, "user/get")):
        _, _, reply = await asking.ask(action, userId=anna.id)
        quotas = reply.get("current", reply.get("user", reply))["quotas"]
        assert list(quotas) == [name for name, quota in QUOTAS.items() if not quota.of_device]
        assert quotas["devices"] == {"used": 1, "limit": 7}
        assert quotas["data"]["used"] == 20
        assert quotas["stored_per_day"]["used"] == BYTES_OF_A_MESSAGE + 20
        assert quotas["connections"]["used"] == int(by == "websocket")
    _, _, reply = await admin.ask("user/getCurrent")
    assert reply.get("current", reply)["quotas"]["devices"] == {"used": 0, "limit": 70}


@FRONTS
@pytest_twisted.ensureDeferred
async def test_what_a_client_sends_back_of_them_changes_nothing(open_server, by):
    """Clients read a user, change a member, and send all of it."""
    server, anna, _client = await opened(open_server, by, {"devices": 7})
    admin = await front(by, server)
    _, _, reply = await admin.ask("user/get", userId=anna.id)
    user = reply.get("user", reply)
    assert (await admin.ask("user/update", userId=anna.id, user=user | {"quotas": {"devices": {"limit": 99}}, "introReviewed": True}))[
        0
    ] == 200
    _, _, reply = await admin.ask("user/get", userId=anna.id)
    assert reply.get("user", reply) == user | {"introReviewed": True}


@pytest_twisted.ensureDeferred
async def test_quotas_are_reloaded(open_server):
    server, _anna, client = await opened(open_server, "websocket", {"devices": 1, "stored_per_day": 0})
    await client.ask("device/save", deviceId="a", device={})
    assert (await client.ask("device/save", deviceId="b", device={}))[0] == 403
    changed = _with_quotas(server.settings, devices=2, stored_per_day=300)
    server.server.reloadable(changed)()
    assert (await client.ask("device/save", deviceId="b", device={}))[0] == 200
    assert [(await client.ask("notification/insert", **insert(102)))[0] for _ in range(2)] == [429, 429]
    server.server.reloadable(_with_quotas(server.settings, devices=1, stored_per_day=0))()
    assert (await client.ask("notification/insert", **insert(102)))[0] == 200
    assert (await client.ask("device/save", deviceId="a", device={"name": "x"}))[0] == 200, "what is above a quota stays"


@given(
    st.lists(
        st.tuples(st.just("save"), st.integers(1, 4), st.sampled_from("abcd"), st.none() | st.integers(2, 30))
        | st.tuples(st.just("delete"), st.integers(1, 4), st.sampled_from("abcd"), st.none()),
        max_size=30,
    )
)
def test_used_equals_what_is_there(reactor, steps):
    """However clients make, change and delete, and whatever is refused."""

    async def play():
        server = await MemoryServer.open(reactor, hash_password=False, quotas={"devices": 2, "data": 50, "administrators": 1})
        users = [server.administrator, *[await server.add_user(login, network_ids=frozenset({1})) for login in ("anna", "berta", "clara")]]
        clients = [await front("websocket", server, user) for user in users]
        for step, number, device_id, length in steps:
            if step == "save":
                device = {} if length is None else {"data": texts(length)}
                await clients[number - 1].ask("device/save", deviceId=device_id, device=device)
            else:
                await clients[number - 1].ask("device/delete", deviceId=device_id)
            devices = await server.storage.find(Device, _all())
            for user in users:
                own = [device for device in devices if device.owner_id == user.id]
                data = sum(len(device.data or b"") for device in own)
                assert (await used(server, user.id, "devices"), await used(server, user.id, "data")) == (len(own), data)
                assert len(own) <= 2
                assert data <= 50
                assert not +server.server.quotas.account(user.id).pending
        await server.close()

    at_once(play())
