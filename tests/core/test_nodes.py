"""Several servers on one storage: whoever is connected to one of them must not notice that there are others."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from dhtwisted.model import DISABLED, Device, Network, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import START
from tests.support.delaying import DelayingStorage
from tests.support.rest_api import client as rest_client

KINDS = ["command", "notification"]
PATIENCE = 30
"""Seconds until an event must have arrived."""


@pytest_twisted.async_yield_fixture
async def open_node(reactor, open_server):
    """Opens one more server on the same storage, with the devices ``pump`` in network 1 and ``lamp`` in network 2."""
    hub, clock = Hub(reactor), Clock()
    clock.advance(START)
    storage = DelayingStorage(MemoryStorage(clock))
    await storage.insert(Network(id=2, name="Garden"))
    for name, network in (("pump", 1), ("lamp", 2)):
        await storage.insert(Device(id=name, name=name, network_id=network, device_type_id=1))

    async def open_one():
        return await open_server(storage=storage, clock=clock, bus=hub.bus())

    yield open_one


@pytest_twisted.async_yield_fixture
async def nodes(open_node):
    """Two servers on one storage."""
    yield [await open_node() for _ in range(2)]


async def send(client, kind="notification", device="pump", **members):
    """Insert a message; returns its id."""
    return (await client.call(f"{kind}/insert", deviceId=device, **{kind: {kind: "on"} | members}))[kind]["id"]


async def events(client, count):
    """Wait for so many events in all; returns the ids of their messages."""
    from twisted.internet import reactor

    while len(client.events) < count:
        await client.arrival().addTimeout(PATIENCE, reactor)
    return [event[event["action"].partition("/")[0]]["id"] for event in client.events]


async def some_turns():
    """Let arrive what is on its way."""
    from twisted.internet import reactor

    for _ in range(10):
        await deferLater(reactor, 0)


# Messages


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_what_is_inserted_on_one_node_reaches_subscribers_of_every_node_in_order(nodes, open_node, kind):
    nodes.append(await open_node())
    subscribers = [await node.client() for node in nodes]
    for subscriber in subscribers:
        await subscriber.call(f"{kind}/subscribe", deviceId="pump")
    senders = [await node.client() for node in nodes]
    sent = [await send(senders[number % 3], kind) for number in range(30)]
    for subscriber in subscribers:
        assert await events(subscriber, 30) == sent


@pytest_twisted.ensureDeferred
async def test_an_update_reaches_the_connection_that_inserted_the_command_on_another_node(nodes):
    inserter, device, bystander = await nodes[0].client(), await nodes[1].client(), await nodes[0].client()
    await device.call("command/subscribe", deviceId="pump")
    command = await send(inserter, "command")
    assert await events(device, 1) == [command]
    for status in ("half", "done"):
        await device.call("command/update", deviceId="pump", commandId=command, command={"status": status})
    assert await events(inserter, 2) == [command, command]
    assert [(event["action"], event["command"]["status"]) for event in inserter.events] == [
        ("command/update", "half"),
        ("command/update", "done"),
    ]
    assert bystander.events == []


@pytest_twisted.ensureDeferred
async def test_a_device_that_is_saved_on_one_node_is_announced_on_the_others(nodes):
    user = await nodes[0].add_user("anna", network_ids=frozenset({1}))
    subscriber, other = await nodes[1].client(user), await nodes[1].client()
    await subscriber.call("notification/subscribe", names=["$device-add"])
    await other.call("notification/subscribe", names=["$device-add"])
    admin = await nodes[0].client()
    for name, network in (("hidden", 2), ("shown", 1)):
        await admin.call("device/save", deviceId=name, device={"networkId": network})
    await events(other, 2)
    assert [event["notification"]["deviceId"] for event in subscriber.events] == ["shown"]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_a_poll_answers_what_another_node_inserts(nodes, kind):
    sender = await nodes[0].client()
    poll = rest_client(nodes[1]).send("GET", f"/device/{kind}/poll")
    first = [await send(sender, kind), await send(sender, kind, "lamp")]
    await some_turns()
    assert not poll.called, "the millisecond is not over"
    nodes[1].clock.advance(0.0011)
    status, answer = await poll
    assert (status, [message["id"] for message in answer]) == (200, first)
    poll = rest_client(nodes[1]).send("GET", f"/device/{kind}/poll?timestamp={answer[-1]['timestamp']}")
    second = await send(sender, kind)
    await some_turns()
    nodes[1].clock.advance(0.0011)
    assert [message["id"] for message in (await poll)[1]] == [second], "what was answered is not answered again"


@pytest_twisted.ensureDeferred
async def test_a_poll_waits_for_what_another_node_is_storing(nodes):
    storage, sender = nodes[0].storage, await nodes[0].client()
    now = nodes[0].server.now()
    poll = rest_client(nodes[1]).send("GET", "/device/notification/poll")
    first = await send(sender)
    await some_turns()
    # It becomes visible only later, with the time of now.
    storage.delay("append", late=True)
    second = Deferred.fromCoroutine(send(sender, timestamp=now))
    nodes[1].clock.advance(0.0011)
    await some_turns()
    assert not poll.called
    storage.prompt()
    storage.release_all()
    assert [message["id"] for message in (await poll)[1]] == [first, await second]


@pytest_twisted.ensureDeferred
async def test_a_command_is_waited_for_on_another_node(nodes):
    device = await nodes[0].client()
    command = await send(device, "command")
    wait = rest_client(nodes[1]).send("GET", f"/device/pump/command/{command}/poll")
    await device.call("command/update", deviceId="pump", commandId=command, command={"status": "done"})
    status, answer = await wait
    assert (status, answer["status"]) == (200, "done")


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_subscribing_with_a_timestamp_while_another_node_inserts(nodes, kind):
    sender, subscribers = await nodes[0].client(), [await nodes[1].client() for _ in range(20)]
    since = nodes[0].server.now()
    sent = [await send(sender, kind)]
    for subscriber in subscribers:
        sent.append(await send(sender, kind))
        await subscriber.call(f"{kind}/subscribe", timestamp=since)
        sent.append(await send(sender, kind))
        await some_turns()
    last = await send(sender, kind)
    for subscriber in subscribers:
        while last not in await events(subscriber, 1):
            await subscriber.arrival()
    await some_turns()
    for subscriber in subscribers:
        assert await events(subscriber, 1) == [*sent, last]


# Entities


@pytest.mark.parametrize(
    "change",
    [
        {"network_ids": frozenset({2})},
        {"status": DISABLED},
        {"all_device_types_available": False},
    ],
    ids=["network taken away", "disabled", "types taken away"],
)
@pytest_twisted.ensureDeferred
async def test_deliveries_stop_when_rights_end_on_another_node(nodes, change):
    user = await nodes[0].add_user("anna", network_ids=frozenset({1}))
    subscriber, other, sender = await nodes[1].client(user), await nodes[1].client(), await nodes[0].client()
    for client in (subscriber, other):
        await client.call("notification/subscribe")
    before = await send(sender)
    await events(other, 1)
    await nodes[0].server.entities.update(User, user.id, change)
    await send(sender)
    await events(other, 2)
    assert await events(subscriber, 1) == [before]


@pytest.mark.parametrize("deleted", [False, True], ids=["disabled", "deleted"])
@pytest_twisted.ensureDeferred
async def test_requests_of_a_user_end_who_is_no_more_on_another_node(nodes, deleted):
    user = await nodes[0].add_user("anna", network_ids=frozenset({1}))
    client, admin = await nodes[1].client(user), await nodes[0].client()
    await client.call("device/list")
    if deleted:
        await admin.call("user/delete", userId=user.id)
    else:
        await admin.call("user/update", userId=user.id, user={"status": DISABLED})
    await some_turns()
    assert (await client.refused("device/list"))[0] == 401
    assert (await client.refused("notification/insert", deviceId="pump", notification={"notification": "on"}))[0] == 401
    assert (await client.refused("authenticate", token=nodes[1].token(user)))[0] == 401


@pytest_twisted.ensureDeferred
async def test_deliveries_begin_when_rights_are_given_on_another_node(nodes):
    user = await nodes[0].add_user("anna", network_ids=frozenset({2}))
    subscriber, admin = await nodes[1].client(user), await nodes[0].client()
    await subscriber.call("notification/subscribe")
    await send(admin)
    await some_turns()
    await admin.call("user/assignNetwork", userId=user.id, networkId=1)
    after = await send(admin)
    assert await events(subscriber, 1) == [after]


@pytest_twisted.ensureDeferred
async def test_a_device_that_moves_on_another_node_takes_its_events_along(nodes):
    user = await nodes[0].add_user("anna", network_ids=frozenset({1}))
    admin, restricted, of_network, everything = [await nodes[0].client(), *[await nodes[1].client(who) for who in (user, None, None)]]
    await restricted.call("notification/subscribe")
    await of_network.call("notification/subscribe", networkIds=[2], names=["on"])
    await everything.call("notification/subscribe", names=["on"])
    here = await send(admin)
    await events(everything, 1)
    await admin.call("device/save", deviceId="pump", device={"networkId": 2})
    there = await send(admin)
    assert await events(everything, 2) == [here, there]
    assert (await events(restricted, 1), await events(of_network, 1)) == ([here], [there])
    assert (await restricted.refused("notification/list", deviceId="pump"))[0] == 403


@pytest_twisted.ensureDeferred
async def test_a_device_deleted_on_another_node_is_forgotten_by_its_own_subscriptions(nodes):
    one, network, admin = await nodes[1].client(), await nodes[1].client(), await nodes[0].client()
    await one.call("notification/subscribe", deviceId="pump")
    await network.call("notification/subscribe", networkIds=[1], names=["on"])
    await admin.call("device/delete", deviceId="pump")
    await some_turns()
    assert (await one.refused("notification/subscribe", deviceId="pump"))[0] == 404
    await admin.call("device/save", deviceId="pump", device={"networkId": 1})
    sent = await send(admin)
    assert await events(network, 1) == [sent]
    assert one.events == []
    await one.call("notification/subscribe", deviceId="pump")
    sent = await send(admin)
    assert await events(one, 1) == [sent]


@pytest_twisted.ensureDeferred
async def test_a_network_deleted_on_another_node_takes_its_devices_along(nodes):
    client, admin = await nodes[1].client(), await nodes[0].client()
    await client.call("notification/subscribe", deviceId="lamp")
    await admin.call("network/delete", networkId=2, force=True)
    await some_turns()
    assert (await client.refused("device/get", deviceId="lamp"))[0] == 404
    assert (await client.refused("notification/insert", deviceId="lamp", notification={"notification": "on"}))[0] == 404


# Nodes


@pytest_twisted.ensureDeferred
async def test_a_node_that_stops_leaves_the_others_alone(nodes, open_node):
    nodes.append(await open_node())
    subscriber, sender, leaving = await nodes[0].client(), await nodes[1].client(), await nodes[2].client()
    for client in (subscriber, leaving):
        await client.call("notification/subscribe")
    sent = [await send(sender)]
    await nodes[2].server.stop()
    sent += [await send(sender), await send(subscriber)]
    assert await events(subscriber, 3) == sent
    assert len(leaving.events) <= 1
    await nodes[1].server.entities.update(User, 1, {"status": DISABLED})
    await some_turns()
    assert (await subscriber.refused("device/list"))[0] == 401


@pytest_twisted.ensureDeferred
async def test_a_node_that_comes_later_takes_part(nodes, open_node):
    sender = await nodes[0].client()
    before = await send(sender)
    subscriber = await (await open_node()).client()
    await subscriber.call("notification/subscribe", timestamp=0)
    after = await send(sender)
    assert await events(subscriber, 2) == [before, after]
