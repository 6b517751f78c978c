"""The clock is behind the times that a storage has given: it was set back, or another node's clock is ahead."""

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from dhtwisted.kit import server_time
from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.model import Notification
from dhtwisted.testing.storage.base import SettableReactor
from tests.support.rest_api import client

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

BACK = 120
"""Seconds."""

KINDS = ["command", "notification"]


@pytest.fixture
def reactor():
    """The clock of server and storage is set by the test."""
    from twisted.internet import reactor

    return SettableReactor(reactor)


@pytest_twisted.async_yield_fixture
async def server(open_server, each_storage, reactor, monkeypatch):
    """A server whose clock was set back after a message was stored."""
    monkeypatch.setattr(server_time, "STEP_SECONDS", 0)
    server = await open_server(storage=each_storage, real_time=True)
    await client(server).send("PUT", "/device/pump", {})
    for kind in KINDS:
        await insert(server, kind, "before")
    reactor.time -= BACK
    yield server
    await server.server.stop()


async def insert(server, kind, name):
    status, content = await client(server).send("POST", f"/device/pump/{kind}", {kind: name})
    assert status == 201
    return content


async def wait_for_poll(server):
    """Until a poll has asked the storage what there was."""
    while not len(server.server.polls):
        await deferLater(server.clock, 0.01)
    await deferLater(server.clock, 0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_who_polls_from_message_to_message_misses_none(server, kind):
    last = (await client(server).get(f"/device/pump/{kind}/poll?timestamp=2000-01-01T00:00:00&names=before"))[-1]["timestamp"]
    for name in "abc":
        await insert(server, kind, name)
        (found,) = await client(server).get(f"/device/pump/{kind}/poll?waitTimeout=0&timestamp={last}")
        assert found[kind] == name
        last = found["timestamp"]


@pytest_twisted.ensureDeferred
async def test_nor_of_the_updates_of_commands(server):
    command, last = (await client(server).get("/device/pump/command/poll?timestamp=2000-01-01T00:00:00"))[0], None
    for status in "abc":
        assert (await client(server).send("PUT", f"/device/pump/command/{command['id']}", {"status": status}))[0] == 204
        path = f"/device/pump/command/poll?waitTimeout=0&returnUpdatedCommands=true&timestamp={last or '2000-01-01T00:00:00'}"
        (found,) = await client(server).get(path)
        assert found["status"] == status
        last = found["lastUpdated"]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_poll_from_now_answers_nothing_of_before(server, kind):
    assert await client(server).get(f"/device/pump/{kind}/poll?waitTimeout=0") == []
    poll = client(server).send("GET", f"/device/pump/{kind}/poll?waitTimeout=60")
    await wait_for_poll(server)
    await insert(server, kind, "after")
    status, found = await poll
    assert (status, [message[kind] for message in found]) == (200, ["after"])


@pytest_twisted.ensureDeferred
async def test_a_poll_from_now_answers_no_update_of_before(server):
    command = (await client(server).get("/device/pump/command/poll?timestamp=2000-01-01T00:00:00"))[0]
    await client(server).send("PUT", f"/device/pump/command/{command['id']}", {"status": "before"})
    assert await client(server).get("/device/pump/command/poll?waitTimeout=0&returnUpdatedCommands=true") == []


@pytest_twisted.ensureDeferred
async def test_a_time_of_arrival_from_an_import_does_not_keep_polls_back(server, each_storage):
    far = Notification(id=50, name="imported", device_id="pump", network_id=1, device_type_id=1)
    far.timestamp = far.arrived = 253_402_300_799_000
    await each_storage.restore([far])
    poll = client(server).send("GET", "/device/pump/notification/poll?names=after&waitTimeout=60")
    await wait_for_poll(server)
    await insert(server, "notification", "after")
    assert [message["notification"] for message in (await poll)[1]] == ["after"]


def test_time_goes_on_more_slowly_than_the_clock():
    now = [5.0]
    times = ForwardTime(lambda: now[0])
    assert [times.next_after(100, clock) for clock in (200, 100, 99, 99, 0)] == [200, 100, 101, 100, 100]
    now[0] += server_time.STEP_SECONDS
    assert [times.next_after(100, 0) for _ in range(2)] == [101, 100]
