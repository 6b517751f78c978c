"""What one client asks of a storage does not hold up another."""

import json
import re
import time

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from dhtwisted.kit.slices import SLICE
from dhtwisted.model import Command, Device, MessageQuery, Notification
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite import reader as sqlite_reader
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import command
from tests.conftest import as_deferred

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

MANY = 60_000


@pytest_twisted.async_yield_fixture
async def server(open_server, each_storage):
    """A server whose device ``large`` has very many notifications, and ``small`` has one."""
    server = await open_server(storage=each_storage, real_time=True)
    admin = await server.client()
    for device_id in ("large", "small"):
        await admin.call("device/save", deviceId=device_id, device={"networkId": 1})
    await admin.call("notification/insert", deviceId="small", notification={"notification": "x"})
    for start in range(0, MANY, 5000):
        await each_storage.append(
            [
                Notification(name=str(hash(str(number))), device_id="large", network_id=1, device_type_id=1)
                for number in range(start, start + 5000)
            ]
        )
    yield server


@pytest_twisted.ensureDeferred
async def test_lists_that_take_long_do_not_hold_up_those_of_others(server, reactor):
    anna, other = await server.add_user("anna", network_ids=frozenset({1})), await server.client()
    ended = []

    async def sort(client):
        reply = await client.call("notification/list", deviceId="large", sortField="notification", take=10)
        names = [notification["notification"] for notification in reply["notifications"]]
        assert names == sorted(names, reverse=True)
        ended.append("sort")

    async def read():
        await deferLater(reactor, 0.02)
        for _ in range(3):
            assert len((await other.call("notification/list", deviceId="small"))["notifications"]) == 2
        ended.append("other")

    sorting = [sort(await server.client(anna)) for _ in range(12)]
    work = [Deferred.fromCoroutine(each) for each in (*sorting, read())]
    for succeeded, result in await DeferredList(work, consumeErrors=True):
        assert succeeded, result
    assert ended.index("other") < 6, "another has had their three answers while the lists of the one were still made"


@pytest_twisted.ensureDeferred
async def test_requests_for_unknown_devices_are_answered_as_such_however_many(server, reactor):
    clients = [await server.client(await server.add_user(f"user-{number}", network_ids=frozenset({1}))) for number in range(4)]
    for number in range(1500):
        for client in clients:
            request = {"action": "notification/insert", "deviceId": f"{number}", "notification": {"notification": "x"}}
            client.send_text(json.dumps(request | {"requestId": number}))
    other = await server.client()
    assert (await other.call("device/count"))["count"] == 2
    for client in clients:
        while len(client.messages) < 1501:
            await deferLater(reactor, 0.01)
        assert {message.get("code") for message in client.messages[1:]} == {403}


@pytest_twisted.ensureDeferred
async def test_a_question_to_a_file_that_takes_too_long_is_given_up(open_server, reactor, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_reader, "SECONDS", 0.05)
    storage = FileStorage(str(tmp_path / "data.sqlite"), reactor)
    await storage.open()
    server = await open_server(storage=storage, real_time=True)
    client = await server.client()
    await client.call("device/save", deviceId="large", device={"networkId": 1})
    payload = b'"%s"' % (b"x" * 2000)
    for _ in range(40):
        await storage.append(
            [Notification(name="x", device_id="large", network_id=1, device_type_id=1, parameters=payload) for _ in range(2000)]
        )
    begun = time.monotonic()
    code, _ = await client.refused("notification/list", deviceId="large", sortField="notification", take=10000)
    assert code == 503
    assert time.monotonic() - begun < 2
    monkeypatch.setattr(sqlite_reader, "SECONDS", 5)
    assert len((await client.call("notification/list", deviceId="large", take=5))["notifications"]) == 5
    await server.server.stop()
    await as_deferred(storage.close())


@pytest.mark.parametrize("each_storage", ["memory", "file"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_counts_and_searches_of_many_devices_do_not_hold_up_others(open_server, each_storage, reactor):
    for number in range(30_000):
        each_storage._tables[Device].put(f"d-{number}", Device(id=f"d-{number}", name=f"{number}", network_id=1, device_type_id=1))
    server = await open_server(storage=each_storage, real_time=True)
    anna, other = await server.client(await server.add_user("anna", network_ids=frozenset({1}))), await server.client()
    looks = [Deferred.fromCoroutine(anna.call("device/count", namePattern="%1_2%3"))]
    looks.append(Deferred.fromCoroutine((await server.client()).call("device/list", namePattern="%none%", sortField="name", take=5)))
    await other.call("device/get", deviceId="d-7")
    assert not any(look.called for look in looks)
    count, devices = [result for _, result in await DeferredList(looks)]
    assert (count["count"], len(devices["devices"])) == (len([n for n in map(str, range(30_000)) if re.fullmatch(".*1.2.*3", n)]), 0)
    assert (await anna.call("device/count"))["count"] == 30_000


@pytest_twisted.ensureDeferred
async def test_what_a_walk_finds_is_as_it_was(reactor):
    storage = MemoryStorage(reactor)
    await storage.append([command(name=str(number % 100), parameters=b"%d" % number) for number in range(3 * SLICE + 5)])
    query = MessageQuery(names=("7",), sort="name", descending=True, skip=1, take=60)
    searching = Deferred.fromCoroutine(storage.find_messages(Command, query))
    assert not searching.called
    await storage.append([command(name="7")])
    found = [message.id for message in await searching]
    ids = [number + 1 for number in range(3 * SLICE + 5) if number % 100 == 7]
    assert found == ids[::-1][1:61]
