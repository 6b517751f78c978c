"""New tokens for whoever ends their own by a new password (auth reference, section 8)."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred

from dhtwisted.model import ADMINISTRATOR, User
from dhtwisted.testing.server import PASSWORD
from tests.support.rest_api import RestClient

NEW_PASSWORD = "another-one"
CHANGE = {"password": NEW_PASSWORD}


@pytest_twisted.async_yield_fixture
async def anna(server):
    """A client."""
    yield await server.add_user("anna", network_ids=frozenset({1}))


def now(server, user):
    return server.server.entities.get(User, user.id)


def rights(server, token):
    """What a token says, apart from the number that ends it."""
    claims = server.server.auth.verify(token)
    return claims.actions, claims.network_ids, claims.device_type_ids, claims.expires, claims.refresh


@pytest_twisted.ensureDeferred
async def test_the_reply_over_websocket_carries_new_ones_with_the_rights_and_the_expiry_of_the_old(server, anna):
    token = server.token(anna, network_ids=frozenset({"1"}), actions=frozenset({11, 15}), lifetime=77)
    refresh = server.token(anna, refresh=True, lifetime=7777)
    client = server.connect()
    await client.call("authenticate", token=token)
    reply = await client.call("user/updateCurrent", user=CHANGE, refreshToken=refresh)
    assert rights(server, reply["accessToken"]) == rights(server, token)
    assert rights(server, reply["refreshToken"]) == rights(server, refresh)
    assert (await client.refused("token/create", payload={"userId": anna.id}))[0] == 401
    await client.call("authenticate", token=reply["accessToken"])
    await client.call("token/create", payload={"userId": anna.id})
    await client.call("token/refresh", refreshToken=reply["refreshToken"])
    assert (await client.refused("token/refresh", refreshToken=refresh))[0] == 401


@pytest_twisted.ensureDeferred
async def test_over_rest_they_are_in_headers_and_the_answer_stays_empty(server, anna):
    token, refresh = server.token(anna), server.token(anna, refresh=True)
    client = RestClient(server, f"Bearer {token}")
    assert await client.send("PUT", "/user/current", CHANGE, headers={"X-Refresh-Token": refresh}) == (204, None)
    assert client.headers.keys() == {"X-Access-Token", "X-Refresh-Token"}
    assert rights(server, client.headers["X-Refresh-Token"]) == rights(server, refresh)
    again = RestClient(server, f"Bearer {client.headers['X-Access-Token']}")
    assert (await again.get("/user/current"))["login"] == "anna"


@pytest_twisted.ensureDeferred
async def test_an_administrator_may_change_their_own_by_id(server):
    admin = await server.client()
    reply = await admin.call("user/update", userId=1, user=CHANGE)
    assert reply["refreshToken"] is None
    await admin.call("authenticate", token=reply["accessToken"])
    client = RestClient(server, f"Bearer {reply['accessToken']}")
    assert await client.send("PUT", "/user/1", CHANGE) == (204, None)
    assert client.headers.keys() == {"X-Access-Token"}


@pytest.mark.parametrize("sort", ["access", "another's", "expired", "garbage", "ended", "empty"])
@pytest_twisted.ensureDeferred
async def test_a_refresh_token_comes_only_in_exchange_for_a_good_one_of_the_user(server, anna, sort):
    if sort == "ended":
        ended = server.token(anna, refresh=True)
        await (await server.client()).call("user/update", userId=anna.id, user={"status": 1})
        await (await server.client()).call("user/update", userId=anna.id, user={"status": 0})
    anna = await now(server, anna)
    sent = {
        "access": lambda: server.token(anna),
        "another's": lambda: server.token(refresh=True),
        "expired": lambda: server.token(anna, refresh=True, lifetime=-1),
        "garbage": lambda: "garbage",
        "ended": lambda: ended,
        "empty": lambda: "",
    }[sort]()
    client = await server.client(anna)
    reply = await client.call("user/updateCurrent", user=CHANGE, refreshToken=sent)
    assert reply["refreshToken"] is None
    await client.call("authenticate", token=reply["accessToken"])


@pytest.mark.parametrize("change", [{"introReviewed": True}, {"password": ""}, {"data": {"a": 1}}])
@pytest_twisted.ensureDeferred
async def test_where_no_token_ends_there_are_none(server, anna, change):
    client = await server.client(anna)
    assert (await client.call("user/updateCurrent", user=change)).keys() == {"action", "requestId", "status"}
    over_rest = RestClient(server, f"Bearer {server.token(anna)}")
    assert await over_rest.send("PUT", "/user/current", change) == (204, None)
    assert over_rest.headers == {}


@pytest_twisted.ensureDeferred
async def test_anothers_new_password_gives_nobody_tokens(server, anna):
    assert "accessToken" not in await (await server.client()).call("user/update", userId=anna.id, user=CHANGE)


@pytest.mark.parametrize("also", [{"role": 1}, {"status": 1}])
@pytest_twisted.ensureDeferred
async def test_fewer_rights_than_the_token_says_are_not_renewed(server, also):
    other = await server.add_user("otto", role=ADMINISTRATOR)
    client = await server.client(other)
    assert "accessToken" not in await client.call("user/updateCurrent", user=CHANGE | also)


@pytest.mark.parametrize("end", ["lock", "lock and unlock", "delete"])
@pytest_twisted.ensureDeferred
async def test_a_connection_that_outlives_its_tokens_makes_nothing_that_outlives_it(open_server, end):
    server = await open_server(compatibility={"frozen_connections": True})
    otto = await server.add_user("otto", role=ADMINISTRATOR)
    client, admin = await server.client(otto), await server.client()
    if end == "delete":
        await admin.call("user/delete", userId=otto.id)
    else:
        await admin.call("user/update", userId=otto.id, user={"status": 1})
    if end == "lock and unlock":
        await admin.call("user/update", userId=otto.id, user={"status": 0})
    new = {"login": "third", "password": PASSWORD, "role": 0}
    for action, members in {
        "user/updateCurrent": {"user": CHANGE},
        "user/update": {"userId": 1, "user": CHANGE},
        "user/insert": {"user": new},
        "token/create": {"payload": {"userId": 1, "actions": ["*"]}},
    }.items():
        assert (await client.refused(action, **members))[0] == 401
    await client.call("network/list")


@pytest_twisted.ensureDeferred
async def test_nor_where_its_tokens_end_while_the_password_is_being_hashed(open_server, monkeypatch):
    server = await open_server(compatibility={"frozen_connections": True})
    anna = await server.add_user("anna")
    client, admin = await server.client(anna), await server.client()
    auth, hashing = server.server.auth, Deferred()

    async def hash_later(password):
        return await hashing

    monkeypatch.setattr(auth, "hash_password", hash_later)
    change = ensureDeferred(client.call("user/updateCurrent", user=CHANGE))
    await admin.call("user/update", userId=anna.id, user={"status": 1})
    await admin.call("user/update", userId=anna.id, user={"status": 0})
    hashing.callback(NEW_PASSWORD)
    with pytest.raises(AssertionError, match="Unauthorized"):
        await change


@pytest_twisted.ensureDeferred
async def test_the_audit_log_has_their_rights(administrator, audited, audit_lines):
    await administrator.call("user/updateCurrent", user=CHANGE)
    (line,) = [line for line in audit_lines.records if line["event"] == "user/updateCurrent"]
    assert line["renewed"]["rights"] == "*"
    assert PASSWORD not in str(line)
