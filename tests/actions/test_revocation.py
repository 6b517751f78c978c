"""What takes back the tokens of a user, and where it counts (auth reference, section 8)."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred

from dhtwisted.errors import InvalidCredentials
from dhtwisted.model import ADMINISTRATOR, CLIENT, EntityQuery, User
from dhtwisted.testing.server import PASSWORD
from tests.support.rest_api import client as rest_client

UNAUTHORIZED = (401, "Unauthorized")
NEW_PASSWORD = "another-one"


@pytest_twisted.async_yield_fixture
async def anna(server):
    """A client with every right but those of administrators, and the device ``pump`` in a network of hers."""
    user = await server.add_user("anna", network_ids=frozenset({1}))
    await (await server.client()).call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
    yield user


async def now(server, user):
    return await server.server.entities.get(User, user.id)


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"password": NEW_PASSWORD}, True),
        ({"status": 1}, True),
        ({"status": 2}, True),
        ({"role": ADMINISTRATOR}, True),
        ({"role": CLIENT, "status": 0}, False),
        ({"login": "anne", "data": {}, "introReviewed": True}, False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_ends_the_tokens_that_were_made_before(server, anna, change, ends):
    admin, token, refresh = await server.client(), server.token(anna), server.token(anna, refresh=True)
    await admin.call("user/update", userId=anna.id, user=change)
    await admin.call("user/update", userId=anna.id, user={"status": 0})
    newcomer = server.connect()
    if ends:
        assert (await newcomer.refused("authenticate", token=token))[0] == 401
        assert (await newcomer.refused("token/refresh", refreshToken=refresh))[0] == 401
        assert (await rest_client(server, anna).send("GET", "/device"))[0] == 401
    else:
        await newcomer.call("authenticate", token=token)
        await newcomer.call("token/refresh", refreshToken=refresh)
    await server.connect().call("authenticate", token=server.token(await now(server, anna)))


@pytest_twisted.ensureDeferred
async def test_on_open_connections_requests_and_deliveries_end(server, anna):
    admin, client = await server.client(), await server.client(anna)
    await client.call("notification/subscribe", deviceId="pump")
    await admin.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    assert len(client.events) == 1
    await admin.call("user/update", userId=anna.id, user={"password": NEW_PASSWORD})
    await admin.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    assert len(client.events) == 1
    assert await client.refused("device/get", deviceId="pump") == UNAUTHORIZED
    await client.call("authenticate", token=server.token(await now(server, anna)))
    await admin.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
    assert len(client.events) == 2


@pytest_twisted.ensureDeferred
async def test_who_changes_his_own_password_comes_in_again_with_the_new_one(server, anna):
    client = await server.client(anna)
    await client.call("user/updateCurrent", user={"password": NEW_PASSWORD})
    assert await client.refused("device/get", deviceId="pump") == UNAUTHORIZED


@pytest_twisted.ensureDeferred
async def test_tokens_made_with_a_token_end_with_it(server, anna):
    client = await server.client(anna)
    made = await client.call("token/create", payload={"userId": anna.id})
    await (await server.client()).call("user/update", userId=anna.id, user={"password": NEW_PASSWORD})
    for refused in (("authenticate", {"token": made["accessToken"]}), ("token/refresh", {"refreshToken": made["refreshToken"]})):
        assert (await server.connect().refused(refused[0], **refused[1]))[0] == 401


@pytest_twisted.ensureDeferred
async def test_tokens_that_an_administrator_makes_afterwards_are_good(server, anna):
    admin = await server.client()
    await admin.call("user/update", userId=anna.id, user={"password": NEW_PASSWORD})
    made = await admin.call("token/create", payload={"userId": anna.id})
    await server.connect().call("authenticate", token=made["accessToken"])
    access = (await server.connect().call("token/refresh", refreshToken=made["refreshToken"]))["accessToken"]
    await server.connect().call("authenticate", token=access)


@pytest_twisted.ensureDeferred
async def test_several_changes_within_a_millisecond_each_end_the_tokens_before_it(server, anna):
    admin = await server.client()
    tokens = []
    for number in range(3):
        await admin.call("user/update", userId=anna.id, user={"password": f"password-{number}"})
        tokens.append(server.token(await now(server, anna)))
    for token in tokens[:-1]:
        assert (await server.connect().refused("authenticate", token=token))[0] == 401
    await server.connect().call("authenticate", token=tokens[-1])


class SlowHashes:
    """Stands between a hasher and its callers: a check of a password is done, and told when a test says so."""

    def __init__(self, hasher):
        self._hasher = hasher
        self.checked = Deferred()

    def __getattr__(self, name):
        return getattr(self._hasher, name)

    async def verify(self, password, record):
        right = await self._hasher.verify(password, record)
        await self.checked
        return right


class SlowRecords(SlowHashes):
    """The same for the record of a new password."""

    async def hash(self, password):
        record = await self._hasher.hash(password)
        await self.checked
        return record


@pytest.mark.parametrize(
    ("action", "members"),
    [
        ("user/updateCurrent", {"user": {"password": NEW_PASSWORD}}),
        ("user/update", {"userId": 1, "user": {"password": NEW_PASSWORD}}),
        ("user/insert", {"user": {"login": "thief", "password": NEW_PASSWORD, "role": 0}}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_is_disabled_while_a_password_is_hashed_changes_nothing(open_server, action, members):
    server = await open_server(hash_password=True)
    anna = await server.add_user("anna", role=0)
    client = await server.client(anna)
    server.auth._hasher = slow = SlowRecords(server.auth._hasher)
    request = ensureDeferred(client.refused(action, **members))
    await (await server.client()).call("user/update", userId=anna.id, user={"status": 2})
    before = await server.server.entities.find(User, EntityQuery())
    slow.checked.callback(None)
    assert (await request)[0] == 401
    assert await server.server.entities.find(User, EntityQuery()) == before


@pytest_twisted.ensureDeferred
async def test_a_login_that_a_change_of_the_password_overtakes_gives_no_good_token(open_server):
    server = await open_server(hash_password=True)
    anna = await server.add_user("anna")
    server.auth._hasher = slow = SlowHashes(server.auth._hasher)
    login = ensureDeferred(server.connect().call("token", login="anna", password=PASSWORD))
    await (await server.client()).call("user/update", userId=anna.id, user={"password": NEW_PASSWORD})
    slow.checked.callback(None)
    late = (await login)["accessToken"]
    assert (await server.connect().refused("authenticate", token=late))[0] == 401
    server.auth._hasher = slow._hasher
    good = (await server.connect().call("token", login="anna", password=NEW_PASSWORD))["accessToken"]
    await server.connect().call("authenticate", token=good)


@pytest_twisted.ensureDeferred
async def test_a_token_without_a_number_is_one_of_before_the_first_change(server, anna):
    with pytest.raises(InvalidCredentials):
        await server.server.authentication.by_token(
            server.token(await server.server.entities.update(User, anna.id, {"valid_from": 7}), valid_from=0)
        )
