"""Users: passwords, and that nobody makes himself more than he is."""

import pytest
import pytest_twisted

from dhtwisted.core.access import Permission
from dhtwisted.model import ADMINISTRATOR, EntityQuery, User
from tests.support.rest_api import client

EVERYBODY = EntityQuery()
NEEDS_ADMINISTRATOR = (403, "Admin permissions required for this action")


@pytest_twisted.async_yield_fixture
async def manager(server):
    """A client-role user whose token may do everything to users."""
    user = await server.add_user("manager")
    yield await server.client(user, actions=frozenset({Permission.MANAGE_USER, Permission.UPDATE_CURRENT_USER}))


@pytest.mark.parametrize(
    ("action", "members"),
    [
        ("user/insert", {"user": {"login": "evil", "password": "password-2", "role": 0}}),
        ("user/update", {"userId": 1, "user": {"password": "password-2"}}),
        ("user/update", {"userId": 1, "user": {}}),
        ("user/update", {"userId": 2, "user": {"role": 0}}),
        ("user/update", {"userId": 3, "user": {"role": 1}}),
        ("user/update", {"userId": 3, "user": {"status": 2}}),
        ("user/update", {"userId": 3, "user": {"login": "other"}}),
        ("user/updateCurrent", {"user": {"role": 0}}),
        ("user/delete", {"userId": 1}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_client_who_manages_users_makes_no_administrators(server, manager, action, members):
    await server.add_user("victim")
    before = await server.server.entities.get(User, 1)
    assert await manager.refused(action, **members) == NEEDS_ADMINISTRATOR
    assert await server.server.entities.get(User, 1) == before
    assert all(user.role != ADMINISTRATOR or user.id == 1 for user in await server.storage.find(User, EVERYBODY))


@pytest.mark.parametrize(("login", "is_taken"), [("victim", True), (" victim ", True), ("Victim", True), ("vic_im", False)])
@pytest_twisted.ensureDeferred
async def test_a_client_who_manages_users_is_told_first_that_a_login_is_taken(server, manager, login, is_taken):
    await server.add_user("victim")
    expected = (403, "User with such login already exists. Please, select another one") if is_taken else NEEDS_ADMINISTRATOR
    user = {"login": login, "password": "password-2", "role": 0}
    assert await manager.refused("user/insert", user=user) == expected
    manager_over_rest = client(server, await server.server.entities.get(User, 2), actions=frozenset({Permission.MANAGE_USER}))
    assert await manager_over_rest.send("POST", "/user", user) == (403, {"error": 403, "message": expected[1]})


@pytest_twisted.ensureDeferred
async def test_what_a_client_who_manages_users_may_do(server, manager):
    victim = await server.add_user("victim")
    made = await manager.call("user/insert", user={"login": "made", "password": "password-2", "role": 1})
    await manager.call("user/update", userId=victim.id, user={"data": {"a": 1}})
    assert len((await manager.call("user/list"))["users"]) == 4
    assert await manager.refused("user/get", userId=victim.id) == (404, f"User with id = {victim.id} not found")
    assert (await manager.call("user/get", userId=2))["user"]["login"] == "manager"
    await manager.call("user/delete", userId=made["user"]["id"])


@pytest_twisted.ensureDeferred
async def test_a_new_password_takes_the_place_of_the_old(open_server):
    server = await open_server(hash_password=True)
    await server.add_user("anna")
    admin = await server.client()
    await admin.call("user/update", userId=2, user={"password": "password-2"})
    guest = server.connect()
    await guest.call("token", login="anna", password="password-2")
    assert await guest.refused("token", login="anna", password="password-1") == (401, "Invalid credentials")
    await admin.call("user/update", userId=2, user={"password": ""})
    await guest.call("token", login="anna", password="password-2")


@pytest_twisted.ensureDeferred
async def test_no_password_is_ever_shown(server):
    admin = await server.client()
    await admin.call("user/insert", user={"login": "anna", "password": "password-2", "role": 1})
    refused = await admin.request("user/insert", user={"login": "anna", "password": "password-2", "role": 1})
    replies = [refused, await admin.call("user/list"), await admin.call("user/get", userId=2), await admin.call("user/getCurrent")]
    record = (await server.server.entities.get(User, 2)).password
    for reply in replies:
        assert "password" not in str(reply).replace("password-2", "SECRET").lower()
        assert "SECRET" not in str(reply).replace("password-2", "SECRET")
        assert record not in str(reply)


@pytest_twisted.ensureDeferred
async def test_logins_that_differ_in_case_alone_are_one(server):
    admin = await server.client()
    taken = (403, "User with such login already exists. Please, select another one")
    anna = await admin.call("user/insert", user={"login": "anna", "password": "password-2", "role": 1})
    other = await admin.call("user/insert", user={"login": "other", "password": "password-2", "role": 1})
    assert await admin.refused("user/insert", user={"login": "ANNA", "password": "password-2", "role": 1}) == taken
    assert await admin.refused("user/update", userId=other["user"]["id"], user={"login": "aNNa"}) == taken
    await admin.call("user/update", userId=anna["user"]["id"], user={"login": "Anna"})
    assert await admin.refused("user/insert", user={"login": "anna", "password": "password-2", "role": 1}) == taken
    await admin.call("user/update", userId=anna["user"]["id"], user={"login": "berta"})
    await admin.call("user/insert", user={"login": "anna", "password": "password-2", "role": 1})
    for login, found in (("anna", 1), ("ANNA", 0)):
        assert (await admin.call("user/count", login=login))["count"] == found, "the filter is exact, as it was"


@pytest_twisted.ensureDeferred
async def test_of_equal_logins_at_once_one_is_made(server):
    admins = [await server.client() for _ in range(5)]
    for admin in admins:
        admin.send_text('{"action":"user/insert","user":{"login":"anna","password":"password-2","role":1}}')
    replies = []
    for admin in admins:
        await admin.call("server/info")
        replies.append(next(message for message in admin.messages if message["action"] == "user/insert"))
    assert sorted(reply["status"] for reply in replies) == ["error"] * 4 + ["success"]
    assert {reply["code"] for reply in replies if reply["status"] == "error"} == {403}


@pytest_twisted.ensureDeferred
async def test_a_user_who_is_gone_meanwhile(server):
    user = await server.add_user("anna")
    anna = await server.client(user)
    await server.storage.delete(User, user.id)
    assert await anna.refused("user/updateCurrent", user={"data": 1}) == (404, f"User with id = {user.id} not found")
