"""Identity, rights and errors of one request (WebSocket reference, sections 2.1, 3.2 and 7; auth reference, section 6)."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, globalLogPublisher

from dhtwisted.actions import ACTIONS
from dhtwisted.errors import Duplicate, ServiceUnavailable, Unstorable
from dhtwisted.logs.lines import TextLines
from dhtwisted.model import DISABLED, LOCKED_OUT, Device, Network, User
from dhtwisted.providers.memory import MemoryStorage
from tests.support.delaying import DelayingStorage
from tests.support.rest_api import RestClient
from tests.support.rest_api import client as rest_client

ANONYMOUS = {"authenticate", "token", "token/refresh", "server/info", "server/cacheInfo", "cluster/info"}


@pytest_twisted.ensureDeferred
async def test_a_fresh_connection_may_little(server):
    client = server.connect()
    for action in ACTIONS.keys() - ANONYMOUS:
        assert await client.refused(action) == (401, "Unauthorized"), action
    await client.call("server/info")


@pytest_twisted.ensureDeferred
async def test_a_token_of_one_request_leaves_the_identity_alone(server):
    user = await server.add_user("anna", network_ids=frozenset({1}))
    await server.server.entities.insert(Device(id="d", name="d", network_id=2, device_type_id=1))
    client = await server.client(user)
    assert (await client.call("device/count"))["count"] == 0
    assert (await client.call("device/count", token=server.token()))["count"] == 1
    assert (await client.call("device/count"))["count"] == 0
    inserted = await client.call("command/insert", token=server.token(), deviceId="d", command={"command": "on"})
    assert inserted["command"]["userId"] == 1


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("", (401, "Unauthorized")),
        ("garbage", (401, "Invalid credentials")),
        (5, (401, "Invalid credentials")),
        ({}, (400, "Malformed Json received.")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_bad_token_of_one_request_refuses_that_request(server, token, error):
    client = await server.client()
    assert await client.refused("device/list", token=token) == error
    await client.call("device/list")
    await client.call("device/list", token=None)


@pytest_twisted.ensureDeferred
async def test_tokens_that_are_refused_by_kind(server):
    client = server.connect()
    assert await client.refused("device/list", token=server.token(refresh=True)) == (401, "Invalid credentials")
    assert await client.refused("device/list", token=server.token(lifetime=0)) == (401, "Token expired")
    for status in (LOCKED_OUT, DISABLED):
        user = await server.add_user(f"user {status}", status=status)
        assert await client.refused("authenticate", token=server.token(user)) == (401, "Invalid credentials")
    gone = await server.add_user("gone")
    await server.server.entities.delete(User, gone.id)
    assert await client.refused("authenticate", token=server.token(gone)) == (401, "Invalid credentials")


@pytest_twisted.ensureDeferred
async def test_a_failing_authenticate_keeps_the_identity(server):
    client = await server.client()
    for token in ("", None, "garbage", server.token(lifetime=-1)):
        assert (await client.refused("authenticate", token=token))[0] == 401
    await client.call("device/list")


@pytest_twisted.ensureDeferred
async def test_authenticate_again_keeps_subscriptions_under_the_new_identity(server):
    entities = server.server.entities
    for name, network in (("one", 1), ("two", 2)):
        await entities.insert(Device(id=name, name=name, network_id=network, device_type_id=1))
    user = await server.add_user("anna", network_ids=frozenset({2}))
    client, sender = await server.client(), await server.client()
    subscription = (await client.call("notification/subscribe"))["subscriptionId"]
    await client.call("authenticate", token=server.token(user))
    for name in ("one", "two"):
        await sender.call("notification/insert", deviceId=name, notification={"notification": "on"})
    assert [(event["subscriptionId"], event["notification"]["deviceId"]) for event in client.events] == [(subscription, "two")]
    await client.call("authenticate", token=server.token(actions=frozenset({5})))
    await sender.call("notification/insert", deviceId="two", notification={"notification": "on"})
    assert len(client.events) == 1


@pytest_twisted.ensureDeferred
async def test_an_expired_token_of_an_open_connection_goes_on(server):
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    client, sender = await server.client(), await server.client(lifetime=10**6)
    await client.call("notification/subscribe")
    server.clock.advance(1801)
    await client.call("device/list")
    await sender.call("notification/insert", deviceId="d", notification={"notification": "on"})
    assert len(client.events) == 1


@pytest_twisted.ensureDeferred
async def test_under_strict_expiry_it_does_not_until_it_authenticates_again(open_server):
    server = await open_server(auth={"strict_expiry": True})
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    client, sender = await server.client(), await server.client(lifetime=10**6)
    subscription = (await client.call("notification/subscribe"))["subscriptionId"]
    server.clock.advance(1799.9)
    await client.call("device/list")
    server.clock.advance(0.1)
    assert await client.refused("device/list") == (401, "Token expired")
    await sender.call("notification/insert", deviceId="d", notification={"notification": "lost"})
    await client.call("server/info")
    await client.call("authenticate", token=server.token())
    await sender.call("notification/insert", deviceId="d", notification={"notification": "on"})
    assert [(event["subscriptionId"], event["notification"]["notification"]) for event in client.events] == [(subscription, "on")]


async def by_authenticate(server, user):
    await server.client(user)


async def by_refresh(server, user):
    await server.connect().call("token/refresh", refreshToken=server.token(user, refresh=True))


async def by_refresh_over_rest(server, user):
    answer = await RestClient(server).send("POST", "/token/refresh", {"refreshToken": server.token(user, refresh=True)})
    assert answer[0] == 201


each_login = pytest.mark.parametrize("log_in", [by_authenticate, by_refresh, by_refresh_over_rest])


@each_login
@pytest_twisted.ensureDeferred
async def test_the_last_login_is_kept_at_most_once_a_second(server, log_in):
    user = await server.add_user("anna")

    async def login():
        await log_in(server, user)
        return server.server.entities.user(user.id).last_login

    first = await login()
    assert first == server.server.now()
    server.clock.advance(1)
    assert await login() == first
    server.clock.advance(0.1)
    assert await login() == server.server.now() > first


@each_login
@pytest_twisted.ensureDeferred
async def test_many_logins_at_once_are_written_once(open_server, reactor, log_in):
    storage = DelayingStorage(MemoryStorage(reactor))
    server = await open_server(storage=storage)
    user = await server.add_user("anna")
    storage.delay("update", late=True)
    for _ in range(20):
        await log_in(server, user)
    assert storage.waiting == ["update"]
    storage.release_all()
    assert server.server.entities.user(user.id).last_login == server.server.now()


@pytest.mark.parametrize("token", ["access", "garbage", "of a disabled user"])
@pytest_twisted.ensureDeferred
async def test_a_refresh_that_is_refused_is_no_login(server, token):
    user = await server.add_user("anna", status=DISABLED if token == "of a disabled user" else 0)
    text = {"access": server.token(user), "garbage": "x.y.z", "of a disabled user": server.token(user, refresh=True)}[token]
    await server.connect().refused("token/refresh", refreshToken=text)
    assert server.server.entities.user(user.id).last_login is None


@pytest_twisted.ensureDeferred
async def test_subscription_ids_are_unique_and_fit_every_client(server):
    client = await server.client()
    ids = [(await client.call("notification/subscribe"))["subscriptionId"] for _ in range(500)]
    assert len(set(ids)) == 500
    assert all(type(one) is int and 0 < one < 2**53 for one in ids)


# Storage that errs


@pytest_twisted.async_yield_fixture
async def failing(open_server):
    """A server, its storage, and an authenticated client."""
    storage = DelayingStorage(MemoryStorage(Clock()))
    server = await open_server(storage=storage)
    await server.server.entities.insert(Device(id="d", name="d", network_id=1, device_type_id=1))
    yield server, storage, await server.client()


@pytest_twisted.ensureDeferred
async def test_storage_away_is_503_and_the_rest_goes_on(failing):
    _, storage, client = failing
    storage.fail("append", "find", "find_messages", "insert")
    unavailable = (503, "Service is not available")
    assert await client.refused("notification/insert", deviceId="d", notification={"notification": "on"}) == unavailable
    assert await client.refused("command/insert", deviceId="d", command={"command": "on"}) == unavailable
    assert await client.refused("device/list") == unavailable
    assert await client.refused("notification/list", deviceId="d") == unavailable
    assert await client.refused("device/save", deviceId="new", device={}) == unavailable
    await client.call("server/info")
    storage.prompt()
    await client.call("notification/insert", deviceId="d", notification={"notification": "on"})


class Broken(Exception):
    """A defect."""


@pytest.mark.parametrize(
    ("error", "answer", "logged"),
    [
        (Duplicate(Device, "id", "d"), (409, "The object was changed at the same time. Please repeat the request."), False),
        (Unstorable("no"), (400, "Invalid request parameters"), False),
        (ServiceUnavailable(), (503, "Service is not available"), False),
        (Broken("secret detail"), (500, "Internal server error"), True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_client_is_told_of_an_error(failing, monkeypatch, error, answer, logged):
    server, _, client = failing
    events = []

    async def raising(messages):
        raise error

    monkeypatch.setattr(server.server.messages, "append", raising)
    globalLogPublisher.addObserver(events.append)
    try:
        assert await client.refused("notification/insert", deviceId="d", notification={"notification": "on"}) == answer
    finally:
        globalLogPublisher.removeObserver(events.append)
    failures = [event for event in events if event["log_level"] is LogLevel.critical]
    assert [event["log_failure"].value for event in failures] == ([error] if logged else [])


@pytest_twisted.ensureDeferred
async def test_a_device_saved_by_two_at_once_is_saved_by_both(failing):
    server, storage, client = failing
    other = await server.client()
    storage.delay("insert", late=True)
    first, second = [
        Deferred.fromCoroutine(one.call("device/save", deviceId="new", device={"name": name}))
        for one, name in ((client, "a"), (other, "b"))
    ]
    storage.prompt()
    storage.release_all()
    await first
    await second
    assert (await client.call("device/get", deviceId="new"))["device"]["name"] == "b"


@pytest_twisted.ensureDeferred
async def test_stop_waits_for_what_is_under_way(failing):
    server, storage, client = failing
    storage.delay("append")
    replies = [
        Deferred.fromCoroutine(client.call("notification/insert", deviceId="d", notification={"notification": "on"})) for _ in range(2)
    ]
    stopped = []
    stopping = Deferred.fromCoroutine(server.server.stop())
    stopping.addCallback(lambda _: stopped.append(True))
    assert stopped == []
    storage.release()
    assert stopped == []
    storage.release()
    assert stopped == [True]
    for reply in replies:
        await reply


@pytest_twisted.ensureDeferred
async def test_a_defect_is_logged_with_whose_request_it_was_and_told_to_nobody(open_server):
    class BrokenStorage(MemoryStorage):
        """Fails in a way that no storage may."""

        async def count(self, kind, query):
            if kind is Network:
                raise ZeroDivisionError("token=hunter22")
            return await super().count(kind, query)

    storage = BrokenStorage(Clock())
    await storage.open()
    server = await open_server(storage=storage)
    client = await server.client()
    with capturedLogs() as logs:
        client.send_text('{"action": "network/count", "requestId": "' + "x" * 500 + '"}')
        rest = await rest_client(server).send("GET", "network/count")
    reply = client.messages[-1]
    assert (reply["code"], reply["error"]) == (500, "Internal server error")
    assert rest == (500, {"error": 500, "message": "Internal server error"})
    by_websocket, by_rest = logs
    whose = {"connection": 1, "address": "192.0.2.1", "user": 1, "action": "network/count", "what": "network/count"}
    assert by_websocket.items() >= (whose | {"request": '"' + "x" * 63}).items()
    assert by_rest.items() >= (whose | {"connection": 0}).items()
    assert "request" not in by_rest
    line = TextLines().line(by_websocket)
    assert "[connection=1 address=192.0.2.1 user=1 action=network/count request=" in line
    assert "network/count failed | Traceback" in line
    assert "ZeroDivisionError" in line
    assert "hunter22" not in line
