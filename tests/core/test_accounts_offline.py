"""Rules of accounts on a storage itself, as the shell applies them while no server runs."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from dhtwisted.core.accounts import change_user, delete_user
from dhtwisted.model import (
    DeviceToken,
    EntityQuery,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Raised,
    User,
)
from dhtwisted.model.mqtt import session_key
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


@pytest_twisted.ensureDeferred
async def test_mqtt_sessions_go_with_their_user(storage):
    users = [await storage.insert(User(login=login, login_key=login)) for login in ("anna", "bert")]
    for user in users:
        session = session_key(user.id, "c")
        await storage.insert(MqttSession(id=session, user_id=user.id, client_id="c", created=1))
        for number in (1, 2):
            await storage.insert(MqttQueued.of(session, number, topic="a", qos=1))
            await storage.insert(MqttReceived.of(session, number))
        await storage.insert(MqttRetained(topic=user.login, payload=b"x", qos=0, published=1, user_id=user.id))
    assert await delete_user(storage, users[0])
    left = {kind: await storage.find(kind, EntityQuery()) for kind in (MqttSession, MqttQueued, MqttReceived)}
    assert [session.user_id for session in left.pop(MqttSession)] == [users[1].id]
    for records in left.values():
        assert {record.session for record in records} == {session_key(users[1].id, "c")}
    assert await storage.count(MqttRetained, EntityQuery()) == 2, "retained messages belong to their topics"
