"""One deadline for each request, from its arrival, whatever it waits for, on both fronts."""

import json

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from dhtwisted.core.request_deadlines import PATIENCE, SWEEP, Deadlines
from dhtwisted.fronts.reply_order import MAX_UNDER_WAY
from dhtwisted.model import Device
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import START
from tests.support.delaying import DelayingStorage
from tests.support.rest_api import client as rest_client

CONTRACT = 10
"""Seconds within which a request is answered."""


@pytest_twisted.async_yield_fixture
async def server(open_server):
    """A server with the device ``pump``, whose storage answers no more when a test says so."""
    clock = Clock()
    clock.advance(START)
    storage = DelayingStorage(MemoryStorage(clock))
    await storage.insert(Device(id="pump", name="pump", network_id=1, device_type_id=1))
    opened = await open_server(storage=storage, clock=clock)
    await opened.server.entities.get(Device, "pump")
    yield opened
    storage.prompt()
    storage.release_all()


@pytest_twisted.async_yield_fixture
async def client(server):
    yield await server.client()


def send(client, number, action="notification/insert", **members):
    if action == "notification/insert":
        members = {"deviceId": "pump", "notification": {"notification": f"n{number}"}} | members
    client.send_text(json.dumps({"action": action, "requestId": number} | members))


def replies(client):
    """``(requestId, code or None)`` of all replies but the first, which is that of the login."""
    return [(message["requestId"], message.get("code")) for message in client.messages if "status" in message][1:]


def passes(server, seconds):
    server.clock.pump([SWEEP] * seconds)


CALLS = {
    "insert": ("append", "notification/insert", {}),
    "update": ("update_command", "command/update", {"deviceId": "pump", "commandId": 1, "command": {"status": "s"}}),
    "list": ("find_messages", "notification/list", {"deviceId": "pump"}),
    "entity that is not at hand": ("get", "notification/insert", {"deviceId": "unknown"}),
    "save": ("update", "device/save", {"deviceId": "pump", "device": {"name": "n", "networkId": 1, "deviceTypeId": 1}}),
    "count": ("count", "device/count", {}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest_twisted.ensureDeferred
async def test_a_storage_whose_call_never_ends(server, client, call):
    method, action, members = CALLS[call]
    server.storage.delay(method, late=True)
    send(client, 1, action, **members)
    passes(server, 2)
    send(client, 2, "server/info")
    passes(server, PATIENCE - 4)
    assert replies(client) == []
    passes(server, CONTRACT - PATIENCE + 2)
    assert replies(client) == [(1, 503), (2, None)]
    assert server.server._under_way == 0
    server.clock.advance(SWEEP)
    assert server.clock.getDelayedCalls() == [], "nothing is left behind"


PATHS = {
    "insert": ("append", "POST", "/device/pump/notification", {"notification": "n"}),
    "list": ("find_messages", "GET", "/device/pump/notification", None),
    "who asks": ("get", "GET", "/device/pump", None),
    "poll without waiting": ("find_messages", "GET", "/device/pump/notification/poll?waitTimeout=0", None),
}


@pytest.mark.parametrize("path", PATHS)
@pytest_twisted.ensureDeferred
async def test_a_storage_whose_call_never_ends_over_rest(server, path):
    method, verb, target, body = PATHS[path]
    user = await server.add_user("anna") if path == "who asks" else None
    if user is not None:
        await server.server.bus_receiver.entities_changed(None)
        server.server.entities._cached[type(user)].pop(user.id)
    server.storage.delay(method, late=True)
    answer = rest_client(server, user).send(verb, target, body)
    passes(server, PATIENCE - 2)
    assert not answer.called
    passes(server, CONTRACT - PATIENCE + 2)
    assert (await answer)[0] == 503
    server.clock.advance(SWEEP)
    assert server.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_poll_has_the_time_that_it_waits_and_no_more(server, client):
    poll = rest_client(server).send("GET", "/device/pump/notification/poll?waitTimeout=30")
    passes(server, 31)
    assert await poll == (200, [])
    poll = rest_client(server).send("GET", "/device/pump/notification/poll?waitTimeout=30")
    passes(server, 29)
    server.storage.delay("find_messages", late=True)
    send(client, 1)
    passes(server, 1)
    assert server.storage.waiting == ["find_messages"]
    passes(server, CONTRACT)
    assert (await poll)[0] == 503


@pytest_twisted.ensureDeferred
async def test_what_is_stored_after_the_answer_is_told_once_and_in_order(server, client):
    subscriber = await server.client()
    await subscriber.call("notification/subscribe", deviceId="pump")
    server.storage.delay("append", late=True)
    for number in range(3):
        send(client, number)
    passes(server, CONTRACT)
    assert replies(client) == [(0, 503), (1, 503), (2, 503)]
    server.storage.prompt()
    server.storage.release_all()
    send(client, 3)
    assert [event["notification"]["notification"] for event in subscriber.events] == ["n0", "n1", "n2", "n3"]
    assert [event["notification"]["id"] for event in subscriber.events] == [1, 2, 3, 4]
    assert replies(client)[3:] == [(3, None)], "and nobody is answered twice"
    late = await server.client()
    await late.call("notification/subscribe", deviceId="pump", timestamp="2020-01-01T00:00:00")
    assert [event["notification"]["id"] for event in late.events] == [1, 2, 3, 4]


@pytest_twisted.ensureDeferred
async def test_what_was_not_begun_in_time_is_never_begun(server, client):
    """Its turn has not come: a list is before it. So with what was not even read, since too much is under way."""
    server.storage.delay("find_messages")
    send(client, 0, "notification/list", deviceId="pump")
    for number in range(1, MAX_UNDER_WAY + 10):
        send(client, number)
    assert client.paused
    passes(server, CONTRACT)
    assert [code for _, code in replies(client)] == [503] * (MAX_UNDER_WAY + 10)
    assert [number for number, _ in replies(client)] == list(range(MAX_UNDER_WAY + 10))
    server.storage.prompt()
    server.storage.release_all()
    assert (await client.call("notification/insert", deviceId="pump", notification={"notification": "n"}))["notification"]["id"] == 1
    assert not client.paused


@pytest_twisted.ensureDeferred
async def test_each_request_has_its_own_deadline(server, client):
    server.storage.delay("append", late=True)
    send(client, 0)
    passes(server, 5)
    send(client, 1)
    passes(server, CONTRACT - 5)
    assert replies(client) == [(0, 503)]
    server.storage.release_all()
    assert replies(client) == [(0, 503), (1, None)]


@pytest_twisted.ensureDeferred
async def test_a_client_that_is_to_blame_for_the_wait_is_no_reason_to_refuse(server, client):
    client.congested = True
    send(client, 0)
    passes(server, 2 * CONTRACT)
    client.drain()
    assert replies(client) == [(0, None)]


@pytest_twisted.ensureDeferred
async def test_an_identity_or_subscription_that_was_refused_does_not_come_later(server, client):
    stranger = server.connect()
    anna = await server.add_user("anna")
    server.server.entities._cached[type(anna)].pop(anna.id)
    server.storage.delay("get", "count", late=True)
    send(stranger, 0, "authenticate", token=server.token(anna))
    send(client, 1, "notification/subscribe", networkIds=[1])
    passes(server, CONTRACT)
    assert [message["code"] for message in stranger.messages] == [503]
    assert replies(client) == [(1, 503)]
    server.storage.prompt()
    server.storage.release_all()
    assert stranger.session.principal is None
    assert client.session.subscriptions == {}


@pytest_twisted.ensureDeferred
async def test_an_entity_whose_reading_never_ended_is_read_anew(server, client):
    server.storage.delay("get", late=True)
    send(client, 0, deviceId="unknown")
    passes(server, CONTRACT)
    server.storage.prompt("get")
    lost, server.storage._calls = server.storage._calls, []
    send(client, 1, deviceId="unknown")
    assert replies(client) == [(0, 503), (1, 404)]
    assert len(lost) == 1


@pytest_twisted.ensureDeferred
async def test_the_stop_of_a_server_waits_no_longer(server, client):
    server.storage.delay("append", late=True)
    send(client, 0)
    stopped = Deferred.fromCoroutine(server.server.stop())
    assert not stopped.called
    passes(server, CONTRACT)
    assert stopped.called


class Failing:
    def answer_due(self, sweep):
        raise RuntimeError("a defect")


class Counting:
    def __init__(self, asked):
        self.left = asked

    def answer_due(self, sweep):
        self.left -= 1
        return self.left > 0


def test_a_defect_of_one_does_not_end_the_sweeps():
    clock, logged = Clock(), []
    deadlines, counting = Deadlines(clock), Counting(3)
    deadlines.watch(Failing())
    deadlines.watch(counting)
    globalLogPublisher.addObserver(logged.append)
    try:
        clock.pump([SWEEP] * 3)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert counting.left == 0
    assert len([event for event in logged if "log_failure" in event]) == 1
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("begun", [False, True], ids=["nothing is under way", "one is under way"])
@pytest_twisted.ensureDeferred
async def test_who_waits_for_memory_is_answered_once_and_in_time(server, client, begun):
    budget = server.server.budget
    if begun:
        server.storage.delay("append")
        send(client, 1)
        send(client, 2, "server/info")
    other = budget.account(lambda reason: None)
    other.add(budget.limit)
    send(client, 3, "server/info")
    send(client, 4, "server/info")
    if begun:
        server.storage.release_all()
    passes(server, CONTRACT)
    answered = [(1, None), (2, 503)] if begun else []
    assert replies(client) == [*answered, (3, 503), (4, 503)]
    other.close()
    server.clock.pump([0, SWEEP, SWEEP])
    send(client, 5, "server/info")
    assert replies(client) == [*answered, (3, 503), (4, 503), (5, None)]
    assert server.server._under_way == 0
