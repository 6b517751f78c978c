"""Users and tokens without a server."""

import pytest
import pytest_twisted

from dhtwisted.control.account_manager import AccountManager
from dhtwisted.errors import AccountError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.model import ACTIVE, ADMINISTRATOR, CLIENT, DISABLED, DeviceType, Network, User
from dhtwisted.providers.lookup import open_provider
from dhtwisted.testing.server import PASSWORD, settings

NEW_PASSWORD = "another-one"


@pytest_twisted.async_yield_fixture
async def hive(open_server):
    """A server, and the accounts of its storage."""
    hive = await open_server(hash_password=True)
    hive.accounts = AccountManager(hive.storage, hive.auth, hive.server.now(), hive.settings)
    yield hive


async def refusal(awaitable):
    with pytest.raises(AccountError) as caught:
        await awaitable
    return str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_user_is_found_as_by_a_login(hive):
    before = await hive.accounts.find("dhadmin")
    assert (await hive.accounts.find("DHAdmin")).id == before.id
    await hive.storage.insert(User(login="DHAdmin", login_key=None, password="", role=1))
    assert (await hive.accounts.find("DHAdmin")).id != before.id, "exactly so goes first"
    assert (await hive.accounts.find("dhADMIN")).id == before.id
    assert "there is no user 'nobody'" in await refusal(hive.accounts.find("nobody"))


@pytest_twisted.ensureDeferred
async def test_a_user_who_is_added_can_log_in(hive):
    user = await hive.accounts.add("anna", NEW_PASSWORD, network_ids=[1])
    assert (user.role, user.status, user.network_ids, user.all_device_types_available) == (CLIENT, ACTIVE, {1}, True)
    assert (await hive.auth.login("anna", NEW_PASSWORD)).id == user.id
    chief = await hive.accounts.add("berta", NEW_PASSWORD, is_administrator=True, device_type_ids=[1])
    assert (chief.role, chief.all_device_types_available, chief.device_type_ids) == (ADMINISTRATOR, False, {1})
    assert [user.login for user in await hive.accounts.all()] == ["dhadmin", "anna", "berta"]


@pytest.mark.parametrize(
    ("login", "password", "groups", "words"),
    [
        ("dhadmin", NEW_PASSWORD, {}, "is taken"),
        ("a b c", NEW_PASSWORD, {}, "letters, digits"),
        ("a", NEW_PASSWORD, {}, "3 to 128"),
        ("anna", "12345", {}, "6 to 128"),
        ("anna", NEW_PASSWORD, {"network_ids": [9]}, "no network 9"),
        ("anna", NEW_PASSWORD, {"device_type_ids": [9]}, "no device type 9"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_cannot_be_added(hive, login, password, groups, words):
    assert words in await refusal(hive.accounts.add(login, password, **groups))
    assert len(await hive.accounts.all()) == 1


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        ({"actions": ["ManageUser"]}, "'anna' is a client, who may not ManageUser"),
        ({"actions": ["*"]}, "may not *"),
        ({"network_ids": [2]}, "may not use network 2"),
        ({"network_ids": [99]}, "there is no network 99"),
        ({"device_type_ids": [2]}, "may not use device type 2"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_token_opens_no_more_than_its_user_may(hive, rights, words):
    await hive.storage.insert(Network(id=2, name="two"))
    await hive.storage.insert(DeviceType(id=2, name="two"))
    await hive.accounts.add("anna", PASSWORD, network_ids=[1], device_type_ids=[1])
    expires = hive.server.now() + 60_000
    assert words in await refusal(hive.accounts.token("anna", expires, **rights))
    await hive.accounts.token("anna", expires, actions=["GetDevice"], network_ids=[1], device_type_ids=[1])
    if "99" not in words:
        await hive.accounts.token("dhadmin", expires, **rights)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("set_password", (NEW_PASSWORD,)), ("disable", ()), ("set_role", (True,)), ("revoke", ()), ("delete", ())],
)
@pytest_twisted.ensureDeferred
async def test_dead_tokens_are_not_listed(hive, method, arguments):
    await hive.accounts.add("anna", PASSWORD)
    expires = hive.server.now() + 60_000
    for login in ("anna", "anna", "dhadmin"):
        await hive.accounts.token(login, expires, device_id="pump")
    await getattr(hive.accounts, method)("anna", *arguments)
    assert [record.user_id for record in await hive.accounts.device_tokens()] == [1]


@pytest_twisted.ensureDeferred
async def test_tokens_end_in_a_data_file_without_a_server(reactor, open_server, tmp_path):
    """The storage returns awaitables that are not coroutines."""
    storage = open_provider("storage", f"file:{tmp_path}/data.sqlite", ProviderContext(reactor, settings()))
    await storage.open()
    hive = await open_server(storage=storage, hash_password=True)
    accounts = AccountManager(storage, hive.auth, hive.server.now(), hive.settings)
    for _ in range(2):
        await accounts.token("dhadmin", hive.server.now() + 60_000, device_id="pump")
    await accounts.revoke("dhadmin")
    assert await accounts.device_tokens() == []
    await storage.close()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("set_password", (NEW_PASSWORD,)), ("disable", ()), ("set_role", (True,)), ("revoke", ())],
)
@pytest_twisted.ensureDeferred
async def test_what_ends_tokens(hive, method, arguments):
    await hive.accounts.add("anna", PASSWORD)
    token = await hive.accounts.token("anna", hive.server.now() + 60_000)
    await hive.server.authentication.by_token(token)
    await getattr(hive.accounts, method)("anna", *arguments)
    await hive.accounts.enable("anna")
    await hive.server.entities.changed_elsewhere(None)
    assert (await hive.connect().refused("authenticate", token=token))[0] == 401
    await hive.server.authentication.by_token(await hive.accounts.token("anna", hive.server.now() + 60_000))


@pytest_twisted.ensureDeferred
async def test_the_last_administrator_stays_unless_forced(hive):
    accounts = hive.accounts
    for attempt in (accounts.disable("dhadmin"), accounts.delete("dhadmin"), accounts.set_role("dhadmin", False)):
        assert "--force" in await refusal(attempt)
    await accounts.add("berta", PASSWORD, is_administrator=True)
    await accounts.disable("berta")
    assert "--force" in await refusal(accounts.disable("dhadmin")), "one who is disabled does not count"
    await accounts.enable("berta")
    assert (await accounts.set_role("dhadmin", False)).role == CLIENT
    assert (await accounts.disable("berta", force=True)).status == DISABLED
    await accounts.delete("dhadmin")
    assert await hive.storage.get(User, 1) is None


@pytest_twisted.ensureDeferred
async def test_a_token_has_the_rights_of_a_login_or_those_that_are_named(hive):
    expires = hive.server.now() + 60_000
    await hive.accounts.add("anna", PASSWORD, network_ids=[1])
    reply = await hive.connect().call("token", login="anna", password=PASSWORD)
    like_a_login, login = (hive.auth.verify(token) for token in (await hive.accounts.token("anna", expires), reply["accessToken"]))
    assert (like_a_login.actions, like_a_login.network_ids) == (login.actions, login.network_ids)
    assert like_a_login.device_type_ids == login.device_type_ids
    narrow = hive.auth.verify(await hive.accounts.token("anna", expires, True, ["getdevice"], [1], []))
    assert (narrow.actions, narrow.network_ids, narrow.device_type_ids, narrow.refresh, narrow.expires) == (
        {3},
        {"1"},
        set(),
        True,
        expires,
    )


@pytest_twisted.ensureDeferred
async def test_tokens_that_cannot_be_made(hive):
    await hive.accounts.add("anna", PASSWORD)
    assert "GetDevice," in await refusal(hive.accounts.token("anna", 1, actions=["Fly"]))
    for label in ("", "x" * 129):
        assert "1 to 128" in await refusal(hive.accounts.token("anna", 1, device_id="pump", label=label))
    assert await hive.accounts.device_tokens() == []
    await hive.accounts.disable("anna")
    assert "not active" in await refusal(hive.accounts.token("anna", 1))
    assert "no user 'nobody'" in await refusal(hive.accounts.token("nobody", 1))


@pytest_twisted.ensureDeferred
async def test_records_of_tokens_for_devices_go_with_their_user(hive):
    expires = hive.server.now() + 60_000
    for login in ("anna", "berta"):
        await hive.accounts.add(login, PASSWORD)
        await hive.accounts.token(login, expires, device_id="pump", label=login)
    await hive.accounts.delete("anna")
    assert [record.label for record in await hive.accounts.device_tokens()] == ["berta"]
