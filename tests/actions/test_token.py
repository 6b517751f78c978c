"""Making tokens (auth reference, section 4)."""

import pytest
import pytest_twisted
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from dhtwisted.core.access import ALL_PERMISSIONS, Permission, Principal
from dhtwisted.errors import AuthUnavailable
from dhtwisted.model import ADMINISTRATOR, CLIENT, DISABLED, DeviceType, Network, User
from dhtwisted.testing.server import PASSWORD, MemoryServer, at_once
from tests.support.rest_api import RestClient, client

ACCESS, REFRESH = 1_800_000, 15_724_800_000
CLIENT_DEFAULTS = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17}
EVERYTHING = frozenset({"*"})


def claims_of(server, reply):
    """The claims of both tokens of a reply."""
    return server.auth.verify(reply["accessToken"]), server.auth.verify(reply["refreshToken"])


async def create(server, client, **payload):
    """Make tokens; returns the claims of the access token."""
    return claims_of(server, await client.call("token/create", payload=payload))[0]


# token


@pytest_twisted.async_yield_fixture
async def logins(open_server):
    """A server at which passwords can be used."""
    yield await open_server(hash_password=True)


@pytest_twisted.ensureDeferred
async def test_a_login_of_an_administrator(logins):
    reply = await logins.connect().call("token", login="dhadmin", password=PASSWORD)
    now = logins.server.now()
    for claims, refresh, expires in zip(claims_of(logins, reply), (False, True), (now + ACCESS, now + REFRESH), strict=True):
        assert (claims.user_id, claims.actions) == (1, {0})
        assert (claims.network_ids, claims.device_type_ids) == (EVERYTHING, EVERYTHING)
        assert (claims.refresh, claims.expires) == (refresh, expires)


@pytest.mark.parametrize(
    ("fields", "networks", "types"),
    [
        ({}, set(), {"*"}),
        ({"network_ids": frozenset({3, 12})}, {"3", "12"}, {"*"}),
        ({"all_device_types_available": False}, set(), set()),
        ({"all_device_types_available": False, "device_type_ids": frozenset({4})}, set(), {"4"}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_login_of_a_client(logins, fields, networks, types):
    await logins.add_user("anna", **fields)
    claims, _ = claims_of(logins, await logins.connect().call("token", login="anna", password=PASSWORD))
    assert claims.actions == CLIENT_DEFAULTS
    assert (claims.network_ids, claims.device_type_ids) == (networks, types)
    assert logins.server.entities.user(claims.user_id).last_login == logins.server.now()


@pytest.mark.parametrize(
    ("distinct", "unknown"), [(False, "Invalid credentials"), (True, "User with login = nobody not found or bad password")]
)
@pytest_twisted.ensureDeferred
async def test_an_unknown_login_is_told_apart_only_when_configured(open_server, distinct, unknown):
    server = await open_server(hash_password=True, compatibility={"distinct_login_errors": distinct})
    await server.add_user("anna", status=DISABLED)
    client = server.connect()
    assert await client.refused("token", login="nobody", password=PASSWORD) == (401, unknown)
    assert await client.refused("token", login="dhadmin", password="wrong") == (401, "Invalid credentials")
    assert await client.refused("token", login="anna", password=PASSWORD) == (401, "User is locked or disabled")
    assert await client.refused("token", login="anna", password="wrong") == (401, "Invalid credentials")


@pytest_twisted.ensureDeferred
async def test_failed_logins_are_limited_per_login_and_per_address(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    client = server.connect()
    for _ in range(2):
        assert (await client.refused("token", login="dhadmin", password="wrong"))[0] == 401
    too_many = (429, "Too many requests")
    assert await client.refused("token", login="dhadmin", password=PASSWORD) == too_many
    await server.add_user("anna")
    assert await client.refused("token", login="anna", password=PASSWORD) == too_many
    elsewhere = server.connect()
    elsewhere.address = "198.51.100.1"
    assert (await elsewhere.refused("token", login="dhadmin", password="wrong"))[0] == 401, "nobody knows yet from where the user comes"
    assert await elsewhere.refused("token", login="dhadmin", password=PASSWORD) == too_many
    await elsewhere.call("token", login="anna", password=PASSWORD)
    server.clock.advance(60)
    await client.call("token", login="dhadmin", password=PASSWORD)


@pytest_twisted.ensureDeferred
async def test_a_directory_that_is_away_is_503_and_no_failed_login(open_server, monkeypatch):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 1})
    events = []

    async def login(login, password):
        raise AuthUnavailable("ldap.example does not answer")

    monkeypatch.setattr(server.auth, "login", login)
    globalLogPublisher.addObserver(events.append)
    try:
        for _ in range(2):
            answer = await server.connect().refused("token", login="dhadmin", password=PASSWORD)
            assert answer == (503, "Service is not available")
            status, body = await RestClient(server).send("POST", "/token", {"login": "dhadmin", "password": PASSWORD})
            assert (status, body["message"]) == (503, "Service is not available")
    finally:
        globalLogPublisher.removeObserver(events.append)
    (line,) = [formatEvent(event) for event in events if event["log_level"] >= LogLevel.warn]
    assert line == "token refused, auth provider unavailable: ldap.example does not answer (1 since the last such line)"


@pytest_twisted.ensureDeferred
async def test_good_logins_are_not_limited(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 1})
    for _ in range(3):
        await server.connect().call("token", login="dhadmin", password=PASSWORD)


# token/refresh


@pytest_twisted.ensureDeferred
async def test_a_refresh_keeps_the_rights_and_has_the_default_lifetime(server):
    user = await server.add_user("anna")
    refresh = server.token(user, refresh=True, actions=frozenset({2, 3}), network_ids=frozenset({"7"}), device_type_ids=None)
    server.clock.advance(100)
    reply = await server.connect().call("token/refresh", refreshToken=refresh)
    claims = server.auth.verify(reply["accessToken"])
    assert (claims.user_id, claims.actions, claims.network_ids, claims.device_type_ids) == (user.id, {2, 3}, {"7"}, None)
    assert (claims.refresh, claims.expires) == (False, server.server.now() + ACCESS)


@pytest_twisted.ensureDeferred
async def test_a_refresh_ends_with_the_user(server):
    user = await server.add_user("anna")
    refresh = server.token(user, refresh=True)
    await server.connect().call("token/refresh", refreshToken=refresh)
    await server.server.entities.update(User, user.id, {"status": DISABLED})
    assert await server.connect().refused("token/refresh", refreshToken=refresh) == (401, "Unauthorized")
    await server.server.entities.delete(User, user.id)
    assert await server.connect().refused("token/refresh", refreshToken=refresh) == (401, "Unauthorized")


# token/create by an administrator


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ({}, {1}),
        ({"actions": None}, {1}),
        ({"actions": []}, {1}),
        ({"actions": ["Retired", "typo"]}, {1}),
        ({"actions": ["*"]}, {0}),
        ({"actions": [0]}, {0}),
        ({"actions": ["GetDevice", "getnetwork", "MANAGEUSER"]}, {3, 2, 12}),
        ({"actions": ["GetDevice", "Retired"]}, {3}),
        ({"actions": [3, 18, 19, -1, 2.0]}, {3, 18, 2}),
        ({"actions": ["3"]}, {1}),
        ({"actions": [1]}, {1}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_actions_by_name_and_number(server, actions, expected):
    assert (await create(server, await server.client(), userId=1, **actions)).actions == expected


@pytest.mark.parametrize("action", ["true", "null", "{}", "[]", "1e999999", "9" * 5000])
@pytest_twisted.ensureDeferred
async def test_other_actions_are_malformed(server, action):
    client = await server.client()
    client.send_text(f'{{"action":"token/create","payload":{{"userId":1,"actions":["GetDevice",{action}]}}}}')
    assert (client.messages[-1]["code"], client.messages[-1]["error"]) == (400, "Malformed Json received.")


@pytest.mark.parametrize(
    ("lists", "networks", "types"),
    [
        ({}, None, None),
        ({"networkIds": None, "deviceTypeIds": None}, None, None),
        ({"networkIds": [], "deviceTypeIds": []}, set(), set()),
        ({"networkIds": ["*"], "deviceTypeIds": ["*"]}, {"*"}, {"*"}),
        ({"networkIds": [3, "12"], "deviceTypeIds": ["4"]}, {"3", "12"}, {"4"}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_networks_and_device_types(server, lists, networks, types):
    claims = await create(server, await server.client(), userId=1, **lists)
    assert (claims.network_ids, claims.device_type_ids) == (networks, types)


@pytest.mark.parametrize(
    ("given", "access", "refresh"),
    [
        ({}, ACCESS, REFRESH),
        ({"expiration": 5000}, 5000, 5000),
        ({"expiration": REFRESH * 10}, REFRESH * 10, REFRESH * 10),
        ({"refreshExpiration": 7000}, ACCESS, 7000),
        ({"expiration": -5000, "refreshExpiration": 7000}, -5000, 7000),
    ],
)
@pytest_twisted.ensureDeferred
async def test_times(server, given, access, refresh):
    now = server.server.now()
    payload = {name: now + offset for name, offset in given.items()}
    reply = await (await server.client()).call("token/create", payload={"userId": 1} | payload)
    assert [claims.expires - now for claims in claims_of(server, reply)] == [access, refresh]


@pytest_twisted.ensureDeferred
async def test_an_administrator_makes_tokens_of_others_with_more_than_they_have(server):
    user = await server.add_user("anna")
    claims = await create(server, await server.client(), userId=user.id, actions=["ManageUser"], networkIds=["*"])
    assert (claims.user_id, claims.actions, claims.network_ids) == (user.id, {12}, {"*"})


# token/create by all others


@pytest.mark.parametrize("unrestricted", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_client_makes_tokens_of_others_only_when_configured(open_server, unrestricted):
    server = await open_server(compatibility={"unrestricted_token_create": unrestricted})
    client = await server.client(await server.add_user("anna"), actions=frozenset(CLIENT_DEFAULTS))
    payload = {"userId": 1, "actions": ["*"], "networkIds": ["*"], "deviceTypeIds": ["*"]}
    if unrestricted:
        assert (await create(server, client, **payload)).actions == {0}
    else:
        assert await client.refused("token/create", payload=payload) == (403, "Access is denied")
        assert await client.refused("token/create", payload=payload | {"userId": 99}) == (403, "Access is denied")


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        ({15, 3, 5}, ["*"], {15, 3, 5}),
        ({15, 3, 5}, [3, 4], {3}),
        ({15, 3, 5}, [4], {1}),
        ({15, 3, 5}, [], {1}),
        ({15, 3, 5}, None, {1}),
        ({0}, ["*"], {0}),
        ({0}, ["ManageUser"], {12}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_actions_of_a_client_are_cut_to_his_own(server, own, asked, expected):
    user = await server.add_user("anna")
    client = await server.client(user, actions=frozenset(own))
    assert (await create(server, client, userId=user.id, actions=asked)).actions == expected


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        (EVERYTHING, ["*"], {"*"}),
        (EVERYTHING, None, None),
        (EVERYTHING, [3], {"3"}),
        (frozenset({"3", "4"}), ["*"], {"3", "4"}),
        (frozenset({"3", "4"}), [4, 5], {"4"}),
        (frozenset({"3", "4"}), [5], set()),
        (frozenset({"3", "4"}), [], set()),
        # Without a list device/save would be held to the user's networks alone, so this is not the way out of one's own list.
        (frozenset({"3", "4"}), None, set()),
        (None, ["*"], set()),
        (None, None, None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_networks_of_a_client_are_cut_to_his_own(server, own, asked, expected):
    user = await server.add_user("anna", network_ids=frozenset({3, 4}))
    client = await server.client(user, network_ids=own)
    assert (await create(server, client, userId=user.id, networkIds=asked)).network_ids == expected


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        (EVERYTHING, ["*"], {"*"}),
        (EVERYTHING, None, {"*"}),
        (None, None, None),
        (None, ["*"], {"*"}),
        (None, [3], {"3"}),
        (frozenset({"3", "4"}), ["*"], {"3", "4"}),
        (frozenset({"3", "4"}), None, {"3", "4"}),
        (frozenset({"3", "4"}), [4, 5], {"4"}),
        (frozenset({"3", "4"}), [], set()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_device_types_of_a_client_are_cut_to_his_own(server, own, asked, expected):
    user = await server.add_user("anna")
    client = await server.client(user, device_type_ids=own)
    assert (await create(server, client, userId=user.id, deviceTypeIds=asked)).device_type_ids == expected


@pytest_twisted.ensureDeferred
async def test_the_times_of_a_client_are_cut_to_the_refresh_lifetime(server):
    user = await server.add_user("anna")
    now = server.server.now()
    payload = {"userId": user.id, "expiration": now + 10 * REFRESH, "refreshExpiration": now - 1}
    reply = await (await server.client(user)).call("token/create", payload=payload)
    assert [claims.expires - now for claims in claims_of(server, reply)] == [REFRESH, -1]


# What no token may do: give more than the one it was made with

small = st.integers(1, 3)
own_lists = st.none() | st.frozensets(st.sampled_from(["*", "1", "2", "3"]))
asked_lists = st.none() | st.lists(st.sampled_from(["*", 1, 2, 3, "1", "2", "3"]), max_size=4)
wire_names = [permission.wire_name for permission in ALL_PERMISSIONS]
asked_actions = st.none() | st.lists(st.integers(0, 19) | st.sampled_from(["*", "typo", *wire_names]), max_size=6)


@st.composite
def users(draw):
    """A user in any state of assignment."""
    return User(
        login="anna",
        role=draw(st.sampled_from([CLIENT, CLIENT, ADMINISTRATOR])),
        network_ids=draw(st.frozensets(small)),
        device_type_ids=draw(st.frozensets(small)),
        all_device_types_available=draw(st.booleans()),
    )


payloads = st.fixed_dictionaries({}, optional={"actions": asked_actions, "networkIds": asked_lists, "deviceTypeIds": asked_lists})


async def try_everything(server, client):
    """What a connection can do: places into which it may save a device."""
    done = set()
    for network in (1, 2, 3):
        for kind in (1, 2, 3):
            reply = await client.request("device/save", deviceId=f"d{network}{kind}", device={"networkId": network, "deviceTypeId": kind})
            if reply["status"] == "success":
                done.add((network, kind))
                await (await server.client()).call("device/delete", deviceId=f"d{network}{kind}")
    return done


@given(users(), st.frozensets(st.sampled_from([*ALL_PERMISSIONS, 0, 1]), max_size=6), own_lists, own_lists, payloads, st.booleans())
@example(
    User(login="anna", network_ids=frozenset({1, 2}), device_type_ids=frozenset()),
    frozenset({6}),
    frozenset({"1"}),
    None,
    {"actions": ["RegisterDevice"]},
    True,
)
def test_nobody_gets_more_than_he_has(reactor, user, own_actions, own_networks, own_types, payload, refreshed):
    """Only an administrator with all permissions may: everything else that a new token permits was permitted before."""
    own_actions |= {Permission.MANAGE_TOKEN}
    assume(user.role == CLIENT or Permission.ANY not in own_actions)
    server = at_once(MemoryServer.open(reactor, hash_password=False))
    for name in ("second", "third"):
        at_once(server.server.entities.insert(Network(name=name)))
        at_once(server.server.entities.insert(DeviceType(name=name)))
    user = at_once(server.server.entities.insert(user))
    caller = at_once(server.client(user, actions=own_actions, network_ids=own_networks, device_type_ids=own_types))
    reply = at_once(caller.call("token/create", payload={"userId": user.id} | payload))
    token = reply["accessToken"]
    if refreshed:
        token = at_once(caller.call("token/refresh", refreshToken=reply["refreshToken"]))["accessToken"]
    maker = caller.session.principal
    made = Principal(server.auth.verify(token), server.server.entities)
    assert made.user_id == user.id
    assert made.permissions - {Permission.NONE} <= maker.permissions
    for network in (1, 2, 3):
        for kind in (1, 2, 3):
            assert maker.sees(network, kind, "pump") or not made.sees(network, kind, "pump")
    second = server.connect()
    at_once(second.call("authenticate", token=token))
    assert at_once(try_everything(server, second)) <= at_once(try_everything(server, caller))


@given(users(), st.integers(1, 4), payloads)
def test_nobody_gets_to_be_another(reactor, user, wanted, payload):
    server = at_once(MemoryServer.open(reactor, hash_password=False))
    user = at_once(server.server.entities.insert(user))
    at_once(server.add_user("other"))
    caller = at_once(server.client(user, actions=frozenset({Permission.MANAGE_TOKEN})))
    reply = at_once(caller.request("token/create", payload={"userId": wanted} | payload))
    assert (reply["status"] == "success") == (wanted == user.id)
    if wanted != user.id:
        assert (reply["code"], reply["error"]) == (403, "Access is denied")


@pytest.mark.parametrize("ids", [["abc"], ["3", ""], ["-1"], ["9" * 19], ["**"]])
@pytest.mark.parametrize("member", ["networkIds", "deviceTypeIds"])
@pytest_twisted.ensureDeferred
async def test_ids_that_no_token_can_hold(server, member, ids):
    client = await server.client()
    assert await client.refused("token/create", payload={"userId": 1, member: ids}) == (400, "Invalid request parameters")


# How much a token names


@pytest_twisted.ensureDeferred
async def test_a_token_names_only_so_much(open_server):
    server = await open_server(limits={"token_ids": 4})
    client = await server.client()
    ids = [str(number) for number in range(1, 6)]
    for lists in ({"networkIds": ids}, {"networkIds": ids[:3], "deviceTypeIds": ids[:2]}):
        reply = await client.request("token/create", payload={"userId": 1} | lists)
        assert (reply["code"], "names 5" in reply["detail"], "limits.token_ids" in reply["detail"]) == (400, True, True)
    reply = await client.request("token/create", payload={"userId": 1, "actions": ["GetDevice"] * 1001})
    assert (reply["code"], reply["detail"]) == (400, "payload.actions must have at most 1000 elements")
    claims = await create(server, client, userId=1, networkIds=ids[:2], deviceTypeIds=ids[:2], actions=["GetDevice"] * 6)
    assert (claims.network_ids, claims.device_type_ids) == (frozenset(ids[:2]), frozenset(ids[:2]))


@pytest_twisted.ensureDeferred
async def test_a_token_that_names_more_is_refused(open_server):
    server = await open_server(limits={"token_ids": 4})
    many = {"network_ids": frozenset(map(str, range(5)))}
    reply = await server.connect().request("authenticate", token=server.token(**many))
    assert (reply["code"], "limits.token_ids" in reply["detail"]) == (401, True)
    reply = await server.connect().request("token/refresh", refreshToken=server.token(refresh=True, **many))
    assert (reply["code"], "limits.token_ids" in reply["detail"]) == (401, True)
    rest = client(server, **many)
    status, _ = await rest.send("GET", "/device")
    assert (status, "limits.token_ids" in rest.detail) == (401, True)


@pytest_twisted.ensureDeferred
async def test_who_has_more_networks_than_a_token_names_gets_one_for_all_that_are_theirs(open_server):
    server = await open_server(hash_password=True, limits={"token_ids": 4})
    await server.add_user("anna", network_ids=frozenset(range(1, 10)), all_device_types_available=False, device_type_ids=frozenset({2}))
    client = server.connect()
    reply = await client.call("token", login="anna", password=PASSWORD)
    await client.call("authenticate", token=reply["accessToken"])
    principal = client.session.principal
    assert (principal.networks(), principal.device_types()) == (frozenset(range(1, 10)), frozenset({2}))
