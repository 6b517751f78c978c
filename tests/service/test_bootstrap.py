"""The first start: whoever is in front of it gets in, whatever happened on the way."""

import stat

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.config.settings import AuthSettings, Settings
from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.model import ADMINISTRATOR, Device, DeviceType, EntityQuery, Network, User
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.service.bootstrap import bootstrap, fill_login_keys, print_password, write_password
from dhtwisted.transfer.unfinished import mark_unfinished, unmark


def configured(**auth):
    return Settings(auth=AuthSettings(password_cost=10, **auth))


@pytest.fixture
def storage(reactor):
    return MemoryStorage(reactor)


@pytest.fixture
def auth(reactor, storage):
    auth = JWTAuth(reactor, configured(), storage, b"k" * 32)
    yield auth
    pytest_twisted.blockon(Deferred.fromCoroutine(auth.close()))


async def failing_at(storage, kind, function):
    """Run something while entities of one kind cannot be inserted."""
    insert = storage.insert

    async def insert_or_fail(entity):
        if isinstance(entity, kind):
            raise StorageUnavailable("cut")
        return await insert(entity)

    storage.insert = insert_or_fail
    with pytest.raises(StorageUnavailable):
        await function()
    storage.insert = insert


@pytest_twisted.ensureDeferred
async def test_an_empty_storage_gets_network_type_and_administrator(storage, auth):
    password = await bootstrap(storage, auth, configured())
    user = await auth.login("dhadmin", password)
    assert (user.id, user.role, user.network_ids, user.device_type_ids) == (1, ADMINISTRATOR, {1}, {1})
    assert user.all_device_types_available
    assert (await storage.get(Network, 1)).name == "Default Network"
    assert (await storage.get(DeviceType, 1)).name == "Default Device Type"
    assert len(password) >= 20


@pytest_twisted.ensureDeferred
async def test_what_an_import_has_left_half_done_is_left_alone(storage, auth):
    await mark_unfinished(storage, "2026-01-02T03:04:05.678")
    with pytest.raises(
        ConfigurationError, match="a part of the export of 2026-01-02T03:04:05.678, because the import did not end.*devicehive import"
    ):
        await bootstrap(storage, auth, configured())
    assert await storage.count(Network, EntityQuery()) == 0
    await unmark(storage)
    assert await bootstrap(storage, auth, configured())


@pytest_twisted.ensureDeferred
async def test_two_servers_have_two_passwords(reactor, storage, auth):
    other = MemoryStorage(reactor)
    assert await bootstrap(storage, auth, configured()) != await bootstrap(other, auth, configured())


@pytest_twisted.ensureDeferred
async def test_a_storage_with_a_user_is_left_alone(storage, auth):
    await bootstrap(storage, auth, configured())
    before = await storage.find(User, EntityQuery())
    announced = []
    assert await bootstrap(storage, auth, configured(), lambda *shown: announced.append(shown)) is None
    assert await storage.find(User, EntityQuery()) == before
    assert announced == []


@pytest_twisted.ensureDeferred
async def test_a_given_password_is_taken_and_shown_nowhere(storage, auth):
    announced = []
    settings = configured(admin_login="root", admin_password="swordfish")
    assert await bootstrap(storage, auth, settings, lambda *shown: announced.append(shown)) is None
    assert (await auth.login("root", "swordfish")).id == 1
    assert announced == []


@pytest.mark.parametrize("kind", [Network, DeviceType, User])
@pytest_twisted.ensureDeferred
async def test_a_start_cut_short_is_mended_by_the_next(storage, auth, kind):
    await failing_at(storage, kind, lambda: bootstrap(storage, auth, configured()))
    password = await bootstrap(storage, auth, configured())
    assert (await auth.login("dhadmin", password)).id == 1
    assert await storage.count(Network, EntityQuery()) == await storage.count(DeviceType, EntityQuery()) == 1
    assert await storage.count(Device, EntityQuery()) == 0


@pytest_twisted.ensureDeferred
async def test_a_password_is_shown_before_it_is_good(storage, auth):
    shown = []
    await failing_at(storage, User, lambda: bootstrap(storage, auth, configured(), lambda *pair: shown.append(pair)))
    assert len(shown) == 1, "an administrator whose password nobody saw would lock everybody out"


@pytest_twisted.ensureDeferred
async def test_a_password_that_cannot_be_shown_makes_no_administrator(storage, auth):
    def refuse(login, password):
        raise ConfigurationError("nowhere to show it")

    with pytest.raises(ConfigurationError):
        await bootstrap(storage, auth, configured(), refuse)
    assert await storage.count(User, EntityQuery()) == 0


@pytest_twisted.ensureDeferred
async def test_of_two_servers_that_start_at_once_one_makes_the_administrator(storage, auth):
    first = await bootstrap(storage, auth, configured())
    count = storage.count

    async def count_nothing(kind, query):
        return 0

    storage.count = count_nothing
    assert await bootstrap(storage, auth, configured()) is None
    assert (await auth.login("dhadmin", first)).id == 1
    assert await count(User, EntityQuery()) == 1


def test_a_terminal_sees_the_password(capfd):
    print_password("text", "dhadmin", "swordfish")
    line = capfd.readouterr().out
    assert line.count("\n") == 1
    assert "dhadmin" in line
    assert "swordfish" in line


def test_a_daemon_leaves_the_password_to_its_user_alone(tmp_path):
    for password in ("first", "second"):
        write_password(str(tmp_path), "dhadmin", password)
        path = tmp_path / "devicehive.password"
        assert path.read_text() == f"dhadmin {password}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_daemon_without_a_place_wants_the_password_given():
    with pytest.raises(ConfigurationError, match=r"auth\.admin_password"):
        write_password(None, "dhadmin", "swordfish")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="absent"):
        write_password(str(tmp_path / "absent"), "dhadmin", "swordfish")


@pytest_twisted.ensureDeferred
async def test_users_of_older_releases_keep_their_logins_and_nobody_takes_one(storage, auth):
    password = await bootstrap(storage, auth, configured())
    for login in ("Anna", "anna", "berta"):
        await storage.insert(User(login=login, password=await auth.hash_password(password)))
    await bootstrap(storage, auth, configured())
    keys = {user.login: user.login_key for user in await storage.find(User, EntityQuery())}
    assert keys == {"dhadmin": "dhadmin", "Anna": "anna", "anna": None, "berta": "berta"}
    for login, found in (("Anna", "Anna"), ("anna", "anna"), ("ANNA", "Anna"), ("BERTA", "berta")):
        assert (await auth.login(login, password)).login == found
    await storage.delete(User, 2)
    await fill_login_keys(storage)
    assert (await auth.login("ANNA", password)).login == "anna", "who is left has it at the next start"
