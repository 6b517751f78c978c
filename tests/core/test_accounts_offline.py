"""Rules of accounts on a storage itself, as the shell applies them while no server runs."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.core.accounts import change_user, delete_user
from dhtwisted.model import DeviceToken, EntityQuery, Raised, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage


@pytest.fixture(params=["memory", "file"])
def storage(request, reactor, tmp_path):
    storage = MemoryStorage(reactor) if request.param == "memory" else FileStorage(str(tmp_path / "hive.sqlite"), reactor)
    pytest_twisted.blockon(Deferred.fromCoroutine(_awaited(storage.open())))
    yield storage
    pytest_twisted.blockon(Deferred.fromCoroutine(_awaited(storage.close())))


async def _awaited(awaitable):
    return await awaitable


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_records_of_ended_tokens_are_deleted(storage, is_deleted):
    user = await storage.insert(User(login="anna", login_key="anna"))
    for number in (1, 2):
        await storage.insert(DeviceToken(id=number, device_id="a", user_id=user.id, created=1, expires=2**42))
    if is_deleted:
        assert await delete_user(storage, user)
    else:
        assert (await change_user(storage, user, {"valid_from": Raised(5)})).valid_from == 5
    assert await storage.find(DeviceToken, EntityQuery()) == []
